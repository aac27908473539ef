"""The uplink's thread: supervises connections, sends what the schedule says, takes receipts."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Protocol

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.chunks import DamagedChunk
from greenhaul_edge.outbox.receipts import Ignored, OldImage, Settlement
from greenhaul_edge.outbox.writer import Outbox, View
from greenhaul_edge.uplink.cutter import CutBlock, Cutter
from greenhaul_edge.uplink.schedule import Cut, Pace, Schedule
from greenhaul_edge.uplink.wire import Acked, Arrived, Closed, Connected, WireEvent, presence
from greenhaul_protocols.block import BLOCK_SIZE_MAX, BlockHeader, wrap_block
from greenhaul_protocols.errors import DecodeError, Unavailable
from greenhaul_protocols.receipt import Receipt, decode_receipt
from greenhaul_protocols.times import format_time
from greenhaul_protocols.topics import LANE_LIVE, state_topic, up_topic

log = logging.getLogger(__name__)

# Reconnecting: decorrelated jitter between these; refused credentials wait longer, so that a wrong
# password does not get a shared address banned.
BACKOFF_S_MIN, BACKOFF_S_MAX, REFUSED_S_MIN = 0.5, 60.0, 15.0
# A hello without an answer is sent again, at growing intervals.
HELLO_MS_MIN, HELLO_MS_MAX = 5_000, 120_000
# After a PUBACK with a failure nothing is sent for a while, growing with each.
REFUSED_MS_MIN, REFUSED_MS_MAX = 500, 60_000
# The cloud's time is taken only from an answer this quick: half of it is the error.
ROUND_TRIP_MS_MAX = 2_000
# How long an outbox commit may take before the uplink calls it hung.
COMMIT_TIMEOUT_S = 60.0


class Wire(Protocol):
    """One connection to the broker."""

    def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> int:
        """Send at QoS 1; the number its PUBACK will carry. Raises Unavailable."""

    def close(self, farewell: bytes | None = None) -> None:
        """End the connection; farewell: presence to leave behind."""


# Opens connection number n, reporting events from its own thread.
MakeWire = Callable[[int, Callable[[WireEvent], None]], Wire]
# The cloud's UTC in milliseconds, and the monotonic moment it was right.
OnServerTime = Callable[[int, int], None]


class Uplink:
    """Delivers the outbox. Nothing but the hello goes out after a start until it is answered."""

    def __init__(
        self,
        outbox: Outbox,
        outbox_file: Path,
        clock: Clock,
        make_wire: MakeWire,
        *,
        pace: Pace,
        ack_timeout_s: float = 20.0,
        on_server_time: OnServerTime = lambda _utc_ms, _at_ms: None,
        about: Mapping[str, str] | None = None,
        random: Random | None = None,
    ) -> None:
        self._outbox, self._outbox_file, self._clock = outbox, outbox_file, clock
        self._make_wire, self._on_server_time = make_wire, on_server_time
        self._about = dict(about or {})  # stands in the gateway's presence
        self._ack_timeout_ms = round(ack_timeout_s * 1000)
        self._random = random or Random()
        self._schedule = Schedule(pace, self._random)
        self._events: queue.SimpleQueue[WireEvent | None] = queue.SimpleQueue()
        self._is_noted = False  # a wake-up after a commit is in the queue
        self._has_alarm = False
        self._is_stopping = False
        self._wire: Wire | None = None
        self._connection = 0
        self._is_connected = False
        self._is_gate_open = False
        self._connect_at_ms = 0
        self._backoff_s = BACKOFF_S_MIN
        self._hello_sent_ms: int | None = None
        self._hello_at_ms: int | None = None
        self._hello_interval_ms = HELLO_MS_MIN
        self._send_at_ms = self._refusals = 0  # after PUBACKs that said no
        self._messages: dict[int, int | None] = {}  # PUBACK number to flight; None: a hello
        self._cutter: Cutter | None = None
        self._link = "not connected yet"
        self._receipt_at_ms: int | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.sent_blocks = self.sent_bytes = self.receipts = self.failures = 0
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the broker in good order."""
        self._is_stopping = True
        self._events.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def note_commit(self, has_alarm: bool) -> None:
        """There is something to send; called by the outbox's writer."""
        self._has_alarm |= has_alarm
        if not self._is_noted:
            self._is_noted = True
            self._events.put(None)

    def state(self) -> Mapping[str, str | int | None]:
        """Link and cloud as two different things, and counters."""
        receipt_at = self._receipt_at_ms
        return {
            "link": self._link,
            "cloud": "answers" if self._is_gate_open else "no answer yet",
            "last_receipt_at": None if receipt_at is None else format_time(receipt_at),
            "sent_blocks": self.sent_blocks,
            "sent_bytes": self.sent_bytes,
            "receipts": self.receipts,
            "failures": self.failures,
            "unreceipted_bytes": self._schedule.unreceipted,
        }

    # The rest runs in the uplink's thread.

    def _run(self) -> None:
        self._cutter = Cutter(self._outbox_file)
        while not self._is_stopping:
            try:
                self._turn()
            except Exception:
                log.exception("uplink: a turn failed; connecting again")
                self._drop("a turn failed")
        if self._wire is not None:
            self._wire.close(presence(False, at=format_time(self._clock.now_ms())))
        self._cutter.close()

    def _turn(self) -> None:
        now_ms = self._now_ms()
        if self._wire is None and now_ms >= self._connect_at_ms:
            self._connection += 1
            self._wire = self._make_wire(self._connection, self._events.put)
        event = self._next_event(now_ms)
        if self._wire is None:
            event = None  # the echo of a wire that was closed
        match event:
            case Connected(connection=self._connection, receive_max=receive_max):
                self._connected(receive_max)
            case Closed(connection=self._connection, reason=reason, is_refused=is_refused):
                self._drop(reason, is_refused=is_refused)
            case Acked(connection=self._connection):
                self._acked(event)
            case Arrived(connection=self._connection):
                self._arrived(event)
        if self._is_connected:
            self._send(self._now_ms())

    def _next_event(self, now_ms: int) -> WireEvent | None:
        if self._wire is None:
            wake_ms = self._connect_at_ms
        elif self._is_connected:
            wake_ms = min(self._schedule.wake_ms(now_ms), self._hello_at_ms or now_ms + 60_000)
            if self._send_at_ms > now_ms:
                wake_ms = min(wake_ms, self._send_at_ms)
            oldest_ms = self._oldest_unacked_ms()
            if oldest_ms is not None:
                wake_ms = min(wake_ms, oldest_ms + self._ack_timeout_ms)
        else:
            wake_ms = now_ms + 60_000
        try:
            event = self._events.get(timeout=max(wake_ms - now_ms, 0) / 1000 + 0.001)
        except queue.Empty:
            return None
        if event is None:
            self._is_noted = False
        return event

    def _connected(self, receive_max: int | None) -> None:
        assert self._wire is not None
        self._is_connected = True
        self._link = "connected"
        log.info("uplink connected connection=%d", self._connection)
        view = self._outbox.view()
        self._schedule.connected(view, receive_max)
        self._messages.clear()
        here = presence(True, at=format_time(self._clock.now_ms()), **self._about)
        self._publish(state_topic(self._outbox.gateway), here, is_retained=True)
        self._hello_interval_ms = HELLO_MS_MIN
        self._say_hello(view)
        if self._is_gate_open:
            self._outbox.begin_sending().result(COMMIT_TIMEOUT_S)
        self.on_change()

    def _drop(self, reason: str, *, is_refused: bool = False) -> None:
        """This connection is over: forget what it carried, plan the next one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        was_connected, self._is_connected = self._is_connected, False
        self._schedule.disconnected()
        self._messages.clear()
        self._hello_at_ms = self._hello_sent_ms = None
        ceiling_s = min(3 * self._backoff_s, BACKOFF_S_MAX)
        self._backoff_s = self._random.uniform(BACKOFF_S_MIN, ceiling_s)
        delay_s = max(self._backoff_s, REFUSED_S_MIN if is_refused else 0.0)
        self._connect_at_ms = self._now_ms() + round(delay_s * 1000)
        self._link = f"not connected: {reason}"[:200]
        self.failures += 1
        log.warning("uplink down reason=%r again_in_s=%.1f", reason[:200], delay_s)
        if was_connected:
            self._outbox.end_sending()
            self.on_change()

    def _say_hello(self, view: View) -> None:
        """An empty block on the live lane; `first` follows the last number that may be known."""
        marks = {lane.lane: lane.sent_mark for lane in view.lanes}
        header = self._header(LANE_LIVE, view.epoch, first=marks.get(LANE_LIVE, 0) + 1, asks=True)
        self._hello_sent_ms = self._now_ms()
        jittered_ms = round(self._hello_interval_ms * self._random.uniform(0.7, 1.3))
        self._hello_at_ms = self._hello_sent_ms + jittered_ms
        self._hello_interval_ms = min(2 * self._hello_interval_ms, HELLO_MS_MAX)
        self._publish(up_topic(self._outbox.gateway, LANE_LIVE), wrap_block(header))

    def _acked(self, event: Acked) -> None:
        flight = self._messages.pop(event.message, None)
        if event.failure is None:
            self._refusals = 0
            if flight is not None:
                self._schedule.acked(flight)
            return
        # The link is good, the broker does not want this: keep both, wait, send it again.
        if flight is not None:
            self._schedule.refused(flight)
        self._refusals += 1
        delay_ms = min(REFUSED_MS_MIN << min(self._refusals, 10), REFUSED_MS_MAX)
        self._send_at_ms = self._now_ms() + round(delay_ms * self._random.uniform(0.7, 1.3))
        self._link = f"connected; the broker refuses blocks: {event.failure}"[:200]
        log.warning("uplink refused reason=%r again_in_ms=%d", event.failure, delay_ms)

    def _arrived(self, event: Arrived) -> None:
        try:
            receipt = decode_receipt(event.payload)
        except DecodeError as error:
            log.warning("receipt not readable: %s", error)
            return
        verdict = self._outbox.take_receipt(receipt).result(COMMIT_TIMEOUT_S)
        now_ms = self._now_ms()
        match verdict:
            case Ignored(reason=reason):
                log.debug("receipt ignored: %s", reason)
            case OldImage():
                self._is_gate_open = False
                self._schedule.begin_again()
                self._say_hello(self._outbox.view())
            case Settlement():
                self.receipts += 1
                self._receipt_at_ms = self._clock.now_ms()
                self._take_answer(receipt, is_answer=not event.is_retained, now_ms=now_ms)

    def _take_answer(self, receipt: Receipt, *, is_answer: bool, now_ms: int) -> None:
        tells_all = is_answer and self._hello_sent_ms is not None
        self._schedule.receipt(self._outbox.view(), now_ms, tells_all=tells_all)
        if not tells_all:
            return
        assert self._hello_sent_ms is not None
        round_trip_ms = now_ms - self._hello_sent_ms
        self._hello_sent_ms = self._hello_at_ms = None
        self._backoff_s = BACKOFF_S_MIN
        if round_trip_ms <= ROUND_TRIP_MS_MAX:
            self._on_server_time(receipt.server_time_ms + round_trip_ms // 2, now_ms)
        if not self._is_gate_open:
            self._outbox.begin_sending().result(COMMIT_TIMEOUT_S)
            self._is_gate_open = True
            self._schedule.connected(self._outbox.view())
            log.info("uplink answered round_trip_ms=%d", round_trip_ms)
            self.on_change()

    def _send(self, now_ms: int) -> None:
        oldest_ms = self._oldest_unacked_ms()
        if oldest_ms is not None and now_ms - oldest_ms >= self._ack_timeout_ms:
            self._drop(f"no PUBACK for {now_ms - oldest_ms} ms")
            return
        view = self._outbox.view()
        if self._hello_at_ms is not None and now_ms >= self._hello_at_ms:
            self._say_hello(view)
        if not self._is_gate_open or now_ms < self._send_at_ms:
            return
        if self._has_alarm:
            self._has_alarm = False
            self._schedule.alarm()
        self._schedule.release_overdue(now_ms)
        while self._is_connected:
            cut = self._schedule.next(now_ms, view)
            if cut is None or not self._send_block(cut, view, now_ms):
                return

    def _send_block(self, cut: Cut, view: View, now_ms: int) -> bool:
        block = self._cut(cut, view)
        if block is None:
            return False
        message = self._publish(up_topic(self._outbox.gateway, cut.lane), block.payload)
        if message is None:
            return False
        self._messages[message] = self._schedule.sent(cut, block.last, len(block.payload), now_ms)
        self.sent_blocks += 1
        self.sent_bytes += len(block.payload)
        return True

    def _cut(self, cut: Cut, view: View) -> CutBlock | None:
        assert self._cutter is not None
        header = self._header(cut.lane, view.epoch, first=cut.first, asks=cut.asks_receipt)
        try:
            block = self._cutter.cut(cut, header)
        except DamagedChunk as error:
            self._outbox.give_up(cut.lane, error.first, error.last, "damaged on the disk").result()
            return None
        except Unavailable as error:
            log.warning("nothing sent: %s", error)
            return None
        if block is not None and len(block.payload) > BLOCK_SIZE_MAX:
            self._outbox.give_up(cut.lane, cut.first, cut.first, "larger than a block").result()
            return None
        return block

    def _publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> int | None:
        assert self._wire is not None
        try:
            return self._wire.publish(topic, payload, is_retained=is_retained)
        except Unavailable as error:
            self._drop(str(error))
            return None

    def _header(self, lane: int, epoch: int, *, first: int, asks: bool) -> BlockHeader:
        return BlockHeader(
            gateway=self._outbox.gateway,
            epoch=epoch,
            lane=lane,
            first=first,
            count=0,
            boot=self._clock.boot,
            monotonic_ms=self._clock.monotonic_ms(),
            wall_ms=self._clock.now_ms(),
            wall_quality=self._clock.quality,
            asks_receipt=asks,
        )

    def _oldest_unacked_ms(self) -> int | None:
        return self._schedule.oldest_unacked_ms()

    def _now_ms(self) -> int:
        # Not the boot's clock: jumps of a resumed machine are the link's business, not ours.
        return time.monotonic_ns() // 1_000_000
