"""Deliveries of all peers on their way to the outbox: those of one turn of the loop go together.

Thousands of terminals send one report each. Handing each over by itself, with its own future and
wake-up, costs as much as reading it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.terminal_delivery import Delivery, is_plain
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.errors import Rejected

# Readings handed over together; the outbox takes or refuses them as one.
TOGETHER_MAX = 2_000


class Line(Protocol):
    """Who waits for a commit."""

    def committed(self, delivery: Delivery, error: BaseException | None) -> None:
        """It is on the disk, or why it is not."""


_Waiting = list[tuple[Line, Delivery]]


class Commits:
    """Between lines and outbox; everything here runs in the source's thread.

    call_soon: after what the loop still has to read in this turn. call_later: from any thread.
    """

    def __init__(
        self,
        outbox: Outbox,
        call_soon: Callable[[Callable[[], None]], object],
        call_later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._outbox, self._call_soon, self._call_later = outbox, call_soon, call_later
        self._waiting: _Waiting = []
        self._readings = 0

    def put(self, line: Line, delivery: Delivery) -> None:
        """Commit a delivery; `line.committed` is called in the order of the puts of a line."""
        if not is_plain(delivery):
            self.flush()
            self._append([(line, delivery)], delivery.readings)
            return
        if not self._waiting:
            self._call_soon(self.flush)
        self._waiting.append((line, delivery))
        self._readings += len(delivery.readings)
        if self._readings >= TOGETHER_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand over what was put."""
        waiting, self._waiting, self._readings = self._waiting, [], 0
        if waiting:
            readings = [reading for _, delivery in waiting for reading in delivery.readings]
            self._append(waiting, readings)

    def _append(self, waiting: _Waiting, readings: list[Reading]) -> None:
        first = waiting[0][1]
        done = self._outbox.append(
            readings,
            priority=Priority.EVICTABLE if first.is_rubbish else Priority.KEPT,
            is_urgent=any(delivery.answers for _, delivery in waiting),
            is_alarm=any(delivery.is_alarm for _, delivery in waiting),
            copy_key=first.copy_key,
        )
        if done.done():
            self._settle(waiting, done)
        else:
            done.add_done_callback(
                lambda future: self._call_later(lambda: self._settle(waiting, future))
            )

    def _settle(self, waiting: _Waiting, done: "Future[None]") -> None:
        error = done.exception()
        if isinstance(error, Rejected) and len(waiting) > 1:
            # One of them can never be kept; the others are not to suffer for it.
            for line, delivery in waiting:
                self._append([(line, delivery)], delivery.readings)
            return
        for line, delivery in waiting:
            line.committed(delivery, error)
