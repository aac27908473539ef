"""Tracks laid over fences together: each meets what it meets by itself."""

import random
from dataclasses import replace

import numpy as np
from tests.cloud.fold_cases import SQUARE, Ring, random_track, track, version

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fold.laid import paths_of
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.quiet import touched_fences
from greenhaul_cloud.fold.track import Fleet, Track

FAR: Ring = ((9_000, 0), (9_100, 0), (9_100, 100))
# A thin one between two readings, and one that holds all there is.
THIN: Ring = ((40, -60), (60, -60), (60, -59), (40, -59))
ALL: Ring = ((-10_000, -10_000), (20_000, -10_000), (20_000, 10_000), (-10_000, 10_000))


def alone(tracks: list[Track], index: FenceIndex) -> dict[int, set[str]]:
    """Each track by itself."""
    found = {number: Path(one, index).touched_fences() for number, one in enumerate(tracks)}
    return {number: fences for number, fences in found.items() if fences}


def test_a_fleet_touches_what_each_of_its_tracks_touches() -> None:
    rng = random.Random(6)
    rings = {"square": SQUARE, "far": FAR, "thin": THIN}
    versions = [version(ring, id=name, hysteresis_m=5) for name, ring in rings.items()]
    straight = version(THIN, id="straight", path="straight", gap_s=15, gap_m=400)
    index = FenceIndex([*versions, straight])
    seen: set[str] = set()
    for size in (1, 2, 3, 5, 8, 20):
        tracks = [random_track(rng, size) for _ in range(60)]
        tracks += [Track.empty(), track([(0, 5_000, 5_000), (10, 5_100, 5_000)])]
        rng.shuffle(tracks)
        found = touched_fences(Fleet.of(tracks), index)
        assert found == alone(tracks, index)
        assert len(found) < len(tracks)
        seen = seen.union(*found.values())
    assert seen >= {"square", "thin", "straight"}


def test_a_truck_deep_inside_touches_the_fence_about_it() -> None:
    index = FenceIndex([version(ALL)])
    tracks = [track([(10.0 * n, 100.0 * n, 0) for n in range(5)]), Track.empty()]
    assert touched_fences(Fleet.of(tracks), index) == {0: {"f"}}


def test_one_vehicle_does_not_drive_to_where_the_next_one_is() -> None:
    west = track([(0, -500, 50), (10, -400, 50)])
    east = track([(20, 600, 50), (30, 700, 50)])
    index = FenceIndex([version()])
    assert touched_fences(Fleet.of([west, east]), index) == {}
    joined = Track.of(
        *(np.append(getattr(west, name), getattr(east, name))
          for name in ("device_time_ms", "latitude_deg", "longitude_deg")),
        digest=range(4),
    )  # fmt: skip
    assert touched_fences(Fleet.of([joined]), index) == {0: {"f"}}


def test_without_fences_or_readings_nothing_is_touched() -> None:
    assert touched_fences(Fleet.of([track([(0, 1, 1)])]), FenceIndex([])) == {}
    assert touched_fences(Fleet.of([Track.empty()]), FenceIndex([version()])) == {}


def test_tracks_surveyed_together_are_the_paths_they_are_alone() -> None:
    """Curves among them, tracks that touch nothing, one reading, and none."""
    rng = random.Random(7)
    versions = [version(ring, id=name, hysteresis_m=20) for name, ring in
                (("square", SQUARE), ("thin", THIN), ("all", ALL))]  # fmt: skip
    index = FenceIndex([*versions, version(THIN, id="straight", path="straight", gap_s=15)])
    met, curves = 0, 0
    for size in (1, 2, 8, 40):
        tracks = [random_track(rng, size) for _ in range(30)]
        for at in range(0, len(tracks), 3):
            headings = np.array([rng.uniform(0, 360) for _ in range(len(tracks[at]))])
            tracks[at] = replace(tracks[at], heading_deg=headings)
        tracks += [Track.empty(), track([(0, 5_000, 5_000), (10, 5_100, 5_000)])]
        rng.shuffle(tracks)
        for together, one in zip(paths_of(tracks, index), tracks, strict=True):
            single = Path(one, index)
            assert together.track is one
            assert together.touched_fences() == single.touched_fences()
            assert all(map(np.array_equal, columns(together), columns(single)))
            met += sum(len(single.survey.cuts(slot)[0]) for slot in range(4))
            curves += len(single.way.curves)
    assert met > 1_000
    assert curves > 100


def columns(path: Path) -> list[np.ndarray]:
    """Everything a fold asks of a path's survey, segments and way."""
    found = []
    for slot, one in enumerate(path.index.versions):
        survey = path.survey
        found += [survey.classes(slot), survey.on_edge(slot), *survey.cuts(slot)]
        found.append(path.kinds(one.settings))
        if len(path.track) > 1:
            segment = np.arange(len(path.track) - 1)
            here = np.zeros(len(segment)), np.full(len(segment), 0.7)
            found.append(path.way.distance_m(segment, *here, np.zeros(len(segment), bool)))
    curves = path.way.curves
    return [*found, curves.segment, curves.begin, curves.end, curves.leaving, curves.arriving,
            curves.begin_rate, curves.end_rate, curves.pieces]  # fmt: skip
