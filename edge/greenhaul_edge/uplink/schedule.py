"""What to send next, as decisions: live first, backlog behind, one window, a time to probe.

No network, no file, no clock: the caller brings the time and says what happened.

A *flight* is a block that was sent and is not settled. Its range is not sent again until the wire
loses it or a receipt shows that it did not arrive. When no receipt comes, it is asked for with a
hello, which costs the broker's queue nothing.
"""

from dataclasses import dataclass
from random import Random

from greenhaul_edge.outbox.writer import LaneView, View
from greenhaul_protocols.block import BLOCK_SIZE_MAX
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.topics import LANE_BULK

# Backlog travels in blocks of at least this size, and only a window of it without a PUBACK. The
# window begins here and follows what the link bears: it grows while PUBACKs come nearly as quickly
# as the quickest did, and shrinks when they wait behind our own bytes, as a live block would. The
# least keeps 256 kbit/s busy over a way of 300 ms (10 kB), and a live block's wait behind it and
# one block more, with the way there and back, under a second.
BACKLOG_BLOCK_SIZE = 5 * 1024
BACKLOG_WINDOW_MIN, BACKLOG_WINDOW_MAX = 15 * 1024, 512 * 1024
WAIT_MS_GOOD, WAIT_MS_BAD = 30, 120
# Blocks without a PUBACK; a broker may allow fewer.
UNACKED_MAX = 20
# A live block goes out before its window ends once so many readings wait for it.
LIVE_READINGS_MAX = 2_000
# Every block is answered within a minute, says the protocol; then the collector is asked.
ANSWER_MS_MAX = 60_000
PROBE_INTERVAL_MS_MAX = 300_000


@dataclass(frozen=True, slots=True)
class Pace:
    """The settings that matter here."""

    send_window_ms: int = 10_000
    resend_after_ms: int = 30_000
    unreceipted_max: int = 1 << 20  # bytes sent and not settled


@dataclass(frozen=True, slots=True)
class Cut:
    """A block to make: from `first`, as many up to `last` as fit `size_max`."""

    lane: int
    first: int
    last: int
    size_max: int
    is_backlog: bool
    asks_receipt: bool


@dataclass(slots=True)
class _Flight:
    cut: Cut
    last: int
    size: int
    sent_ms: int
    order: int
    connection: int
    is_acked: bool = False


