"""The outbox as threads see it: one writer, commits shared by those who wait."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from greenhaul_edge.outbox.chunks import Batch, Priority, encode_chunk
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.held_back import HeldBack
from greenhaul_edge.outbox.keeper import Clock, Keeper
from greenhaul_edge.outbox.receipts import Ledger, Verdict
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.errors import ConfigError, EncodeError, Rejected, Unavailable
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import Receipt

log = logging.getLogger(__name__)

# Readings that wait for a commit: five seconds of 4,000 terminals. Above it the sources are told
# that the outbox is unavailable, instead of filling memory behind a disk that hangs.
PENDING_READINGS_MAX = 20_000
# How long a disk error keeps the writer from trying again.
_RETRY_S = 1.0
_TIDY_PERIOD_S = 2.0
# Readings that had to go unwritten are named this often at most: each record takes room itself.
_NAME_LOST_PERIOD_S = 600.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane at one moment. unsettled: an own copy of what is held and not settled."""

    lane: int
    next: int
    sent_mark: int
    unsettled: RangeSet


@dataclass(frozen=True, slots=True)
class View:
    """What the uplink plans from."""

    epoch: int
    lanes: tuple[LaneView, ...]


@dataclass(slots=True)
class _Waiter:
    batch: Batch
    done: Future[None]


@dataclass(slots=True)
class _Job:
    work: Callable[[OutboxFile], object]
    done: Future[object]


# Called after a commit of readings, in the writer's thread; whether one of them is an alarm.
OnCommit = Callable[[bool], None]


