"""The intake's worker: takes deliveries in order, stores them in flushes, then acknowledges.

Nothing is acknowledged and no receipt goes out before its commit. A store that is away is waited
for with everything kept; a block the store refuses is set aside alone, so it stops nobody.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.schedule import ReceiptSchedule
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.faults import Cause, Fault
from greenhaul_cloud.store.inspection import ReceivedBlock
from greenhaul_cloud.store.presence import note_presences
from greenhaul_cloud.store.write import StoreResult, store_blocks
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.receipt import Receipt

log = logging.getLogger(__name__)

# A flush ends when the queue runs dry, or at one of these.
FLUSH_READINGS_MAX = 10_000
FLUSH_BLOCKS_MAX = 2_000
FLUSH_WAIT_S_MAX = 0.2
# Unacknowledged messages the broker may have with us, all sessions together: at 64 KiB each 128 MB
# at the most.
DELIVERIES_MAX = 2_048
# Presence and QoS 0 messages come beside them, and Mosquitto 2.0 sends more than it was allowed as
# soon as acknowledgements come. When this is full, the sockets are not read; when it stays so for
# ROOM_S_MAX, messages stay unacknowledged and the connection is made anew, so that the broker sends
# them again. Less than the broker's patience with a client that does not ping.
ROOM_S_MAX = 20.0
_LOOK_S = 0.5
QUEUE_MAX = 2 * DELIVERIES_MAX
# Gateways whose coming and going waits for the store: a broker's connections.
PRESENCES_MAX = 50_000
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 5.0
LOG_EVERY_S = 60.0
# Receipts that are due while the broker is away.
RECEIPTS_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A block the broker sent, with what its acknowledgement needs."""

    block: ReceivedBlock
    message_id: int
    qos: int
    generation: int  # of the connection it came on


@dataclass(frozen=True, slots=True)
class Presence:
    """A gateway's connection came or went."""

    gateway: str
    is_online: bool


