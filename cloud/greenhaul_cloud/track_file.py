"""Tracks of vehicles read from a CSV file: positions, and what the vehicles were at the time."""

import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenhaul_cloud.fences.feature import attributes_of
from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS, Attributes
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.reasons import reason_of
from greenhaul_protocols.catalogue import KIND_OF, Position
from greenhaul_protocols.errors import ConfigError, EncodeError
from greenhaul_protocols.identity import digest
from greenhaul_protocols.times import parse_time

REQUIRED = ("vehicle_id", "device_time", "latitude_deg", "longitude_deg")
OPTIONAL = ("speed_kmh", "heading_deg", "odometer_km", "energy", "class", "tags")

_MEASURED = ("latitude_deg", "longitude_deg", "speed_kmh", "heading_deg", "odometer_km")
_SPECS = {spec.name: spec for spec in KIND_OF[Position].fields}
_TAG_BORDER = re.compile(r"[;|\s]+")


@dataclass(frozen=True, slots=True)
class VehicleTrack:
    """A vehicle's track, and its attributes as disjoint (from_ms, to_ms, attributes) in order."""

    track: Track
    attributes: tuple[tuple[int, int, Attributes], ...]


@dataclass(frozen=True, slots=True, order=True)
class _Row:
    device_time_ms: int
    digest: int
    values: tuple[float, ...]  # as _MEASURED; NaN: not said
    energy: str
    vehicle_class: str
    tags: tuple[str, ...]


def read_tracks(path: Path) -> dict[str, VehicleTrack]:
    """Tracks by vehicle id; rows in any order, doubles allowed.

    energy and class that a row leaves empty are as before; empty tags are none. An attribute holds
    from the row that first says it; the first row's hold before it, too. Raises ConfigError that
    names file and line.
    """
    rows: dict[str, list[_Row]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            _check_header(path, reader.fieldnames or ())
            for record in reader:
                try:
                    rows.setdefault(record["vehicle_id"], []).append(_row_of(record))
                except (ValueError, EncodeError) as error:
                    raise ConfigError(f"{path}: line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: {reason_of(error)}") from error
    return {vehicle_id: _track_of(sorted(found)) for vehicle_id, found in rows.items()}


def _check_header(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ConfigError(
            f"{path}: the header lacks {', '.join(missing)}; "
            f"expected {','.join(REQUIRED)}[,{','.join(OPTIONAL)}]"
        )


def _row_of(record: dict[str, Any]) -> _Row:
    if not record["vehicle_id"]:
        raise ValueError("vehicle_id is empty")
    values = tuple(_number(record, name) for name in _MEASURED)
    latitude_deg, longitude_deg = values[:2]
    if not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180):
        raise ValueError(f"latitude {latitude_deg}, longitude {longitude_deg} is not on the Earth")
    steps = [
        (_SPECS[name].number, _SPECS[name].quantise(value))
        for name, value in zip(_MEASURED, values, strict=True)
        if not math.isnan(value)
    ]
    return _Row(
        parse_time(record["device_time"] or ""),
        digest(sorted(steps)),
        values,
        record.get("energy") or "",
        record.get("class") or "",
        tuple(tag for tag in _TAG_BORDER.split(record.get("tags") or "") if tag),
    )


def _number(record: dict[str, Any], name: str) -> float:
    text = record.get(name)
    if not text and name not in REQUIRED:
        return math.nan
    try:
        value = float(text or "")
    except ValueError as error:
        raise ValueError(f"{name}: {text!r} is not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"{name}: {text!r} is not a number")
    return value


def _track_of(rows: list[_Row]) -> VehicleTrack:
    latitude, longitude, speed, heading, odometer = zip(*(row.values for row in rows), strict=True)
    track = Track.of(
        [row.device_time_ms for row in rows],
        latitude,
        longitude,
        speed_kmh=speed,
        heading_deg=heading,
        odometer_km=odometer,
        digest=[row.digest for row in rows],
    )
    return VehicleTrack(track, tuple(_attributes_of(rows)))


def _attributes_of(rows: Iterable[_Row]) -> list[tuple[int, int, Attributes]]:
    held: list[tuple[int, Attributes]] = []
    energy = vehicle_class = ""
    for row in rows:
        energy, vehicle_class = row.energy or energy, row.vehicle_class or vehicle_class
        now = attributes_of(energy, vehicle_class, row.tags)
        if not held:
            held.append((ALWAYS_MS, now))
        elif held[-1][1] != now:
            held.append((row.device_time_ms, now))
    ends = [from_ms for from_ms, _ in held[1:]] + [NEVER_MS]
    return [(start, end, now) for (start, now), end in zip(held, ends, strict=True) if start < end]
