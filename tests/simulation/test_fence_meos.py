"""The same visits as MEOS finds (PyMEOS, an independent engine), instants within a millisecond.

PyMEOS is no dependency: `pip install pymeos` to run this. Paths and corners share a coarse lattice,
so that tangents, vertices on the path and readings on the edge are common; lattice points are exact
in floating point.
"""

import random
from datetime import datetime
from typing import Any

import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, Polygon

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence, FenceVersion, Settings
from greenhaul_cloud.fold.fleet import fold_fleet
from greenhaul_cloud.fold.track import Fleet, Track
from greenhaul_cloud.fold.windows import windows_of

pymeos = pytest.importorskip("pymeos", reason="PyMEOS is not installed: pip install pymeos")

PATHS, PATHS_SOAK = 1_000, 10_000
PATHS_A_FENCE = 50
READINGS = 14
CELL_DEG = 2.0**-13  # some 13 m
ORIGIN_DEG = (112.5, 33.0)
STEP_MS = 10_000
START_MS = 946_684_800_000  # the day MEOS counts from

# A stay or an absence that is no longer than whole milliseconds can tell is none.
TOLD_MS = 2

SETTINGS = Settings(confirm_s=0, hysteresis_m=0, gap_s=86_400, gap_m=1e6)

Span = tuple[float, float]


def _area(rng: random.Random) -> Polygon | MultiPolygon:
    """A star on the lattice, perhaps with a hole, perhaps of two parts."""
    while True:
        shell, hole, part = (
            Polygon(_star(rng, centre, least, most))
            for centre, least, most in (((16, 16), 4, 15), ((16, 16), 1, 4), ((38, 20), 2, 7))
        )
        if not (shell.is_valid and hole.is_valid and part.is_valid):
            continue
        area: Any = shell.difference(hole) if rng.random() < 0.5 else shell
        if rng.random() < 0.3:
            area = area.union(part)
        if isinstance(area, Polygon | MultiPolygon) and area.equals(
            shapely.transform(area, np.rint)
        ):
            return area


def _star(rng: random.Random, centre: tuple[int, int], least: int, most: int) -> list[Span]:
    corners = rng.randint(3, 11)
    angles = sorted(rng.uniform(0, 2 * np.pi) for _ in range(corners))
    reaches = [rng.uniform(least, most) for _ in angles]
    return [
        (round(centre[0] + reach * np.cos(angle)), round(centre[1] + reach * np.sin(angle)))
        for angle, reach in zip(angles, reaches, strict=True)
    ]


def _degrees(points: np.ndarray) -> np.ndarray:
    degrees: np.ndarray = points * CELL_DEG + np.array(ORIGIN_DEG)
    return degrees


def _paths(rng: random.Random, area: Polygon | MultiPolygon) -> list[np.ndarray]:
    """Lattice walks; some readings are corners of the area."""
    corners = shapely.get_coordinates(area)
    paths = []
    for _ in range(PATHS_A_FENCE):
        path = np.array(
            [(rng.randint(-2, 46), rng.randint(-2, 34)) for _ in range(READINGS)], float
        )
        for reading in rng.sample(range(READINGS), 3):
            path[reading] = corners[rng.randrange(len(corners))]
        paths.append(path)
    return paths


def _ours(paths: list[np.ndarray], area: Polygon | MultiPolygon) -> list[list[Span]]:
    version = FenceVersion("f", 1, shapely.transform(area, _degrees), settings=SETTINGS)
    time_ms = START_MS + np.arange(READINGS) * STEP_MS
    tracks = [
        Track.of(time_ms, degrees[:, 1], degrees[:, 0], digest=time_ms)
        for degrees in map(_degrees, paths)
    ]
    found = fold_fleet(
        Fleet.of(tracks),
        {"f": windows_of(Fence.of([version]))},
        as_of_ms=10**14,
        index=FenceIndex([version]),
    ).by_vehicle()
    last_ms = float(time_ms[-1])
    return [
        [
            (float(v.entered_ms), last_ms if v.left_ms is None else float(v.left_ms))
            for v in found.get(number, {}).get("f", [])
        ]
        for number in range(len(paths))
    ]


def _theirs(path: np.ndarray, area: Polygon | MultiPolygon) -> list[Span]:
    instants = [
        f"POINT({x!r} {y!r})@2000-01-01 00:{n * 10 // 60:02d}:{n * 10 % 60:02d}+00"
        for n, (x, y) in enumerate(_degrees(path).tolist())
    ]
    sequence = pymeos.TGeomPointSeq(f"[{', '.join(instants)}]")
    inside = sequence.at(shapely.transform(area, _degrees))
    if inside is None:
        return []
    parts = inside.sequences() if hasattr(inside, "sequences") else [inside]
    return [(_ms(part.start_timestamp()), _ms(part.end_timestamp())) for part in parts]


def _ms(instant: datetime) -> float:
    """Whole milliseconds, as ours are: else a stay of 2.1 ms is told by one of the two alone."""
    return round(instant.timestamp() * 1000)


def _told(spans: list[Span]) -> list[Span]:
    """Without stays and absences too short to tell."""
    told: list[Span] = []
    for low, high in sorted(spans):
        if told and low - told[-1][1] <= TOLD_MS:
            told[-1] = (told[-1][0], max(high, told[-1][1]))
        else:
            told.append((low, high))
    return [(low, high) for low, high in told if high - low > TOLD_MS]


def _disagreements(paths: int, seed: int = 1) -> tuple[list[str], int]:
    """Paths on which the two differ, and how many visits there were."""
    pymeos.pymeos_initialize()
    rng = random.Random(seed)
    differ, visits = [], 0
    for _ in range(paths // PATHS_A_FENCE):
        area = _area(rng)
        walked = _paths(rng, area)
        for path, ours in zip(walked, _ours(walked, area), strict=True):
            mine, theirs = _told(ours), _told(_theirs(path, area))
            visits += len(theirs)
            agrees = len(mine) == len(theirs) and all(
                abs(a - b) <= 1
                for one, other in zip(mine, theirs, strict=True)
                for a, b in zip(one, other, strict=True)
            )
            if not agrees:
                differ.append(f"{area.wkt} {path.tolist()}: {mine} is not {theirs}")
    return differ, visits


def test_visits_are_those_of_meos() -> None:
    differ, visits = _disagreements(PATHS)
    assert not differ, differ[0]
    assert visits > PATHS


@pytest.mark.soak
def test_ten_thousand_paths_have_the_visits_of_meos() -> None:
    differ, visits = _disagreements(PATHS_SOAK)
    assert not differ, differ[0]
    assert visits > PATHS_SOAK
