"""The outbox file as an object: transactions over chunks, lanes and ranges. One thread owns it."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from greenhaul_edge.outbox import receipts
from greenhaul_edge.outbox.chunks import (
    Batch,
    Priority,
    encode_chunk,
    encode_chunks,
    insert_chunk,
    map_clock,
)
from greenhaul_edge.outbox.receipts import Ignored, Ledger, OldImage, Settlement, Verdict
from greenhaul_edge.outbox.room import DELETE_ROWS_MAX, Bounds, GraceRing, evict
from greenhaul_edge.outbox.rows import load_ledger, meta, pack_pairs, save_lanes, set_meta
from greenhaul_edge.outbox.schema import open_file
from greenhaul_protocols.catalogue import Dropped, Reading, TimeQuality
from greenhaul_protocols.errors import ConfigError, DecodeError
from greenhaul_protocols.ranges import Pair
from greenhaul_protocols.receipt import Receipt
from greenhaul_protocols.topics import LANE_LIVE

log = logging.getLogger(__name__)

# First copies remembered of messages of unusable time; a terminal resends within minutes, and few
# terminals have no clock.
COPIES_MAX = 4_096
# Rows evicted between two looks at the size.
_EVICT_ROWS = 20
_VACUUM_PAGES = 256
_FOR_EVER_MS = 2**62

Judge = Callable[[Ledger, Receipt], Verdict]


class OutboxFile:
    """A log of readings in SQLite. Whatever a method returned from is committed, power cut or not.

    Not thread-safe: one thread writes. judge: the rules of receipts; a test plants wrong ones.
    """

    def __init__(
        self,
        path: Path,
        gateway: str,
        *,
        boot: int,
        now_ms: int,
        bounds: Bounds | None = None,
        judge: Judge = receipts.judge,
    ) -> None:
        self.path, self.gateway, self.boot = path, gateway, boot
        self.bounds = bounds or Bounds()
        self.is_sending = False  # whether what is committed may be sent at once
        self._judge = judge
        self._connection = open_file(path)
        try:
            self._page_size = self._pragma("page_size")
            if meta(self._connection, "epoch") is None:
                self.ledger = Ledger(gateway, 0)
                with self._transaction():
                    self._open_epoch(now_ms)
                    set_meta(self._connection, "gateway", gateway)
            self._check_owner()
            self.ledger = load_ledger(self._connection, gateway)
            self._grace = GraceRing(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Checkpoint and close."""
        self._connection.close()

    @property
    def size(self) -> int:
        """Bytes in use: pages without the free ones."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_size

    @property
    def is_full(self) -> bool:
        """Whether sources that keep their data themselves are to be held back."""
        return self.size - self._grace.size >= self.bounds.backpressure_size

    def append(self, batches: Sequence[Batch], now_ms: int) -> None:
        """Commit readings, all or none. Raises EncodeError if one cannot be kept."""
        with self._transaction():
            groups: dict[tuple[int, Priority], list[Reading]] = {}
            for batch in batches:
                if batch.is_unclocked:
                    self._put_unclocked(batch)
                    continue
                readings = self._with_first_times(batch)
                groups.setdefault((batch.lane, batch.priority), []).extend(readings)
            for (lane, priority), readings in groups.items():
                self._append(lane, readings, priority, now_ms)
            self._make_room(now_ms)
            self._save()

    def mark_sent(self) -> None:
        """Everything committed so far may be sent from now on."""
        with self._transaction():
            for lane in self.ledger.lanes.values():
                lane.sent_mark = lane.next - 1
            self._save()

    def take_receipt(self, receipt: Receipt, now_ms: int) -> Verdict:
        """Judge a receipt and commit what follows from it."""
        verdict = self._judge(self.ledger, receipt)
        match verdict:
            case Settlement():
                with self._transaction():
                    self._settle(verdict, now_ms)
            case OldImage():
                with self._transaction():
                    self._begin_again(verdict, now_ms)
            case Ignored():
                pass
        return verdict

    def trim(self, now_ms: int) -> bool:
        """Delete a slice of what the grace ring need not keep; whether there may be more."""
        oldest_kept_ms = now_ms - self.bounds.grace_age_ms_max
        oldest_ms = self._grace.oldest_ms()
        is_young = oldest_ms is None or oldest_ms > oldest_kept_ms
        if is_young and self._grace.size <= self.bounds.grace_size_max:
            return False
        with self._transaction():
            self._grace.trim(self.ledger, self.bounds.grace_size_max, oldest_kept_ms)
        # executescript, because execute() frees a single page only.
        self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        return True

    def give_up(self, lane: int, first: int, last: int, reason: str, now_ms: int) -> None:
        """Readings that cannot be read or sent: delete their rows, name them in a `Dropped`."""
        with self._transaction():
            self._connection.execute(
                'DELETE FROM chunk WHERE lane = ? AND first >= ? AND first + "count" - 1 <= ?',
                (lane, first, last),
            )
            self._append_dropped(lane, self.ledger.lane(lane).give_up(first, last), reason, now_ms)
            self._save()

    def map_clock(self, offset_ms: int, now_ms: int) -> int:
        """Append a slice of the readings that waited for UTC: device time = monotonic + offset.

        Those of boots that ended unmapped get a time between the last one known and this boot's
        start, and are marked so. Returns how many rows were dealt with; 0 when none wait.
        """
        rows = self._connection.execute(
            "SELECT id, boot, priority, body FROM unclocked ORDER BY id LIMIT ?", (DELETE_ROWS_MAX,)
        ).fetchall()
        if not rows:
            return 0
        with self._transaction():
            for row_id, boot, priority, body in rows:
                self._connection.execute("DELETE FROM unclocked WHERE id = ?", (row_id,))
                readings = self._clocked(boot, body, offset_ms)
                self._append(LANE_LIVE, readings, Priority(priority), now_ms)
            self._save()
        return len(rows)

    # The rest runs inside a transaction of the caller.

    def _check_owner(self) -> None:
        owner = meta(self._connection, "gateway")
        if owner != self.gateway:
            raise ConfigError(f"{self.path}: belongs to gateway {owner!r}, not {self.gateway!r}")

    def _append(
        self, lane: int, readings: Sequence[Reading], priority: Priority, now_ms: int
    ) -> None:
        for part, body in encode_chunks(readings) if readings else ():
            first = self.ledger.lane(lane).append(len(part))
            insert_chunk(
                self._connection,
                lane,
                first,
                part,
                body,
                priority=priority,
                boot=self.boot,
                now_ms=now_ms,
            )

    def _append_dropped(
        self,
        lane: int,
        ranges: Iterable[Pair],
        reason: str,
        now_ms: int,
        span_ms: tuple[int | None, int | None] = (None, None),
    ) -> None:
        blank = Dropped(
            source=f"{self.gateway}/outbox",
            device_time_ms=now_ms,
            received_time_ms=now_ms,
            time_quality=TimeQuality.GATEWAY,
            epoch=self.ledger.epoch,
            lane=lane,
            from_time_ms=span_ms[0],
            to_time_ms=span_ms[1],
            reason=reason,
        )
        readings = [replace(blank, first=first, last=last) for first, last in ranges]
        if readings:
            count = sum((r.last or 0) - (r.first or 0) + 1 for r in readings)
            log.warning("dropped lane=%d readings=%d reason=%r", lane, count, reason)
            self._append(LANE_LIVE, readings, Priority.KEPT, now_ms)

    def _put_unclocked(self, batch: Batch) -> None:
        self._connection.execute(
            "INSERT INTO unclocked (boot, priority, body) VALUES (?,?,?)",
            (self.boot, batch.priority, encode_chunk(batch.readings)),
        )

    def _clocked(self, boot: int, body: bytes, offset_ms: int) -> list[Reading]:
        try:
            if boot == self.boot:
                return map_clock(body, offset_ms, TimeQuality.GATEWAY)
            readings = map_clock(body, 0, TimeQuality.BOUNDED)
        except DecodeError:
            log.exception("unclocked readings of boot %d are damaged", boot)
            return []
        known_ms = self._connection.execute("SELECT max(to_ms) FROM chunk").fetchone()[0]
        start_ms = offset_ms if known_ms is None else min(known_ms, offset_ms)
        return [
            replace(reading, device_time_ms=min(start_ms + reading.device_time_ms, offset_ms))
            for reading in readings
        ]

    def _with_first_times(self, batch: Batch) -> Sequence[Reading]:
        """Readings of unusable time get the received time of the message's first copy."""
        if batch.copy_key is None or not batch.readings:
            return batch.readings
        row = self._connection.execute(
            "SELECT received_ms FROM copy WHERE key = ?", (batch.copy_key,)
        ).fetchone()
        received_ms = row[0] if row else batch.readings[0].received_time_ms
        if not row:
            cursor = self._connection.execute(
                "INSERT INTO copy (key, received_ms) VALUES (?,?)", (batch.copy_key, received_ms)
            )
            oldest = (cursor.lastrowid or 0) - COPIES_MAX
            self._connection.execute("DELETE FROM copy WHERE id <= ?", (oldest,))
        return [
            replace(reading, device_time_ms=received_ms)
            if reading.time_quality is TimeQuality.UNUSABLE
            else reading
            for reading in batch.readings
        ]

    def _settle(self, settlement: Settlement, now_ms: int) -> None:
        receipts.settle(self.ledger, settlement)
        for change in settlement.lanes:
            lane = change.state.lane
            for first, last in change.returned:
                self._grace.take_back(lane, first, last)
            for first, last in change.settled:
                self._grace.put(lane, first, last, now_ms)
            reason = f"delivered to store {settlement.store_id:x}"
            self._append_dropped(lane, change.lost, reason, now_ms)
        set_meta(self._connection, "revisions", pack_pairs(self.ledger.revisions.items()).hex())
        set_meta(self._connection, "receipt_ms", str(now_ms))
        self._save()

    def _make_room(self, now_ms: int) -> None:
        """The grace ring goes first; then the oldest readings of sources that keep nothing."""
        while self.size > self.bounds.backpressure_size:
            if not self._grace.trim(self.ledger, 0, _FOR_EVER_MS):
                break
        while self.size > self.bounds.evict_above_size:
            if not self._evict("outbox full", _FOR_EVER_MS, now_ms):
                break
        if self.bounds.age_ms_max:
            self._evict("too old", now_ms - self.bounds.age_ms_max, now_ms)

    def _evict(self, reason: str, committed_before_ms: int, now_ms: int) -> bool:
        given_up = evict(
            self._connection,
            self.ledger,
            rows_max=_EVICT_ROWS,
            committed_before_ms=committed_before_ms,
        )
        for lane, evicted in given_up.items():
            if evicted.times:
                self._append_dropped(lane, evicted.ranges, reason, now_ms, evicted.span_ms)
        return bool(given_up)

    def _begin_again(self, verdict: OldImage, now_ms: int) -> None:
        """A new epoch; rows keep their readings and get new numbers, lane by lane, in order."""
        old = self.ledger
        reason = (
            f"restored from an old image: the store has lane {verdict.lane} to {verdict.number}"
        )
        log.error("new epoch: outbox %s; everything held is sent again", reason)
        self._connection.execute(
            "UPDATE epoch SET closed_ms = ?, closed_because = ? WHERE epoch = ?",
            (now_ms, reason, old.epoch),
        )
        epoch = self._open_epoch(now_ms)
        self.ledger = Ledger(self.gateway, epoch, {}, old.revisions)
        self._grace.clear()
        # Through negative numbers, since the new ones overlap the old.
        self._connection.execute(
            'UPDATE chunk SET first = -numbered.start FROM (SELECT id, 1 - "count" + sum("count") '
            "OVER (PARTITION BY lane ORDER BY first) AS start FROM chunk) AS numbered "
            "WHERE chunk.id = numbered.id"
        )
        self._connection.execute("UPDATE chunk SET first = -first")
        held = self._connection.execute('SELECT lane, sum("count") FROM chunk GROUP BY lane')
        for lane, count in held.fetchall():
            self.ledger.lane(lane).append(count)
        unknown = Dropped(
            source=f"{self.gateway}/outbox",
            device_time_ms=now_ms,
            received_time_ms=now_ms,
            time_quality=TimeQuality.GATEWAY,
            epoch=old.epoch,
            lane=verdict.lane,
            reason=reason,
        )
        self._append(LANE_LIVE, [unknown], Priority.KEPT, now_ms)
        self.is_sending = False
        self._save()

    def _open_epoch(self, now_ms: int) -> int:
        # 63 bits: SQLite's integers are signed.
        epoch = random.SystemRandom().getrandbits(63) or 1
        self._connection.execute(
            "INSERT INTO epoch (epoch, opened_ms) VALUES (?,?)", (epoch, now_ms)
        )
        set_meta(self._connection, "epoch", str(epoch))
        return epoch

    def _save(self) -> None:
        if self.is_sending:
            for lane in self.ledger.lanes.values():
                lane.sent_mark = lane.next - 1
        save_lanes(self._connection, self.ledger)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit, or roll back and read the ledger again: it may have been changed half way."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if self.ledger.epoch:
                self.ledger = load_ledger(self._connection, self.gateway)
                self._grace.reload()
            raise

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
