"""The index against shapely, asked one point and one piece at a time."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from shapely import LineString, Point, Polygon
from shapely.affinity import scale
from tests.cloud.fold_cases import degrees, version

from greenhaul_cloud.fences import chords
from greenhaul_cloud.fences import index as index_module
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.plane import Plane, distances_m, metres_per_degree
from greenhaul_cloud.fences.survey import IN_FAR, IN_NEAR, OUT_FAR, OUT_NEAR

SHELL = ((0, 0), (200, 0), (200, 200), (120, 200), (100, 60), (80, 200), (0, 200))
HOLE = ((20, 20), (60, 20), (60, 60), (20, 60))

coordinate = st.floats(-300, 300, allow_nan=False).map(lambda v: round(v, 3))
point = st.builds(complex, coordinate, coordinate)


def _column(*values: complex) -> chords.Complexes:
    return np.array(values, complex)


@given(start=point, end=point, edge=point, edge_end=point, radius_m=st.floats(0.5, 60))
def test_nearness_of_a_piece_to_an_edge_is_one_interval_and_the_right_one(
    start: complex, end: complex, edge: complex, edge_end: complex, radius_m: float
) -> None:
    assume(start != end)
    low, high = chords.within(
        _column(start), _column(end - start), _column(edge), _column(edge_end - edge),
        np.array([radius_m]),
    )  # fmt: skip
    line = LineString([(edge.real, edge.imag), (edge_end.real, edge_end.imag)])
    for part in np.linspace(0, 1, 41).tolist():
        at = start + part * (end - start)
        distance = line.distance(Point(at.real, at.imag))
        if abs(distance - radius_m) > 1e-6:
            assert (distance < radius_m) == bool(low[0] <= part <= high[0])


@given(at=point, edge=point, edge_end=point)
def test_distance_from_an_edge_is_shapelys(at: complex, edge: complex, edge_end: complex) -> None:
    line = LineString([(edge.real, edge.imag), (edge_end.real, edge_end.imag)])
    [distance] = chords.distances_m(_column(at), _column(edge), _column(edge_end - edge))
    assert distance == pytest.approx(line.distance(Point(at.real, at.imag)), abs=1e-6)


def test_a_piece_along_an_edge_does_not_cross_it() -> None:
    [at] = chords.crossings(_column(1), _column(2), _column(0), _column(10))
    assert np.isnan(at)


def _path(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-80, 280, size), rng.uniform(-80, 280, size)


@pytest.mark.parametrize("pieces", [20_000, 7])
def test_classes_of_points_and_of_the_path_between_are_those_of_the_area(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "PIECES_MAX", pieces)
    versions = [
        version(SHELL, HOLE, hysteresis_m=15),
        version([(x + 150, y) for x, y in SHELL], number=2, hysteresis_m=0),
        version([(x + 5000, y) for x, y in SHELL], number=3),
    ]
    east, north = _path(5, 60)
    longitude, latitude = degrees(0.0, 0.0)
    far_east, far_north = degrees(1.0, 1.0)
    survey = FenceIndex(versions).survey(
        longitude + east * (far_east - longitude),
        latitude + north * (far_north - latitude),
        np.ones(59, bool),
    )
    assert survey.slots == {0, 1}
    shapes = [(Polygon(SHELL, [HOLE]), 15.0), (Polygon([(x + 150, y) for x, y in SHELL]), 0.0)]
    asked = 0
    for slot, (area, hysteresis_m) in enumerate(shapes):
        classes = survey.classes(slot).tolist()
        segment, part, after = survey.cuts(slot)
        for i in range(59):
            here = segment == i
            for at in np.linspace(0.01, 0.99, 25).tolist():
                spot = Point(
                    east[i] + at * (east[i + 1] - east[i]),
                    north[i] + at * (north[i + 1] - north[i]),
                )
                passed = np.flatnonzero(here & (part <= at))
                found = int(after[passed[-1]]) if len(passed) else classes[i]
                asked += _agrees(area, hysteresis_m, spot, found)
    assert asked > 2900


def _agrees(area: Polygon, hysteresis_m: float, spot: Point, found: int) -> bool:
    """Asserts the class of a spot; False: too near to a border to ask."""
    distance = area.boundary.distance(spot)
    if min(distance, abs(distance - hysteresis_m)) < 0.05:
        return False
    is_near = distance <= hysteresis_m
    inside, outside = (IN_NEAR, OUT_NEAR) if is_near else (IN_FAR, OUT_FAR)
    assert found == (inside if area.contains(spot) else outside)
    return True


def test_inner_rings_are_edges_too() -> None:
    index = FenceIndex([version(SHELL, HOLE, hysteresis_m=0)])
    longitude, latitude = np.array([degrees(10, 40), degrees(70, 40)]).T
    survey = index.survey(longitude, latitude, np.ones(1, bool))
    segment, part, after = survey.cuts(0)
    assert segment.tolist() == [0, 0, 0]
    assert part == pytest.approx([0, 1 / 6, 5 / 6])
    assert after.tolist() == [IN_FAR, OUT_FAR, IN_FAR]


def test_a_segment_that_is_not_drawn_crosses_nothing() -> None:
    index = FenceIndex([version(SHELL, hysteresis_m=0)])
    longitude, latitude = np.array([degrees(-10, 40), degrees(10, 40)]).T
    survey = index.survey(longitude, latitude, np.zeros(1, bool))
    assert len(survey.cuts(0)[0]) == 0
    assert survey.classes(0).tolist() == [OUT_FAR, IN_FAR]


def test_an_index_of_nothing_and_a_path_of_nothing_are_fine() -> None:
    nowhere = np.empty(0)
    assert FenceIndex([]).survey(nowhere, nowhere, np.empty(0, bool)).slots == frozenset()
    one = FenceIndex([version(SHELL)])
    assert one.survey(nowhere, nowhere, np.empty(0, bool)).slots == frozenset()
    assert FenceIndex([]).survey(np.ones(3), np.ones(3), np.ones(2, bool)).slots == frozenset()


def test_lengths_of_degrees_are_those_of_the_ellipsoid() -> None:
    # WGS-84: 110.574 km and 111.320 km at the equator, 111.132 km and 78.847 km at 45°.
    assert [float(v) for v in metres_per_degree(0.0)] == pytest.approx([111_320, 110_574], abs=1)
    assert [float(v) for v in metres_per_degree(45.0)] == pytest.approx([78_847, 111_132], abs=1)


def test_the_plane_keeps_short_distances() -> None:
    plane = Plane.around((112.4, 32.9, 112.6, 33.1))
    east, north = 0.01 * plane.east_m, 0.01 * plane.north_m
    ends = (np.array([v]) for v in (112.5, 33.0, 112.51, 33.01))
    assert distances_m(*ends)[0] == pytest.approx(float(np.hypot(east, north)), rel=1e-4)


def test_areas_are_read_as_drawn_whatever_way_their_rings_run() -> None:
    turned = scale(version(SHELL).area, 1, 1)
    assert shapely.equals(turned.reverse(), version(SHELL[::-1]).area)
