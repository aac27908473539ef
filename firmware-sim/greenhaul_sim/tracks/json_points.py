"""JSON lists of `{"point": "POINT(lon lat)", "time": "2014-09-10 06:54:07+0200"}`."""

import json
import re
from datetime import datetime
from typing import Any

from greenhaul_protocols.errors import DecodeError
from greenhaul_sim.tracks.point import LocalTimes, Track, TrackPoint, Unreadable

_NUMBER = r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)"
_POINT = re.compile(rf"POINT\s*\(\s*{_NUMBER}\s+{_NUMBER}\s*\)", re.IGNORECASE)


def read_json(name: str, text: str, times: LocalTimes) -> Track:
    """A list of points in well-known text. Raises DecodeError, ConfigError for local times."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise DecodeError(f"{name}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise DecodeError(f"{name}: not a list of points")
    points, unreadable = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            points.append(_point(number, entry, times))
        except (KeyError, TypeError, ValueError) as error:
            unreadable.append(Unreadable(number, f"not a point: {error}"))
    return Track(name, tuple(points), tuple(unreadable))


def _point(number: int, entry: dict[str, Any], times: LocalTimes) -> TrackPoint:
    found = _POINT.fullmatch(str(entry["point"]).strip())
    if not found:
        raise ValueError(f"{entry['point']!r} is not POINT(lon lat)")
    time = entry.get("time")
    time_ms = None if time is None else times.to_ms(datetime.fromisoformat(time))
    return TrackPoint(number, time_ms, float(found[2]), float(found[1]))
