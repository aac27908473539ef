"""Hand-made tracks about a square of 100 m: whether, when, how and how certainly."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.cloud.fold_cases import SQUARE, START_MS, fence, seconds, track, version

from greenhaul_cloud.fences.model import NEVER_MS, Fence
from greenhaul_cloud.fold.fold import FoldResult, fold
from greenhaul_cloud.fold.intervals import Visit
from greenhaul_cloud.fold.windows import ALWAYS, Interval

Rows = Sequence[tuple[float, ...]]


def judged(
    rows: Rows,
    one: Fence | None = None,
    scope: tuple[Interval, ...] = ALWAYS,
    as_of_s: float = 10_000,
    **properties: Any,
) -> FoldResult:
    """The fold of a hand-made track."""
    as_of_ms = START_MS + round(as_of_s * 1000)
    return fold(track(rows), one or fence(**properties), scope, as_of_ms=as_of_ms)


def ends(visit: Visit) -> tuple[object, ...]:
    """(entered, by, left, by, certainty)"""
    return (
        seconds(visit.entered_ms),
        visit.entered_by.value,
        seconds(visit.left_ms),
        visit.left_by.value,
        visit.certainty.value,
    )


def stays(rows: Rows, **given: Any) -> list[tuple[object, ...]]:
    """All visits as `ends`."""
    return [ends(visit) for visit in judged(rows, **given).visits]


def drive(speed_m_s: float, every_s: float, from_m: float = -205.0, to_m: float = 300.0) -> Rows:
    """Straight east through the middle of the square."""
    times = np.arange(0, (to_m - from_m) / speed_m_s + every_s, every_s)
    return [(t, from_m + speed_m_s * t, 50.0) for t in times.tolist()]


# Whether: hysteresis and confirmation.


def test_instants_are_where_the_path_crosses_the_true_edge() -> None:
    assert stays(drive(2, 10)) == [(102.5, "crossing", 152.5, "crossing", "certain")]


def test_a_path_beyond_the_hysteresis_for_less_than_the_hold_is_no_visit() -> None:
    # 60 of the 100 m lie beyond the hysteresis: 30 s at 2 m/s, 28.6 s at 2.1 m/s.
    assert len(stays(drive(2, 7))) == 1
    assert stays(drive(2.1, 7)) == []


def test_the_path_counts_and_not_the_readings_on_it() -> None:
    # Beyond from 112.5 to 142.5 s: readings at 120, 130 and 140 s span only 20 s.
    assert len(stays(drive(2, 10))) == 1


def test_passing_through_between_two_readings_is_a_visit_if_it_lasts() -> None:
    rows = [(0, -55, 50), (20, 145, 50), (30, 245, 50)]
    assert stays(rows, confirm_s=6) == [(5.5, "crossing", 15.5, "crossing", "certain")]
    assert stays(rows, confirm_s=6.1) == []


def test_a_pass_no_longer_than_the_path_may_be_off_is_possible() -> None:
    """100 m inside: 0.1 m/s² of 31 s are 96 m, of 32 s 102 m."""
    for duration_s, certainty in ((31, "certain"), (32, "possible")):
        [visit] = judged([(0, -55, 50), (duration_s, 145, 50)], confirm_s=0).visits
        assert visit.entered_by == "crossing"
        assert {visit.entered_certainty, visit.left_certainty, visit.certainty} == {certainty}
    # one reading inside, and there is nothing to doubt
    [visit] = judged([(0, -55, 50), (20, 50, 50), (60, 145, 50)], confirm_s=0).visits
    assert visit.certainty == "certain"


def test_a_visit_that_may_have_ended_before_a_short_pass_is_possible() -> None:
    """Out by the west, past the corner of the square, and away to the south."""
    rows = [(0, 50, 50), (10, -50, 60), (50, 50, -40), (100, 50, -100), (150, 50, -100)]
    [visit] = judged(rows, confirm_s=60, hysteresis_m=0).visits
    assert ends(visit) == (0, "first_reading", pytest.approx(34), "crossing", "possible")
    assert (visit.entered_certainty, visit.left_certainty) == ("certain", "possible")


EXACT: dict[str, Any] = {"confirm_s": 0, "hysteresis_m": 0}
TURN = [(0, -50, 20, 36, np.nan, -1, 90), (20, 20, -50, 36, np.nan, -1, 180)]


def test_a_truck_that_says_whither_is_followed_around_the_corner() -> None:
    """From the west heading east, to the south heading south: by way of the square's corner."""
    assert judged(TURN, path="straight", **EXACT).visits == ()
    [visit] = judged(TURN, **EXACT).visits
    entered_s, left_s = seconds(visit.entered_ms), seconds(visit.left_ms)
    assert entered_s is not None
    assert left_s is not None
    assert entered_s == pytest.approx(20 - left_s, abs=0.01)
    assert 5 < entered_s < 9


