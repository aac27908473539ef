"""The outbox as threads see it: one writer, commits shared by those who wait."""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from greenhaul_edge.outbox.chunks import Batch, Priority, encode_chunk
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.receipts import Ledger, Verdict
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.errors import EncodeError, Rejected, Unavailable
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import Receipt
from greenhaul_protocols.topics import LANE_LIVE

log = logging.getLogger(__name__)

# Readings that wait for a commit: five seconds of 4,000 terminals. Above it the sources are told
# that the outbox is unavailable, instead of filling memory behind a disk that hangs.
PENDING_READINGS_MAX = 20_000
# How long a disk error keeps the writer from trying again.
_RETRY_S = 1.0
_TRIM_PERIOD_S = 2.0

T = TypeVar("T")


class Clock(Protocol):
    """What the writer needs of the gateway's clock."""

    def now_ms(self) -> int:
        """UTC as the gateway knows it."""


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
    work: Callable[[], object]
    done: Future[object]


# Called after a commit of readings, in the writer's thread; whether one of them is an alarm.
OnCommit = Callable[[bool], None]


class Outbox:
    """Commits readings in its own thread.

    Readings wait up to the commit window for company; `is_urgent` ones are committed at once,
    together with all that wait.
    """

    def __init__(self, file: OutboxFile, clock: Clock, *, commit_window_s: float = 5.0) -> None:
        self._file, self._clock, self._window_s = file, clock, commit_window_s
        self._inbox: queue.SimpleQueue[_Waiter | _Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # over what other threads read: view and counts
        self._pending_readings = 0
        self._is_urgent = threading.Event()
        self._has_alarm = False
        self._is_full = file.is_full
        self._is_closed = False
        self._view = _view_of(file.ledger)
        self.on_commit: OnCommit = lambda _: None
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
        self._file.close()

    @property
    def gateway(self) -> str:
        """Id of the gateway this outbox belongs to."""
        return self._file.gateway

    @property
    def is_full(self) -> bool:
        """Whether sources that keep their data themselves are held back."""
        return self._is_full

    def append(
        self,
        readings: Sequence[Reading],
        *,
        priority: Priority = Priority.KEPT,
        is_urgent: bool = False,
        is_alarm: bool = False,
        copy_key: bytes | None = None,
        is_unclocked: bool = False,
        lane: int = LANE_LIVE,
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
        return self._submit(lambda: self._file.take_receipt(receipt, self._clock.now_ms()))

    def begin_sending(self) -> "Future[None]":
        """From now on whatever is committed may be sent; durable once the future is done."""
        return self._submit(self._begin_sending)

    def end_sending(self) -> None:
        """Nothing is sent from now on: what is committed is not marked as sent."""
        self._submit(lambda: setattr(self._file, "is_sending", False))

    def give_up(self, lane: int, first: int, last: int, reason: str) -> "Future[None]":
        """Name readings that cannot be read or sent as dropped."""
        return self._submit(
            lambda: self._file.give_up(lane, first, last, reason, self._clock.now_ms())
        )

    def map_clock(self, offset_ms: int) -> "Future[None]":
        """Append the readings that waited for UTC: device time = monotonic + offset_ms."""
        return self._submit(lambda: self._map_clock(offset_ms))

    def reconfigure(self, bounds: Bounds, commit_window_s: float) -> "Future[None]":
        """Other bounds from now on; what is held stays."""
        return self._submit(lambda: self._reconfigure(bounds, commit_window_s))

    def view(self) -> View:
        """The lanes as of the last commit."""
        with self._lock:
            return self._view

    # The rest runs in the writer's thread.

    def _reconfigure(self, bounds: Bounds, commit_window_s: float) -> None:
        self._file.bounds, self._window_s = bounds, commit_window_s

    def _begin_sending(self) -> None:
        self._file.is_sending = True
        self._file.mark_sent()

    def _map_clock(self, offset_ms: int) -> None:
        while self._file.map_clock(offset_ms, self._clock.now_ms()):
            pass

    def _submit(self, work: Callable[[], T]) -> "Future[T]":
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
            item = self._inbox.get(timeout=_TRIM_PERIOD_S)
        except queue.Empty:
            self._idle()
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
        self._idle()
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
        if not waiters:
            return
        count = sum(len(waiter.batch.readings) for waiter in waiters)
        with self._lock:
            self._pending_readings -= count
            has_alarm, self._has_alarm = self._has_alarm, False
        try:
            self._file.append([waiter.batch for waiter in waiters], self._clock.now_ms())
        except EncodeError as error:
            good = [waiter for waiter in waiters if _is_keepable(waiter)]
            if len(good) == len(waiters):
                self._refuse(waiters, Rejected(str(error)))
            else:
                self._commit_again(good)
            return
        except sqlite3.Error as error:
            log.exception("outbox: commit of %d readings failed", count)
            self._refuse(waiters, Unavailable(f"outbox: {error}"))
            return
        self._after_commit(waiters, count, has_alarm)

    def _commit_again(self, waiters: list[_Waiter]) -> None:
        with self._lock:
            self._pending_readings += sum(len(waiter.batch.readings) for waiter in waiters)
        self._commit(waiters)

    def _after_commit(self, waiters: list[_Waiter], count: int, has_alarm: bool) -> None:
        self.commits += 1
        self.committed_readings += count
        self._refresh()
        for waiter in waiters:
            waiter.done.set_result(None)
        self.on_commit(has_alarm)

    def _refuse(self, waiters: list[_Waiter], error: Exception) -> None:
        self.refused_readings += sum(len(waiter.batch.readings) for waiter in waiters)
        for waiter in waiters:
            waiter.done.set_exception(error)

    def _do(self, job: _Job) -> None:
        try:
            result = job.work()
        except sqlite3.Error as error:
            log.exception("outbox: a write failed")
            job.done.set_exception(Unavailable(f"outbox: {error}"))
        else:
            self._refresh()
            job.done.set_result(result)

    def _idle(self) -> None:
        if self._file.trim(self._clock.now_ms()):
            self._refresh()

    def _refresh(self) -> None:
        view = _view_of(self._file.ledger)
        with self._lock:
            self._view = view
            self._is_full = self._file.is_full


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
