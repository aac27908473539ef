"""How fast a million positions are laid over fences, against engines users could install instead.

Two thousand trucks, a position every 10 s, a city of 40 km; fences are star-shaped polygons,
circles and corridors. Ours yields state and every entry and exit with its instant, hysteresis and
hold included. PyMEOS and MovingPandas, if installed (`pip install pymeos movingpandas`; they are no
dependency), clip tracks to polygons behind the same prefilter by boxes, without either.

The same trucks saying how fast and whither are followed along curves, at a ratio of that rate.
Rates are positions per second of CPU, for the machine may be shared. A line a target: figure,
target, whether it holds.

    .venv/bin/python tests/benchmarks/bench_fences.py [POSITIONS]
"""

import gc
import importlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Polygon

from greenhaul_cloud.fences.circle import Circle
from greenhaul_cloud.fences.corridor import corridor_area
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence, FenceVersion
from greenhaul_cloud.fences.plane import metres_per_degree
from greenhaul_cloud.fold.fleet import fold_fleet
from greenhaul_cloud.fold.track import Fleet, Track
from greenhaul_cloud.fold.windows import windows_of

Float64s = NDArray[np.float64]

READINGS = 500
CITY_DEG, ORIGIN_DEG = 0.4, np.array([112.0, 33.0])
DEG_PER_M = 1 / 105_000
AS_OF_MS = 10**13
START_MS = 1_795_000_000_000
CITIES, CITIES_A_ROW = 30, 6
BATCHES = 200
OTHERS_TRACKS = 40
BUILDS = 4


def made_fences(rng: np.random.Generator, count: int, cities: int = 1) -> list[FenceVersion]:
    """Half polygons, three in eight circles, the rest corridors; in as many cities, ours first."""
    made = []
    for number in range(count):
        city = np.array(divmod(number % cities, CITIES_A_ROW)) * 3 * CITY_DEG
        made.append(_fence(rng, number, city + rng.uniform(0, CITY_DEG, 2) + ORIGIN_DEG))
    return made


def _fence(rng: np.random.Generator, number: int, middle: Float64s) -> FenceVersion:
    kind, name = number % 8, f"f{number}"
    if kind < 4:
        corners = int(rng.integers(8, 40))
        angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
        reach = rng.uniform(100, 1_200) * rng.uniform(0.6, 1, corners) * DEG_PER_M
        ring = np.stack((np.cos(angle), np.sin(angle)), axis=1) * reach[:, None] + middle
        return FenceVersion(name, 1, Polygon(ring))
    if kind < 7:
        circle = Circle(float(middle[0]), float(middle[1]), rng.uniform(100, 1_000))
        return FenceVersion(name, 1, circle.polygon(), circle=circle)
    line = np.cumsum(np.concatenate(([middle], rng.normal(0, 0.006, (5, 2)))), axis=0)
    return FenceVersion(name, 1, corridor_area(line, rng.uniform(20, 60), "round"))


