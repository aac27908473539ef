"""Curves between readings: what they are, and that an index finds what is along them."""

import numpy as np
import pytest
import shapely
from tests.cloud.fold_cases import PLANE, SQUARE, degrees, version

from greenhaul_cloud.fences.curves import CURVE_DEPTH_M, PIECES_MAX, Curves, curves_of
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import FenceVersion
from greenhaul_cloud.fences.pieces import pieces_of
from greenhaul_cloud.fences.plane import distances_m
from greenhaul_cloud.fences.survey import IN_NEAR, class_of

ALONG = np.linspace(0, 1, 4_001)
SQUARE_AREA = shapely.Polygon(SQUARE)


def points(*metres: tuple[float, float]) -> np.ndarray:
    return np.array([complex(*degrees(*place)) for place in metres])


def curve(
    metres: tuple[tuple[float, float], tuple[float, float]],
    speed_kmh: tuple[float, float],
    heading_deg: tuple[float, float],
    duration_s: float = 20.0,
) -> Curves:
    return curves_of(
        points(*metres), np.array([duration_s]), np.array(speed_kmh), np.array(heading_deg),
        np.array([0]),
    )  # fmt: skip


TURN = ((-50.0, 20.0), (20.0, -50.0))


def test_a_curve_begins_and_ends_at_its_readings_with_their_velocities() -> None:
    turn = curve(TURN, (36, 18), (90, 180))
    [begin, soon, late, end] = turn.at(np.zeros(4, np.intp), np.array([0, 1e-6, 1 - 1e-6, 1]))
    assert (begin, end) == tuple(points(*TURN))
    for step, speed_m_s, heading in ((soon - begin, 10, 1), (end - late, 5, -1j)):
        way = step * 1e6 / 20 / np.abs(points((1, 0))[0] - points((0, 0))[0])
        assert way.real == pytest.approx((speed_m_s * heading).real, abs=0.01)
        assert np.sign(way.imag) == np.sign((speed_m_s * heading).imag) or abs(way.imag) < 0.01


def test_what_drives_evenly_and_straight_is_no_curve() -> None:
    assert len(curve(((0, 0), (200, 0)), (36, 36), (90, 90))) == 0


def drawn_along(made: Curves) -> np.ndarray:
    """Points of the pieces the first curve is drawn as."""
    at = np.append(made.begin, made.end[-1])
    pieces = pieces_of(at, np.zeros(2, complex), made, is_straight_asked=False)
    number = np.minimum((ALONG * made.pieces[0]).astype(int), made.pieces[0] - 1) + len(at)
    part = (ALONG - pieces.low[number]) / pieces.width[number]
    if made.pieces[0] == 1:
        part = made.progress(np.zeros(len(ALONG), np.intp), ALONG)
    drawn: np.ndarray = pieces.at[number] + part * pieces.run[number]
    return drawn


@pytest.mark.parametrize("turn_deg", [80, 5, 1])
@pytest.mark.parametrize("seed", range(20))
def test_pieces_leave_the_curve_by_no_more_than_is_said(seed: int, turn_deg: int) -> None:
    rng = np.random.default_rng(seed)
    ends = ((0.0, 0.0), tuple(rng.uniform(-150, 150, 2).tolist()))
    bearing = np.degrees(np.arctan2(*ends[1]))
    heading = tuple((bearing + rng.uniform(-turn_deg, turn_deg, 2)) % 360)
    made = curve(ends, tuple(rng.uniform(5, 60, 2)), heading)
    if len(made) == 0 or made.pieces[0] == PIECES_MAX:
        pytest.skip("straight, or bent beyond what is drawn")
    drawn = drawn_along(made)
    true = made.at(np.zeros(len(ALONG), np.intp), ALONG)
    apart_m = distances_m(drawn.real, drawn.imag, true.real, true.imag)
    assert apart_m.max() <= CURVE_DEPTH_M
    corners = made.corners()[:, 0]
    assert corners.real.min() <= true.real.min() <= true.real.max() <= corners.real.max()
    assert corners.imag.min() <= true.imag.min() <= true.imag.max() <= corners.imag.max()


@pytest.mark.parametrize("speed_kmh", [(36, 0), (0, 36), (1, 80), (60, 60), (5, 200), (2, 6)])
def test_a_truck_that_keeps_to_its_chord_is_found_when_it_is_there(
    speed_kmh: tuple[float, float],
) -> None:
    """Braking, starting, or faster at both ends than between: one piece, driven unevenly."""
    made = curve(((0, 0), (200, 0)), speed_kmh, (90, 90))
    assert made.pieces.tolist() == [1]
    rows = np.zeros(len(ALONG), np.intp)
    progress = made.progress(rows, ALONG)
    assert (np.diff(progress) >= 0).all()
    again = made.progress(rows, made.part_at(rows, progress))
    assert again == pytest.approx(progress, abs=1e-9)


