"""How fast tracks are folded, as a ratio to asking every fence about every reading.

Trucks drive straight legs through a city of 40 km with polygon fences, a position every 10 s. The
baseline is what most engines do: a loop over readings and fences, prepared `contains` for each
fence whose box holds the point. It finds no crossings, no instants and no state.

    .venv/bin/python tests/benchmarks/bench_fold.py [TRUCKS] [FENCES]
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence, FenceVersion
from greenhaul_cloud.fences.rules import NoEntry
from greenhaul_cloud.fold.fold import fold_path
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.readings import TrackWindow
from greenhaul_cloud.fold.refold import StoredFold, refold
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.windows import Window, windows_of

READINGS = 500
CITY_DEG = 0.4
AS_OF_MS = 10**13
BASELINE_READINGS = 2_000


def made_fences(rng: np.random.Generator, count: int) -> list[Fence]:
    """Star-shaped polygons of 8 to 40 corners and 100 to 1,200 m."""
    fences = []
    for n in range(count):
        corners = int(rng.integers(8, 40))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.001, 0.012) * rng.uniform(0.6, 1, corners)
        middle = rng.uniform(0, CITY_DEG, 2)
        ring = np.stack((np.cos(angle), np.sin(angle)), axis=1) * radius[:, None] + middle
        area = Polygon(ring)
        if area.is_valid:
            fences.append(Fence.of([FenceVersion(f"f{n}", 1, area, (NoEntry(),))]))
    return fences


def made_track(rng: np.random.Generator) -> Track:
    """Legs of some minutes at 20 to 70 km/h, turned back at the border of the city."""
    heading = np.repeat(rng.uniform(0, 2 * np.pi, READINGS // 20), 20)
    step = rng.uniform(0.0005, 0.0018, READINGS)
    x = np.cumsum(step * np.cos(heading)) + rng.uniform(0, CITY_DEG)
    y = np.cumsum(step * np.sin(heading)) + rng.uniform(0, CITY_DEG)
    time_ms = np.arange(READINGS) * 10_000
    return Track.of(time_ms, _turned_back(y), _turned_back(x), digest=np.arange(READINGS))


def _turned_back(position_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reflected at the borders of the city."""
    reflected: NDArray[np.float64] = np.abs((position_deg + CITY_DEG) % (2 * CITY_DEG) - CITY_DEG)
    return reflected


def rate(readings: int, work: Callable[[], object]) -> float:
    """Readings a second."""
    began = time.perf_counter()
    work()
    return readings / (time.perf_counter() - began)


def contains_loop(
    tracks: list[Track], areas: Sequence[Polygon | MultiPolygon], readings: int
) -> int:
    """The baseline, on the first readings of each track."""
    shapely.prepare(areas)
    boxes = [area.bounds for area in areas]
    found = 0
    for track in tracks:
        for x, y in zip(track.longitude_deg[:readings], track.latitude_deg[:readings], strict=True):
            for area, (west, south, east, north) in zip(areas, boxes, strict=True):
                if west <= x <= east and south <= y <= north:
                    found += bool(shapely.contains_xy(area, x, y))
    return found


def stored_folds(
    track: Track, index: FenceIndex, windows: Mapping[str, Sequence[Window]]
) -> dict[str, StoredFold[int]]:
    """What a store would hold of a track."""
    path = Path(track, index)
    folds = {}
    for fence_id in path.touched_fences():
        result = fold_path(path, windows[fence_id], AS_OF_MS)
        folds[fence_id] = StoredFold(
            list(enumerate(result.visits)), list(enumerate(result.violations))
        )
    return folds


def main() -> None:
    """Print one line a figure, each a ratio to the baseline of this run."""
    trucks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rng = np.random.default_rng(1)
    fences = made_fences(rng, int(sys.argv[2]) if len(sys.argv) > 2 else 400)
    tracks = [made_track(rng) for _ in range(trucks)]
    index = FenceIndex([version for fence in fences for version in fence.versions])
    windows = {fence.fence_id: windows_of(fence) for fence in fences}
    some = tracks[: max(1, BASELINE_READINGS // 50)]
    areas = [version.area for version in index.versions]
    baseline = rate(50 * len(some), lambda: contains_loop(some, areas, 50))

    def fold_all() -> int:
        visits = 0
        for track in tracks:
            path = Path(track, index)
            visits += sum(
                len(fold_path(path, windows[fence_id], AS_OF_MS).visits)
                for fence_id in path.touched_fences()
            )
        return visits

    held = [stored_folds(track.take(slice(-1)), index, windows) for track in tracks]

    def refold_live() -> None:
        for track, stored in zip(tracks, held, strict=True):
            last_ms = int(track.device_time_ms[-1])
            refold(
                TrackWindow(track), windows, stored, [(last_ms, last_ms)],
                as_of_ms=AS_OF_MS, index=index, why="bench",
            )  # fmt: skip

    whole = rate(trucks * READINGS, fold_all)
    live = rate(trucks, refold_live)
    print(
        f"baseline: contains, {len(fences)} fences, reading by reading: {baseline:,.0f} readings/s"
    )
    print(
        f"fold from scratch, visits and state: {whole / baseline:.1f} x ({whole:,.0f} readings/s)"
    )
    again = whole / READINGS
    print(
        f"refold after one live reading: {live / again:.1f} x folding again, {live:,.0f} a second"
    )


if __name__ == "__main__":
    main()
