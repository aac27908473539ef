"""Blocks into the store: one flush is one transaction, as durable as the outboxes it empties.

Readings, range sets, counters, `latest`, sources, dirty marks, quarantine and the receipts'
revisions are committed together. Rows are touched in one order (sources and their readings by
identity, then gateways, then marks), so two collectors never wait for each other in a circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select, update

from greenhaul_cloud.store.batch import KindBatch, Part
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.grants import is_granted
from greenhaul_cloud.store.inspection import ReceivedBlock, SetAside, inspect, set_aside
from greenhaul_cloud.store.marks import mark_sources
from greenhaul_cloud.store.newest import spans_of, write_latest
from greenhaul_cloud.store.quarantine import Quarantined, keep_damaged, put_aside
from greenhaul_cloud.store.settling import (
    EpochKey,
    LaneKey,
    Ledger,
    Outcome,
    load_ledgers,
    lock_epochs,
    make_receipts,
    save_ledgers,
)
from greenhaul_cloud.store.sources import note_sources, source_ids
from greenhaul_cloud.store.tables import gateway
from greenhaul_protocols.bulk import BytesColumn, SeriesColumns
from greenhaul_protocols.catalogue import KIND_OF, KINDS, Dropped, Position
from greenhaul_protocols.receipt import Receipt
from greenhaul_protocols.topics import LANE_MAX

_POSITION = KIND_OF[Position].number
_DROPPED = KIND_OF[Dropped].number


@dataclass(slots=True)
class StoreResult:
    """What a flush did; the counters count numbers that it settled first."""

    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    damaged: int = 0
    marked: int = 0  # sources with new positions for the fold
    unregistered: set[str] = field(default_factory=set)
    receipts: dict[EpochKey, Receipt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Drop:
    """Numbers a gateway reports as given up; in the epoch it names, which may be an old one."""

    gateway: str
    epoch: int
    lane: int
    first: int
    last: int


def store_blocks(store: Store, blocks: Sequence[ReceivedBlock], now_ms: int) -> StoreResult:
    """Store blocks durably, and say what is settled.

    When this returns, a receipt of the result may be published and the messages acknowledged.
    Raises Unavailable (nothing was stored, try again) or Rejected (something in these blocks makes
    the database refuse them all).
    """
    with store.write() as conn:
        return _Flush(store, conn, now_ms).store(blocks)


def _grouped(
    accepted: list[tuple[int, SeriesColumns]], ids: dict[str, int]
) -> dict[tuple[int, tuple[int, ...]], list[Part]]:
    """Parts by kind, and by which fields are bytes: of an unknown field two series may differ."""
    found: dict[tuple[int, tuple[int, ...]], list[Part]] = {}
    for i, series in accepted:
        unknown = series.columns.keys() - KINDS[series.kind].by_number.keys()
        are_bytes = sorted(n for n in unknown if isinstance(series.columns[n], BytesColumn))
        key = (series.kind, tuple(are_bytes))
        found.setdefault(key, []).append(Part(i, ids[series.source], series))
    return found


class _Flush:
    """The steps of one flush, in the order of their locks."""

    def __init__(self, store: Store, conn: Connection, now_ms: int) -> None:
        self._store, self._conn, self._now_ms = store, conn, now_ms
        self._blocks: list[ReceivedBlock] = []
        self._aside: list[tuple[int, SetAside]] = []
        self._drops: list[tuple[int, _Drop]] = []
        self._spans: dict[int, tuple[int, int]] = {}
        self._result = StoreResult()

    def store(self, blocks: Sequence[ReceivedBlock]) -> StoreResult:
        """Everything, within the transaction."""
        grants = self._sort_out(blocks)
        starts = np.cumsum([0, *(block.count for block in self._blocks)])
        outcomes = np.full(starts[-1], Outcome.STORED, np.int8)
        self._store_readings(self._judge(grants), starts, outcomes)
        for i, aside in self._aside:
            outcomes[starts[i] + np.array(aside.numbers, np.int64)] = Outcome.QUARANTINED
        self._settle([outcomes[a:b] for a, b in pairwise(starts)])
        mark_sources(self._conn, self._spans, self._now_ms)
        self._result.marked = len(self._spans)
        return self._result

    def _sort_out(self, blocks: Sequence[ReceivedBlock]) -> dict[str, list[str]]:
        names = sorted({block.gateway for block in blocks})
        query = select(gateway.c.id, gateway.c.sources).where(gateway.c.id.in_(names))
        grants = {row.id: row.sources for row in self._conn.execute(query)}
        self._result.unregistered = set(names) - grants.keys()
        known = [block for block in blocks if block.gateway in grants]
        damaged = [block for block in known if block.block is None]
        self._result.damaged = len(damaged)
        self._blocks = [block for block in known if block.block is not None]
        keep_damaged(self._conn, damaged, self._now_ms)
        return grants

    def _judge(self, grants: dict[str, list[str]]) -> list[tuple[int, SeriesColumns]]:
        accepted: list[tuple[int, SeriesColumns]] = []
        for i, block in enumerate(self._blocks):
            found = inspect(block)
            self._aside += [(i, aside) for aside in found.aside]
            for series in found.series:
                if is_granted(block.gateway, grants[block.gateway], series.source):
                    accepted.append((i, series))
                else:
                    reason = f"source {series.source} is not granted to {block.gateway}"
                    self._aside.append((i, set_aside(series, reason)))
        return accepted

    def _store_readings(
        self,
        accepted: list[tuple[int, SeriesColumns]],
        starts: NDArray[np.int64],
        outcomes: NDArray[np.int8],
    ) -> None:
        ids = source_ids(self._store, self._conn, (s.source for _, s in accepted))
        note_sources(
            self._conn,
            ((ids[series.source], self._blocks[i].gateway, series) for i, series in accepted),
            self._now_ms,
        )
        for (kind, _), parts in sorted(_grouped(accepted, ids).items()):
            batch = KindBatch(kind, parts, self._now_ms)
            inserted = self._store.driver.insert_new(self._conn, batch)
            known = ~batch.is_new(inserted)
            outcomes[starts[batch.block[known]] + batch.number[known]] = Outcome.DUPLICATE
            if kind == _POSITION:
                write_latest(self._conn, batch, inserted)
                self._widen(spans_of(batch, inserted))
            elif kind == _DROPPED:
                self._drops += self._drops_of(batch)

    def _widen(self, spans: dict[int, tuple[int, int]]) -> None:
        for source_id, (from_ms, to_ms) in spans.items():
            low, high = self._spans.get(source_id, (from_ms, to_ms))
            self._spans[source_id] = (min(low, from_ms), max(high, to_ms))

    def _drops_of(self, batch: KindBatch) -> list[tuple[int, _Drop]]:
        """Which numbers the (known or new) records name; an unknown count names none."""
        columns = [batch.steps_of(name) for name in ("epoch", "lane", "first", "last")]
        names_all = np.all([present for _, present in columns], axis=0)
        found = []
        for row in np.flatnonzero(names_all).tolist():
            epoch, lane, first, last = (int(values[row]) for values, _ in columns)
            if 0 <= lane <= LANE_MAX and 0 < first <= last:
                block = int(batch.block[batch.reading_of[row]])
                name = self._blocks[block].gateway
                found.append((block, _Drop(name, epoch % 2**64, lane, first, last)))
        return found

    def _settle(self, outcomes: list[NDArray[np.int8]]) -> None:
        keys = {(drop.gateway, drop.epoch) for _, drop in self._drops}
        answered = {self._epoch_of(i) for i in range(len(self._blocks))}
        revisions = lock_epochs(self._conn, keys | answered, self._now_ms)
        ledgers = load_ledgers(self._conn, revisions)
        touched: dict[LaneKey, Ledger] = {}
        for i, block in enumerate(self._blocks):
            assert block.block is not None
            key = (*self._epoch_of(i), block.lane)
            touched[key] = ledgers.setdefault(key, Ledger())
            if block.count:
                counted = touched[key].settle(block.block.header.first, outcomes[i])
                self._count(counted)
        for _, drop in self._drops:
            key = (drop.gateway, drop.epoch, drop.lane)
            touched[key] = ledgers.setdefault(key, Ledger())
            self._result.dropped += touched[key].drop(drop.first, drop.last)
        save_ledgers(self._conn, touched)
        put_aside(self._conn, self._quarantined(), self._now_ms)
        receipts = make_receipts(self._conn, revisions, ledgers, self._store.store_id, self._now_ms)
        self._result.receipts = {key: receipts[key] for key in receipts if key in answered}
        self._note_gateways()

    def _epoch_of(self, i: int) -> EpochKey:
        block = self._blocks[i].block
        assert block is not None
        return self._blocks[i].gateway, block.header.epoch

    def _count(self, counted: list[int]) -> None:
        stored, duplicate, quarantined, _ = counted
        self._result.stored += stored
        self._result.duplicate += duplicate
        self._result.quarantined += quarantined

    def _quarantined(self) -> list[Quarantined]:
        found = []
        for i, aside in self._aside:
            block = self._blocks[i].block
            assert block is not None
            header = block.header
            found.append(
                Quarantined(header.gateway, header.epoch, header.lane, header.first, aside)
            )
        return found

    def _note_gateways(self) -> None:
        names = sorted({block.gateway for block in self._blocks})
        if names:
            self._conn.execute(
                update(gateway)
                .where(gateway.c.id == bindparam("of_gateway"))
                .values(last_block_time=self._now_ms),
                [{"of_gateway": name} for name in names],
            )
