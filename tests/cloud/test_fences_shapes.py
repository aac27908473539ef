"""Circles, corridors and rectangles: what is inside, and where a path crosses, is exact."""

import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Point
from tests.cloud.fold_cases import AS_OF_MS, PLANE, degrees, seconds, track

from greenhaul_cloud.fences.feature import FeatureError, parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence
from greenhaul_cloud.fences.plane import distances_m
from greenhaul_cloud.fences.survey import IN_FAR, IN_NEAR, OUT_FAR, OUT_NEAR
from greenhaul_cloud.fold.fold import fold


def circle(radius_m: float, **properties: Any) -> dict[str, Any]:
    """A circle around the middle of the plane."""
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": list(degrees(0, 0))},
        "properties": {"id": "f", "radius_m": radius_m, **properties},
    }


def corridor(*line: tuple[float, float], **properties: Any) -> dict[str, Any]:
    """A corridor along a line in metres, 50 m to each side."""
    return {
        "type": "Feature",
        "geometry": {"type": "LineString", "coordinates": [list(degrees(*v)) for v in line]},
        "properties": {"id": "f", "half_width_m": 50, **properties},
    }


coordinate = st.floats(-400, 400, allow_nan=False).map(lambda v: round(v, 2))
point = st.builds(complex, coordinate, coordinate)


@given(start=point, end=point, radius_m=st.sampled_from([15.0, 60.0, 300.0]))
def test_classes_of_a_path_by_a_circle_are_those_of_its_distance(
    start: complex, end: complex, radius_m: float
) -> None:
    index = FenceIndex([parse_feature(circle(radius_m, hysteresis_m=20))])
    longitude, latitude = np.array([degrees(p.real, p.imag) for p in (start, end)]).T
    survey = index.survey(longitude, latitude, np.ones(1, bool))
    _, part, after = survey.cuts(0)
    for at in np.linspace(0, 0.99, 50).tolist():
        distance_m = abs(start + at * (end - start))
        if min(abs(distance_m - radius_m), abs(abs(distance_m - radius_m) - 20)) < 0.01:
            continue
        is_near = abs(distance_m - radius_m) <= 20
        expected = (
            (IN_NEAR if is_near else IN_FAR)
            if distance_m <= radius_m
            else (OUT_NEAR if is_near else OUT_FAR)
        )
        passed = np.flatnonzero(part <= at)
        assert (int(after[passed[-1]]) if len(passed) else int(survey.classes(0)[0])) == expected


