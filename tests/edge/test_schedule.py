"""What is sent when, decided by values."""

from itertools import pairwise
from random import Random

import pytest

from greenhaul_edge.outbox.writer import LaneView, View
from greenhaul_edge.uplink.schedule import (
    BACKLOG_BLOCK_SIZE,
    BACKLOG_WINDOW_MIN,
    UNACKED_MAX,
    Cut,
    Pace,
    Schedule,
)
from greenhaul_protocols.block import BLOCK_SIZE_MAX
from greenhaul_protocols.ranges import Pair, RangeSet

PACE = Pace(send_window_ms=10_000, resend_after_ms=30_000, unreceipted_max=4 * BLOCK_SIZE_MAX)


def view(last: int, *settled: Pair, lane: int = 1, sent_mark: int | None = None) -> View:
    """Readings 1…last were appended; these ranges of them are settled."""
    unsettled = RangeSet([(1, last)])
    for pair in settled:
        unsettled.remove(*pair)
    mark = last if sent_mark is None else sent_mark
    return View(1, (LaneView(lane, last + 1, mark, unsettled),))


@pytest.fixture
def schedule() -> Schedule:
    """Connected when ten readings were settled long ago."""
    schedule = Schedule(PACE, Random(1))
    schedule.connected(view(10, (1, 10)))
    return schedule


def send(schedule: Schedule, now_ms: int, at: View, size: int = 1000) -> tuple[Cut, int]:
    """The next cut, sent whole; it must be due."""
    cut = schedule.next(now_ms, at)
    assert cut is not None
    return cut, schedule.sent(cut, cut.last, size, now_ms)


def test_live_readings_wait_for_company(schedule: Schedule) -> None:
    assert schedule.next(0, view(11, (1, 10))) is None
    assert schedule.next(9_999, view(14, (1, 10))) is None
    cut, _ = send(schedule, 10_000, view(15, (1, 10)))
    assert (cut.first, cut.last, cut.is_backlog) == (11, 15, False)
    assert schedule.next(10_001, view(15, (1, 10))) is None


def test_an_alarm_does_not_wait_and_asks_for_an_answer(schedule: Schedule) -> None:
    schedule.alarm()
    cut, _ = send(schedule, 0, view(11, (1, 10)))
    assert cut.asks_receipt
    assert schedule.next(1, view(12, (1, 10))) is None


def test_many_live_readings_do_not_wait(schedule: Schedule) -> None:
    cut, _ = send(schedule, 0, view(5_000, (1, 10)))
    assert (cut.first, cut.last) == (11, 5_000)


def test_what_was_not_marked_as_sent_is_not_sent(schedule: Schedule) -> None:
    schedule.alarm()
    cut, _ = send(schedule, 0, view(20, (1, 10), sent_mark=15))
    assert (cut.first, cut.last) == (11, 15)


def test_live_goes_before_backlog() -> None:
    schedule = Schedule(PACE, Random(1))
    schedule.connected(view(1_000))
    cut, key = send(schedule, 0, view(1_000), BACKLOG_WINDOW_MIN)
    assert cut.is_backlog
    assert cut.first == 1
    assert schedule.next(1, view(1_010)) is None  # one window of backlog on the link
    live, _ = send(schedule, 10_001, view(1_010))
    assert (live.first, live.last, live.is_backlog) == (1_001, 1_010, False)
    schedule.acked(key, 50)
    assert schedule.next(10_002, view(1_010)) is None  # the first cut took all of the backlog


def test_sending_stops_at_the_window_and_probes_at_growing_intervals() -> None:
    schedule = Schedule(PACE, Random(1))
    last = 100_000
    schedule.connected(view(last))
    now_ms = 0
    while cut := schedule.next(now_ms, view(last)):
        schedule.acked(schedule.sent(cut, cut.first + 99, BACKLOG_BLOCK_SIZE, now_ms), now_ms)
        now_ms += 10
    assert schedule.unreceipted <= PACE.unreceipted_max
    probes: list[int] = []
    while len(probes) < 5:
        now_ms += 1_000
        assert schedule.next(now_ms, view(last)) is None
        if schedule.take_probe(now_ms):
            probes.append(now_ms)
    gaps = [b - a for a, b in pairwise(probes)]
    assert gaps[0] < gaps[-1]
    assert schedule.unreceipted <= PACE.unreceipted_max


