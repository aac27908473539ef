"""Trucks move like trucks."""

import itertools
import math

import pytest

from greenhaul_sim.motion import Observation, Phase, Traits, Truck
from greenhaul_sim.streets import Point, StreetMap, build_town


@pytest.fixture(scope="module")
def town() -> StreetMap:
    return build_town(7)


def drive(town: StreetMap, seconds: int, **traits: float) -> list[Observation]:
    settings = {"gnss_noise_m": 0.0, **traits}
    truck = Truck(town, Traits(seed="t", home=Point(2000, 2000), **settings))  # type: ignore[arg-type]
    observations = []
    for _ in range(seconds):
        truck.advance(1.0)
        observations.append(truck.observe())
    return observations


@pytest.fixture(scope="module")
def day(town: StreetMap) -> list[Observation]:
    return drive(town, 6 * 3600)


def metres(town: StreetMap, first: Observation, second: Observation) -> float:
    return math.dist(
        town.plane.to_metres(first.latitude_deg, first.longitude_deg),
        town.plane.to_metres(second.latitude_deg, second.longitude_deg),
    )


def test_the_same_seed_drives_the_same(town: StreetMap) -> None:
    assert drive(town, 600, gnss_noise_m=3.0) == drive(town, 600, gnss_noise_m=3.0)


def test_how_time_is_cut_does_not_matter(town: StreetMap) -> None:
    traits = Traits(seed="cut", home=Point(0, 0))
    by_seconds, at_once = Truck(town, traits), Truck(town, traits)
    for _ in range(300):
        by_seconds.advance(1.0)
    at_once.advance(300.0)
    assert by_seconds.observe() == at_once.observe()


def test_speed_changes_no_faster_than_a_truck_can(day: list[Observation]) -> None:
    for first, second in itertools.pairwise(day):
        change_kmh = second.speed_kmh - first.speed_kmh
        assert change_kmh <= 1.0 * 3.6 + 1e-6
        stopped = second.phase is not Phase.DRIVING  # the last crawl ends at once
        assert change_kmh >= -3.2 * 3.6 - 1e-6 or stopped


def test_the_limit_is_kept_and_a_speeder_does_not_keep_it(
    town: StreetMap, day: list[Observation]
) -> None:
    assert max(each.speed_kmh for each in day) <= 60.0
    assert max(each.speed_kmh for each in drive(town, 3600, speed_factor=1.3)) > 65.0


def test_the_odometer_is_in_step_with_the_way_and_the_speed(
    town: StreetMap, day: list[Observation]
) -> None:
    driven_km = day[-1].odometer_km - day[0].odometer_km
    moved_km = sum(metres(town, *pair) for pair in itertools.pairwise(day)) / 1000
    by_speed_km = sum(each.speed_kmh for each in day) / 3600
    assert driven_km > 30
    # Corners are cut by the second between two observations.
    assert moved_km == pytest.approx(driven_km, rel=0.02)
    assert by_speed_km == pytest.approx(driven_km, rel=0.02)
    assert all(b.odometer_km >= a.odometer_km for a, b in itertools.pairwise(day))


def test_a_standing_truck_stands(town: StreetMap, day: list[Observation]) -> None:
    for first, second in itertools.pairwise(day):
        if first.phase is second.phase is not Phase.DRIVING:
            assert second.speed_kmh == 0.0
            assert metres(town, first, second) == 0.0
            assert second.odometer_km == first.odometer_km


def test_a_day_has_lights_deliveries_and_rests(day: list[Observation]) -> None:
    phases = {each.phase for each in day}
    assert {Phase.DRIVING, Phase.WAITING, Phase.PARKED, Phase.DELIVERING} <= phases
    assert not any(each.is_ignition_on for each in day if each.phase is Phase.PARKED)


def test_trucks_come_to_the_centre_again_and_again(town: StreetMap, day: list[Observation]) -> None:
    is_inside = [
        math.hypot(*town.plane.to_metres(each.latitude_deg, each.longitude_deg)) < 900
        for each in day
    ]
    entries = sum(after and not before for before, after in itertools.pairwise(is_inside))
    assert entries >= 3


def test_the_battery_falls_by_driving_and_rises_by_charging(day: list[Observation]) -> None:
    for first, second in itertools.pairwise(day):
        assert first.soc_percent is not None
        assert second.soc_percent is not None
        if first.phase is second.phase is Phase.CHARGING:
            assert second.soc_percent > first.soc_percent
        elif first.phase is second.phase is Phase.DRIVING:
            assert second.soc_percent < first.soc_percent
    diesel = Traits(seed=1, home=Point(0, 0), is_electric=False)
    assert Truck(build_town(1), diesel).observe().soc_percent is None


def test_an_empty_battery_is_charged(town: StreetMap) -> None:
    truck = Truck(town, Traits(seed="low", home=Point(0, 0)))
    truck.soc_percent = 10.0
    seen = set()
    for _ in range(7200):
        truck.advance(1.0)
        seen.add(truck.phase)
    assert Phase.CHARGING in seen
    assert truck.soc_percent > 20


def test_gnss_noise_wanders_and_stays_near(town: StreetMap) -> None:
    plain, noisy = (drive(town, 900, gnss_noise_m=noise_m) for noise_m in (0.0, 3.0))
    # The noise draws from the same random numbers, so only standing truth is compared: both
    # trucks exist, and the noisy one's fix moves a little while it stands.
    standing = [
        metres(town, first, second)
        for first, second in itertools.pairwise(noisy)
        if first.phase is second.phase is not Phase.DRIVING
    ]
    assert plain
    assert standing
    assert 0 < max(standing) < 5
