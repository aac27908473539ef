"""The town hangs together and is the same for the same seed."""

import itertools
import json

import pytest

from greenhaul_sim.streets import Plane, Point, StreetMap, build_town


@pytest.fixture(scope="module")
def town() -> StreetMap:
    return build_town(7)


def test_a_seed_gives_the_same_town_and_another_seed_another() -> None:
    first, again, other = build_town(3), build_town(3), build_town(4)
    assert first.junctions == again.junctions
    assert first.streets == again.streets
    assert first.junctions != other.junctions


def test_every_junction_is_reached_from_every_other(town: StreetMap) -> None:
    reached, queue = {0}, [0]
    while queue:
        for neighbour in town.neighbours[queue.pop()]:
            if neighbour not in reached:
                reached.add(neighbour)
                queue.append(neighbour)
    assert len(reached) == len(town.junctions)


def test_a_route_is_a_way_along_streets(town: StreetMap) -> None:
    end = len(town.junctions) - 1
    way = town.route(0, end)
    assert (way[0], way[-1]) == (0, end)
    assert all(second in town.neighbours[first] for first, second in itertools.pairwise(way))
    assert len(set(way)) == len(way)
    assert town.route(5, 5) == [5]


def test_blocks_are_long_enough_to_brake_in(town: StreetMap) -> None:
    # From 75 km/h at the trucks' braking a stop takes 136 m.
    assert min(street.length_m for street in town.streets) > 140


def test_side_streets_do_not_cross_the_river(town: StreetMap) -> None:
    def is_north(junction: int) -> bool:
        point = town.junctions[junction]
        bend = min(town.river, key=lambda each: abs(each.x_m - point.x_m))
        return point.y_m > bend.y_m

    crossing = [s for s in town.streets if is_north(s.start) != is_north(s.end)]
    assert crossing
    assert all(street.street_class == "arterial" for street in crossing)


def test_the_plane_is_turned_back_without_loss() -> None:
    plane = Plane()
    latitude_deg, longitude_deg = plane.to_degrees(1234.5, -987.6)
    assert plane.to_metres(latitude_deg, longitude_deg) == pytest.approx(Point(1234.5, -987.6))


def test_the_map_is_geojson_with_names_and_classes(town: StreetMap) -> None:
    collection = json.loads(json.dumps(town.to_geojson()))
    water, *lines = collection["features"]
    assert water["geometry"]["type"] == "Polygon"
    ring = water["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    assert {line["properties"]["class"] for line in lines} == {"arterial", "side"}
    blocks = sum(len(line["geometry"]["coordinates"]) - 1 for line in lines)
    assert blocks == len(town.streets)
    for line in lines:
        assert line["properties"]["name"]
        for longitude_deg, latitude_deg in line["geometry"]["coordinates"]:
            assert abs(latitude_deg - 32.99) < 0.08
            assert abs(longitude_deg - 112.53) < 0.1
