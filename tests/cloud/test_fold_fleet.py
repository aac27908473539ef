"""Many vehicles folded at once: the same visits as each folded by itself."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.cloud.fold_cases import (
    AS_OF_MS,
    SQUARE,
    START_MS,
    degrees,
    random_track,
    track,
    version,
)

from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence, FenceVersion
from greenhaul_cloud.fold.fleet import FleetVisits, fold_fleet
from greenhaul_cloud.fold.fold import fold
from greenhaul_cloud.fold.intervals import Visit
from greenhaul_cloud.fold.track import Fleet, Track
from greenhaul_cloud.fold.windows import windows_of

FLEETS, FLEETS_SOAK = 25, 2_000


def _circle(rng: random.Random, **properties: object) -> FenceVersion:
    centre = degrees(rng.uniform(0, 100), rng.uniform(-40, 40))
    return parse_feature(
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": list(centre)},
            "properties": {"id": "f", "radius_m": rng.choice((15, 40, 90)), **properties},
        }
    )


def _fences(rng: random.Random) -> list[Fence]:
    fences = []
    for number in range(6):
        shift = rng.choice((0, 0, 35, 3_000))
        settings: dict[str, Any] = {
            "confirm_s": rng.choice((0, 15, 30)),
            "hysteresis_m": rng.choice((0, 0, 20)),
            "gap_s": rng.choice((120, 120, 35)),
        }
        if rng.random() < 0.4:
            made = _circle(rng, **settings)
        else:
            made = version([(x + shift, y) for x, y in SQUARE], **settings)
        made = replace(made, fence_id=f"f{number}")
        if rng.random() < 0.2:
            made = replace(made, valid_from_ms=START_MS + rng.randrange(400_000))
        if rng.random() < 0.1:
            made = replace(made, valid_to_ms=START_MS + 10**6)
        fences.append(Fence.of([made]))
    return fences


def _drive(rng: random.Random) -> Track:
    """A truck that neither parks nor falls silent."""
    rows, east, north = [], rng.uniform(-200, 200), rng.uniform(-200, 200)
    for number in range(rng.randrange(1, 90)):
        rows.append((number * 10.0, east, north, 30.0))
        east, north = east + rng.uniform(-80, 80), north + rng.uniform(-80, 80)
    return track(rows)


def _one_by_one(tracks: Sequence[Track], fences: Sequence[Fence]) -> dict[tuple[int, str], object]:
    found: dict[tuple[int, str], Sequence[Visit]] = {}
    for number, one in enumerate(tracks):
        for fence in fences:
            visits = fold(one, fence, as_of_ms=AS_OF_MS).visits
            if visits:
                found[number, fence.fence_id] = list(visits)
    return dict(found)


def _at_once(tracks: Sequence[Track], fences: Sequence[Fence]) -> FleetVisits:
    index = FenceIndex([version for fence in fences for version in fence.versions])
    windows = {fence.fence_id: windows_of(fence) for fence in fences}
    return fold_fleet(Fleet.of(tracks), windows, as_of_ms=AS_OF_MS, index=index)


def _compared(seed: int) -> tuple[int, int]:
    """How many visits came in columns, and how many pairs were left to the plain fold."""
    rng = random.Random(seed)
    fences = _fences(rng)
    tracks = [
        random_track(rng, rng.randrange(0, 60)) if rng.random() < 0.4 else _drive(rng)
        for _ in range(8)
    ]
    found = _at_once(tracks, fences)
    listed = {
        (vehicle, fence_id): visits
        for vehicle, fences_of in found.by_vehicle().items()
        for fence_id, visits in fences_of.items()
    }
    assert listed == _one_by_one(tracks, fences), seed
    assert len(found) == sum(map(len, listed.values()))
    return sum(len(c.vehicle) for c in found.columns), len(found.plain)


def test_a_fleet_folded_at_once_is_its_vehicles_folded_one_by_one() -> None:
    in_columns, plain = map(sum, zip(*map(_compared, range(FLEETS)), strict=True))
    assert in_columns > FLEETS * 4
    assert plain > FLEETS


@pytest.mark.soak
def test_a_fleet_folded_at_once_is_its_vehicles_folded_one_by_one_at_length() -> None:
    for seed in range(FLEETS_SOAK):
        _compared(seed)


def test_no_tracks_and_tracks_without_readings_have_no_visits() -> None:
    fence = Fence.of([version()])
    assert len(_at_once([], [fence])) == 0
    assert len(_at_once([Track.empty(), Track.empty()], [fence])) == 0
    inside = track([(0, 50, 50), (10, 50, 50)])
    assert list(_at_once([Track.empty(), inside], [fence]).by_vehicle()) == [1]
