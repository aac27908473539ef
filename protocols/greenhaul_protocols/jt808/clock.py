"""Times as JT/T 808 writes them: BCD digits of GMT+8, two for the year.

A wire class keeps the twelve digits as they came, because terminals send digits that are no time
and the fix beside them is still good.
"""

from datetime import UTC, datetime
from functools import lru_cache

from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.times import to_datetime, to_time_ms

GMT_PLUS_8_MS = 8 * 3_600_000


# A peer chooses the dates: the cache is bounded. A fleet's live traffic lies on one or two days.
@lru_cache(maxsize=1024)
def _day_ms(digits: str) -> int | None:
    """Milliseconds of midnight of YYMMDD, as if in UTC; None if there is no such day."""
    try:
        # Always 20YY: Python's own %y would turn 69 into 1969.
        day = datetime(2000 + int(digits[:2]), int(digits[2:4]), int(digits[4:]), tzinfo=UTC)
    except ValueError:
        return None
    return to_time_ms(day)


def time_ms_of(digits: str) -> int | None:
    """Milliseconds since 1970 UTC of YYMMDDhhmmss in GMT+8; None if the digits are no time."""
    if len(digits) != 12 or not (digits.isascii() and digits.isdecimal()):
        return None
    day_ms = _day_ms(digits[:6])
    hour, minute, second = int(digits[6:8]), int(digits[8:10]), int(digits[10:])
    if day_ms is None or hour > 23 or minute > 59 or second > 59:
        return None
    return day_ms + (hour * 3600 + minute * 60 + second) * 1000 - GMT_PLUS_8_MS


def time_of_day_ms(digits: str) -> int | None:
    """Milliseconds since midnight of hhmmss and four digits of milliseconds; None if no time."""
    if len(digits) != 10 or not (digits.isascii() and digits.isdecimal()):
        return None
    hour, minute, second = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    if hour > 23 or minute > 59 or second > 59:
        return None
    # Some count in other units than milliseconds: never into the next second.
    return (hour * 3600 + minute * 60 + second) * 1000 + min(int(digits[6:]), 999)


def digits_of(time_ms: int) -> str:
    """YYMMDDhhmmss in GMT+8 of milliseconds since 1970 UTC, rounded down to the second.

    Raises EncodeError outside 2000 to 2099, which two digits cannot say.
    """
    local = to_datetime(time_ms + GMT_PLUS_8_MS)
    if not 2000 <= local.year <= 2099:
        raise EncodeError(f"time: {local:%Y-%m-%d} does not fit a two-digit year")
    return local.strftime("%y%m%d%H%M%S")


def local_text_of(digits: str) -> str | None:
    """RFC 3339 with `+08:00`, as the frame says it; None if the digits are no time."""
    if time_ms_of(digits) is None:
        return None
    year, month, day, hour, minute, second = (digits[at : at + 2] for at in range(0, 12, 2))
    return f"20{year}-{month}-{day}T{hour}:{minute}:{second}+08:00"
