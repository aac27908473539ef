"""The positions that show a violation, as GeoJSON."""

from typing import Any

import numpy as np

from greenhaul_cloud.fold.intervals import Violation
from greenhaul_cloud.fold.track import Track
from greenhaul_protocols.times import format_time

# What a person needs to see: two positions before, the rest from the beginning on.
EVIDENCE_MAX = 10
_BEFORE_MAX = 2

# Positions farther off in time show nothing about the beginning.
EVIDENCE_BEFORE_MS = 60_000
EVIDENCE_AFTER_MS = 300_000


def evidence_span(violation: Violation) -> tuple[int, int]:
    """The closed interval of device time whose readings may serve as evidence."""
    ended_ms = violation.span[1]
    return (
        violation.began_ms - EVIDENCE_BEFORE_MS,
        min(violation.began_ms + EVIDENCE_AFTER_MS, ended_ms),
    )


def evidence_of(track: Track, violation: Violation) -> dict[str, Any]:
    """A GeoJSON feature of the readings around the beginning; track covers `evidence_span`."""
    low_ms, high_ms = evidence_span(violation)
    track = track.between(low_ms, high_ms + 1)
    begin = int(np.searchsorted(track.device_time_ms, violation.began_ms))
    first = max(begin - _BEFORE_MAX, 0)
    shown = track.take(slice(first, first + EVIDENCE_MAX))
    positions = np.stack((shown.longitude_deg, shown.latitude_deg), axis=1).round(7)
    return {
        "type": "Feature",
        "geometry": {"type": "MultiPoint", "coordinates": positions.tolist()},
        "properties": {
            "device_times": [format_time(int(t)) for t in shown.device_time_ms],
            "speeds_kmh": [None if np.isnan(v) else round(float(v), 1) for v in shown.speed_kmh],
        },
    }
