"""The outbox file as an object: transactions over chunks, lanes and ranges. One thread owns it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from greenhaul_edge.outbox import epochs, receipts, unclocked
from greenhaul_edge.outbox.ballast import Ballast, ballast_for, growth_left
from greenhaul_edge.outbox.chunks import (
    Batch,
    Priority,
    Row,
    insert_row,
    lane_of,
)
from greenhaul_edge.outbox.entries import Entries, Span
from greenhaul_edge.outbox.receipts import Ignored, Ledger, OldImage, Settlement, Verdict
from greenhaul_edge.outbox.room import EVICT_ROWS, Bounds, Evicted, GraceRing, Limits, evict
from greenhaul_edge.outbox.rows import meta, pack_pairs, save_lanes, set_meta
from greenhaul_edge.outbox.schema import DamagedFile, check_structure, open_file
from greenhaul_edge.outbox.scrub import Scrub
from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.receipt import Receipt
from greenhaul_protocols.topics import LANE_LIVE

log = logging.getLogger(__name__)

_VACUUM_PAGES = 256
_FOR_EVER_MS = 2**62

Judge = Callable[[Ledger, Receipt], Verdict]


class OutboxFile:
    """A log of readings in SQLite. Whatever a method returned from is committed, power cut or not.

    Not thread-safe: one thread writes. judge: the rules of receipts; a test plants wrong ones.
    Raises, from any method, sqlite3.Error and DamagedFile; `recovery` knows what they mean.
    """

    def __init__(
        self,
        path: Path,
        gateway: str,
        *,
        boot: int,
        now_ms: int,
        bounds: Bounds | None = None,
        live_lanes: int = 1,
        judge: Judge = receipts.judge,
    ) -> None:
        self.path, self.gateway, self.boot = path, gateway, boot
        self.bounds, self.live_lanes, self.judge = bounds or Bounds(), live_lanes, judge
        self.is_sending = False  # whether what is committed may be sent at once
        self.ballast: Ballast = ballast_for(path.parent, self.bounds.ballast_size)
        self._connection = open_file(path)
        try:
            self._page_size = self._pragma("page_size")
            if meta(self._connection, "epoch") is None:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    epochs.open_epoch(self._connection, now_ms)
                    set_meta(self._connection, "gateway", gateway)
            self._check_owner()
            self._entries = Entries(self._connection, gateway, boot)
            self._grace = GraceRing(self._connection)
            self._scrub: Scrub | None = Scrub(self._connection, self.ledger)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Checkpoint and close."""
        self._connection.close()

    @property
    def ledger(self) -> Ledger:
        """The numbers of the open epoch, as committed; only this object changes them."""
        return self._entries.ledger

    @property
    def size(self) -> int:
        """Bytes in use: pages without the free ones."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_size

    @property
    def limits(self) -> Limits:
        """What may be in use now: a disk that others fill counts as a smaller bound."""
        file_size = self._pragma("page_count") * self._page_size
        left = growth_left(self.path, self.ballast)
        return Limits(min(self.bounds.database_size_max, max(file_size + left, 0)))

    @property
    def is_full(self) -> bool:
        """Whether sources that keep their data themselves are to be held back."""
        return self.size - self._grace.size >= self.limits.backpressure_size

    @property
    def is_choked(self) -> bool:
        """Whether nothing is left to evict: what comes now would be evicted at once."""
        if self.size - self._grace.size <= self.limits.evict_above_size:
            return False
        tables = "SELECT 1 FROM chunk WHERE priority = 0 UNION ALL SELECT 1 FROM unclocked"
        return self._connection.execute(f"{tables} WHERE priority = 0 LIMIT 1").fetchone() is None

    def append(self, batches: Sequence[Batch], now_ms: int) -> None:
        """Commit readings, all or none. Raises EncodeError if one cannot be kept."""
        with self._transaction():
            groups: dict[tuple[int, Priority], list[Reading]] = {}
            for batch in batches:
                if batch.is_unclocked:
                    unclocked.put(self._connection, batch, boot=self.boot, now_ms=now_ms)
                    continue
                for reading in unclocked.with_first_times(self._connection, batch):
                    lane = batch.lane
                    if lane is None:
                        lane = lane_of(reading, self.live_lanes)
                    groups.setdefault((lane, batch.priority), []).append(reading)
            for (lane, priority), readings in groups.items():
                self._entries.append(lane, readings, priority, now_ms)
            self._make_room(now_ms)
            self._save()

    def append_lost(self, count: int, span_ms: Span, reason: str, now_ms: int) -> None:
        """Number readings that could not be kept, and name them as dropped."""
        with self._transaction():
            self._entries.append_lost(count, span_ms, reason, now_ms)
            self._save()

    def frames_taken(self) -> int:
        """How many frames of the WAL SQLite found when it opened the file."""
        said = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return max(int(said[1]), 0)

    def unknown_rows(self, rows: Sequence[Row]) -> list[Row]:
        """Those of these rows that this file does not have, and was not given before."""
        found = []
        for row in rows:
            lane = self.ledger.lanes.get(row.lane)
            is_new = row.first >= (lane.next if lane else 1)
            if not row.first:
                known = "SELECT 1 FROM unclocked WHERE crc = ?"
                is_new = self._connection.execute(known, (row.crc,)).fetchone() is None
            if is_new:
                found.append(row)
        return found

    def adopt(
        self,
        rows: Sequence[Row],
        now_ms: int,
        *,
        were_sent: bool = False,
        salvaged: tuple[str, int] | None = None,
    ) -> None:
        """Append rows as they were found.

        were_sent: perhaps, and under the numbers they get. salvaged: the file they come from, and
        the place it was searched to.
        """
        with self._transaction():
            if salvaged:
                set_meta(self._connection, "salvage", f"{salvaged[1]} {salvaged[0]}")
            for row in rows:
                if row.first:
                    first = self.ledger.lane(row.lane).append(row.readings)
                    insert_row(self._connection, row._replace(first=first))
                else:
                    insert_row(self._connection, row, "unclocked")
            for lane in self.ledger.lanes.values() if were_sent else ():
                lane.sent_mark = lane.next - 1
            self._make_room(now_ms)
            self._save()

    def salvaged_to(self, name: str) -> int:
        """The place up to which a file that was put aside has been searched."""
        place, _, noted = (meta(self._connection, "salvage") or "0 ").partition(" ")
        return int(place) if noted == name else 0

    def check(self, now_ms: int) -> None:
        """Compare all that was written with what can be read. Raises DamagedFile."""
        check_structure(self._connection)
        self._scrub = Scrub(self._connection, self.ledger)
        while self._check_on(now_ms):
            pass

    def mark_sent(self) -> None:
        """Everything committed so far may be sent from now on."""
        with self._transaction():
            for lane in self.ledger.lanes.values():
                lane.sent_mark = lane.next - 1
            self._save()

    def take_receipt(self, receipt: Receipt, now_ms: int) -> Verdict:
        """Judge a receipt and commit what follows from it."""
        verdict = self.judge(self.ledger, receipt)
        match verdict:
            case Settlement():
                with self._transaction():
                    self._settle(verdict, now_ms)
            case OldImage(lane=lane, number=number):
                reason = f"restored from an old image: the store has lane {lane} to {number}"
                with self._transaction():
                    self._begin_again(lane, reason, now_ms)
            case Ignored() if receipt.gateway == self.gateway and receipts.says_any(receipt):
                self.close_unknown_epoch(receipt.epoch, "outbox lost: the store knows it", now_ms)
        return verdict

    def close_unknown_epoch(self, epoch: int, reason: str, now_ms: int) -> None:
        """Say that an epoch this file knows nothing of has ended, once."""
        if epochs.is_known(self._connection, epoch):
            return
        log.error("epoch %s has ended: %s", epochs.text_of(epoch), reason)
        with self._transaction():
            epochs.close_epoch(self._connection, epoch, reason, now_ms)
            record = epochs.dropped(self.gateway, epoch, LANE_LIVE, reason, now_ms)
            self._entries.append(LANE_LIVE, [record], Priority.KEPT, now_ms)
            self._save()

    def tidy(self, now_ms: int, *, is_clock_known: bool = True) -> bool:
        """A slice of the work that can wait; whether there is more of it.

        Deletes what the grace ring need not keep and what is too old, gives room back to the disk,
        compares what was written with what can be read. Ages count by a clock that is known only.
        """
        oldest_kept_ms = now_ms - self.bounds.grace_age_ms_max if is_clock_known else 0
        oldest_ms = self._grace.oldest_ms()
        is_old = oldest_ms is not None and oldest_ms <= oldest_kept_ms
        # Who is held back appends nothing that would make room: only this does.
        size_max = 0 if oldest_ms is not None and self.is_full else self.bounds.grace_size_max
        has_more = is_old or self._grace.size > size_max
        if has_more:
            with self._transaction():
                self._grace.trim(self.ledger, size_max, oldest_kept_ms)
        if self.bounds.age_ms_max and is_clock_known:
            self.expire(now_ms)
        self.ballast.rebuild()
        return self._vacuum() or self._check_on(now_ms) or has_more

    def expire(self, now_ms: int) -> None:
        """Give up, and name, a slice of the evictable readings that are older than the bound."""
        before_ms = now_ms - self.bounds.age_ms_max
        is_any = self._connection.execute(
            "SELECT 1 FROM chunk WHERE priority = 0 AND committed_ms < ? LIMIT 1", (before_ms,)
        ).fetchone()
        if is_any:
            with self._transaction():
                given_up: dict[int, Evicted] = {}
                evict(self._connection, self.ledger, given_up, before_ms)
                self._entries.name(given_up, "too old", now_ms)
                self._save()

    def make_way(self, now_ms: int) -> None:
        """After a commit that found the disk full: give up the ballast, then what may be."""
        is_free = self.ballast.release()
        # Not TRUNCATE: the WAL's bytes on the disk are room that nobody else can take.
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        log.warning("disk full: size=%d ballast_released=%s", self.size, is_free)
        with self._transaction():
            self._make_room(now_ms)
            self._save()

    def give_up(self, lane: int, first: int, last: int, reason: str, now_ms: int) -> None:
        """Readings that cannot be read or sent: delete their rows, name them in a `Dropped`."""
        with self._transaction():
            self._entries.give_up(lane, first, last, reason, now_ms)
            self._save()

    def map_clock(
        self, offset_ms: int, now_ms: int, quality: TimeQuality = TimeQuality.GATEWAY
    ) -> int:
        """Append a slice of the readings that waited for UTC: device time = monotonic + offset.

        quality: BOUNDED where the offset is only the least that is known. Returns how many rows
        were dealt with; 0 when none wait.
        """
        if self._connection.execute("SELECT 1 FROM unclocked LIMIT 1").fetchone() is None:
            return 0
        rows = 0
        with self._transaction():
            for row, readings in unclocked.take(self._connection, self.boot, offset_ms, quality):
                priority = Priority(row.priority)
                self._entries.append(LANE_LIVE, readings, priority, now_ms, boot=row.boot)
                damaged = 0 if readings else row.readings
                self._entries.append_lost(damaged, (None, None), "damaged on the disk", now_ms)
                rows += 1
            self._save()
        return rows

    # The rest runs inside a transaction of the caller.

    def _check_owner(self) -> None:
        owner = meta(self._connection, "gateway")
        if owner is None:
            raise DamagedFile("it does not say whose it is")
        if owner != self.gateway:
            raise ConfigError(f"{self.path}: belongs to gateway {owner!r}, not {self.gateway!r}")

    def _settle(self, settlement: Settlement, now_ms: int) -> None:
        receipts.settle(self.ledger, settlement)
        for change in settlement.lanes:
            lane = change.state.lane
            for first, last in change.returned:
                self._grace.take_back(lane, first, last)
            for first, last in change.settled:
                self._grace.put(lane, first, last, now_ms)
            reason = f"delivered to store {settlement.store_id:x}"
            self._entries.append_dropped(lane, change.lost, reason, now_ms)
        set_meta(self._connection, "revisions", pack_pairs(self.ledger.revisions.items()).hex())
        set_meta(self._connection, "receipt_ms", str(now_ms))
        self._save()

    def _make_room(self, now_ms: int) -> None:
        """The grace ring goes first; then the oldest readings of sources that keep nothing."""
        limits = self.limits
        while self.size > limits.backpressure_size:
            if not self._grace.trim(self.ledger, 0, _FOR_EVER_MS):
                break
        if self.size <= limits.evict_above_size:
            return
        given_up: dict[int, Evicted] = {}
        while self.size > limits.evict_to_size:
            if not evict(self._connection, self.ledger, given_up, _FOR_EVER_MS):
                break
        self._entries.name(given_up, "outbox full", now_ms)
        while self.size > limits.evict_above_size:
            count = unclocked.evict(self._connection, EVICT_ROWS)
            if not count:
                break
            self._entries.append_lost(count, (None, None), "outbox full", now_ms)

    def _begin_again(self, lane: int, reason: str, now_ms: int) -> None:
        log.error("new epoch: outbox %s; everything held is sent again", reason)
        self._entries.begin_again(lane, reason, now_ms)
        self._grace.clear()
        self.is_sending = False
        self._scrub = None
        self._save()

    def _vacuum(self) -> bool:
        """Give a slice of free pages back to the disk; whether there are more."""
        free = self._pragma("freelist_count")
        # What others would take from a disk that is nearly full is kept, as room of our own.
        if free < _VACUUM_PAGES // 16 or growth_left(self.path, self.ballast) < self.ballast.size:
            return False
        # executescript, because execute() frees a single page only.
        self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        return free >= 2 * _VACUUM_PAGES

    def _check_on(self, now_ms: int) -> bool:
        """A slice of the comparison; whether there is more of it."""
        if self._scrub is None:
            return False
        for lane, first, last in self._scrub.step(self.ledger):
            with self._transaction():
                self._entries.give_up(lane, first, last, "damaged on the disk", now_ms)
                self._save()
        if self._scrub.is_done:
            self._scrub = None
        return self._scrub is not None

    def _save(self) -> None:
        if self.is_sending:
            for lane in self.ledger.lanes.values():
                lane.sent_mark = lane.next - 1
        save_lanes(self._connection, self.ledger)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit, or roll back and read again what may have been changed half way."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._entries.reload()
            self._grace.reload()
            raise

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
