"""What stands in for clock, threads, queues and event loops while real code runs in a world.

Modules of ours that hold `time`, `threading`, `queue`, `asyncio`, `random` or `Future` by name are
given these instead. Everything else in them is what ships.
"""

import asyncio
import concurrent.futures
import queue
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Any, TypeVar

from tests.simulation.loop import SimLoop
from tests.simulation.world import Signal, SimThread, World, current, enter, leave

T = TypeVar("T")

_PACKAGES = ("greenhaul_edge", "greenhaul_cloud", "greenhaul_sim")
# Machines have been up for a while when a world begins.
_UPTIME_NS = 1_000 * 10**9


class _StandIn(ModuleType):
    """A module, but for what is set on it."""

    def __init__(self, real: ModuleType, **instead: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(instead)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


# -- time ----------------------------------------------------------------------------------------


def _wall_ns() -> int:
    process = current().process
    return current().now_ns + (process.wall_offset_ns if process else 0)


def _monotonic_ns() -> int:
    process = current().process
    started_ns = process.started_ns if process else current().now_ns
    return current().now_ns - started_ns + _UPTIME_NS


def _sleep(seconds: float) -> None:
    Signal().wait(seconds)


# -- threads -------------------------------------------------------------------------------------


class SimEvent:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._is_set = False
        self._signal = Signal()

    def is_set(self) -> bool:
        """Whether it was set and not cleared since."""
        return self._is_set

    def set(self) -> None:
        """Let everybody go."""
        self._is_set = True
        self._signal.notify_all()

    def clear(self) -> None:
        """Hold everybody."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it is set in time."""
        return self._is_set or self._signal.wait(timeout) or self._is_set


class SimLock:
    """`threading.Lock`, which is free whenever its holders do not wait while they hold it."""

    def __init__(self) -> None:
        self._holder: object = None
        self._depth = 0
        self._free = Signal()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait until it is free."""
        me: object = current().thread or "an event loop"
        while self._holder is not None and not (self._holder is me and self.is_reentrant):
            assert self._holder is not me, "waits for itself"
            if not blocking or not self._free.wait(timeout if timeout >= 0 else None):
                return False
        self._holder, self._depth = me, self._depth + 1
        return True

    is_reentrant = False

    def release(self) -> None:
        """Free it."""
        self._depth -= 1
        if not self._depth:
            self._holder = None
            self._free.notify_all()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SimRLock(SimLock):
    """`threading.RLock`."""

    is_reentrant = True


class SimCondition:
    """`threading.Condition`."""

    def __init__(self, lock: SimLock | None = None) -> None:
        self._lock = lock or SimRLock()
        self._signal = Signal()
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Free the lock and wait."""
        self._lock.release()
        try:
            return self._signal.wait(timeout)
        finally:
            self._lock.acquire()

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until it holds."""
        deadline_s = None if timeout is None else current().now_s + timeout
        while not (found := predicate()):
            left_s = None if deadline_s is None else deadline_s - current().now_s
            if left_s is not None and left_s <= 0:
                break
            self.wait(left_s)
        return found

    def notify(self, _count: int = 1) -> None:
        """More may wake than were meant, as `threading` allows."""
        self._signal.notify_all()

    notify_all = notify


class SimQueue:
    """`queue.Queue` and `queue.SimpleQueue`."""

    def __init__(self, maxsize: int = 0) -> None:
        self._items: deque[Any] = deque()
        self._size_max = maxsize
        self._came, self._went = Signal(), Signal()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Wait for room."""
        while self._size_max and len(self._items) >= self._size_max:
            if not block or not self._went.wait(timeout):
                raise queue.Full
        self._items.append(item)
        self._came.notify_all()

    def put_nowait(self, item: Any) -> None:
        """Raises Full."""
        self.put(item, block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Wait for an item. Raises Empty."""
        while not self._items:
            if not block or not self._came.wait(timeout):
                raise queue.Empty
        self._went.notify_all()
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Raises Empty."""
        return self.get(block=False)

    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._items

    def qsize(self) -> int:
        """How much is in it."""
        return len(self._items)


class SimFuture(concurrent.futures.Future[T]):
    """`concurrent.futures.Future`, waited for in simulated time."""

    def result(self, timeout: float | None = None) -> T:
        """Wait for it."""
        self._await(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for it."""
        self._await(timeout)
        return super().exception(0)

    def _await(self, timeout: float | None) -> None:
        if self.done():
            return
        signal = Signal()
        self.add_done_callback(lambda _: signal.notify_all())
        if not signal.wait(timeout) and not self.done():
            raise concurrent.futures.TimeoutError


# -- event loops ---------------------------------------------------------------------------------


def _run_threadsafe(coroutine: Coroutine[Any, Any, T], loop: SimLoop) -> SimFuture[T]:
    done: SimFuture[T] = SimFuture()

    def finish(task: asyncio.Task[T]) -> None:
        error = task.exception()
        if error is None:
            done.set_result(task.result())
        else:
            done.set_exception(error)

    loop.call_soon_threadsafe(lambda: loop.create_task(coroutine).add_done_callback(finish))
    return done


@contextmanager
def inhabited(world: World) -> Iterator[None]:
    """Our packages live in this world for a while: every module of them that is loaded by then."""
    chance = Random(world.seed)
    stand_ins: dict[int, Any] = {
        id(time): _StandIn(
            time,
            time=lambda: _wall_ns() / 1e9,
            time_ns=_wall_ns,
            monotonic=lambda: _monotonic_ns() / 1e9,
            monotonic_ns=_monotonic_ns,
            perf_counter=lambda: _monotonic_ns() / 1e9,
            clock_gettime_ns=lambda _clock: _monotonic_ns(),
            sleep=_sleep,
        ),
        id(threading): _StandIn(
            threading,
            Thread=SimThread,
            Event=SimEvent,
            Lock=SimLock,
            RLock=SimRLock,
            Condition=SimCondition,
        ),
        id(queue): _StandIn(queue, Queue=SimQueue, SimpleQueue=SimQueue),
        id(asyncio): _StandIn(
            asyncio,
            new_event_loop=SimLoop,
            set_event_loop=lambda _loop: None,
            run_coroutine_threadsafe=_run_threadsafe,
        ),
        # A gateway's epoch is random, but the same in every run of a seed.
        id(random): _StandIn(random, SystemRandom=lambda: chance),
        id(concurrent.futures.Future): SimFuture,
    }
    kept: list[tuple[ModuleType, str, Any]] = []
    enter(world)
    try:
        for module in [one for name, one in sys.modules.items() if name.startswith(_PACKAGES)]:
            for name, value in list(vars(module).items()):
                if id(value) in stand_ins:
                    kept.append((module, name, value))
                    setattr(module, name, stand_ins[id(value)])
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
        leave()
