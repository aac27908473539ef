"""A world in one process: a clock that goes only when nobody has anything to do, and one seed.

Simulated processes have threads and event loops. Threads are real threads of which one runs at a
time: who waits gives the baton back, and the world decides who goes on and when. What happens
follows from the seed alone.
"""

import heapq
import itertools
import threading
from collections.abc import Callable
from random import Random
from typing import Any

# 2026-11-20T08:00:00Z: when every world begins, in truth, whatever its processes' clocks say.
START_NS = 1_795_161_600 * 10**9
# How long a thread takes to wake up.
_WAKE_S_MAX = 0.002

_SECOND_NS = 10**9
# A run has a few hundred thousand; who turns in circles for ever within one instant has more.
EVENTS_MAX = 2_000_000


class Killed(BaseException):
    """The process a thread runs in is dead: unwind, whatever you are doing."""


class Process:
    """Threads and loops that die together. wall_offset_s: how wrong its system clock is."""

    def __init__(self, world: "World", name: str, wall_offset_s: float = 0.0) -> None:
        self.world, self.name = world, name
        self.wall_offset_ns = round(wall_offset_s * _SECOND_NS)
        self.started_ns = world.now_ns
        self.is_alive = True
        self.threads: list[SimThread] = []
        self.on_death: list[Callable[[], object]] = []

    def kill(self) -> None:
        """Nothing of it runs any more. Not to be called by a thread of its own."""
        self.is_alive = False
        for thread in self.threads:
            thread.unwind()
        for call in self.on_death:
            call()

    def spawn(self, target: Callable[[], object], name: str) -> "SimThread":
        """Start a thread in it."""
        thread = SimThread(target=target, name=name, process=self)
        thread.start()
        return thread


class Call:
    """Something to be done at its time."""

    __slots__ = ("arguments", "is_cancelled", "process", "what")

    def __init__(
        self, what: Callable[..., object], arguments: tuple[Any, ...], process: Process | None
    ) -> None:
        self.what, self.arguments, self.process = what, arguments, process
        self.is_cancelled = False

    def cancel(self) -> None:
        """It will not be done."""
        self.is_cancelled = True


class World:
    """Time, chance, and whose turn it is."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now_ns = START_NS
        self.process: Process | None = None  # whose code runs just now
        self.thread: SimThread | None = None
        self.failures: list[BaseException] = []
        self.events = 0
        self.network: Any = None  # of `loop`
        self._baton = threading.Lock()
        self._baton.acquire()
        self._calls: list[tuple[int, int, Call]] = []
        self._order = itertools.count()

    @property
    def now_s(self) -> float:
        """Seconds since 1970, in truth."""
        return self.now_ns / _SECOND_NS

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970, in truth."""
        return self.now_ns // 1_000_000

    @property
    def elapsed_s(self) -> float:
        """Since this world began."""
        return (self.now_ns - START_NS) / _SECOND_NS

    def later(
        self,
        delay_s: float,
        what: Callable[..., object],
        *arguments: object,
        process: Process | None = None,
    ) -> Call:
        """Do something after a while, unless the process it belongs to is dead by then."""
        call = Call(what, arguments, process)
        at_ns = self.now_ns + max(round(delay_s * _SECOND_NS), 0)
        heapq.heappush(self._calls, (at_ns, next(self._order), call))
        return call

    def chance(self, probability: float) -> bool:
        """Whether something happens that has this probability."""
        return self.random.random() < probability

    def run(self, seconds: float) -> None:
        """Let so much time pass. Raises what a thread or a callback raised."""
        end_ns = self.now_ns + round(seconds * _SECOND_NS)
        calls = self._calls
        while calls and calls[0][0] <= end_ns:
            self.now_ns, _, call = heapq.heappop(calls)
            if call.is_cancelled or (call.process is not None and not call.process.is_alive):
                continue
            self.events += 1
            assert self.events < EVENTS_MAX, f"seed {self.seed}: in circles at {self.elapsed_s:g} s"
            self.process = call.process
            call.what(*call.arguments)
            self.process = None
            if self.failures:
                raise self.failures[0]
        self.now_ns = end_ns

    def run_until(self, holds: Callable[[], bool], seconds_max: float, step_s: float) -> bool:
        """Let time pass until something holds, looking every so often; whether it came to that."""
        end_ns = self.now_ns + round(seconds_max * _SECOND_NS)
        while not holds():
            if self.now_ns >= end_ns:
                return False
            self.run(step_s)
        return True

    # -- the baton: called by threads of this module only --------------------------------------

    def hand_to(self, thread: "SimThread") -> None:
        """Let a thread run until it waits or ends."""
        before = self.thread, self.process
        self.thread, self.process = thread, thread.process
        thread.go.release()
        self._baton.acquire()
        self.thread, self.process = before

    def take_back(self) -> None:
        """The running thread waits or ends."""
        self._baton.release()


