"""The uplink's thread: supervises connections, sends what the schedule says, takes receipts."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from greenhaul_edge.clock import Clock, ServerTime
from greenhaul_edge.outbox.chunks import DamagedChunk
from greenhaul_edge.outbox.receipts import Ignored, OldImage, Settlement
from greenhaul_edge.outbox.schema import DamagedFile
from greenhaul_edge.outbox.writer import Outbox, View
from greenhaul_edge.supervision import Beat
from greenhaul_edge.uplink.backoff import Backoff
from greenhaul_edge.uplink.cutter import CutBlock, Cutter
from greenhaul_edge.uplink.hello import Hello
from greenhaul_edge.uplink.limits import Limits
from greenhaul_edge.uplink.schedule import Cut, Pace, Schedule
from greenhaul_edge.uplink.wire import Acked, Arrived, Closed, Connected, WireEvent, presence
from greenhaul_edge.uplink.wires import MakeWire, OnServerTime, Wire
from greenhaul_protocols.block import BLOCK_SIZE_MAX, BlockHeader, WallQuality, wrap_block
from greenhaul_protocols.errors import DecodeError, Unavailable
from greenhaul_protocols.receipt import Receipt, decode_receipt
from greenhaul_protocols.times import format_time
from greenhaul_protocols.topics import LANE_LIVE, state_topic, up_topic

log = logging.getLogger(__name__)

# After a PUBACK with a failure nothing is sent for a while, growing with each.
REFUSED_MS_MIN, REFUSED_MS_MAX = 500, 60_000
# How long an outbox commit may take before the uplink calls it hung.
COMMIT_TIMEOUT_S = 60.0
# From dialling to the CONNACK, with a slow resolver and four addresses that do not answer.
CONNECT_MS_MAX = 60_000
# How often certificates and password are looked at on the disk.
CREDENTIALS_PERIOD_MS = 15_000
# The longest wait for an event: what the supervisor hears from an uplink with nothing to do.
_TURN_MS_MAX = 5_000
# The boot's clock goes on in suspend, ours does not: a link that slept so long is dead.
_SLEPT_MS = 10_000


@dataclass(frozen=True, slots=True)
class _Unacked:
    """A message without a PUBACK; flight None: a hello or our presence."""

    flight: int | None
    sent_ms: int
    size: int
    is_presence: bool = False  # nobody needs to listen to it


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
        on_server_time: OnServerTime = lambda _said: None,
        renew: Callable[[], bool] = lambda: False,
        about: Mapping[str, str] | None = None,
        random: Random | None = None,
    ) -> None:
        """renew: whether credentials changed, so that the connection is to be made anew."""
        self._outbox, self._outbox_file, self._clock = outbox, outbox_file, clock
        self._make_wire, self._renew = make_wire, renew
        self._on_server_time = on_server_time
        self._about = dict(about or {})  # stands in the gateway's presence
        self._ack_timeout_ms = round(ack_timeout_s * 1000)
        self._random = random or Random()
        self._schedule = Schedule(pace, self._random)
        self._backoff = Backoff(self._random)
        self._limits = Limits()
        self._events: queue.SimpleQueue[WireEvent | None] = queue.SimpleQueue()
        self._is_noted = False  # a wake-up after a commit is in the queue
        self._has_alarm = False
        self._is_stopping = self._is_abandoned = False
        self._wire: Wire | None = None
        self._connection = 0
        self._is_connected = False
        self._is_gate_open = False
        self._connect_at_ms = self._dialled_ms = self._looked_ms = self._now_ms()
        self._slept_ms = clock.monotonic_ms() - self._now_ms()
        self._hello = Hello(self._random)
        self._send_at_ms = self._refusals = 0  # after PUBACKs that said no
        self._unacked: dict[int, _Unacked] = {}  # by PUBACK number, in order of sending
        self._cutter: Cutter | None = None
        self._epoch = 0  # whose hello was answered last
        self._link = "not connected yet"
        self._receipt_at_ms: int | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.sent_blocks = self.sent_bytes = self.receipts = self.failures = 0
        self.beat = Beat()
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

    def abandon(self) -> None:
        """Another uplink takes over from this one, whose thread hangs: whatever it wakes to."""
        self._is_stopping = self._is_abandoned = True
        self._events.put(None)

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
            self.beat.note()
            try:
                self._turn()
            except Exception:
                log.exception("uplink: a turn failed; connecting again")
                self._drop("a turn failed")
        self._cutter.close()
        if self._wire is not None:
            here = presence(False, at=format_time(self._clock.now_ms()))
            self._wire.close(None if self._is_abandoned else here)
        if not self._is_abandoned:
            self._outbox.end_sending()

    def _turn(self) -> None:
        now_ms = self._now_ms()
        self._notice_sleep(now_ms)
        if self._wire is None and now_ms >= self._connect_at_ms:
            self._connection += 1
            self._dialled_ms = now_ms
            self._wire = self._make_wire(self._connection, self._events.put)
        event = self._next_event(now_ms)
        if self._wire is None:
            event = None  # the echo of a wire that was closed
        match event:
            case Connected(connection=self._connection):
                self._connected(event)
            case Closed(connection=self._connection, reason=reason, is_refused=is_refused):
                self._drop(reason, is_refused=is_refused, is_by_broker=True)
            case Acked(connection=self._connection):
                self._acked(event)
            case Arrived(connection=self._connection):
                self._arrived(event)
        self._look_after(self._now_ms())
        if self._is_connected:
            self._send(self._now_ms())

    def _next_event(self, now_ms: int) -> WireEvent | None:
        wakes_ms = [now_ms + _TURN_MS_MAX]
        if self._wire is None:
            wakes_ms.append(self._connect_at_ms)
        elif self._is_connected:
            wakes_ms.append(self._schedule.wake_ms(now_ms))
            wakes_ms += [at_ms for at_ms in (self._hello.at_ms,) if at_ms is not None]
            wakes_ms += [at_ms for at_ms in (self._send_at_ms,) if at_ms > now_ms]
            oldest_ms = self._oldest_unacked_ms()
            wakes_ms += [] if oldest_ms is None else [oldest_ms + self._ack_timeout_ms]
        try:
            event = self._events.get(timeout=max(min(wakes_ms) - now_ms, 0) / 1000 + 0.001)
        except queue.Empty:
            return None
        if event is None:
            self._is_noted = False
        return event

    def _notice_sleep(self, now_ms: int) -> None:
        before_ms, self._slept_ms = self._slept_ms, self._clock.monotonic_ms() - now_ms
        if self._slept_ms - before_ms >= _SLEPT_MS:
            self._drop("the machine slept", at_once=True)

    def _look_after(self, now_ms: int) -> None:
        """What no event tells: a dead link, a hanging attempt, new credentials."""
        if self._wire is None:
            return
        oldest_ms = self._oldest_unacked_ms()
        if not self._is_connected and now_ms - self._dialled_ms >= CONNECT_MS_MAX:
            self._drop(f"no connection within {CONNECT_MS_MAX // 1000} s")
        elif oldest_ms is not None and now_ms - oldest_ms >= self._ack_timeout_ms:
            self._drop(f"no PUBACK for {now_ms - oldest_ms} ms")
        elif now_ms - self._looked_ms >= CREDENTIALS_PERIOD_MS:
            self._looked_ms = now_ms
            if self._renew():
                self._drop("credentials changed", at_once=True)

    def _connected(self, event: Connected) -> None:
        assert self._wire is not None
        self._is_connected = True
        self._link = "connected"
        self._backoff.connected(self._now_ms())
        log.info("uplink connected connection=%d", self._connection)
        view = self._outbox.view()
        self._limits.connected(event.receive_max, event.packet_size_max)
        self._schedule.connected(view, event.receive_max, self._limits.block_size_max)
        self._unacked.clear()
        here = presence(True, at=format_time(self._clock.now_ms()), **self._about)
        self._publish(state_topic(self._outbox.gateway), here, is_retained=True)
        self._hello.reset()
        self._say_hello(view)
        self._is_gate_open &= view.epoch == self._epoch
        if self._is_gate_open:
            self._outbox.begin_sending().result(COMMIT_TIMEOUT_S)
        self.on_change()

    def _drop(
        self,
        reason: str,
        *,
        is_refused: bool = False,
        is_by_broker: bool = False,
        at_once: bool = False,
    ) -> None:
        """This connection is over: forget what it carried, plan the next one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        was_connected, self._is_connected = self._is_connected, False
        self._limits.closed(max((one.size for one in self._unacked.values()), default=0))
        self._schedule.disconnected()
        self._unacked.clear()
        self._hello.reset()
        now_ms = self._now_ms()
        if at_once:
            self._backoff.forget()
        delay_ms = 0
        if not at_once:
            delay_ms = self._backoff.delay_ms(
                now_ms, is_refused=is_refused, is_by_broker=is_by_broker
            )
        self._connect_at_ms = now_ms + delay_ms
        hint = "; does another agent use this id?" if self._backoff.is_kicked else ""
        self._link = f"not connected: {reason[:160]}{hint}"
        self.failures += not at_once
        log.warning("uplink down reason=%r again_in_ms=%d%s", reason[:200], delay_ms, hint)
        if was_connected:
            self._outbox.end_sending()
        self.on_change()

    def _say_hello(self, view: View, *, is_probe: bool = False) -> None:
        """An empty block on the live lane; `first` follows the last number that may be known."""
        if len(self._unacked) > self._limits.receive_max:
            return  # asked again at the next turn, after a PUBACK
        marks = {lane.lane: lane.sent_mark for lane in view.lanes}
        header = self._header(LANE_LIVE, view.epoch, first=marks.get(LANE_LIVE, 0) + 1, asks=True)
        self._hello.said(self._now_ms(), header.monotonic_ms, is_probe=is_probe)
        self._publish(up_topic(self._outbox.gateway, LANE_LIVE), wrap_block(header))

    def _acked(self, event: Acked) -> None:
        message = self._unacked.pop(event.message, None)
        flight = None if message is None else message.flight
        now_ms = self._now_ms()
        if message is not None and message.is_presence:
            return
        if event.failure is None:
            if self._refusals:  # it takes messages again: nothing to wait for
                self._refusals, self._send_at_ms, self._link = 0, now_ms, "connected"
            if flight is not None and message is not None:
                self._limits.acked(message.size)
                self._schedule.acked(flight, now_ms)
            return
        # The link is good, the broker does not want this: keep both, wait, send it again.
        if flight is not None:
            self._schedule.refused(flight)
        self._refusals += 1
        delay_ms = min(REFUSED_MS_MIN << min(self._refusals, 10), REFUSED_MS_MAX)
        self._send_at_ms = now_ms + round(delay_ms * self._random.uniform(0.7, 1.3))
        self._link = f"connected; the broker refuses blocks: {event.failure}"[:200]
        log.warning("uplink refused reason=%r again_in_ms=%d", event.failure, delay_ms)

    def _arrived(self, event: Arrived) -> None:
        try:
            receipt = decode_receipt(event.payload)
        except DecodeError as error:
            log.warning("receipt not readable: %s", error)
            return
        assert self._wire is not None
        fault = None if event.is_retained else self._wire.date_fault(receipt.server_time_ms)
        if fault is not None:
            # The clock was not set when we connected; by the cloud's own time it was wrong to.
            self._drop(fault, is_refused=True)
            return
        verdict = self._outbox.take_receipt(receipt).result(COMMIT_TIMEOUT_S)
        match verdict:
            case Ignored(reason=reason):
                log.debug("receipt ignored: %s", reason)
            case OldImage():
                self._begin_again(self._outbox.view())
            case Settlement():
                self.receipts += 1
                if self._cutter is not None and not event.is_retained:
                    self._cutter.format_max = receipt.block_format
                self._receipt_at_ms = self._clock.now_ms()
                self._take_answer(receipt, is_retained=event.is_retained, now_ms=self._now_ms())

    def _take_answer(self, receipt: Receipt, *, is_retained: bool, now_ms: int) -> None:
        hello = None if is_retained else self._hello.take_answered(receipt.hello_ms)
        hello_sent_ms = None if hello is None else hello.sent_ms
        self._schedule.receipt(self._outbox.view(), now_ms, hello_sent_ms=hello_sent_ms)
        if hello is None:
            return
        answered_ms, is_certain = self._clock.monotonic_ms(), bool(receipt.hello_ms)
        self._on_server_time(
            ServerTime(receipt.server_time_ms, hello.boot_ms, answered_ms, is_certain)
        )
        self._hello.rest(now_ms, is_time_wanted=self._clock.wants_answer)
        if not self._is_gate_open:
            self._outbox.begin_sending().result(COMMIT_TIMEOUT_S)
            self._is_gate_open = True
            view = self._outbox.view()
            self._epoch = view.epoch
            limits = self._limits
            self._schedule.connected(view, limits.receive_max, limits.block_size_max)
            log.info("uplink answered round_trip_ms=%d", now_ms - hello.sent_ms)
            self.on_change()

    def _begin_again(self, view: View) -> None:
        """In a new epoch nothing goes out until its hello is answered."""
        self._is_gate_open = False
        self._schedule.begin_again()
        self._say_hello(view)

    def _send(self, now_ms: int) -> None:
        view = self._outbox.view()
        if self._is_gate_open and view.epoch != self._epoch:
            self._begin_again(view)  # the outbox was damaged, and replaced
            return
        if self._hello.is_due(now_ms):
            self._say_hello(view)
        if not self._is_gate_open or now_ms < self._send_at_ms:
            return
        if self._hello.at_ms is None and self._is_answer_wanted(now_ms):
            self._say_hello(view, is_probe=True)
        if self._has_alarm:
            self._has_alarm = False
            self._schedule.alarm()
        self._schedule.release_overdue(now_ms)
        while self._is_connected and len(self._unacked) < self._limits.receive_max:
            cut = self._schedule.next(now_ms, view)
            if cut is None or not self._send_block(cut, view, now_ms):
                return

    def _is_answer_wanted(self, now_ms: int) -> bool:
        is_time_due = self._clock.quality <= WallQuality.CLOUD
        is_time_due = is_time_due and self._hello.take_time_probe(now_ms)
        return self._schedule.take_probe(now_ms) or is_time_due

    def _send_block(self, cut: Cut, view: View, now_ms: int) -> bool:
        block = self._cut(cut, view)
        if block is None:
            return False
        message = self._publish(up_topic(self._outbox.gateway, cut.lane), block.payload)
        if message is None:
            return False
        flight = self._schedule.sent(cut, block.last, len(block.payload), now_ms)
        self._unacked[message] = _Unacked(flight, now_ms, len(block.payload))
        self.sent_blocks += 1
        self.sent_bytes += len(block.payload)
        return True

    def _cut(self, cut: Cut, view: View) -> CutBlock | None:
        assert self._cutter is not None
        header = self._header(cut.lane, view.epoch, first=cut.first, asks=cut.asks_receipt)
        try:
            block = self._cutter.cut(cut, header, self._limits.block_size_max)
        except DamagedChunk as error:
            self._outbox.give_up(cut.lane, error.first, error.last, "damaged on the disk").result()
            return None
        except DamagedFile as error:
            self._outbox.report_damage(view.epoch, error).result()
            return None
        except Unavailable as error:
            log.warning("nothing sent: %s", error)
            return None
        if block is not None and len(block.payload) > BLOCK_SIZE_MAX:
            self._outbox.give_up(cut.lane, cut.first, cut.first, "larger than a block").result()
            return None
        return block

    def _publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> int | None:
        if self._wire is None:
            return None  # dropped by the message before this one
        try:
            message = self._wire.publish(topic, payload, is_retained=is_retained)
        except Unavailable as error:
            self._drop(str(error))
            return None
        self._unacked[message] = _Unacked(None, self._now_ms(), 0, is_presence=is_retained)
        return message

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
        return next((one.sent_ms for one in self._unacked.values()), None)

    def _now_ms(self) -> int:
        # Stops in suspend, unlike the boot's clock: the difference tells that we slept.
        return time.monotonic_ns() // 1_000_000
