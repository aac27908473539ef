"""Rules on hand-made visits: exact instants, certainties, evidence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.cloud.fold_cases import AS_OF_MS, SQUARE, START_MS, fence, seconds, track, version

from greenhaul_cloud.fences.model import Fence
from greenhaul_cloud.fold.evidence import EVIDENCE_MAX, evidence_of
from greenhaul_cloud.fold.fold import fold
from greenhaul_cloud.fold.intervals import Violation
from greenhaul_cloud.fold.windows import next_border_ms, windows_of
from greenhaul_cloud.rules.speeding import runs_above

LIMIT = {"rule": "speed_limit", "limit_kmh": 50}


def violations(rows: Sequence[tuple[float, ...]], **properties: Any) -> list[Violation]:
    """Violations of a hand-made track."""
    return list(fold(track(rows), fence(**properties), as_of_ms=AS_OF_MS).violations)


def spans(found: list[Violation]) -> list[tuple[float | None, float | None]]:
    """(began, ended) in seconds."""
    return [(seconds(v.began_ms), seconds(v.ended_ms)) for v in found]


def speeds(*values: float, every_s: float = 10.0) -> list[tuple[float, ...]]:
    """Going round inside, a reading every ten seconds with these speeds."""
    return [(every_s * n, 40 + n % 3, 50, value) for n, value in enumerate(values)]


def test_speeding_begins_and_ends_where_the_line_between_readings_says() -> None:
    [violation] = violations(speeds(40, 60, 70, 30, 30), rules=[LIMIT])
    assert spans([violation]) == [(5, 25)]
    assert violation.detail == {"limit_kmh": 50, "max_kmh": 70}
    assert violation.certainty == "certain"


def test_speeding_shorter_than_its_time_is_none() -> None:
    rows = speeds(40, 60, 40, 40)
    assert spans(violations(rows, rules=[LIMIT])) == [(5, 15)]
    assert violations(rows, rules=[{**LIMIT, "for_s": 10.1}]) == []


def test_the_limit_itself_is_allowed() -> None:
    assert violations(speeds(50, 50, 50, 50), rules=[LIMIT]) == []


def test_a_reading_at_the_limit_parts_two_runs() -> None:
    rows = speeds(60, 60, 50, 60, 60, 40)
    assert spans(violations(rows, rules=[LIMIT])) == [(0, 20), (20, 45)]


def test_an_unknown_speed_is_not_drawn_over() -> None:
    rows = speeds(60, 60, 60, np.nan, 60, 60, 40)
    assert spans(violations(rows, rules=[LIMIT])) == [(0, 20), (40, 55)]


def test_speed_is_not_drawn_over_a_gap() -> None:
    rows = [(0, 40, 50, 60), (20, 50, 50, 60), (1000, 99, 10, 60), (1030, 99, 10, 60)]
    found = violations([*rows, (1040, 99, 10, 40)], rules=[LIMIT])
    assert spans(found) == [(0, 20), (1000, 1035)]


def test_speeding_is_cut_to_the_visit() -> None:
    rows = [(10.0 * n, -205 + 20.0 * 10 * n / 10, 50, 72) for n in range(40)]
    [violation] = violations(rows, rules=[LIMIT], confirm_s=0)
    assert spans([violation]) == [(102.5, 152.5)]


def test_speeding_at_the_last_reading_is_still_open() -> None:
    [violation] = violations(speeds(40, 60, 60), rules=[LIMIT])
    assert spans([violation]) == [(5, None)]


# Inside until 22.5 s, 60 m out and fast at 30 s; the exit is confirmed at 60 s.
LEAVING = [(0.0, 50, 50, 40), (10.0, 60, 50, 40), (20.0, 80, 50, 40), (30.0, 160, 50, 80)]
GONE = [(t, 160.0, 50.0, 80.0) for t in (40.0, 50.0, 60.0)]
BACK = [(40.0, 80.0, 50.0, 80.0), (50.0, 60.0, 50.0, 40.0)]
DWELL = {"rule": "max_dwell", "limit_s": 28}


def test_what_lies_past_an_exit_waits_until_it_is_confirmed() -> None:
    rules = [LIMIT, DWELL]
    for seen in range(len(LEAVING), len(LEAVING) + len(GONE) + 1):
        assert violations([*LEAVING, *GONE][:seen], rules=rules) == []
    found = violations([*LEAVING, *BACK], rules=rules)
    # it only looked like leaving: all of it counts, from where it began
    assert [(v.rule, seconds(v.began_ms)) for v in found] == [
        ("speed_limit", 22.5),
        ("max_dwell", 28),
    ]


def test_what_began_before_an_exit_is_open_until_it_is_confirmed() -> None:
    fast = [(t, x, y, 80.0) for t, x, y, _ in LEAVING]
    early = {**DWELL, "limit_s": 15}
    found = violations(fast, rules=[LIMIT, early])
    assert [(v.rule, seconds(v.began_ms), v.ended_ms) for v in found] == [
        ("speed_limit", 0, None),
        ("max_dwell", 15, None),
    ]
    assert found[0].detail["max_kmh"] == 80
    ends = [v.ended_ms for v in violations([*fast, *GONE], rules=[LIMIT, early])]
    assert [seconds(end) for end in ends] == [22.5, 22.5]


def test_a_run_cut_off_by_a_gap_is_possible() -> None:
    inside = [(0, 50, 50, 60), (20, 50, 50, 60)]
    [violation] = violations([*inside, (1000, 50, -500, 60), (1100, 50, -600, 60)], rules=[LIMIT])
    assert (spans([violation]), violation.certainty) == ([(0, 20)], "possible")


def test_speeding_names_the_version_whose_limit_it_breaks() -> None:
    strict = version(SQUARE, number=2, rules=[{**LIMIT, "limit_kmh": 30}])
    one = Fence.of([version(rules=[LIMIT]), replace(strict, valid_from_ms=START_MS + 25_000)])
    found = fold(track(speeds(40, 40, 40, 40, 40, 40, 20)), one, as_of_ms=AS_OF_MS).violations
    assert [(v.fence_version, *spans([v])[0]) for v in found] == [(2, 25, 55)]


def test_a_rule_that_will_end_has_not_ended_yet() -> None:
    lifted = replace(version(SQUARE, number=2, rules=[]), valid_from_ms=START_MS + 100_000)
    one = Fence.of([version(), lifted])
    whole = track([(0, 50, 50), (60, 50, 50)])
    [before] = fold(whole, one, as_of_ms=START_MS + 99_999).violations
    [after] = fold(whole, one, as_of_ms=START_MS + 100_000).violations
    assert spans([before, after]) == [(0, None), (0, 100)]
    assert next_border_ms(windows_of(one), START_MS) == START_MS + 100_000


def test_presence_breaks_no_entry_from_the_first_instant_known() -> None:
    [violation] = violations([(3, 50, 50), (10, 50, 50), (60, 50, 50)])
    assert (violation.rule, *spans([violation])[0]) == ("no_entry", 3, None)


def test_presence_that_is_only_possible_breaks_no_entry_possibly() -> None:
    [violation] = violations([(0, 50, -60), (60, 50, -60), (4000, 50, 50), (4060, 50, 50)])
    assert (seconds(violation.began_ms), violation.certainty) == (4000, "possible")


def test_runs_above_are_those_of_a_finely_sampled_line() -> None:
    rng = np.random.default_rng(3)
    time_ms = np.cumsum(rng.integers(1, 20, 60)) * 100
    speed_kmh = rng.uniform(30, 70, 60)
    runs = runs_above(time_ms, speed_kmh, np.ones(59, bool), 50)
    fine_ms = np.arange(time_ms[0], time_ms[-1])
    is_above = np.interp(fine_ms, time_ms, speed_kmh) > 50
    within = np.zeros(len(fine_ms), bool)
    for low, high in runs:
        within |= (fine_ms >= low) & (fine_ms < high)
    edges = np.concatenate([np.abs(fine_ms - edge) <= 1 for run in runs for edge in run]).reshape(
        -1, len(fine_ms)
    )
    assert ((is_above == within) | edges.any(axis=0)).all()


def test_evidence_shows_a_bounded_number_of_positions_around_the_beginning() -> None:
    rows = [(5.0 * n, 50, -100 + 10.0 * n, 36) for n in range(60)]
    whole = track(rows)
    [violation] = fold(whole, fence(), as_of_ms=AS_OF_MS).violations
    evidence = evidence_of(whole, violation)
    assert evidence["geometry"]["type"] == "MultiPoint"
    assert len(evidence["geometry"]["coordinates"]) <= EVIDENCE_MAX
    north = [latitude for _, latitude in evidence["geometry"]["coordinates"]]
    south_edge = fence().versions[0].area.bounds[1]
    assert [latitude >= south_edge - 1e-9 for latitude in north[:4]] == [False, False, True, True]
    assert len(evidence["properties"]["device_times"]) == len(north)


def test_evidence_of_a_long_silence_is_what_there_is() -> None:
    whole = track([(0, 50, 50)])
    [violation] = fold(whole, fence(), as_of_ms=AS_OF_MS).violations
    assert len(evidence_of(whole, violation)["geometry"]["coordinates"]) == 1
    assert evidence_of(whole, violation)["properties"]["speeds_kmh"] == [None]


@pytest.mark.parametrize("rules", [[], [LIMIT]])
def test_a_visit_that_breaks_no_rule_has_no_violation(rules: list[dict[str, Any]]) -> None:
    assert violations(speeds(10, 10, 10), rules=rules) == []