class Wire(Protocol):
    """The broker, as far as the worker needs it."""

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker, if the delivery's connection still stands."""

    def publish_receipt(self, receipt: Receipt) -> bool:
        """Send a retained receipt; False when there is no connection just now."""

    def renew(self) -> None:
        """Connect anew, so that the broker sends again what was not acknowledged."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    """For what is due: a clock that is set must not keep receipts back."""
    return time.monotonic_ns() // 1_000_000


class IntakeWorker:
    """Runs in a thread of its own; `deliver` may be called from any other."""

    def __init__(
        self,
        store: Store,
        wire: Wire,
        counters: IntakeCounters,
        *,
        on_stored: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = _now_ms,
        random: Random | None = None,
    ) -> None:
        """random: of the jitter between attempts at a store that is away."""
        self._store, self._wire, self._counters = store, wire, counters
        self._on_stored, self._now_ms = on_stored, now_ms
        self._random = random or Random()
        self._fault: str | None = None
        self._queue: queue.Queue[Delivery | Presence | None] = queue.Queue(QUEUE_MAX)
        self._schedule = ReceiptSchedule()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._online: dict[str, bool] = {}
        self._complained_at: dict[str, float] = {}
        self._receipts_not_before_s = 0.0  # monotonic

    @property
    def fault(self) -> str | None:
        """Why blocks cannot be stored just now."""
        return self._fault

    def start(self) -> None:
        """Begin storing."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the flush at hand and end; what is still queued was never acknowledged."""
        self._stopping.set()
        if self._thread.is_alive():
            with suppress(queue.Full):  # a full queue has nobody waiting at it
                self._queue.put_nowait(None)
            self._thread.join()

    def deliver(self, item: Delivery | Presence) -> bool:
        """Hand over what came, when there is room; False when there was none for too long.

        Who waits here does not read its socket, so the broker has to wait as well.
        """
        deadline_s = time.monotonic() + ROOM_S_MAX
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_S)
            except queue.Full:
                if time.monotonic() >= deadline_s:
                    break
            else:
                return True
        self._counters.overruns.inc()
        return False

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take_turn()
            except Unavailable as error:  # raised only by a stop that does not wait any longer
                log.warning("event=stopped_unstored error=%s action=left_unacknowledged", error)
            except Exception:
                log.exception("event=intake_turn_failed action=connect_anew")
                self._wire.renew()
                self._stopping.wait(1.0)

    def _take_turn(self) -> None:
        items = self._gather()
        deliveries = [item for item in items if isinstance(item, Delivery)]
        if deliveries:
            self._store_all(deliveries)
        for item in items:
            if isinstance(item, Presence):
                self._put_presence(item)
        self._note_presences()
        self._send_receipts()
        self._counters.queued.set(self._queue.qsize())

    def _put_presence(self, presence: Presence) -> None:
        """The newest word about a gateway is the one that counts."""
        self._online.pop(presence.gateway, None)
        if len(self._online) >= PRESENCES_MAX:
            del self._online[next(iter(self._online))]  # said again at the next connection
        self._online[presence.gateway] = presence.is_online

    def _note_presences(self) -> None:
        if not self._online:
            return
        try:
            note_presences(self._store, self._online, self._now_ms())
        except Unavailable as error:  # kept for the next turn
            self._complain("store", "event=store_unavailable error=%s", error)
        else:
            self._online.clear()

    def _gather(self) -> list[Delivery | Presence]:
        """Wait for something, then take all there is, up to a flush's bounds."""
        next_ms = self._schedule.next_due_ms()
        wait_s = 1.0 if next_ms is None else (next_ms - _monotonic_ms()) / 1000
        wait_s = max(wait_s, self._receipts_not_before_s - time.monotonic())
        items: list[Delivery | Presence] = []
        try:
            first = self._queue.get(timeout=min(max(wait_s, 0.001), 1.0))
        except queue.Empty:
            return items
        ends_at, readings = time.monotonic() + FLUSH_WAIT_S_MAX, 0
        while first is not None:
            items.append(first)
            readings += first.block.count if isinstance(first, Delivery) else 0
            is_full = readings >= FLUSH_READINGS_MAX or len(items) >= FLUSH_BLOCKS_MAX
            if is_full or time.monotonic() >= ends_at:
                break
            try:
                first = self._queue.get_nowait()
            except queue.Empty:
                break
        return items

    def _store_all(self, deliveries: Sequence[Delivery]) -> None:
        try:
            result = self._store_when_possible([one.block for one in deliveries])
        except Exception:
            if self._stopping.is_set():
                raise
            log.exception("event=flush_failed blocks=%d action=one_by_one", len(deliveries))
            for one in deliveries:
                self._store_alone(one)
            return
        self._settle(deliveries, result)

    def _store_alone(self, delivery: Delivery) -> None:
        """Find out whether it is this block that the store refuses, and set it aside if so."""
        result = StoreResult()
        try:
            result = self._store_when_possible([delivery.block])
        except Exception as error:
            if self._stopping.is_set():
                raise
            log.exception("event=block_refused gateway=%s", delivery.block.gateway)
            fault = Fault(Cause.REFUSED, f"could not be stored: {error}")
            refused = replace(delivery.block, fault=fault)
            try:
                result = self._store_when_possible([refused])
            except Exception:
                # settled by nothing, so its gateway still has it
                log.exception("event=block_left gateway=%s", delivery.block.gateway)
        self._settle([delivery], result)

    def _store_when_possible(self, blocks: Sequence[ReceivedBlock]) -> StoreResult:
        """Wait out a store that is away. Raises what is no matter of waiting."""
        backoff_s = BACKOFF_S_MIN
        while True:
            try:
                with self._counters.flush_s.time():
                    result = store_blocks(self._store, blocks, self._now_ms())
            except Unavailable as error:
                self._counters.retries.inc()
                self._fault = "does not take blocks"
                self._complain("store", "event=store_unavailable error=%s", error)
                if self._stopping.wait(backoff_s):
                    raise
                # decorrelated jitter: collectors do not come back all at once
                backoff_s = min(BACKOFF_S_MAX, self._random.uniform(BACKOFF_S_MIN, 3 * backoff_s))
            else:
                self._fault = None
                return result

    def _settle(self, deliveries: Sequence[Delivery], result: StoreResult) -> None:
        """After the commit: acknowledge, count, put receipts on their way."""
        now_ms = _monotonic_ms()
        for one in deliveries:
            self._wire.acknowledge(one)
        asked = {
            (one.block.gateway, one.block.block.header.epoch)
            for one in deliveries
            if one.block.block and (one.block.block.header.asks_receipt or not one.block.count)
        }
        hellos = {  # the newest of each
            (one.block.gateway, one.block.block.header.epoch): one.block.block.header.monotonic_ms
            for one in deliveries
            if one.block.block and not one.block.count
        }
        for key, receipt in result.receipts.items():
            answer = replace(receipt, hello_ms=hellos.get(key, 0))
            self._schedule.note(answer, now_ms, is_asked=key in asked)
        self._count(deliveries, result)
        if result.marked:
            self._on_stored()

    def _count(self, deliveries: Sequence[Delivery], result: StoreResult) -> None:
        strangers = [one for one in deliveries if one.block.gateway in result.unregistered]
        blocks = self._counters.blocks
        blocks.labels("unregistered").inc(len(strangers))
        blocks.labels("damaged").inc(result.damaged)
        blocks.labels("settled").inc(len(deliveries) - len(strangers) - result.damaged)
        for outcome in ("stored", "duplicate", "quarantined", "dropped"):
            self._counters.numbers.labels(outcome).inc(getattr(result, outcome))
        for cause, count in result.damaged_by.items():
            self._counters.damaged.labels(cause).inc(count)
        for cause, count in result.aside_by.items():
            self._counters.aside.labels(cause).inc(count)
        damaged = {one.block.gateway for one in deliveries if one.block.block is None}
        for gateway in sorted(damaged - result.unregistered):
            self._complain(
                f"damaged {gateway}",
                "event=damaged_block gateway=%s action=kept_nothing_settled",
                gateway,
            )
        for gateway in sorted(result.unregistered):
            self._complain(
                gateway,
                "event=unregistered_gateway gateway=%s action=nothing_settled "
                "hint='greenhaul-cloud gateway add %s'",
                gateway,
                gateway,
            )

    def _send_receipts(self) -> None:
        now_ms = _monotonic_ms()
        is_waiting = time.monotonic() < self._receipts_not_before_s
        for receipt in () if is_waiting else self._schedule.due(now_ms):
            if not self._wire.publish_receipt(receipt):
                # no connection: they wait for the next one
                self._receipts_not_before_s = time.monotonic() + RECEIPTS_RETRY_S
                break
            self._schedule.sent(receipt)
            self._counters.receipts.inc()
        self._schedule.forget_idle(now_ms)

    def _complain(self, subject: str, message: str, *details: object) -> None:
        """Warn about a subject once a minute."""
        now = time.monotonic()
        if now - self._complained_at.get(subject, -LOG_EVERY_S) >= LOG_EVERY_S:
            if len(self._complained_at) >= QUEUE_MAX:
                self._complained_at.clear()
            self._complained_at[subject] = now
            log.warning(message, *details)