def test_a_truck_that_brakes_is_where_it_would_be() -> None:
    """It drives on at 36 km/h and stands at a light, or it does not say how fast."""
    rows = [(0, -100, 50, 36, np.nan, -1, 90), (20, 20, 50, 0, np.nan, -1, 90)]
    [visit] = judged([*rows, (80, 20, 50)], **EXACT).visits
    assert seconds(visit.entered_ms) == pytest.approx(12.6, abs=0.1)
    [visit] = judged([row[:3] for row in rows], **EXACT).visits
    assert seconds(visit.entered_ms) == pytest.approx(20 * 100 / 120, abs=0.001)


@pytest.mark.parametrize(
    "said",
    [
        ((36, np.nan), (36, 180)),  # one end does not say whither
        ((np.nan, 90), (36, 180)),  # or how fast
        ((36, 270), (36, 180)),  # away from where it went
        ((0, 90), (0, 180)),  # never on its way
    ],
)
def test_what_is_not_said_or_not_believed_leaves_the_path_straight(
    said: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    rows = [
        (*row[:3], speed, np.nan, -1, heading)
        for row, (speed, heading) in zip(TURN, said, strict=True)
    ]
    assert judged(rows, **EXACT).visits == ()


def test_a_dip_of_the_path_into_the_hysteresis_starts_the_hold_anew() -> None:
    # From 45 m deep to 45 m deep by way of 15 m: seen at its ends alone the truck was beyond.
    rows = [(0, 50, -100), (10, 50, 45), (20, 50, 15), (30, 50, 45), (40, 50, -100), (50, 50, -200)]
    assert stays(rows, confirm_s=20) == []
    rows[2] = (20, 50, 25)
    assert len(stays(rows, confirm_s=20)) == 1


def test_a_stay_within_the_hysteresis_is_no_visit() -> None:
    assert stays([(0, 50, -100), (10, 50, 15), (200, 50, 15), (210, 50, -100)], gap_s=600) == []


def test_the_instant_is_the_last_crossing_of_the_true_edge_however_long_ago() -> None:
    rows = [(0, 50, -100), (20, 50, 10), (60, 50, 15), (100, 50, 19), (110, 50, 50), (150, 50, 50)]
    [visit] = judged(rows).visits
    assert seconds(visit.entered_ms) == pytest.approx(20 * 100 / 110, abs=0.001)


def test_an_exit_is_pending_until_it_has_held() -> None:
    inside = [(-100.0, 50.0, 50.0), (-50.0, 50.0, 50.0), (0.0, 50.0, 50.0)]
    out = [(10, 50, -50), (30, 50, -50), (40, 50, -50)]
    back = [(45, 50, 50), (90, 50, 50)]
    assert stays([*inside, *out, *back], confirm_s=35) == [
        (-100, "first_reading", None, "open", "certain")
    ]
    first, second = stays([*inside, *out, *back], confirm_s=34)
    assert first == (-100, "first_reading", 5, "crossing", "certain")
    assert second == (42.5, "crossing", None, "open", "certain")


def test_a_hole_is_outside() -> None:
    hole = [(30, 30), (70, 30), (70, 70), (30, 70)]
    rows = [(0, 10, 50), (60, 10, 50), (100, 50, 50), (200, 50, 50), (240, 90, 50), (300, 90, 50)]
    found = stays(rows, one=fence(SQUARE, hole, hysteresis_m=5))
    assert found == [
        (0, "first_reading", 80, "crossing", "certain"),
        (220, "crossing", None, "open", "certain"),
    ]


def test_first_seen_inside_needs_no_hold() -> None:
    assert stays([(0, 50, 10), (1, 50, -100), (60, 50, -100)]) == [
        (0, "first_reading", 0.091, "crossing", "certain")
    ]


def test_a_stay_has_a_length_even_without_a_hold() -> None:
    """A reading must not confirm what only the path after it could."""
    rows = [(0, 50, -60), (60, 50, -60), (4000, 50, 50)]
    assert stays(rows, confirm_s=0) == []
    [visit] = judged([*rows, (4001, 50, 50)], confirm_s=0).visits
    assert seconds(visit.entered_ms) == 4000
    assert seconds(visit.entered_confirmed_ms) == 4000.001


# Parked trucks.


def parked(hours: float, ignition: int = -1, odometer_km: float = np.nan) -> Rows:
    """5 m outside the south edge, correlated noise of 5 m, every 10 s."""
    noise = np.random.default_rng(7)
    east, north, said = 0.0, 0.0, (odometer_km, ignition)
    rows: list[tuple[float, ...]] = [
        (0, 50, -300, 30, *said),
        (60, 50, -5, 0, *said),
    ]
    for n in range(round(hours * 360)):
        east = 0.95 * east + noise.normal(0, 5 * 0.312)
        north = 0.95 * north + noise.normal(0, 5 * 0.312)
        rows.append((70 + 10 * n, 50 + east, -5 + north, 0, *said))
    return rows


def test_a_truck_parked_near_an_edge_for_eight_hours_does_not_cross() -> None:
    assert judged(parked(8)).transitions == ()
    assert judged(parked(8, ignition=0), confirm_s=0, hysteresis_m=0).transitions == ()
    assert judged(parked(8, 1, 812.5), confirm_s=0, hysteresis_m=0).transitions == ()


def test_the_same_noise_without_a_speed_crosses_unless_hysteresis_holds_it() -> None:
    moving = [(*row[:3],) for row in parked(8)]
    assert len(judged(moving, confirm_s=0, hysteresis_m=0).transitions) > 20
    assert judged(moving).transitions == ()


def test_speed_nought_with_ignition_on_and_an_advancing_odometer_is_no_parking() -> None:
    rows = [(10.0 * n, 50, -100 + 20.0 * n, 0, 100 + 0.1 * n, 1) for n in range(11)]
    assert len(judged(rows).transitions) == 1
    off = [(*row[:5], 0) for row in rows]
    assert judged(off).transitions == ()


def test_a_truck_that_parks_inside_is_confirmed_while_it_stands() -> None:
    rows = [(0, 50, -100, 36), (10, 50, 30, 0), (25, 50, 31, 0), (50, 50, -5, 0), (60, 50, 30, 0)]
    assert stays(rows) == [(7.692, "crossing", None, "open", "certain")]


# Gaps.

IN, OUT, FAR = (50.0, 50.0), (50.0, -60.0), (50.0, -3000.0)


def at(place: tuple[float, float], *times_s: float) -> list[tuple[float, ...]]:
    """Standing there, without a speed said."""
    return [(t, *place) for t in times_s]


def test_a_gap_within_fifty_metres_is_bridged() -> None:
    rows = at(IN, 0, 60) + at((50, 90), 4000, 4060)
    assert stays(rows) == [(0, "first_reading", None, "open", "certain")]


def test_an_odometer_that_advanced_unbridges_a_gap() -> None:
    rows: list[tuple[float, ...]] = [(0, *IN, 0, 10), (60, *IN, 0, 10), (4000, *IN, 0, 10.1)]
    assert stays(rows) == [(0, "first_reading", None, "open", "possible")]
    rows[2] = (4000, *IN, 0, np.nan)
    assert stays(rows) == [(0, "first_reading", None, "open", "certain")]


def test_a_gap_with_both_ends_inside_goes_on_and_is_possible() -> None:
    rows = at((10, 50), 0, 60) + at((90, 50), 4000, 4060) + at(OUT, 4110, 4200)
    [visit] = judged(rows).visits
    assert visit.entered_certainty == "certain"
    assert visit.left_certainty == "possible"  # the weaker end is the visit's certainty
    assert ends(visit)[3:] == ("crossing", "possible")


def test_a_gap_with_one_end_inside_ends_at_the_reading_inside() -> None:
    leaving = at(IN, 0, 60) + at(OUT, 4000, 4060)
    assert stays(leaving) == [(0, "first_reading", 60, "gap", "possible")]
    entering = at(OUT, 0, 60) + at(IN, 4000, 4060)
    assert stays(entering) == [(4000, "gap", None, "open", "possible")]


def test_a_gap_with_no_end_inside_is_nothing() -> None:
    assert stays(at((50, -60), 0, 60) + at((50, 160), 300, 360)) == []


def test_two_kilometres_are_a_gap_however_fast() -> None:
    assert stays(at(FAR, 0) + at(IN, 60, 120)) == [(60, "gap", None, "open", "possible")]


def test_a_truck_that_reports_every_five_minutes_has_possible_visits() -> None:
    rows = (
        at(OUT, 0) + at((30, 50), 300) + at((90, 50), 600) + at((30, 50), 900) + at(OUT, 1200, 1500)
    )
    assert stays(rows, hysteresis_m=5) == [(300, "gap", 900, "gap", "possible")]


def test_a_gap_while_an_exit_is_pending_leaves_the_exit_certain() -> None:
    rows = at(IN, 0, 10) + at(OUT, 20, 30) + at((50, -200), 400, 500)
    [visit] = judged(rows).visits
    assert ends(visit)[3:] == ("crossing", "certain")


# Versions, scope, as_of.


def versions(*made: tuple[float, dict[str, Any]]) -> Fence:
    """Versions by the second from which they hold."""
    return Fence.of(
        replace(
            version(properties.pop("ring", SQUARE), number=n, **properties),
            valid_from_ms=START_MS + round(from_s * 1000),
        )
        for n, (from_s, properties) in enumerate(made, 1)
    )


def test_dwell_runs_on_across_versions_of_unchanged_geometry() -> None:
    one = versions((-1000, {}), (60, {"rules": []}), (120, {"confirm_s": 5}))
    result = judged(at(IN, 0, 50, 100, 150), one)
    assert [ends(v) for v in result.visits] == [(0, "first_reading", None, "open", "certain")]
    spans = [(seconds(v.began_ms), seconds(v.ended_ms), v.fence_version) for v in result.violations]
    assert spans == [(0, 60, 1), (120, None, 3)]


def test_another_geometry_ends_the_visit_and_begins_one() -> None:
    wider = [(-50, -50), (150, -50), (150, 150), (-50, 150)]
    one = versions((-1000, {}), (75, {"ring": wider}))
    result = judged(at(IN, 0, 50, 100), one)
    assert [ends(v) for v in result.visits] == [
        (0, "first_reading", 75, "version", "certain"),
        (75, "version", None, "open", "certain"),
    ]
    assert [v.fence_version for v in result.visits] == [1, 2]


def test_a_fence_drawn_around_a_standing_truck_has_it_inside_from_its_beginning() -> None:
    one = versions((75.5, {}))
    assert stays(at(IN, 0, 50, 100), one=one) == [(75.5, "version", None, "open", "certain")]


def test_a_fence_that_begins_within_a_gap_begins_with_the_next_reading() -> None:
    one = versions((500, {}))
    rows = at((10, 50), 0, 50) + at((90, 50), 1000, 1060)
    assert stays(rows, one=one) == [(1000, "gap", None, "open", "possible")]


@pytest.mark.parametrize(("duration_s", "certainty"), [(31, "certain"), (32, "possible")])
def test_a_fence_that_begins_within_a_pass_is_as_sure_as_the_pass(
    duration_s: int, certainty: str
) -> None:
    rows = [(0, -55, 50), (duration_s, 145, 50), (100, 245, 50)]
    scope = ((START_MS + 15_000, NEVER_MS),)
    for given in ({"one": versions((15, {}))}, {"scope": scope}):
        [visit] = judged(rows, **given).visits
        assert (seconds(visit.entered_ms), visit.left_by) == (15, "crossing")
        assert {visit.entered_certainty, visit.left_certainty, visit.certainty} == {certainty}


def test_scope_begins_and_ends_visits() -> None:
    scope = ((START_MS + 20_000, START_MS + 70_000),)
    assert stays(at(IN, 0, 50, 100), scope=scope) == [(20, "scope", 70, "scope", "certain")]


def test_a_scope_that_ends_in_silence_ends_at_the_last_reading() -> None:
    rows = at(IN, 0, 50)
    near, far = ((START_MS, START_MS + 100_000),), ((START_MS, START_MS + 900_000),)
    assert stays(rows, scope=near) == [(0, "first_reading", 100, "scope", "certain")]
    assert stays(rows, scope=far) == [(0, "first_reading", 50, "gap", "possible")]


def test_as_of_hides_what_came_later() -> None:
    rows = drive(2, 10)
    assert stays(rows, as_of_s=132.4) == []
    assert stays(rows, as_of_s=150) == [(102.5, "crossing", None, "open", "certain")]
    scope = ((START_MS, START_MS + 140_000),)
    assert stays(at(IN, 0, 50, 100), scope=scope, as_of_s=139)[0][3] == "open"
    assert stays(at(IN, 0, 50, 100), scope=scope, as_of_s=140)[0][3] == "scope"


def test_a_fence_that_does_not_bind_sees_nothing() -> None:
    assert judged(at(IN, 0, 50), scope=()).visits == ()
    assert judged(at(IN, 0, 50), scope=((START_MS + 900_000, NEVER_MS),)).visits == ()


def test_readings_of_equal_time_are_ordered_by_digest() -> None:
    rows = [(0.0, *IN), (100.0, *IN), (100.0, *OUT), (200.0, *OUT)]
    last_out = fold(track(rows, [1, 2, 3, 4]), fence(), as_of_ms=START_MS + 10**6)
    assert [ends(v)[2:4] for v in last_out.visits] == [(100, "crossing")]
    last_in = fold(track(rows, [1, 3, 2, 4]), fence(), as_of_ms=START_MS + 10**6)
    assert [ends(v)[3] for v in last_in.visits] == ["crossing"]
    assert last_in.visits[0].left_ms != last_out.visits[0].left_ms
