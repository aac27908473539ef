"""Hand-made fences and adversarial random tracks for the fold's tests, in metres near Nanyang."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import ALWAYS_MS, Fence, FenceVersion
from greenhaul_cloud.fences.plane import Plane
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.matching import Matching
from greenhaul_cloud.fold.readings import ReadingWindow, TrackWindow
from greenhaul_cloud.fold.refold import StoredFold, VehicleRefold, refold
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.windows import Interval, Window

START_MS = 1_795_000_000_000
AS_OF_MS = START_MS + 10**10
PLANE = Plane.around((112.53, 32.99, 112.53, 32.99))

V = TypeVar("V", Visit, Violation)

Ring = Sequence[tuple[float, float]]

SQUARE: Ring = ((0, 0), (100, 0), (100, 100), (0, 100))


def degrees(east_m: float, north_m: float) -> tuple[float, float]:
    """Longitude and latitude of a point in metres from the middle of the plane."""
    return PLANE.longitude_deg + east_m / PLANE.east_m, PLANE.latitude_deg + north_m / PLANE.north_m


def feature(*rings: Ring, **properties: Any) -> dict[str, Any]:
    """A Polygon feature of rings in metres."""
    coordinates = [[list(degrees(*vertex)) for vertex in (*ring, ring[0])] for ring in rings]
    properties = {"id": "f", "rules": [{"rule": "no_entry"}], **properties}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": coordinates},
        "properties": properties,
    }


def version(*rings: Ring, number: int = 1, **properties: Any) -> FenceVersion:
    """A fence version of rings in metres."""
    return parse_feature(feature(*(rings or (SQUARE,)), **properties), version=number)


def fence(*rings: Ring, **properties: Any) -> Fence:
    """A fence of one version."""
    return Fence.of([version(*rings, **properties)])


def track(rows: Iterable[tuple[float, ...]], digests: Sequence[int] | None = None) -> Track:
    """A track of (seconds, east_m, north_m), then, as far as is said, speed_kmh, odometer_km,
    ignition and heading_deg."""
    table = [(*row, *(np.nan, np.nan, -1, np.nan)[len(row) - 3 :]) for row in rows]
    points = [degrees(row[1], row[2]) for row in table]
    return Track.of(
        [START_MS + round(row[0] * 1000) for row in table],
        [latitude for _, latitude in points],
        [longitude for longitude, _ in points],
        speed_kmh=[row[3] for row in table],
        heading_deg=[row[6] for row in table],
        odometer_km=[row[4] for row in table],
        ignition=[int(row[5]) for row in table],
        digest=range(len(table)) if digests is None else digests,
    )


def seconds(time_ms: int | None) -> float | None:
    """Seconds from the beginning of hand-made tracks."""
    return None if time_ms is None else (time_ms - START_MS) / 1000


def random_track(rng: random.Random, size: int) -> Track:
    """Hovers on a 10 m grid around the south edge of SQUARE: in, out, in the hysteresis, exactly on
    the edge, past its corners; parks, falls silent, jumps away, says two things at once; turns."""
    rows: list[tuple[float, ...]] = []
    time_s, east, north, odometer = 0.0, 50.0, rng.choice((-50.0, 50.0)), 100.0
    is_parked = False
    for _ in range(size):
        time_s += rng.choice((0, 1, 5, 5, 10, 10, 10, 20, 40, 130))
        if rng.random() < 0.15:
            is_parked = not is_parked
        step = 10 * rng.choice((-6, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 6))
        north = min(max(north + (step / 4 if is_parked else step), -70), 90)
        if not is_parked:
            east = min(max(east + 10 * rng.choice((-8, -1, 0, 0, 1, 8)), -30), 130)
            odometer += rng.choice((0, 0.1))
        if rng.random() < 0.02:
            east, north = east + 3000 if east < 1000 else 50, rng.choice((-50.0, 50.0))
        speed = 0.0 if is_parked else rng.choice((0.0, 20.0, 40.0, 50.0, 60.0, 80.0, np.nan))
        heading = rng.choice((np.nan, 0, 45, 90, 180, 270, 300))
        odometer_km, ignition = rng.choice((np.nan, odometer)), rng.choice((-1, 0, 1))
        rows.append((time_s, east, north, speed, odometer_km, ignition, heading))
    return track(rows, [rng.randrange(2**62) for _ in rows])


class Kept:
    """The least a store does: readings so far, and what the last refold said."""

    def __init__(self, readings: Callable[[Track], ReadingWindow] = TrackWindow) -> None:
        self.track = Track.empty()
        self.folds: dict[str, StoredFold[int]] = {}
        self.last: VehicleRefold[int] = VehicleRefold({}, 0)
        self._readings = readings
        self._next_id = 1

    def commit(
        self, batch: Track, windows: Mapping[str, Sequence[Window]], index: FenceIndex
    ) -> VehicleRefold[int]:
        """Store a batch and fold in those of its readings that are new."""
        known = {*_identities(self.track)}
        new = [time_ms for time_ms, digest in _identities(batch) if (time_ms, digest) not in known]
        self.track = self.track.joined(batch)
        return self.fold_in([(time_ms, time_ms) for time_ms in new], windows, index)

    def fold_in(
        self,
        changes: Iterable[Interval],
        windows: Mapping[str, Sequence[Window]],
        index: FenceIndex,
        as_of_ms: int = AS_OF_MS,
        frozen_before_ms: int = ALWAYS_MS,
    ) -> VehicleRefold[int]:
        """Fold in changes and store the outcome."""
        self.last = refold(
            self._readings(self.track),
            windows,
            self.folds,
            changes,
            as_of_ms=as_of_ms,
            index=index,
            why="new readings",
            frozen_before_ms=frozen_before_ms,
        )
        for fence_id, outcome in self.last.fences.items():
            visits, violations = self._rows(outcome.visits), self._rows(outcome.violations)
            self.folds[fence_id] = StoredFold(visits, violations)
        return self.last

    def _rows(self, matching: Matching[int, V]) -> list[tuple[int, V]]:
        rows: list[tuple[int, V]] = list(matching.kept.items())
        rows.extend(matching.retold.items())
        rows.extend((amendment.id, amendment.now) for amendment in matching.amended)
        for interval in matching.added:
            rows.append((self._next_id, interval))
            self._next_id += 1
        return sorted(rows, key=lambda row: row[1].span)

    def says(self, fence_id: str = "f") -> tuple[list[Visit], list[Violation]]:
        """Visits and violations as stored, in the order of a fold from scratch."""
        held = self.folds.get(fence_id, StoredFold())
        violations = [violation for _, violation in held.violations]
        violations.sort(key=lambda violation: (violation.began_ms, violation.rule))
        return [visit for _, visit in held.visits], violations


def _identities(track: Track) -> list[tuple[int, int]]:
    return list(zip(track.device_time_ms.tolist(), track.digest.tolist(), strict=True))
