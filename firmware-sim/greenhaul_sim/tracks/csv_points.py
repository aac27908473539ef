"""CSV and columns of numbers: which column is what is found out, or refused, never assumed."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from greenhaul_protocols.errors import ConfigError, DecodeError
from greenhaul_sim.tracks.point import LocalTimes, Track, TrackPoint, Unreadable

# Header names in lower case without anything but letters and digits, best first.
_NAMES = {
    "time": ("devicetime", "timestamp", "datetime", "time", "gpstime", "utc"),
    "date": ("date",),
    "latitude": ("latitudedeg", "latitude", "lat", "positionlat"),
    "longitude": ("longitudedeg", "longitude", "lon", "lng", "long", "positionlong"),
    "altitude": ("altitudem", "altitude", "alt", "elevation", "ele", "height"),
    "speed": ("speedkmh", "speed", "gpsspeed"),
    "heading": ("headingdeg", "heading", "course", "bearing"),
    "satellites": ("satellites", "sats"),
    "soc": ("socpercent", "soc"),
}

# Where columns of numbers begin to be times since 1970: before, they count from something else.
_EPOCH_MS_FROM, _EPOCH_S_FROM = 9.4e11, 9.4e8

_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what."""

    latitude: int
    longitude: int
    time: int | None = None
    date: int | None = None
    altitude: int | None = None
    speed: int | None = None
    heading: int | None = None
    satellites: int | None = None
    soc: int | None = None


def read_csv(name: str, text: str, times: LocalTimes) -> Track:
    """A table with a header, or without: time, then longitude and latitude in either order.

    Raises DecodeError when the columns cannot be told apart, ConfigError for local times.
    """
    rows = _rows(text)
    if not rows:
        raise DecodeError(f"{name}: no rows")
    has_header = not _is_number(rows[0][0]) and any(map(str.isalpha, rows[0][0]))
    if has_header:
        columns, rows = _columns_of_header(name, rows[0]), rows[1:]
    else:
        columns = _columns_of_numbers(name, rows)
    time_of = _time_reader(rows, columns, times)
    points, unreadable = [], []
    for number, row in enumerate(rows, start=1):
        try:
            points.append(_point(number, row, columns, time_of))
        except (IndexError, ValueError) as error:
            unreadable.append(Unreadable(number, f"not a point: {error}"))
    return Track(name, tuple(points), tuple(unreadable))


def _rows(text: str) -> list[list[str]]:
    head = text[:4096]
    if "," in head or ";" in head or "\t" in head:
        delimiter = max(",;\t", key=head.count)
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        return [[cell.strip() for cell in row] for row in reader if row]
    return [line.split() for line in text.splitlines() if line.strip()]


def _columns_of_header(name: str, header: list[str]) -> Columns:
    plain = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in header]
    found = {
        role: next((plain.index(each) for each in names if each in plain), None)
        for role, names in _NAMES.items()
    }
    latitude, longitude = found.pop("latitude"), found.pop("longitude")
    if latitude is None or longitude is None:
        raise DecodeError(f"{name}: no latitude and longitude among {', '.join(header)}")
    return Columns(latitude, longitude, **found)


def _columns_of_numbers(name: str, rows: list[list[str]]) -> Columns:
    """Time first, then the pair; the one beyond 90 is the longitude."""
    pairs = [
        (float(row[1]), float(row[2])) for row in rows if len(row) > 2 and all(map(_is_number, row))
    ]
    is_beyond = [any(abs(pair[side]) > 90 for pair in pairs) for side in (0, 1)]
    if is_beyond[0] == is_beyond[1]:
        raise DecodeError(
            f"{name}: no header, and the second and third column do not tell which is the "
            "longitude; add a header line like time,latitude,longitude"
        )
    return Columns(latitude=2, longitude=1, time=0) if is_beyond[0] else Columns(1, 2, time=0)


TimeReader = Callable[[list[str]], int | None]


def _time_reader(rows: list[list[str]], columns: Columns, times: LocalTimes) -> TimeReader:
    column, date_column = columns.time, columns.date
    if column is None and date_column is None:
        return lambda _row: None
    sample = [row[column] for row in rows if column is not None and len(row) > column]
    numbers = [float(cell) for cell in sample if _is_number(cell)]
    if numbers and len(numbers) >= len(sample) / 2 and date_column is None:
        assert column is not None
        scale = 1 if min(numbers) >= _EPOCH_MS_FROM else 1000
        at = column
        return lambda row: round(float(row[at]) * scale)
    texts = [_time_text(row, columns) for row in rows]
    day_first = _is_day_first(texts, times)
    return lambda row: times.to_ms(_parse(_time_text(row, columns), day_first))


def _time_text(row: list[str], columns: Columns) -> str:
    cells = [row[at] for at in (columns.date, columns.time) if at is not None and at < len(row)]
    return " ".join(cells)


def _is_day_first(texts: list[str], times: LocalTimes) -> bool:
    """Whether 04/05/2021 is in May, as other dates of the file show it."""
    dates = [(int(found[1]), int(found[2])) for text in texts if (found := _SLASHED.match(text))]
    if not dates:
        return False
    if times.day_first is not None:
        return times.day_first
    is_day_first = any(first > 12 for first, _ in dates)
    is_month_first = any(second > 12 for _, second in dates)
    if is_day_first == is_month_first:
        raise ConfigError("dates do not tell day from month; say --date-order dmy or mdy")
    return is_day_first


def _parse(text: str, day_first: bool) -> datetime:
    found = _SLASHED.match(text)
    if found:
        first, second, year = (int(part) for part in found.groups())
        day, month = (first, second) if day_first else (second, first)
        text = f"{year:04d}-{month:02d}-{day:02d}{text[found.end() :]}"
    return datetime.fromisoformat(text)


def _point(number: int, row: list[str], columns: Columns, time_of: TimeReader) -> TrackPoint:
    satellites = _optional(row, columns.satellites)
    return TrackPoint(
        number,
        time_of(row),
        float(row[columns.latitude]),
        float(row[columns.longitude]),
        altitude_m=_optional(row, columns.altitude),
        speed_kmh=_optional(row, columns.speed),
        heading_deg=_optional(row, columns.heading),
        satellites=None if satellites is None else round(satellites),
        soc_percent=_optional(row, columns.soc),
    )


def _optional(row: list[str], column: int | None) -> float | None:
    if column is None or column >= len(row) or not _is_number(row[column]):
        return None
    return float(row[column])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
