"""Points of a recorded drive, and what the reader needs to know about its clock."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import to_time_ms

USABLE_FROM_MS = 946_684_800_000  # 2000-01-01: no recorder's clock was right before


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """One point as the file has it. None: the file does not say."""

    number: int  # from 1, in the order of the file
    time_ms: int | None  # since 1970 UTC; of an undated track, since whatever it counts from
    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None = None
    speed_kmh: float | None = None
    heading_deg: float | None = None
    satellites: int | None = None
    soc_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A place in the file where a point should be and none could be read."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Track:
    """A file's points, in its order."""

    name: str
    points: tuple[TrackPoint, ...]
    unreadable: tuple[Unreadable, ...] = ()
    is_dated: bool = field(init=False)

    def __post_init__(self) -> None:
        times_ms = [point.time_ms for point in self.points if point.time_ms is not None]
        is_dated = any(time_ms >= USABLE_FROM_MS for time_ms in times_ms)
        object.__setattr__(self, "is_dated", is_dated)


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """How to read times that do not say whose clock they are.

    zone None: such a time is an error, because guessing moves a whole drive by hours. day_first
    None: dates like 04/05/2021 are an error unless others in the file settle the order.
    """

    zone: tzinfo | None = None
    day_first: bool | None = None

    def to_ms(self, local: datetime) -> int:
        """Milliseconds since 1970 of a time with or without zone. Raises ConfigError."""
        if local.tzinfo is not None:
            return to_time_ms(local)
        if self.zone is None:
            raise ConfigError(
                f"times like {local} have no zone; say --timezone, as in Europe/Dublin or +08:00"
            )
        return to_time_ms(local.replace(tzinfo=self.zone).astimezone(UTC))


def zone_of(text: str) -> tzinfo:
    """A zone by name or as an offset like +08:00. Raises ConfigError."""
    offset = re.fullmatch(r"([+-])([01]?\d):?([0-5]\d)", text)
    if offset:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-span if offset[1] == "-" else span)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"no time zone {text!r}; write it like Asia/Shanghai or +08:00"
        ) from error


Reader = Callable[[str, str, LocalTimes], Track]  # name, text, times
