"""Times of areas: twelve digits, zeros where they repeat, as hours or validity and back."""

import re

from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808.clock import digits_of, time_ms_of
from greenhaul_protocols.times import format_time, parse_time

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def hours_of(start: str, end: str) -> str | None:
    """OSM opening_hours of repeating digits; None of dates, which are a validity.

    Hours know no seconds: the minute that holds the end is taken whole. Raises FeatureError.
    """
    if start[:2] != "00" and end[:2] != "00":
        return None
    clock = f"{_minute(start, is_end=False)}-{_minute(end, is_end=True)}"
    if start[:6] == end[:6] == "000000":
        return "00:00-24:00" if start == end else clock
    if start[:2] == end[:2] == "00" and "00" not in (start[2:4], start[4:6], end[2:4], end[4:6]):
        days = (f"{_month(digits)} {digits[4:6]}" for digits in (start, end))
        return f"{'-'.join(days)} {clock}"
    raise FeatureError(f"times {start} to {end} repeat in a way no hours say")


def validity_of(start: str, end: str) -> tuple[str, str]:
    """`valid_from` and `valid_to` of dates. Raises FeatureError."""
    from_ms, to_ms = time_ms_of(start), time_ms_of(end)
    if from_ms is None or to_ms is None:
        raise FeatureError(f"times {start} to {end} are no dates")
    return format_time(from_ms), format_time(to_ms)


def digits_of_hours(hours: str) -> tuple[str, str]:
    """Digits that repeat daily. Raises EncodeError for hours a terminal cannot keep."""
    found = _HOURS.fullmatch(hours)
    if not found:
        raise EncodeError(f"hours {hours!r}: a terminal keeps one window a day, as 07:00-22:00")
    start, end = "".join(found.groups()[:2]), "".join(found.groups()[2:])
    return f"000000{start}00", "000000235959" if end == "2400" else f"000000{end}00"


def digits_of_validity(valid_from: str, valid_to: str) -> tuple[str, str]:
    """Digits of dates, in GMT+8."""
    return digits_of(parse_time(valid_from)), digits_of(parse_time(valid_to))


def _month(digits: str) -> str:
    month = int(digits[2:4])
    if not 1 <= month <= 12:
        raise FeatureError(f"{digits}: there is no month {month}")
    return _MONTHS[month - 1]


def _minute(digits: str, *, is_end: bool) -> str:
    hour, minute, second = int(digits[6:8]), int(digits[8:10]), int(digits[10:12])
    total = hour * 60 + minute + (1 if is_end and second else 0)
    if total > 1440 or minute > 59:
        raise FeatureError(f"{digits}: there is no such time of day")
    return f"{total // 60:02}:{total % 60:02}"
