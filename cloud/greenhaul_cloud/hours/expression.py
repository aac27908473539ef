"""OSM opening_hours asked about single days, each as the calendar wants it seen.

opening-hours-py knows weekdays and dates, but takes no calendar. So where a day or the day before
it (whose night may reach into it) is off or a make-up working day, the weekday selectors are
written anew for these two days: each keeps its own weekday exactly where the day counts as
selected. Months, weeks and years are asked about the real date.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from opening_hours import OpeningHours, ParserError, State  # type: ignore[attr-defined]  # the stub forgets the error

from greenhaul_cloud.hours.calendar import Calendar

WEEKDAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")

# OSM allows 255 characters in a tag.
LENGTH_MAX = 255

_DAY = "(?i:Mo|Tu|We|Th|Fr|Sa|Su)"
_ITEM = rf"(?:{_DAY}(?:\s*-\s*{_DAY})?|PH)"
# Holidays before weekdays without a comma: holidays that fall on these weekdays.
_SELECTOR = re.compile(
    rf"(?<![\w\"]){_ITEM}(?:\s*,\s*{_ITEM})*(?:(?<=PH)\s+{_DAY}(?:\s*-\s*{_DAY})?"
    rf"(?:\s*,\s*{_DAY}(?:\s*-\s*{_DAY})?)*)?(?![\w\[])"
)
# What would be judged wrongly, named with what to write instead.
_REFUSED = (
    (re.compile(r"\bSH\b"), "SH: there is no calendar of school holidays; name the dates"),
    (re.compile(r"\bPH\s*[+-]"), "days after or before PH are not supported; name the dates"),
    (
        re.compile(rf"\b{_DAY}\s*\["),
        "weekdays counted in the month (Mo[1]) are not supported; name the dates",
    ),
    (
        re.compile(r"\b(?:sunrise|sunset|dawn|dusk)\b", re.IGNORECASE),
        "sunrise and sunset are no times a fine can rest on; give them as hh:mm",
    ),
    (re.compile(r'"'), "comments are not supported: they would make the hours uncertain"),
    (re.compile(r"\bunknown\b", re.IGNORECASE), "unknown hours cannot be judged"),
    (re.compile(r"\d\s*\+"), "an open end (17:00+) cannot be judged; give the end"),
)

Minutes = tuple[int, int]  # [from, to) of a local day


class HoursError(ValueError):
    """Hours that cannot be honoured; the message says which part, and what to write instead."""


@dataclass(frozen=True, slots=True)
class _Selector:
    """Days a rule selects: weekdays, days off, or (`is_both`) days off on these weekdays."""

    weekdays: frozenset[int]
    has_days_off: bool
    is_both: bool

    def selects(self, day: date, calendar: Calendar) -> bool:
        is_off = day in calendar.days_off
        is_weekday = calendar.weekday(day) in self.weekdays
        if self.is_both:
            return is_off and is_weekday
        return is_weekday or (self.has_days_off and is_off)


def check_hours(text: str) -> str:
    """The expression, if every part of it can be honoured. Raises HoursError."""
    if len(text) > LENGTH_MAX:
        raise HoursError(f"longer than {LENGTH_MAX} characters")
    for pattern, reason in _REFUSED:
        if pattern.search(text):
            raise HoursError(reason)
    try:
        OpeningHours(text)
        _parts(text)
    except ParserError as error:
        raise HoursError(f"{text!r} is not OSM opening_hours: {_shown(error)}") from error
    return text


def depends_on_weekdays(text: str) -> bool:
    """Whether a calendar can make a difference."""
    return len(_parts(text)) > 1


def is_always(text: str) -> bool:
    """Whether the hours are open at every instant, on days off as well."""
    return "PH" not in text and str(_parsed(text).normalize()) == "24/7"


def open_minutes(text: str, day: date, calendar: Calendar) -> list[Minutes]:
    """When the hours are open on a local day, its predecessor's night included."""
    before = day - timedelta(1)
    if not (calendar.is_ordinary(day) and calendar.is_ordinary(before)):
        text = _seen_as(text, (before, day), calendar)
    start = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local by definition
    minutes = []
    for begin, end, state, _ in _parsed(text).intervals(start, start + timedelta(1)):
        if state == State.OPEN:
            minutes.append((_minute(begin, start), _minute(end, start)))
    return minutes


def _minute(at: datetime, start: datetime) -> int:
    return round((at - start).total_seconds() / 60)


def _shown(error: Exception) -> str:
    lines = [line.strip(" |=") for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), "cannot be read")


@lru_cache(maxsize=4096)
def _parsed(text: str) -> OpeningHours:
    return OpeningHours(text)


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | _Selector, ...]:
    """The expression cut at its weekday selectors: text, selector, text, …"""
    parts: list[str | _Selector] = []
    at = 0
    for found in _SELECTOR.finditer(text):
        parts += [text[at : found.start()], _selector(found.group())]
        at = found.end()
    return (*parts, text[at:])


def _selector(text: str) -> _Selector:
    has_days_off = "PH" in text
    is_both = bool(re.search(r"PH\s+[A-Za-z]", text))
    weekdays = frozenset(
        number
        for item in re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", text))
        for number in _weekdays(item)
    )
    return _Selector(weekdays, has_days_off, is_both)


def _weekdays(item: str) -> Iterator[int]:
    if item == "PH":
        return
    first, last = (WEEKDAYS.index(name.capitalize()) for name in (item[:2], item[-2:]))
    yield from ((first + n) % 7 for n in range((last - first) % 7 + 1))


def _seen_as(text: str, days: tuple[date, date], calendar: Calendar) -> str:
    """The expression with its weekdays written anew for two successive days."""
    nowhere = WEEKDAYS[(days[1].weekday() + 3) % 7]
    written = []
    for part in _parts(text):
        if isinstance(part, str):
            written.append(part)
            continue
        names = [WEEKDAYS[day.weekday()] for day in days if part.selects(day, calendar)]
        written.append(",".join(names) or nowhere)
    return "".join(written)