def test_a_circle_is_crossed_where_it_is_not_where_a_polygon_would_be() -> None:
    version = parse_feature(circle(5_000, confirm_s=0, hysteresis_m=0))
    rows = []
    for turn, angle in enumerate(np.linspace(0, math.pi, 40).tolist()):
        way = np.exp(1j * angle) * (6_000 if turn % 2 else 4_500)
        rows.append((turn * 100.0, way.real, way.imag))
    found = fold(track(rows), Fence.of([version]), as_of_ms=AS_OF_MS).visits
    assert len(found) == 20
    for visit in found[1:]:
        entered_s = seconds(visit.entered_ms)
        assert entered_s is not None
        turn = int(entered_s // 100)
        begin, end = (complex(*rows[i][1:]) for i in (turn, turn + 1))
        at = begin + (end - begin) * (entered_s - turn * 100) / 100
        # A millisecond at 150 m/s, and what the plane of the tests differs from the circle's.
        assert abs(at) == pytest.approx(5_000, abs=0.2)


@pytest.mark.parametrize("radius_m", [100.0, 5_000.0])
def test_a_circle_among_others_is_met_all_around(radius_m: float) -> None:
    """Where many edges make a fine grid, steps of 20 m across the border."""
    others = []
    for number in range(400):
        place = list(degrees(number % 20 * 800.0 - 8_000, number // 20 * 800.0 - 8_000))
        one = circle(50.0, id=f"other{number}", hysteresis_m=0)
        one["geometry"]["coordinates"] = place
        others.append(parse_feature(one))
    version = parse_feature(circle(radius_m, hysteresis_m=0))
    index = FenceIndex([version, *others])
    missed = []
    for angle in np.linspace(0, 2 * math.pi, 721).tolist():
        way = [np.exp(1j * angle) * (radius_m + off_m) for off_m in (-10, 10)]
        longitude, latitude = np.array([degrees(p.real, p.imag) for p in way]).T
        _, part, after = index.survey(longitude, latitude, np.ones(1, bool)).cuts(0)
        if after.tolist() != [IN_FAR, OUT_FAR] or abs(part[-1] - 0.5) > 0.02:
            missed.append(angle)
    assert not missed


def test_the_corner_of_a_fence_across_a_meridian_is_met() -> None:
    """Where the ends of an edge differ in sign, sums of their parts are rounded beyond them."""
    rng = np.random.default_rng(1)
    for west, east in zip(
        -rng.uniform(0.001, 0.02, 300), rng.uniform(0.001, 0.02, 300), strict=True
    ):
        ring = [[west, 51.5], [west, 51.51], [east, 51.51], [east, 51.5], [west, 51.5]]
        area = {"type": "Polygon", "coordinates": [ring]}
        properties = {"id": "f", "hysteresis_m": 0}
        feature = {"type": "Feature", "geometry": area, "properties": properties}
        index = FenceIndex([parse_feature(feature)])
        longitude, latitude = west + np.array([-3e-4, 3e-4]), 51.5 + np.array([-3e-4, 1.5e-4])
        _, _, after = index.survey(longitude, latitude, np.ones(1, bool)).cuts(0)
        assert IN_FAR in after.tolist(), (west, east)


def test_a_tangent_does_not_enter_a_circle() -> None:
    version = parse_feature(circle(100, confirm_s=0, hysteresis_m=0))
    beside = track([(0, -500, 100.01), (100, 500, 100.01)])
    through = track([(0, -500, 99.5), (100, 500, 99.5)])
    one = Fence.of([version])
    assert not fold(beside, one, as_of_ms=AS_OF_MS).visits
    [visit] = fold(through, one, as_of_ms=AS_OF_MS).visits
    assert visit.left_ms is not None
    assert (visit.left_ms - visit.entered_ms) / 100_000 * 1000 == pytest.approx(
        2 * math.sqrt(100**2 - 99.5**2), abs=0.1
    )


LINE = ((0.0, 0.0), (400.0, 0.0), (400.0, 300.0))


@pytest.mark.parametrize(
    ("east_m", "north_m", "ends", "is_inside"),
    [
        (200, 49.9, "round", True),
        (200, 50.1, "round", False),
        (-49.9, 0, "round", True),  # a round end
        (-0.1, 0, "flat", False),
        (0.1, 0, "flat", True),
        (400 + 35.2, -35.2, "round", True),  # the outer side of a bend is an arc
        (400 + 35.5, -35.5, "round", False),
        (400 + 35.2, -35.2, "flat", True),
        (360, 40, "flat", True),  # the inner side is a corner
    ],
)
def test_a_corridor_is_what_lies_within_its_half_width(
    east_m: float, north_m: float, ends: str, is_inside: bool
) -> None:
    area = parse_feature(corridor(*LINE, ends=ends)).area
    assert area.intersects(Point(degrees(east_m, north_m))) is is_inside


@pytest.mark.parametrize("ends", ["round", "flat"])
def test_a_long_corridor_keeps_its_width_far_from_its_middle(ends: str) -> None:
    line = np.array([(112.0, 30.0), (112.3, 33.0), (112.2, 36.0)])
    drawn = corridor(ends=ends)
    drawn["geometry"]["coordinates"] = line.tolist()
    area = parse_feature(drawn).area
    for latitude in (30.5, 32.0, 34.0, 35.5):
        longitude = float(np.interp(latitude, line[:, 1], line[:, 0]))
        reach = [longitude + east for east in np.linspace(0, 0.001, 2_001)]
        edge = max(x for x in reach if area.intersects(Point(x, latitude)))
        run = 0.1 if latitude < 33 else -0.1 / 3
        lean = math.cos(math.atan(run * 0.85))  # the corridor leans, its width is across it
        width_m = distances_m(*(np.array([v]) for v in (longitude, latitude, edge, latitude)))[0]
        assert width_m * lean == pytest.approx(50, abs=0.5)


def test_a_corridor_that_loops_has_a_hole() -> None:
    loop = ((0.0, 0.0), (500.0, 0.0), (500.0, 500.0), (0.0, 500.0), (0.0, -200.0))
    area = parse_feature(corridor(*loop)).area
    assert not area.intersects(Point(degrees(250, 250)))
    assert len(shapely.get_rings(area)) == 2


def test_a_rectangle_is_a_bbox() -> None:
    west, south = degrees(0, 0)
    east, north = degrees(100, 50)
    bbox = {"type": "Feature", "geometry": None, "bbox": [west, south, east, north]}
    area = parse_feature({**bbox, "properties": {"id": "f"}}).area
    assert area.bounds == (west, south, east, north)
    assert area.area == pytest.approx((east - west) * (north - south))


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (circle(0), "radius_m: 0 is not above 0"),
        (circle(float("nan")), "radius_m: nan is not a number"),
        (circle(50, half_width_m=3), "half_width_m with a Point"),
        (circle(2_000_000), "at most 100000"),
        (corridor(*LINE, half_width_m=None), "half_width_m is missing"),
        (corridor(*LINE, ends="square"), "ends: 'square' is not one of round, flat"),
        (corridor((0, 0), (0, 0)), "two different vertices"),
        (corridor(*LINE, datum="nad27"), "datum: 'nad27' is not one of wgs84, gcj02, bd09"),
        (
            {"type": "Feature", "geometry": None, "bbox": [3, 2, 1, 4], "properties": {"id": "f"}},
            "west must be less than east",
        ),
    ],
)
def test_what_has_no_area_is_refused(feature: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        parse_feature(feature)


def test_a_circle_of_the_same_centre_and_radius_is_the_same_geometry() -> None:
    one, same, other = (parse_feature(circle(r)) for r in (100, 100, 101))
    assert one.has_area_of(same)
    assert not one.has_area_of(other)
    assert PLANE.east_m == pytest.approx(one.circle.plane.east_m if one.circle else 0)
