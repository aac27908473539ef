"""What a transaction does to the log: readings get their numbers, are given up, and are named."""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace

from greenhaul_edge.outbox import epochs
from greenhaul_edge.outbox.chunks import Priority, encode_chunks, insert_row, row_of
from greenhaul_edge.outbox.receipts import Ledger
from greenhaul_edge.outbox.room import Evicted
from greenhaul_edge.outbox.rows import load_ledger
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.ranges import Pair
from greenhaul_protocols.topics import LANE_LIVE

log = logging.getLogger(__name__)

Span = tuple[int | None, int | None]


class Entries:
    """The chunks of an outbox file and the ledger of their numbers, changed together.

    Every method but `reload` is part of the caller's transaction.
    """

    def __init__(self, connection: sqlite3.Connection, gateway: str, boot: int) -> None:
        self._connection, self._gateway, self._boot = connection, gateway, boot
        self.ledger = load_ledger(connection, gateway)

    def reload(self) -> None:
        """Read the ledger again after a rollback: it may have been changed half way."""
        self.ledger = load_ledger(self._connection, self._gateway)

    def append(
        self,
        lane: int,
        readings: Sequence[Reading],
        priority: Priority,
        now_ms: int,
        *,
        boot: int | None = None,
    ) -> None:
        """Number readings and write their chunks. boot: theirs, if it is not this one."""
        for part, body in encode_chunks(readings) if readings else ():
            first = self.ledger.lane(lane).append(len(part))
            row = row_of(
                lane,
                part,
                body,
                first=first,
                priority=priority,
                boot=boot or self._boot,
                now_ms=now_ms,
            )
            insert_row(self._connection, row)

    def append_dropped(
        self,
        lane: int,
        ranges: Iterable[Pair],
        reason: str,
        now_ms: int,
        span_ms: Span = (None, None),
    ) -> None:
        """Name ranges of a lane that are not held; span_ms: their device times, as far as known."""
        blank = epochs.dropped(self._gateway, self.ledger.epoch, lane, reason, now_ms)
        blank = replace(blank, lane=lane, from_time_ms=span_ms[0], to_time_ms=span_ms[1])
        readings = [replace(blank, first=first, last=last) for first, last in ranges]
        if readings:
            count = sum((r.last or 0) - (r.first or 0) + 1 for r in readings)
            log.warning("dropped lane=%d readings=%d reason=%r", lane, count, reason)
            self.append(LANE_LIVE, readings, Priority.KEPT, now_ms)

    def append_lost(self, count: int, span_ms: Span, reason: str, now_ms: int) -> None:
        """Number readings that could not be kept, and name them."""
        if count:
            lane = self.ledger.lane(LANE_LIVE)
            first = lane.append(count)
            ranges = lane.give_up(first, first + count - 1)
            self.append_dropped(LANE_LIVE, ranges, reason, now_ms, span_ms)

    def give_up(self, lane: int, first: int, last: int, reason: str, now_ms: int) -> None:
        """Delete the rows within first…last, and name what of it was waiting."""
        self._connection.execute(
            'DELETE FROM chunk WHERE lane = ? AND first >= ? AND first + "count" - 1 <= ?',
            (lane, first, last),
        )
        self.append_dropped(lane, self.ledger.lane(lane).give_up(first, last), reason, now_ms)

    def name(self, given_up: dict[int, Evicted], reason: str, now_ms: int) -> None:
        """Name what was evicted, by lane."""
        for lane, evicted in given_up.items():
            span_ms = evicted.span_ms or (None, None)
            self.append_dropped(lane, evicted.ranges, reason, now_ms, span_ms)

    def begin_again(self, lane: int, reason: str, now_ms: int) -> None:
        """A new epoch; rows keep their readings and get new numbers, lane by lane, in order."""
        old = self.ledger
        epochs.close_epoch(self._connection, old.epoch, reason, now_ms)
        epoch = epochs.open_epoch(self._connection, now_ms)
        self.ledger = Ledger(self._gateway, epoch, {}, old.revisions)
        for held_lane, count in epochs.renumber(self._connection).items():
            self.ledger.lane(held_lane).append(count)
        unknown = epochs.dropped(self._gateway, old.epoch, lane, reason, now_ms)
        self.append(LANE_LIVE, [unknown], Priority.KEPT, now_ms)
