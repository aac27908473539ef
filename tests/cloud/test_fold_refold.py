"""A refold reads only a neighbourhood, keeps ids, and says what it changed."""

import random

import numpy as np
from tests.cloud.fold_cases import (
    AS_OF_MS,
    START_MS,
    Kept,
    degrees,
    fence,
    random_track,
    seconds,
    track,
)

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence
from greenhaul_cloud.fold.fold import fold
from greenhaul_cloud.fold.matching import match
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.visits import transitions_of, visits_of
from greenhaul_cloud.fold.windows import Window, windows_of


def shuttle(days: float) -> Track:
    """In and out of the square along one street, ten minutes a round, a reading every 10 s."""
    time_s = np.arange(0, days * 86_400, 10.0)
    north = 50 + 1500 * np.sin(time_s / 600 * 2 * np.pi)
    longitude, latitude = degrees(50.0, 0.0)
    _, above = degrees(50.0, 1.0)
    return Track.of(
        START_MS + np.round(time_s * 1000),
        latitude + north * (above - latitude),
        np.full(len(time_s), longitude),
        speed_kmh=np.full(len(time_s), 40.0),
        digest=np.arange(len(time_s)),
    )


def stored(whole: Track, one: Fence) -> tuple[Kept, dict[str, tuple[Window, ...]], FenceIndex]:
    """A store that has folded a track."""
    kept, windows, index = Kept(), {"f": windows_of(one)}, FenceIndex(one.versions)
    kept.commit(whole, windows, index)
    return kept, windows, index


def test_one_late_reading_refolds_only_its_neighbourhood() -> None:
    whole = shuttle(days=7)
    one = fence(confirm_s=1, hysteresis_m=5)
    late = len(whole) // 2
    is_late = np.arange(len(whole)) == late
    kept, windows, index = stored(whole.take(~is_late), one)
    assert len(kept.says()[0]) > 1000
    result = kept.commit(whole.take(is_late), windows, index)
    assert 0 < result.readings_read < 300
    scratch = fold(whole, one, as_of_ms=AS_OF_MS)
    assert kept.says() == (list(scratch.visits), list(scratch.violations))


def test_a_live_reading_of_a_truck_parked_for_days_reads_little() -> None:
    rows = [(0.0, 50.0, -100.0, 30.0)]
    rows += [(60.0 + 30 * n, 50, 50, 0) for n in range(3 * 2880)]
    kept, windows, index = stored(track(rows), fence())
    live = track([(rows[-1][0] + 30, 50, 51, 0)], [10**6])
    assert kept.commit(live, windows, index).readings_read < 100


def test_a_fence_far_away_is_not_reported_as_changed() -> None:
    kept, _, _ = stored(shuttle(0.05), fence([(9000, 0), (9100, 0), (9100, 100)]))
    assert kept.last.fences == {}
    assert kept.says() == ([], [])


def test_folding_the_same_again_changes_nothing() -> None:
    whole = shuttle(0.1)
    kept, windows, index = stored(whole, fence(confirm_s=1, hysteresis_m=5))
    changes = [(START_MS, START_MS + 10**7)]
    result = kept.fold_in(changes, windows, index)
    for outcome in result.fences.values():
        assert outcome.visits.is_unchanged
        assert outcome.violations.is_unchanged


def test_an_amended_visit_keeps_its_id_and_says_what_it_was() -> None:
    rows = [(0.0, 50.0, -100.0), (60.0, 50.0, 50.0), (120.0, 50.0, 50.0)]
    kept, windows, index = stored(track(rows), fence())
    [(visit_id, was)] = kept.folds["f"].visits
    [(violation_id, _)] = kept.folds["f"].violations
    outcome = kept.commit(track([(30, 50, -95)], [99]), windows, index).fences["f"]
    [amendment] = outcome.visits.amended
    assert (amendment.id, amendment.was, amendment.why) == (visit_id, was, "new readings")
    assert set(amendment.changed) == {"entered_ms"}
    assert [a.id for a in outcome.violations.amended] == [violation_id]
    assert (outcome.visits.added, outcome.visits.withdrawn) == ((), ())
    assert [rule for rule, _ in outcome.evidence] == ["no_entry"]


def test_a_visit_that_proves_none_is_withdrawn() -> None:
    rows = [(0.0, 50.0, -100.0), (20.0, 50.0, 50.0), (60.0, 50.0, 50.0), (80.0, 50.0, -100.0)]
    kept, windows, index = stored(track(rows), fence())
    [(visit_id, _)] = kept.folds["f"].visits
    outcome = kept.commit(track([(40, 50, 10)], [99]), windows, index).fences["f"]
    assert [withdrawn for withdrawn, _ in outcome.visits.withdrawn] == [visit_id]
    assert len(outcome.violations.withdrawn) == 1
    assert kept.says() == ([], [])


def test_two_visits_joined_by_a_late_reading_keep_the_id_of_the_longer() -> None:
    rows = [(0.0, 50.0, 50.0), (100.0, 50.0, 50.0), (110.0, 50.0, -50.0), (150.0, 50.0, -50.0)]
    rows += [(160.0, 50.0, 50.0), (200.0, 50.0, 50.0)]
    kept, windows, index = stored(track(rows), fence())
    (first_id, _), (second_id, _) = kept.folds["f"].visits
    outcome = kept.commit(track([(130, 50, 10)], [99]), windows, index).fences["f"]
    [amendment] = outcome.visits.amended
    assert (amendment.id, seconds(amendment.now.entered_ms)) == (first_id, 0)
    assert [gone for gone, _ in outcome.visits.withdrawn] == [second_id]


def test_what_only_the_fold_sees_is_retold_and_not_amended() -> None:
    rows = [(0.0, 50.0, -100.0), (10.0, 50.0, 15.0), (60.0, 50.0, 45.0), (120.0, 50.0, 50.0)]
    kept, windows, index = stored(track(rows), fence())
    outcome = kept.commit(track([(50, 50, 16)], [99]), windows, index).fences["f"]
    assert len(outcome.visits.retold) == 1
    assert outcome.visits.amended == ()
    assert outcome.violations.is_unchanged


def test_violations_are_matched_within_their_rule() -> None:
    rules = [{"rule": "no_entry"}, {"rule": "speed_limit", "limit_kmh": 50}]
    rows = [(10.0 * n, 40 + n % 3, 50, 60) for n in range(10)]
    found = fold(track(rows), fence(rules=rules), as_of_ms=AS_OF_MS).violations
    entry, speed = found
    assert match([(1, entry)], [speed], "test").withdrawn == ((1, entry),)


def test_transitions_can_be_told_from_visits() -> None:
    for seed in range(40):
        result = fold(random_track(random.Random(seed), 40), fence(), as_of_ms=AS_OF_MS)
        assert transitions_of(result.visits) == list(result.transitions)
        assert visits_of(result.transitions, lambda _: 1) == list(result.visits)


def test_what_deleted_readings_said_stands() -> None:
    whole = shuttle(0.2)
    kept, windows, index = stored(whole, fence(confirm_s=1, hysteresis_m=5))
    before = kept.says()
    oldest_ms = START_MS + 10_000_000
    kept.track = kept.track.between(oldest_ms, AS_OF_MS)
    changes = [(oldest_ms, AS_OF_MS)]
    kept.fold_in(changes, windows, index, frozen_before_ms=oldest_ms)
    assert kept.says() == before
    kept.track = Track.empty()
    kept.fold_in(changes, windows, index, frozen_before_ms=AS_OF_MS)
    assert kept.says() == before
