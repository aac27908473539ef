"""Instants as text: RFC 3339 in UTC with milliseconds at most, and back.

Inside greenhaul an instant is an integer of milliseconds since 1970-01-01T00:00:00Z; text
exists only at the borders.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# 0001-01-01 and 9999-12-31: what `datetime` and RFC 3339 can say.
TIME_MS_MIN = -62_135_596_800_000
TIME_MS_MAX = 253_402_300_799_999


def to_datetime(time_ms: int) -> datetime:
    """Aware UTC datetime, exact to the millisecond."""
    return EPOCH + timedelta(milliseconds=time_ms)


def to_time_ms(instant: datetime) -> int:
    """Milliseconds since 1970 of an aware datetime; finer parts are cut.

    Raises ValueError for a naive datetime: whose clock would it be?
    """
    if instant.tzinfo is None:
        raise ValueError(f"time {instant.isoformat()} has no zone; write it with Z or an offset")
    return (instant - EPOCH) // _MILLISECOND


def format_time(time_ms: int) -> str:
    """RFC 3339 with `Z`; milliseconds only where there are any: `2026-11-20T07:04:05.300Z`."""
    timespec = "milliseconds" if time_ms % 1000 else "seconds"
    return to_datetime(time_ms).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 instant with `Z` or an offset.

    Raises ValueError that says what is missing.
    """
    return to_time_ms(datetime.fromisoformat(text.strip()))