class SimThread:
    """A `threading.Thread` as far as ours use one."""

    def __init__(
        self,
        target: Callable[..., object] | None = None,
        name: str = "",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        daemon: bool | None = None,
        process: Process | None = None,
    ) -> None:
        self._world = current()
        self.process = process or self._world.process
        assert self.process is not None, "a thread needs a process"
        self.name, self.daemon = name, daemon
        self.go = threading.Lock()
        self.go.acquire()
        self.turn = 0
        self.was_notified = False
        self._target, self._args, self._kwargs = target, args, kwargs or {}
        self._is_begun = self._is_over = False
        self._over = Signal()

    def start(self) -> None:
        """Run soon."""
        assert self.process is not None
        self.process.threads.append(self)
        self._world.later(self._world.random.uniform(0, _WAKE_S_MAX), self._begin)

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        assert self.process is not None
        return self in self.process.threads and not self._is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait until it ended."""
        if not self._is_over:
            self._over.wait(timeout)

    def unwind(self) -> None:
        """Its process is dead: let it see that, wherever it waits."""
        if self._is_begun and not self._is_over:
            self.turn += 1
            self._world.hand_to(self)

    def pause(self) -> None:
        """Wait; called by the thread itself. Raises Killed."""
        self._world.take_back()
        self.go.acquire()
        self.must_live()

    def must_live(self) -> None:
        """Raises Killed if the process is dead."""
        assert self.process is not None
        if not self.process.is_alive:
            raise Killed

    def wake(self, turn: int, was_notified: bool) -> None:
        """Go on, if it still waits for what it waited for."""
        if turn == self.turn and not self._is_over:
            self.turn += 1
            self.was_notified = was_notified
            self._world.hand_to(self)

    def _begin(self) -> None:
        assert self.process is not None
        if self.process.is_alive:
            self._is_begun = True
            threading.Thread(target=self._run, name=self.name, daemon=True).start()
            self._world.hand_to(self)

    def _run(self) -> None:
        self.go.acquire()
        try:
            if self._target is not None:
                self._target(*self._args, **self._kwargs)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the world raises it
            assert self.process is not None
            if self.process.is_alive:
                self._world.failures.append(error)
        finally:
            self._is_over = True
            self._over.notify_all()
            self._world.take_back()


class Signal:
    """Something threads wait for."""

    def __init__(self) -> None:
        self._world = current()
        self._waiting: list[tuple[SimThread, int]] = []

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it was given before the time was over. Raises Killed."""
        thread = self._world.thread
        assert thread is not None, "only threads can wait: this would block an event loop"
        thread.must_live()
        thread.turn += 1
        turn = thread.turn
        self._waiting.append((thread, turn))
        if timeout_s is not None:
            self._world.later(timeout_s, thread.wake, turn, False, process=thread.process)
        thread.pause()
        if not thread.was_notified:
            self._waiting = [one for one in self._waiting if one[0] is not thread]
        return thread.was_notified

    def notify_all(self) -> None:
        """Everybody goes on, each in a moment."""
        waiting, self._waiting = self._waiting, []
        for thread, turn in waiting:
            delay_s = self._world.random.uniform(0, _WAKE_S_MAX)
            self._world.later(delay_s, thread.wake, turn, True, process=thread.process)


_current: list[World] = []


def current() -> World:
    """The world we are in."""
    assert _current, "outside of every world"
    return _current[-1]


def enter(world: World) -> None:
    """From now on `current` is this one."""
    _current.append(world)


def leave() -> None:
    """Back to where we were."""
    _current.pop()