class Outbox:
    """Commits readings in its own thread.

    Readings wait up to the commit window for company; `is_urgent` ones are committed at once,
    together with all that wait.
    """

    def __init__(self, file: OutboxFile, clock: Clock, *, commit_window_s: float = 5.0) -> None:
        self._keeper, self._clock, self._window_s = Keeper(file, clock), clock, commit_window_s
        self._inbox: queue.SimpleQueue[_Waiter | _Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # over what other threads read: view and counts
        self._pending_readings = 0
        self._is_urgent = threading.Event()
        self._has_alarm = False
        self._is_full = file.is_full
        self._held_back: HeldBack[_Waiter] = HeldBack()
        self._retry_s = self._name_lost_s = 0.0
        self._has_more = True  # work that can wait
        self._is_closed = False
        self._view = _view_of(file.ledger)
        self.on_commit: OnCommit = lambda _: None
        self.on_drop: Callable[[], None] = lambda: None  # readings were given up, and named
        self._given_up = _given_up(file.ledger)
        self.beat = Beat()
        self.committed_readings = 0
        self.commits = 0
        self.refused_readings = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, then close the file."""
        self._is_closed = True
        self._is_urgent.set()
        self._inbox.put(None)
        self._thread.join()
        self._keeper.close()

    @property
    def gateway(self) -> str:
        """Id of the gateway this outbox belongs to."""
        return self._keeper.file.gateway

    @property
    def is_full(self) -> bool:
        """Whether sources that keep their data themselves are held back."""
        return self._is_full

    @property
    def is_at_ease(self) -> bool:
        """Whether nothing waits in memory for a disk to have room, or for its name as lost."""
        return not self._held_back and not self._held_back.lost

    def append(
        self,
        readings: Sequence[Reading],
        *,
        priority: Priority = Priority.KEPT,
        is_urgent: bool = False,
        is_alarm: bool = False,
        copy_key: bytes | None = None,
        is_unclocked: bool = False,
        lane: int | None = None,
    ) -> "Future[None]":
        """Give readings to the outbox; the future is done once they are on the disk.

        is_urgent: commit at once. is_alarm: commit and send at once. The future fails with
        Unavailable when the outbox is full or overrun (keep the readings, come again), and with
        Rejected for readings that can never be kept.
        """
        done: Future[None] = Future()
        with self._lock:
            is_over = self._pending_readings + len(readings) > PENDING_READINGS_MAX
            held_back = self._is_full and priority is Priority.KEPT
            if not (is_over or held_back or self._is_closed):
                self._pending_readings += len(readings)
                self._has_alarm |= is_alarm
            else:
                self.refused_readings += len(readings)
                done.set_exception(Unavailable("outbox full" if held_back else "outbox overrun"))
                return done
        batch = Batch(readings, priority, lane, copy_key, is_unclocked)
        self._inbox.put(_Waiter(batch, done))
        if is_urgent or is_alarm:
            self._is_urgent.set()  # after the put: the writer then finds it
        return done

    def take_receipt(self, receipt: Receipt) -> "Future[Verdict]":
        """Judge a receipt and commit what follows."""
        return self._submit(lambda file: file.take_receipt(receipt, self._clock.now_ms()))

    def begin_sending(self) -> "Future[None]":
        """From now on whatever is committed may be sent; durable once the future is done."""
        return self._submit(_begin_sending)

    def end_sending(self) -> None:
        """Nothing is sent from now on: what is committed is not marked as sent."""
        self._submit(lambda file: setattr(file, "is_sending", False))

    def give_up(self, lane: int, first: int, last: int, reason: str) -> "Future[None]":
        """Name readings that cannot be read or sent as dropped."""
        return self._submit(
            lambda file: file.give_up(lane, first, last, reason, self._clock.now_ms())
        )

    def map_clock(
        self, offset_ms: int, quality: TimeQuality = TimeQuality.GATEWAY
    ) -> "Future[None]":
        """Append the readings that waited for UTC: device time = monotonic + offset_ms."""
        return self._submit(lambda file: self._map_clock(file, offset_ms, quality))

    def report_damage(self, epoch: int, why: Exception) -> "Future[None]":
        """The file of this epoch cannot be read: it is put aside, another one is begun."""

        def replace(file: OutboxFile) -> None:
            if file.ledger.epoch == epoch:
                self._keeper.replace(why)

        return self._submit(replace)

    def reconfigure(self, bounds: Bounds, commit_window_s: float) -> "Future[None]":
        """Other bounds from now on; what is held stays."""
        return self._submit(lambda file: self._reconfigure(file, bounds, commit_window_s))

    def view(self) -> View:
        """The lanes as of the last commit."""
        with self._lock:
            return self._view

    # The rest runs in the writer's thread.

    def _reconfigure(self, file: OutboxFile, bounds: Bounds, commit_window_s: float) -> None:
        file.bounds, self._window_s = bounds, commit_window_s

    def _map_clock(self, file: OutboxFile, offset_ms: int, quality: TimeQuality) -> None:
        while file.map_clock(offset_ms, self._clock.now_ms(), quality):
            self.beat.note()

    def _submit(self, work: Callable[[OutboxFile], T]) -> "Future[T]":
        done: Future[T] = Future()
        if self._is_closed:
            done.set_exception(Unavailable("outbox is closed"))
            return done
        self._inbox.put(_Job(work, done))  # type: ignore[arg-type]  # the job fills its own future
        self._is_urgent.set()
        return done

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    return
            except Exception:
                log.exception("outbox writer: a turn failed")
                time.sleep(_RETRY_S)

    def _turn(self) -> bool:
        """Wait for work, do it; False when the outbox is closed."""
        self.beat.note()
        try:
            item = self._inbox.get(timeout=0 if self._has_more else _TIDY_PERIOD_S)
        except queue.Empty:
            self._commit([])
            self._tidy()
            return True
        waiters: list[_Waiter] = []
        jobs: list[_Job] = []
        if isinstance(item, _Waiter):
            # Others may join until the window ends or somebody is in a hurry.
            self._is_urgent.wait(self._window_s)
            self.beat.note()
        is_open = self._sort(item, waiters, jobs)
        self._is_urgent.clear()
        while is_open:
            try:
                is_open = self._sort(self._inbox.get_nowait(), waiters, jobs)
            except queue.Empty:
                break
        self._commit(waiters)
        for job in jobs:
            self._do(job)
        self._tidy()
        return is_open

    def _sort(
        self, item: "_Waiter | _Job | None", waiters: list[_Waiter], jobs: list[_Job]
    ) -> bool:
        match item:
            case _Waiter():
                waiters.append(item)
            case _Job():
                jobs.append(item)
        return item is not None

    def _commit(self, waiters: list[_Waiter]) -> None:
        with self._lock:
            self._pending_readings -= _readings_of(waiters)
            has_alarm, self._has_alarm = self._has_alarm, False
        waiters = self._hold_back(waiters)
        if not waiters:
            return
        batches = [waiter.batch for waiter in waiters]
        try:
            self._keeper.do(lambda file: file.append(batches, self._clock.now_ms()))
        except EncodeError as error:
            good = [waiter for waiter in waiters if _is_keepable(waiter)]
            if len(good) == len(waiters):
                self._refuse(waiters, Rejected(str(error)))
            elif good:
                self._commit_again(good)
        except Unavailable as error:
            log.warning("outbox: commit of %d readings failed: %s", _readings_of(waiters), error)
            self._put_off(waiters, error)
        else:
            self._after_commit(waiters, has_alarm)

    def _commit_again(self, waiters: list[_Waiter]) -> None:
        with self._lock:
            self._pending_readings += _readings_of(waiters)
        self._commit(waiters)

    def _hold_back(self, waiters: list[_Waiter]) -> list[_Waiter]:
        """What to commit now: with what an earlier commit could not take, or without it."""
        is_waiting = time.monotonic() < self._retry_s and not self._is_closed
        if self._is_full and self._keeper.do(lambda file: file.is_choked):
            is_waiting = True  # only those of others may come in: ours would be evicted at once
        if not is_waiting:
            return self._held_back.take() + waiters
        if not self._is_full and not self._held_back:
            return waiters
        ours = [one for one in waiters if one.batch.priority is Priority.EVICTABLE]
        self._refuse(self._held_back.put(ours), Unavailable("outbox full"))
        return [one for one in waiters if one.batch.priority is not Priority.EVICTABLE]

    def _put_off(self, waiters: list[_Waiter], error: Exception) -> None:
        """Those who keep their readings come again; for the others we keep them and try again."""
        self._retry_s = time.monotonic() + _RETRY_S
        ours = [one for one in waiters if one.batch.priority is Priority.EVICTABLE]
        self._refuse([one for one in waiters if one.batch.priority is Priority.KEPT], error)
        self._refuse(self._held_back.put(ours), error)

    def _name_lost(self) -> None:
        """Give numbers to what had to go unwritten, and say so in the log of readings."""
        count, span_ms = self._held_back.lost, self._held_back.lost_span_ms or (None, None)
        if not count or time.monotonic() < max(self._name_lost_s, self._retry_s):
            return
        now_ms = self._clock.now_ms()
        self._keeper.do(lambda file: file.append_lost(count, span_ms, "disk full", now_ms))
        self._held_back.named(count)
        self._name_lost_s = time.monotonic() + _NAME_LOST_PERIOD_S

    def _after_commit(self, waiters: list[_Waiter], has_alarm: bool) -> None:
        self.commits += 1
        self.committed_readings += _readings_of(waiters)
        self._refresh()
        for waiter in waiters:
            waiter.done.set_result(None)
        self.on_commit(has_alarm)

    def _refuse(self, waiters: list[_Waiter], error: Exception) -> None:
        self.refused_readings += _readings_of(waiters)
        for waiter in waiters:
            waiter.done.set_exception(error)

    def _do(self, job: _Job) -> None:
        try:
            result = self._keeper.do(job.work)
        except (Unavailable, ConfigError) as error:
            log.warning("a write failed: %s", error)
            job.done.set_exception(Unavailable(str(error)))
        else:
            self._refresh()
            job.done.set_result(result)

    def _tidy(self) -> None:
        """What can wait, while nobody does."""
        before = self._keeper.file
        try:
            self._name_lost()
            self._has_more = self._keeper.tidy(is_idle=self._inbox.empty())
        except Unavailable as error:
            log.warning("%s", error)
            self._has_more = False
        if self._has_more or self._keeper.file is not before or self._is_full:
            self._refresh()

    def _refresh(self) -> None:
        file = self._keeper.file
        view = _view_of(file.ledger)
        is_full = file.is_full
        with self._lock:
            self._view, self._is_full = view, is_full
        given_up, before = _given_up(file.ledger), self._given_up
        self._given_up = given_up
        if given_up > before:
            self.on_drop()


def _begin_sending(file: OutboxFile) -> None:
    file.is_sending = True
    file.mark_sent()


def _readings_of(waiters: Sequence[_Waiter]) -> int:
    return sum(len(waiter.batch.readings) for waiter in waiters)


def _is_keepable(waiter: _Waiter) -> bool:
    try:
        encode_chunk(waiter.batch.readings)
    except EncodeError as error:
        log.warning("reading rejected: %s", error)
        waiter.done.set_exception(Rejected(str(error)))
        return False
    return True


def _view_of(ledger: Ledger) -> View:
    return View(
        ledger.epoch,
        tuple(
            LaneView(lane.lane, lane.next, lane.sent_mark, lane.unsettled())
            for lane in ledger.lanes.values()
        ),
    )


def _given_up(ledger: Ledger) -> int:
    return sum(lane.gone.total for lane in ledger.lanes.values())
