"""Stops and trips of hand-made tracks, edges of words, and that the order does not matter."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
from tests.cloud.api_city import City
from tests.cloud.fold_cases import START_MS, random_track, seconds, track

from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.trips.edges import EdgeReader
from greenhaul_cloud.trips.motion import STOP_MS_MIN, stops_of, trips_of

Row = tuple[float, ...]


def parked(from_s: int, to_s: int, east_m: float, *more: float) -> list[Row]:
    return [(t, east_m + t % 7, 0, 0, *more) for t in range(from_s, to_s + 1, 10)]


def driving(from_s: int, to_s: int, east_m: float, speed_kmh: float = 36) -> list[Row]:
    step_m = speed_kmh / 3.6
    return [(t, east_m + (t - from_s) * step_m, 0, speed_kmh) for t in range(from_s, to_s, 10)]


def test_two_stops_and_the_trip_between_them() -> None:
    rows = [*parked(0, 600, 0), *driving(610, 910, 100), *parked(910, 1200, 3100)]
    whole = track(rows)
    first, second = stops_of(whole)
    assert (seconds(first.began_ms), seconds(first.ended_ms)) == (0, 600)
    assert (seconds(second.began_ms), second.ended_ms) == (910, None)
    [trip] = trips_of(whole)
    assert (seconds(trip.began_ms), seconds(trip.ended_ms)) == (600, 910)
    assert 3.0 < trip.distance_km < 3.2
    assert (trip.speed_max_kmh, trip.certainty.value) == (36, "certain")


def test_a_traffic_light_is_no_stop() -> None:
    rows = [*driving(0, 300, 0), *parked(300, 420, 3000), *driving(430, 700, 3100)]
    assert stops_of(track(rows)) == []
    [trip] = trips_of(track(rows))
    assert (seconds(trip.began_ms), trip.ended_ms) == (0, None)


def test_a_truck_that_was_silent_where_it_stood_has_one_stop() -> None:
    whole = track([(0, 0, 0, 0, 5.0), (7200, 20, 0, 0, 5.0)])
    [stop] = stops_of(whole)
    assert (seconds(stop.began_ms), stop.ended_ms) == (0, None)
    moved = track([(0, 0, 0, 0, 5.0), (7200, 20, 0, 0, 9.0)])
    assert stops_of(moved) == []
    [trip] = trips_of(moved)
    assert (trip.distance_km, trip.certainty.value) == (4.0, "possible")


def test_noise_of_a_parked_truck_with_its_ignition_off_is_no_trip() -> None:
    rows = [(t, 0, 0, 9 if t % 60 == 0 else 0, np.nan, 0) for t in range(0, 900, 10)]
    assert trips_of(track(rows)) == []
    [stop] = stops_of(track(rows))
    assert stop.is_ignition_off


def test_stops_and_trips_follow_one_another_without_a_hole() -> None:
    for seed in range(60):
        whole = random_track(random.Random(seed), 80)
        order = np.random.default_rng(seed).permutation(len(whole))
        shuffled = whole.take(order).joined(whole.take(order[:20]))
        stops, trips = stops_of(whole), trips_of(whole)
        assert (stops_of(shuffled), trips_of(shuffled)) == (stops, trips)
        known = sorted([(s.began_ms, s.ended_ms) for s in stops]
                       + [(t.began_ms, t.ended_ms) for t in trips])  # fmt: skip
        assert all(one[1] == other[0] for one, other in pairwise(known))
        assert all((s.ended_ms or 2**62) - s.began_ms >= STOP_MS_MIN for s in stops)
    assert stops_of(Track.empty()) == []
    assert trips_of(Track.empty()) == []


def test_edges_are_those_of_each_source_by_itself() -> None:
    time_ms = START_MS + np.arange(6) * 1000
    source = np.array([0, 1, 0, 1, 0, 0])
    alarms = np.array([0.0, 2.0, 2.0, 2.0, np.nan, 0.0])
    status = np.array([3.0, 2.0, 2.0, 2.0, 3.0, 3.0])
    for parts in ([6], [3, 3], [1] * 6, [2, 0, 4]):
        reader, at = EdgeReader(), 0
        found = []
        for count in parts:
            part = slice(at, at + count)
            words = {"alarms": alarms[part], "status": status[part]}
            found += reader.read(time_ms[part], source[part], ("a", "b"), words)
            at += count
        assert [(e.device_time_ms - START_MS, e.code, e.is_on, e.source) for e in found] == [
            (2000, "alarm.overspeed", True, 0),
            (2000, "ignition", False, 0),
            (4000, "ignition", True, 0),
            (5000, "alarm.overspeed", False, 0),
        ]


def test_a_manager_asks_for_trips_stops_and_events(town: City) -> None:
    for what in ("trips", "stops", "events"):
        told = town.get(f"/vehicles/v-own/{what}", "manager")
        assert told["next"] is None
        assert town.ask("GET", f"/vehicles/v-foreign/{what}", "manager").status_code == 404
    spans = [
        *town.get("/vehicles/v-own/trips")["items"],
        *town.get("/vehicles/v-own/stops")["items"],
    ]
    assert spans
    assert spans[0]["began_at"].endswith("Z")
