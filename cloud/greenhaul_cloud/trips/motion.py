"""A track cut into stops and the trips between them."""

from dataclasses import dataclass

import numpy as np

from greenhaul_cloud.fences.model import Settings
from greenhaul_cloud.fences.plane import distances_m
from greenhaul_cloud.fold.intervals import Certainty
from greenhaul_cloud.fold.segments import GAP, Segments
from greenhaul_cloud.fold.track import Track

STOP_MS_MIN = 180_000
ANCHOR_M_MAX = 50.0

# Receivers of parked trucks report a walking pace now and then.
STILL_KMH_MAX = 5.0

Position = tuple[float, float]  # longitude and latitude in degrees


@dataclass(frozen=True, slots=True)
class Stop:
    """A stay near one place; `ended_ms` None: it goes on as far as is known."""

    began_ms: int
    ended_ms: int | None
    position: Position
    is_ignition_off: bool | None  # at its last reading; None: not known
    readings: tuple[int, int]  # first and last, in the track


@dataclass(frozen=True, slots=True)
class Trip:
    """From one stop to the next; `ended_ms` None: it goes on as far as is known.

    distance_km: by the odometer if both ends have one, else along the readings.
    """

    began_ms: int
    ended_ms: int | None
    start: Position
    end: Position
    distance_km: float
    speed_max_kmh: float | None
    certainty: Certainty


def stops_of(track: Track) -> list[Stop]:
    """Stops in order of time."""
    found, first = [], 0
    moves = _moves(track)
    while first < len(track):
        last = _last_near(track, first, moves)
        if track.device_time_ms[last] - track.device_time_ms[first] >= STOP_MS_MIN:
            found.append(_stop(track, first, last))
            first = last
        first += 1
    return found


def trips_of(track: Track) -> list[Trip]:
    """Trips in order of time; before the first stop and after the last there may be one as well."""
    if len(track) == 0:
        return []
    stops = stops_of(track)
    starts = [0, *(stop.readings[1] for stop in stops)]
    ends = [*(stop.readings[0] for stop in stops), len(track) - 1]
    return [
        _trip(track, start, end, is_over=number < len(stops))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        if start < end
    ]


def _moves(track: Track) -> list[bool]:
    """Which readings cannot belong to a stop that began earlier."""
    is_fast = (track.speed_kmh > STILL_KMH_MAX) & (track.ignition != 0)
    has_advanced = np.zeros(len(track), bool)
    gaps = Segments.of(track).kinds(Settings()) == GAP
    has_advanced[1:] = gaps & (track.odometer_km[1:] > track.odometer_km[:-1])
    moves: list[bool] = (is_fast | has_advanced).tolist()
    return moves


def _last_near(track: Track, first: int, moves: list[bool]) -> int:
    """The last reading of the run from `first` on that stays near it; `first` if it moves."""
    if moves[first] and track.speed_kmh[first] > STILL_KMH_MAX:
        return first
    last, ahead = first, 32
    while last + 1 < len(track):
        high = min(first + ahead, len(track))
        metres = distances_m(
            track.longitude_deg[first], track.latitude_deg[first],
            track.longitude_deg[last + 1 : high], track.latitude_deg[last + 1 : high],
        )  # fmt: skip
        for offset, distance_m in enumerate(metres.tolist(), last + 1):
            if distance_m > ANCHOR_M_MAX or moves[offset]:
                return offset - 1
        last, ahead = high - 1, ahead * 4
    return last


def _stop(track: Track, first: int, last: int) -> Stop:
    ignition = int(track.ignition[last])
    return Stop(
        int(track.device_time_ms[first]),
        None if last == len(track) - 1 else int(track.device_time_ms[last]),
        _position(track, first),
        None if ignition < 0 else ignition == 0,
        (first, last),
    )


def _trip(track: Track, start: int, end: int, *, is_over: bool) -> Trip:
    part = track.take(slice(start, end + 1))
    segments = Segments.of(part)
    speeds = part.speed_kmh[np.isfinite(part.speed_kmh)]
    driven_km = float(part.odometer_km[-1] - part.odometer_km[0])
    if not (np.isfinite(driven_km) and driven_km >= 0):
        driven_km = float(segments.length_m.sum()) / 1000
    is_seen = not bool((segments.kinds(Settings()) == GAP).any())
    return Trip(
        int(part.device_time_ms[0]),
        int(part.device_time_ms[-1]) if is_over else None,
        _position(track, start),
        _position(track, end),
        round(driven_km, 3),
        round(float(speeds.max()), 1) if len(speeds) else None,
        Certainty.CERTAIN if is_seen else Certainty.POSSIBLE,
    )


def _position(track: Track, at: int) -> Position:
    return round(float(track.longitude_deg[at]), 7), round(float(track.latitude_deg[at]), 7)