class Schedule:
    """Plans one gateway's sending. Times are milliseconds of any steady clock."""

    def __init__(self, pace: Pace, random: Random) -> None:
        self._pace, self._random = pace, random
        self._flights: dict[int, _Flight] = {}
        self._order = 0
        self._connection = 0
        self._unacked_max = UNACKED_MAX
        self._size_max = BLOCK_SIZE_MAX
        self._backlog_window = BACKLOG_WINDOW_MIN
        self._quickest_ms: int | None = None
        self._backlog_last: dict[int, int] = {}
        self._live_since_ms: dict[int, int] = {}
        self._settled_order: dict[int, int] = {}
        self._is_alarm = False
        self._probe_interval_ms = 0
        self._probe_at_ms: int | None = None

    @property
    def unreceipted(self) -> int:
        """Bytes sent and not settled."""
        return sum(flight.size for flight in self._flights.values())

    def connected(
        self, view: View, receive_max: int | None = None, size_max: int = BLOCK_SIZE_MAX
    ) -> None:
        """A new connection: what waits now is backlog, what comes now is live.

        receive_max, size_max: blocks without a PUBACK and bytes of one that the broker allows.
        """
        self._connection += 1
        self._unacked_max = max(1, min(UNACKED_MAX, receive_max or UNACKED_MAX))
        self._size_max = size_max
        self._backlog_window, self._quickest_ms = BACKLOG_WINDOW_MIN, None
        self._backlog_last = {lane.lane: lane.next - 1 for lane in view.lanes}
        self._live_since_ms.clear()

    def disconnected(self) -> None:
        """Blocks without a PUBACK are lost; of the others a receipt will tell."""
        self._flights = {key: one for key, one in self._flights.items() if one.is_acked}
        self._probe_at_ms = None

    def begin_again(self) -> None:
        """A new epoch: nothing that was sent counts."""
        self._flights.clear()
        self._settled_order.clear()
        self._backlog_last.clear()

    def alarm(self) -> None:
        """What waits is to be sent at once."""
        self._is_alarm = True

    def next(self, now_ms: int, view: View) -> Cut | None:
        """The next block to send now, or None."""
        unacked = [one for one in self._flights.values() if not one.is_acked]
        if len(unacked) >= self._unacked_max:
            return None
        room = self._pace.unreceipted_max - self.unreceipted
        live = self._live(now_ms, view)
        if live and (room >= BLOCK_SIZE_MAX or not self._flights):
            return live
        backlog_unacked = sum(one.size for one in unacked if one.cut.is_backlog)
        is_slow = backlog_unacked >= self._backlog_window
        # What a live block may need is kept free.
        is_tight = room < BLOCK_SIZE_MAX + 2 * BACKLOG_BLOCK_SIZE
        if is_slow or (is_tight and self._flights):
            return None
        return self._backlog(view)

    def sent(self, cut: Cut, last: int, size: int, now_ms: int) -> int:
        """The block was given to the wire; a key for `acked`."""
        self._order += 1
        self._flights[self._order] = _Flight(cut, last, size, now_ms, self._order, self._connection)
        if not cut.is_backlog and last >= cut.last:
            self._live_since_ms.pop(cut.lane, None)
            self._is_alarm = False
        patient_ms = now_ms + self._patience_ms()
        if self._probe_at_ms is None:
            self._probe_at_ms = patient_ms
        elif not self._probe_interval_ms:
            self._probe_at_ms = min(self._probe_at_ms, patient_ms)
        return self._order

    def acked(self, key: int, now_ms: int) -> None:
        """The broker has the block."""
        flight = self._flights.get(key)
        if flight is None or flight.is_acked:
            return
        flight.is_acked = True
        took_ms = now_ms - flight.sent_ms
        self._quickest_ms = min(took_ms, self._quickest_ms or took_ms)
        if not flight.cut.is_backlog:
            return
        waited_ms = took_ms - self._quickest_ms
        if waited_ms <= WAIT_MS_GOOD:
            grown = self._backlog_window + flight.size // 2
            self._backlog_window = min(grown, BACKLOG_WINDOW_MAX)
        elif waited_ms > WAIT_MS_BAD:
            self._backlog_window = max(self._backlog_window * 3 // 4, BACKLOG_WINDOW_MIN)

    def refused(self, key: int) -> None:
        """The broker did not take the block: it will be sent again."""
        self._flights.pop(key, None)

    def oldest_unacked_ms(self) -> int | None:
        """When the oldest block without a PUBACK was sent."""
        return min(
            (one.sent_ms for one in self._flights.values() if not one.is_acked), default=None
        )

    def receipt(self, view: View, now_ms: int, *, hello_sent_ms: int | None = None) -> None:
        """A receipt was taken in. hello_sent_ms: it answers a hello sent then on this connection.

        Such an answer tells all: what was sent before the hello and is not settled was lost, for
        the hello came behind it. Only lanes other than the hello's may still be on their way.
        """
        unsettled = {lane.lane: lane.unsettled for lane in view.lanes}
        for key, flight in list(self._flights.items()):
            lane = flight.cut.lane
            missing = unsettled.get(lane, RangeSet()).overlap(flight.cut.first, flight.last)
            if not missing:
                del self._flights[key]
                before = self._settled_order.get(lane, 0)
                self._settled_order[lane] = max(before, flight.order)
            elif hello_sent_ms is not None and self._was_lost(flight, hello_sent_ms, now_ms):
                del self._flights[key]
        self._probe_interval_ms = 0
        self._probe_at_ms = now_ms + self._patience_ms() if self._flights else None
        self.release_overdue(now_ms)

    def _was_lost(self, flight: _Flight, hello_sent_ms: int, now_ms: int) -> bool:
        if flight.connection < self._connection:
            return True
        is_patient = now_ms - flight.sent_ms >= self._pace.resend_after_ms
        was_before = flight.is_acked and flight.sent_ms < hello_sent_ms
        return was_before and is_patient

    def release_overdue(self, now_ms: int) -> None:
        """Send again what a later receipt of its lane passed over."""
        for key, flight in list(self._flights.items()):
            was_passed = flight.order < self._settled_order.get(flight.cut.lane, 0)
            if was_passed and now_ms - flight.sent_ms >= self._pace.resend_after_ms:
                del self._flights[key]

    def take_probe(self, now_ms: int) -> bool:
        """Whether nobody answered for so long that it is time to ask; then again later."""
        if self._probe_at_ms is None or now_ms < self._probe_at_ms or not self._flights:
            return False
        grown_ms = max(2 * self._probe_interval_ms, self._pace.resend_after_ms)
        self._probe_interval_ms = min(grown_ms, PROBE_INTERVAL_MS_MAX)
        self._probe_at_ms = now_ms + round(self._probe_interval_ms * self._random.uniform(0.7, 1.3))
        return True

    def wake_ms(self, now_ms: int) -> int:
        """When to look again if nothing happens.

        What is due already and was not sent waits for a PUBACK or a receipt, not for a time.
        """
        times = [at + self._pace.send_window_ms for at in self._live_since_ms.values()]
        if self._probe_at_ms is not None:
            times.append(self._probe_at_ms)
        ahead = [at_ms for at_ms in times if at_ms > now_ms]
        return min([*ahead, now_ms + self._pace.resend_after_ms])

    def _unsent(self, lane: LaneView) -> RangeSet:
        ranges = lane.unsettled.copy()
        if ranges.last > lane.sent_mark:
            ranges.remove(lane.sent_mark + 1, ranges.last)
        for flight in self._flights.values():
            if flight.cut.lane == lane.lane:
                ranges.remove(flight.cut.first, flight.last)
        return ranges

    def _live(self, now_ms: int, view: View) -> Cut | None:
        for lane in view.lanes:
            if lane.lane == LANE_BULK:
                continue
            ranges = self._unsent(lane).overlap(self._backlog_last.get(lane.lane, 0) + 1, lane.next)
            if not ranges:
                self._live_since_ms.pop(lane.lane, None)
                continue
            since_ms = self._live_since_ms.setdefault(lane.lane, now_ms)
            is_due = now_ms - since_ms >= self._pace.send_window_ms
            count = sum(last - first + 1 for first, last in ranges)
            if is_due or self._is_alarm or count >= LIVE_READINGS_MAX:
                first, last = ranges[0]
                asks = self._is_alarm or self._is_tight()
                return Cut(lane.lane, first, last, self._size_max, False, asks)
        return None

    def _backlog(self, view: View) -> Cut | None:
        # Lane 0 is bulk: after everything else.
        for lane in sorted(view.lanes, key=lambda one: (one.lane == LANE_BULK, one.lane)):
            end = lane.next if lane.lane == LANE_BULK else self._backlog_last.get(lane.lane, 0)
            ranges = self._unsent(lane).overlap(1, end)
            if ranges:
                first, last = ranges[0]
                asks = self._is_tight() or len(ranges) == 1
                size = max(BACKLOG_BLOCK_SIZE, self._backlog_window // 4)
                return Cut(lane.lane, first, last, min(size, self._size_max), True, asks)
        return None

    def _is_tight(self) -> bool:
        """Whether to ask for an answer, so that it comes before the window is full."""
        return self.unreceipted >= self._pace.unreceipted_max // 4

    def _patience_ms(self) -> int:
        was_asked = any(one.cut.asks_receipt for one in self._flights.values())
        return self._pace.resend_after_ms + (0 if was_asked else ANSWER_MS_MAX)