def test_a_truck_that_rolls_back_at_an_end_is_drawn_piece_by_piece() -> None:
    """Slower than a receiver knows whither, and pointing away."""
    made = curve(((0, 0), (100, 0)), (4, 50), (270, 90))
    assert made.pieces[0] > 1


def classes_along(versions: list[FenceVersion], slot: int, made: Curves) -> np.ndarray:
    """Class of the path at parts of its one segment, as an index says."""
    at = np.append(made.begin, made.end[-1])
    survey = FenceIndex(versions).survey(at.real, at.imag, np.ones(len(made), bool), made)
    _, part, place = survey.cuts(slot)
    number = np.searchsorted(part, ALONG, side="right") - 1
    begins_as = survey.classes(slot)[0]
    classes: np.ndarray = np.where(number >= 0, np.append(place, 0)[number], begins_as)
    return classes


@pytest.mark.parametrize("turn_deg", [80, 5, 1])
@pytest.mark.parametrize("seed", range(30))
def test_an_index_finds_a_curve_where_it_is_drawn(seed: int, turn_deg: int) -> None:
    rng = np.random.default_rng(seed)
    ends = (tuple(rng.uniform(-80, 180, 2).tolist()), tuple(rng.uniform(-80, 180, 2).tolist()))
    bearing = np.degrees(np.arctan2(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]))
    made = curve(
        ends,
        tuple(rng.uniform(5, 60, 2)),
        tuple((bearing + rng.uniform(-turn_deg, turn_deg, 2)) % 360),
    )
    if len(made) == 0:
        pytest.skip("straight")
    hysteresis_m = float(rng.choice((0, 5, 20)))
    one = version(hysteresis_m=hysteresis_m)  # a square of 100 m
    drawn = drawn_along(made)
    plane = np.array([PLANE.east_m, PLANE.north_m])
    origin = (PLANE.longitude_deg, PLANE.latitude_deg)
    metres = (np.stack((drawn.real, drawn.imag), axis=1) - origin) * plane
    place = shapely.points(metres)
    is_near = (shapely.distance(place, SQUARE_AREA.exterior) <= hysteresis_m) & (hysteresis_m > 0)
    expected = class_of(shapely.intersects(SQUARE_AREA, place), is_near)
    differs = np.flatnonzero(classes_along([one], 0, made) != expected)
    changes = np.flatnonzero(np.diff(expected))
    # the fence's plane is not the one in which it was drawn: a hysteresis ends a millimetre off
    apart = np.abs(differs[:, None] - changes[None]).min(axis=1, initial=9)
    assert (apart <= 2).all()


def test_who_asks_for_a_straight_path_has_it_beside_those_who_do_not() -> None:
    """Two squares, one where the curve goes, one where the chord does; each asked by both."""
    exact = {"confirm_s": 0, "hysteresis_m": 0}
    by_curve, by_chord = (
        ((-9, -9), (15, -9), (15, 15), (-9, 15)),
        ((-30, -30), (-14, -30), (-14, -14), (-30, -14)),
    )
    versions = [
        version(by_curve, id="a", **exact),
        version(by_curve, id="b", **exact, path="straight"),
        version(by_chord, id="c", **exact),
        version(by_chord, id="d", **exact, path="straight"),
    ]
    made = curve(TURN, (36, 36), (90, 180))
    met = [(classes_along(versions, slot, made) >= IN_NEAR).any() for slot in range(4)]
    assert met == [True, False, False, True]
    [first, *_, last] = ALONG[classes_along(versions, 3, made) >= IN_NEAR].tolist()
    assert (first, last) == pytest.approx((34 / 70, 36 / 70), abs=0.001)


def test_each_piece_of_a_curve_is_followed_by_the_next_of_the_same() -> None:
    two = curves_of(
        points((0, 0), (70, -70), (0, 0)), np.array([20.0, 20.0]), np.full(3, 36.0),
        np.array([90.0, 180.0, 270.0]), np.array([0, 1]),
    )  # fmt: skip
    pieces = pieces_of(points((0, 0), (70, -70), (0, 0)), np.zeros(3, complex), two, True)
    every = np.arange(len(pieces))
    last = 2 + np.cumsum(two.pieces)
    assert set(every) - set(pieces.successors(every)) == {0, 1, 2, *last}
