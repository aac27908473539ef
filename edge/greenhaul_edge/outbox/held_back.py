"""Readings that nobody keeps but us, while the disk does not take them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from greenhaul_edge.outbox.chunks import Batch

# Two and a half hours of one reading a second, some megabytes.
READINGS_MAX = 10_000


class Waiter(Protocol):
    """Somebody whose readings were not committed."""

    @property
    def batch(self) -> Batch:
        """The readings."""


W = TypeVar("W", bound=Waiter)


@dataclass(slots=True)
class HeldBack(Generic[W]):
    """A bounded queue. What has no room in it is counted, so that it can be named later."""

    _waiting: deque[W] = field(default_factory=deque)
    readings: int = 0
    lost: int = 0
    lost_span_ms: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, waiters: Iterable[W]) -> list[W]:
        """Keep these for the next commit; those, of the oldest, that had to go for it."""
        for waiter in waiters:
            self._waiting.append(waiter)
            self.readings += len(waiter.batch.readings)
        gone = []
        while self.readings > READINGS_MAX:
            gone.append(self._take_one())
            self._note_lost(gone[-1].batch)
        return gone

    def take(self) -> list[W]:
        """All of them, oldest first."""
        return [self._take_one() for _ in range(len(self._waiting))]

    def named(self, count: int) -> None:
        """So many of the lost have been named."""
        self.lost -= count
        if not self.lost:
            self.lost_span_ms = None

    def _take_one(self) -> W:
        waiter = self._waiting.popleft()
        self.readings -= len(waiter.batch.readings)
        return waiter

    def _note_lost(self, batch: Batch) -> None:
        self.lost += len(batch.readings)
        if batch.is_unclocked or not batch.readings:
            return
        times = [reading.device_time_ms for reading in batch.readings]
        before = self.lost_span_ms or (times[0], times[0])
        self.lost_span_ms = min(before[0], *times), max(before[1], *times)