def test_a_block_a_later_receipt_passed_over_is_sent_again(schedule: Schedule) -> None:
    _, key = send(schedule, 10_000 * 0, _alarm(schedule, view(20, (1, 10))))
    schedule.acked(key, 50)
    _, key = send(schedule, 100, _alarm(schedule, view(30, (1, 10))))
    schedule.acked(key, 50)
    after = view(30, (1, 10), (21, 30))
    schedule.receipt(after, 200)
    assert schedule.next(200, after) is None
    schedule.release_overdue(30_000)
    schedule.alarm()
    cut, _ = send(schedule, 30_000, after)
    assert (cut.first, cut.last) == (11, 20)


def _alarm(schedule: Schedule, at: View) -> View:
    schedule.alarm()
    return at


def test_a_lost_link_frees_what_had_no_puback(schedule: Schedule) -> None:
    _, _ = send(schedule, 0, _alarm(schedule, view(20, (1, 10))))
    schedule.disconnected()
    schedule.connected(view(20, (1, 10)))
    cut, _ = send(schedule, 1, view(20, (1, 10)))
    assert (cut.first, cut.last, cut.is_backlog) == (11, 20, True)


def test_what_had_a_puback_waits_for_the_answer_to_the_next_hello(schedule: Schedule) -> None:
    _, key = send(schedule, 0, _alarm(schedule, view(20, (1, 10))))
    schedule.acked(key, 50)
    schedule.disconnected()
    unsettled = view(20, (1, 10))
    schedule.connected(unsettled)
    assert schedule.next(1, unsettled) is None
    schedule.receipt(unsettled, 2, hello_sent_ms=2)
    cut, _ = send(schedule, 3, unsettled)
    assert (cut.first, cut.last) == (11, 20)


def test_unacknowledged_blocks_are_few() -> None:
    schedule = Schedule(Pace(0, 30_000, 1 << 30), Random(1))
    schedule.connected(view(0), receive_max=5)
    for i in range(5):
        send(schedule, i, view(i + 1))
    assert schedule.next(9, view(9)) is None
    assert UNACKED_MAX >= 5


def test_bulk_travels_behind_everything() -> None:
    schedule = Schedule(PACE, Random(1))
    lanes = View(1, view(50, lane=0).lanes + view(20).lanes)
    schedule.connected(lanes)
    first, key = send(schedule, 0, lanes)
    assert first.lane == 1
    schedule.acked(key, 50)
    assert send(schedule, 1, lanes)[0].lane == 0


def test_an_answer_to_a_hello_tells_what_was_lost_on_the_same_link(schedule: Schedule) -> None:
    _, key = send(schedule, 0, _alarm(schedule, view(20, (1, 10))))
    schedule.acked(key, 10)
    unsettled = view(20, (1, 10))
    assert not schedule.take_probe(20_000)
    assert schedule.take_probe(40_000)
    schedule.receipt(unsettled, 40_300)  # one that was on its way already
    assert schedule.next(40_400, unsettled) is None
    schedule.receipt(unsettled, 41_000, hello_sent_ms=40_000)
    cut, _ = send(schedule, 41_001, _alarm(schedule, unsettled))
    assert (cut.first, cut.last) == (11, 20)


def test_the_backlog_window_follows_what_the_link_bears() -> None:
    schedule = Schedule(Pace(10_000, 30_000, 1 << 30), Random(1))
    at = view(1_000_000)
    schedule.connected(at)

    def in_flight(now_ms: int, took_ms: int) -> int:
        keys = []
        while cut := schedule.next(now_ms, at):
            keys.append(schedule.sent(cut, cut.first + 9, cut.size_max, now_ms))
        for key in keys:
            schedule.acked(key, now_ms + took_ms)
        return len(keys) * BACKLOG_BLOCK_SIZE

    quick = [in_flight(i * 1_000, 100) for i in range(20)]
    assert quick[-1] > quick[0]
    slow = [in_flight(50_000 + i * 1_000, 900) for i in range(40)]
    assert slow[-1] <= BACKLOG_WINDOW_MIN
