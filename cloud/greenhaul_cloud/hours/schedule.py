"""Hours in a zone after a calendar, as intervals of time."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS
from greenhaul_cloud.hours.calendar import Calendar
from greenhaul_cloud.hours.expression import depends_on_weekdays, is_always, open_minutes

Interval = tuple[int, int]  # [from_ms, to_ms)

# Days looked at: no truck drove before, and rules of the next century will be written then. Hours
# open at one of the ends are taken to have been so always, or to stay so.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)

# How far ahead a border is looked for; a rule that sleeps longer is looked at again then.
LOOK_AHEAD_DAYS_MAX = 400

# Days kept with their intervals, of one schedule: three years.
DAYS_KEPT_MAX = 1_100


class Schedule:
    """When hours are open; every answer is the same whatever was asked before."""

    def __init__(self, hours: str, timezone: str, calendar: Calendar) -> None:
        self._hours, self._zone, self._calendar = hours, ZoneInfo(timezone), calendar
        self._is_always = is_always(hours)
        self._asks_calendar = depends_on_weekdays(hours)
        self._days: dict[date, tuple[Interval, ...]] = {}
        self._ends: dict[int, int] = {}  # of intervals that go on past midnight
        self._begins: dict[int, int] = {}

    def within(self, from_ms: int, to_ms: int) -> list[Interval]:
        """Open intervals that overlap [from_ms, to_ms), whole, in order, none touching the next."""
        if from_ms >= to_ms:
            return []
        if self._is_always:
            return [(ALWAYS_MS, NEVER_MS)]
        found = [
            span
            for span in self._spans(self._day(from_ms), self._day(to_ms - 1))
            if span[1] > from_ms
        ]
        while found and found[-1][0] >= to_ms:
            found.pop()
        if found:
            found[0] = (self._begin(found[0][0]), found[0][1])
            found[-1] = (found[-1][0], self._end(found[-1][1]))
        return found

    def without(self, from_ms: int, to_ms: int) -> list[Interval]:
        """Closed intervals that overlap [from_ms, to_ms), from there on, with their ends whole."""
        if self._is_always or from_ms >= to_ms:
            return []
        closed, at_ms = [], from_ms
        for begin_ms, end_ms in self.within(from_ms, to_ms):
            if begin_ms > at_ms:
                closed.append((at_ms, begin_ms))
            at_ms = end_ms
        return closed if at_ms >= to_ms else [*closed, (at_ms, self.next_border_ms(to_ms - 1))]

    def is_open(self, time_ms: int) -> bool:
        """Whether the hours are open at an instant; at their end they are not."""
        if self._is_always:
            return True
        return any(
            begin_ms <= time_ms < end_ms for begin_ms, end_ms in self._on(self._day(time_ms))
        )

    def are_open(self, time_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) the same of many instants in order."""
        if len(time_ms) == 0:
            return np.zeros(0, bool)
        spans = self.within(int(time_ms[0]), int(time_ms[-1]) + 1)
        borders = np.array([border for span in spans for border in span], dtype=np.int64)
        is_open: NDArray[np.bool_] = np.searchsorted(borders, time_ms, side="right") % 2 == 1
        return is_open

    def next_border_ms(self, after_ms: int) -> int:
        """The next instant after this one at which the hours open or close; NEVER_MS if none.

        Where none is found ahead, an instant to ask again at.
        """
        if self._is_always:
            return NEVER_MS
        first = self._day(after_ms)
        for offset in range(LOOK_AHEAD_DAYS_MAX):
            if first + timedelta(offset) > LAST_DAY:
                return NEVER_MS
            borders = (border for span in self._on(first + timedelta(offset)) for border in span)
            # a day's end is a border only where the next day does not go on
            for border in borders:
                if border > after_ms and self._is_border(border):
                    return border
        return self._start_of(first + timedelta(LOOK_AHEAD_DAYS_MAX))

    def unknown_years(self, from_ms: int, to_ms: int) -> list[int]:
        """Years in [from_ms, to_ms) unknown to the calendar, though the hours ask it."""
        if not self._asks_calendar or not self._calendar.name or from_ms >= to_ms:
            return []
        first, last = self._day(from_ms), self._day(to_ms - 1)
        return [y for y in range(first.year, last.year + 1) if y not in self._calendar.years]

    def _is_border(self, time_ms: int) -> bool:
        return self.is_open(time_ms - 1) != self.is_open(time_ms)

    def _begin(self, begin_ms: int) -> int:
        """Where an open interval that begins with a day really began."""
        if begin_ms not in self._begins:
            if len(self._begins) >= DAYS_KEPT_MAX:
                self._begins.clear()
            self._begins[begin_ms] = self._begin_before(begin_ms)
        return self._begins[begin_ms]

    def _begin_before(self, begin_ms: int) -> int:
        day = self._day(begin_ms)
        while begin_ms == self._start_of(day):
            if day <= FIRST_DAY:
                return ALWAYS_MS
            day -= timedelta(1)
            before = self._on(day)
            if not before or before[-1][1] != begin_ms:
                return begin_ms
            begin_ms = before[-1][0]
        return begin_ms

    def _end(self, end_ms: int) -> int:
        """Where an open interval that ends with a day really ends."""
        if end_ms not in self._ends:
            if len(self._ends) >= DAYS_KEPT_MAX:
                self._ends.clear()
            self._ends[end_ms] = self._end_after(end_ms)
        return self._ends[end_ms]

    def _end_after(self, end_ms: int) -> int:
        day = self._day(end_ms)
        while end_ms == self._start_of(day):
            if day > LAST_DAY:
                return NEVER_MS
            after = self._on(day)
            if not after or after[0][0] != end_ms:
                return end_ms
            end_ms = after[0][1]
            day += timedelta(1)
        return end_ms

    def _spans(self, first: date, last: date) -> Iterator[Interval]:
        """Open intervals of some days, joined where one day goes on in the next."""
        held: Interval | None = None
        for number in range(first.toordinal(), last.toordinal() + 1):
            for span in self._on(date.fromordinal(number)):
                if held and held[1] == span[0]:
                    held = (held[0], span[1])
                    continue
                if held:
                    yield held
                held = span
        if held:
            yield held

    def _on(self, day: date) -> tuple[Interval, ...]:
        """Open intervals of one local day, in order."""
        made = self._days.get(day)
        if made is None:
            if len(self._days) >= DAYS_KEPT_MAX:
                self._days.clear()
            minutes = open_minutes(self._hours, day, self._calendar)
            spans = ((self._at(day, low), self._at(day, high)) for low, high in minutes)
            made = self._days[day] = tuple(span for span in spans if span[0] < span[1])
        return made

    def _at(self, day: date, minute: int) -> int:
        """A local time as an instant; one that a change of clocks skips is put after the change."""
        day, minute = (day, minute) if minute < 1440 else (day + timedelta(1), minute - 1440)
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self._zone)
        return round(local.timestamp() * 1000)

    def _start_of(self, day: date) -> int:
        return self._at(day, 0)

    def _day(self, time_ms: int) -> date:
        """The local day of an instant, within the days looked at."""
        low, high = self._start_of(FIRST_DAY), self._start_of(LAST_DAY + timedelta(1))
        if time_ms < low:
            return FIRST_DAY
        if time_ms >= high:
            return LAST_DAY + timedelta(1) if time_ms == high else LAST_DAY
        return datetime.fromtimestamp(time_ms / 1000, self._zone).date()


@lru_cache(maxsize=1024)
def schedule_of(hours: str, timezone: str, calendar: Calendar) -> Schedule:
    """The schedule of some hours; made once."""
    return Schedule(hours, timezone, calendar)