def made_tracks(rng: np.random.Generator, trucks: int, readings: int = READINGS) -> list[Track]:
    """Legs of some minutes at 20 to 70 km/h, turned back at the border of the city."""
    tracks = []
    for _ in range(trucks):
        heading = np.repeat(rng.uniform(0, 2 * np.pi, readings // 20 + 1), 20)[:readings]
        step = rng.uniform(0.0005, 0.0018, readings)
        x, y = (
            np.abs((np.cumsum(step * way(heading)) + rng.uniform(0, CITY_DEG) + CITY_DEG)
                   % (2 * CITY_DEG) - CITY_DEG)
            for way in (np.cos, np.sin)
        )  # fmt: skip
        number = np.arange(readings)
        tracks.append(
            Track.of(
                START_MS + number * 10_000, y + ORIGIN_DEG[1], x + ORIGIN_DEG[0],
                digest=number, speed_kmh=np.full(readings, 40.0),
            )
        )  # fmt: skip
    return tracks


def with_headings(tracks: Sequence[Track]) -> list[Track]:
    """The same tracks, saying how fast and whither: the way between readings is curved."""
    told = []
    per_degree = [float(metres) for metres in metres_per_degree(ORIGIN_DEG[1])]
    for track in tracks:
        east_m, north_m = (
            np.gradient(degrees) * metres
            for degrees, metres in zip(
                (track.longitude_deg, track.latitude_deg), per_degree, strict=True
            )
        )
        heading_deg = np.round(np.degrees(np.arctan2(east_m, north_m))) % 360  # as JT/T 808 has it
        speed_kmh = np.hypot(east_m, north_m) / 10 * 3.6
        told.append(replace(track, heading_deg=heading_deg, speed_kmh=speed_kmh))
    return told


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds of CPU."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


class Engine:
    """Ours, over some fences."""

    def __init__(self, versions: Sequence[FenceVersion]) -> None:
        self.versions = versions
        self.index = FenceIndex(versions)
        self._windows = {v.fence_id: windows_of(Fence.of([v])) for v in versions}

    def visits(self, fleet: Fleet) -> int:
        """How many visits a fleet has."""
        return len(fold_fleet(fleet, self._windows, as_of_ms=AS_OF_MS, index=self.index))


def _candidates(tracks: Sequence[Track], areas: Sequence[Any]) -> list[tuple[Track, Any]]:
    """Pairs of track and area whose boxes overlap: the prefilter given to the others."""
    lines = np.array(
        [LineString(np.stack((t.longitude_deg, t.latitude_deg), axis=1)) for t in tracks], object
    )
    area, line = shapely.STRtree(lines).query(np.array(areas, dtype=object), "intersects")
    return [(tracks[t], areas[a]) for a, t in zip(area.tolist(), line.tolist(), strict=True)]


def meos_rate(tracks: Sequence[Track], areas: Sequence[Any]) -> float:
    """Positions a second by PyMEOS; sequences are made beforehand."""
    pymeos = importlib.import_module("pymeos")
    pymeos.pymeos_initialize()
    sequences = {}
    for track in tracks:
        instants = [
            f"POINT({x} {y})@{np.datetime64(int(t), 'ms')}+00"
            for x, y, t in zip(
                track.longitude_deg, track.latitude_deg, track.device_time_ms, strict=True
            )
        ]
        sequences[id(track)] = pymeos.TGeomPointSeq(f"[{', '.join(instants)}]")
    pairs = _candidates(tracks, areas)

    def clip() -> None:
        for track, area in pairs:
            sequences[id(track)].at(area)

    return sum(map(len, tracks)) / cpu_s(clip)


def moving_pandas_rate(tracks: Sequence[Track], areas: Sequence[Any]) -> float:
    """Positions a second by MovingPandas; trajectories are made beforehand."""
    moving, pandas = (importlib.import_module(name) for name in ("movingpandas", "pandas"))
    trajectories = {}
    for number, track in enumerate(tracks):
        frame = pandas.DataFrame(
            {
                "x": track.longitude_deg,
                "y": track.latitude_deg,
                "t": pandas.to_datetime(track.device_time_ms, unit="ms"),
                "id": number,
            }
        )
        trajectories[id(track)] = moving.Trajectory(frame, "id", t="t", x="x", y="y", crs=4326)
    pairs = _candidates(tracks, areas)

    def clip() -> None:
        for track, area in pairs:
            trajectories[id(track)].clip(area)

    return sum(map(len, tracks)) / cpu_s(clip)


# How fast each is, over so many tracks, and how many times faster ours has to be.
OTHERS: dict[str, tuple[Callable[[Sequence[Track], Sequence[Any]], float], int, float]] = {
    "pymeos": (meos_rate, OTHERS_TRACKS, 2.5),
    "movingpandas": (moving_pandas_rate, 2, 300),
}


def longest_pause_ms(work: Callable[[], object]) -> float:
    """The most CPU this process spent at work while another thread of it stood still."""
    gaps_ms, is_over = [0.0], threading.Event()

    def tick() -> None:
        last = time.process_time()
        while not is_over.is_set():
            time.sleep(0.001)
            now = time.process_time()
            gaps_ms.append((now - last) * 1000)
            last = now

    ticker = threading.Thread(target=tick)
    ticker.start()
    work()
    is_over.set()
    ticker.join()
    return max(gaps_ms)


def tell(what: str, figure: str, target: str, *, holds: bool) -> None:
    """Print a line."""
    print(f"{what}: {figure} (target {target}: {'holds' if holds else 'MISSED'})")


def main() -> None:
    """Print one line a figure."""
    positions = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rng = np.random.default_rng(1)
    engine = Engine(made_fences(rng, 400))
    tracks = made_tracks(rng, max(positions // READINGS, 1))
    fleet = Fleet.of(tracks)
    engine.visits(Fleet.of(tracks[:20]))  # warm
    found = engine.visits(fleet)
    whole = len(fleet.track) / cpu_s(lambda: engine.visits(fleet))
    what = f"{len(fleet.track):,} positions x 400 fences, {found:,} visits"
    tell(what, f"{whole:,.0f} a second", "1,000,000", holds=whole >= 1_000_000)
    curved = Fleet.of(with_headings(tracks))
    rate = len(curved.track) / cpu_s(lambda: engine.visits(curved))
    what = "with headings, around their corners"
    tell(what, f"{rate / whole:.0%} of that rate", "50 %", holds=rate >= 0.5 * whole)
    areas = [version.area for version in engine.versions]
    for name, (rate_of, some, times) in OTHERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"against {name}: not installed (pip install {name})")
            continue
        other = rate_of(tracks[:some], areas)
        figure = f"{whole / other:,.1f} x its {other:,.0f} a second"
        tell(f"against {name}", figure, f"{times} x", holds=whole >= times * other)
    batch = [Fleet.of(made_tracks(rng, 500, 1)) for _ in range(4)]
    batch += [Fleet.of(made_tracks(rng, 10, 50)) for _ in range(4)]
    spent_ms = []
    for number in range(BATCHES):
        one = batch[number % len(batch)]
        spent_ms.append(1000 * cpu_s(partial(engine.visits, one)))
    p50, p99 = np.percentile(spent_ms, [50, 99])
    figure = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    tell("a batch of 500 positions", figure, "p99 5 ms", holds=p99 <= 5)
    many = made_fences(rng, 23_000, CITIES)
    build_s = cpu_s(lambda: Engine(many))
    clustered = Engine(many)
    rate = len(fleet.track) / cpu_s(lambda: clustered.visits(fleet))
    tell("23,000 fences, 30 clusters", f"{rate / whole:.0%}", "40 %", holds=rate >= 0.4 * whole)
    tell("their index is built", f"in {build_s:.1f} s", "5 s", holds=build_s <= 5)
    gc.freeze()  # as the service does when it is up
    pause_ms = min(longest_pause_ms(lambda: FenceIndex(many)) for _ in range(BUILDS))
    what = "longest pause of another thread meanwhile"
    tell(what, f"{pause_ms:.0f} ms", "20 ms", holds=pause_ms <= 20)


if __name__ == "__main__":
    main()
