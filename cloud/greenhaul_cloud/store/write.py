"""Blocks into the store: one flush is one transaction, as durable as the outboxes it empties.

Readings, range sets, counters, `latest`, sources, dirty marks, quarantine and the receipts'
revisions are committed together. Rows are touched in one order (sources and their readings by
identity, then gateways, then marks), so two collectors never wait for each other in a circle.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select, update

from greenhaul_cloud.store.daily import FlushCounts, count_day, day_of
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.faults import Cause
from greenhaul_cloud.store.insertion import Drop, Insertion, insert_readings
from greenhaul_cloud.store.inspection import Accepted, ReceivedBlock, SetAside, inspect
from greenhaul_cloud.store.marks import mark_sources
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
from greenhaul_cloud.store.sources import known_ids
from greenhaul_cloud.store.tables import gateway
from greenhaul_protocols.block import BlockHeader
from greenhaul_protocols.receipt import Receipt

Outcomes = NDArray[np.int8]


@dataclass(slots=True)
class StoreResult:
    """What a flush did; the four counters count numbers that it settled first."""

    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    damaged: int = 0  # blocks that settle nothing
    # by cause: blocks that settle nothing; readings set aside, those sent again among them
    damaged_by: Counter[Cause] = field(default_factory=Counter)
    aside_by: Counter[Cause] = field(default_factory=Counter)
    marked: int = 0  # sources with new positions for the fold
    unregistered: set[str] = field(default_factory=set)
    receipts: dict[EpochKey, Receipt] = field(default_factory=dict)


def store_blocks(store: Store, blocks: Sequence[ReceivedBlock], now_ms: int) -> StoreResult:
    """Store blocks durably, and say what is settled.

    When this returns, a receipt of the result may be published and the messages acknowledged.
    Raises Unavailable (nothing was stored, try again) or Rejected (something in these blocks makes
    the database refuse them all).
    """
    with store.write() as conn:
        return _Flush(store, conn, now_ms).store(blocks)


class _Flush:
    """The steps of one flush, in the order of their locks."""

    def __init__(self, store: Store, conn: Connection, now_ms: int) -> None:
        self._store, self._conn, self._now_ms = store, conn, now_ms
        self._blocks: list[ReceivedBlock] = []
        self._headers: list[BlockHeader] = []
        self._aside: list[tuple[int, SetAside]] = []
        self._damaged: Counter[str] = Counter()
        self._result = StoreResult()

    def store(self, blocks: Sequence[ReceivedBlock]) -> StoreResult:
        """Everything, within the transaction."""
        accepted = self._judge(self._sort_out(blocks))
        done = insert_readings(self._store, self._conn, accepted, self._now_ms)
        for _, aside in self._aside:
            self._result.aside_by[aside.fault.cause] += len(aside.numbers)
        starts = np.cumsum([0, *(header.count for header in self._headers)])
        outcomes = np.full(starts[-1], Outcome.STORED, np.int8)
        for block, number in done.known:
            outcomes[starts[block] + number] = Outcome.DUPLICATE
        for i, aside in self._aside:
            outcomes[starts[i] + np.array(aside.numbers, np.int64)] = Outcome.QUARANTINED
        counts = self._counts(done, starts, outcomes)
        self._settle(starts, done.drops, counts)
        mark_sources(self._conn, done.spans, self._now_ms)
        self._result.marked = len(done.spans)
        count_day(self._conn, day_of(self._now_ms, self._store.zone), counts)
        return self._result

    def _counts(
        self, done: Insertion, starts: NDArray[np.int64], outcomes: Outcomes
    ) -> FlushCounts:
        """Whose each number is, as far as the store knows; none is settled yet."""
        names = [header.gateway for header in self._headers]
        counts = FlushCounts.of(names, np.diff(starts).tolist(), outcomes)
        for heard in done.heard:
            counts.hear(heard, starts, self._now_ms)
        # PostgreSQL refuses to be asked for a name with NUL
        named = {a.source for _, a in self._aside if a.source and "\0" not in a.source}
        known = known_ids(self._store, self._conn, named)
        for i, aside in self._aside:
            if aside.source in known:
                at = starts[i] + np.array(aside.numbers, np.int64)
                counts.source_of[at] = known[aside.source]
        counts.damaged_of_gateway = self._damaged
        return counts

    def _sort_out(self, blocks: Sequence[ReceivedBlock]) -> dict[str, list[str]]:
        """Leave out strangers and damage; the grants of the rest."""
        names = sorted({block.gateway for block in blocks})
        query = select(gateway.c.id, gateway.c.sources).where(gateway.c.id.in_(names))
        grants = {row.id: row.sources for row in self._conn.execute(query)}
        self._result.unregistered = set(names) - grants.keys()
        known = [block for block in blocks if block.gateway in grants]
        damaged = [block for block in known if block.block is None]
        self._result.damaged = len(damaged)
        self._damaged.update(block.gateway for block in damaged)
        self._result.damaged_by.update(one.fault.cause for one in damaged if one.fault)
        whole = [(block.block.header, block) for block in known if block.block is not None]
        # in the order of their numbers, so that a lane's blocks can be settled as one
        whole.sort(key=lambda pair: (*_lane_of(pair[0]), pair[0].first))
        self._headers = [header for header, _ in whole]
        self._blocks = [block for _, block in whole]
        keep_damaged(self._conn, damaged, self._now_ms)
        return grants

    def _judge(self, grants: dict[str, list[str]]) -> list[Accepted]:
        found = inspect(self._blocks, grants)
        self._aside = found.aside
        return found.accepted

    def _settle(self, starts: NDArray[np.int64], drops: list[Drop], counts: FlushCounts) -> None:
        answered = {(header.gateway, header.epoch) for header in self._headers}
        named = {(drop.gateway, drop.epoch) for drop in drops}
        revisions = lock_epochs(self._conn, answered | named, self._now_ms)
        ledgers = load_ledgers(self._conn, revisions)
        touched: dict[LaneKey, Ledger] = {}

        def ledger_of(*key: *LaneKey) -> Ledger:
            touched[key] = ledgers.setdefault(key, Ledger())
            return touched[key]

        for header, a, b in self._runs(starts.tolist()):
            ledger = ledger_of(*_lane_of(header))
            if a < b:
                counts.is_counted[a:b] = ledger.settle(header.first, counts.outcomes[a:b])
        for drop in drops:
            new = ledger_of(drop.gateway, drop.epoch, drop.lane).drop(drop.first, drop.last)
            self._result.dropped += new
            counts.dropped_of_gateway[drop.gateway] += new
            counts.dropped_of_source[drop.source_id] += new
        self._count(counts.outcomes[counts.is_counted])
        save_ledgers(self._conn, touched)
        put_aside(self._conn, self._quarantined(), self._now_ms)
        receipts = make_receipts(self._conn, revisions, ledgers, self._store.store_id, self._now_ms)
        self._result.receipts = {key: receipts[key] for key in receipts if key in answered}
        self._note_gateways()

    def _runs(self, starts: Sequence[int]) -> Iterator[tuple[BlockHeader, int, int]]:
        """Blocks whose numbers follow one another, as one: its first header, and its outcomes."""
        first: BlockHeader | None = None
        begin = end = last = 0
        for header, (a, b) in zip(self._headers, pairwise(starts), strict=True):
            if first and _lane_of(first) == _lane_of(header) and header.first == last + 1:
                end, last = b, header.last
                continue
            if first:
                yield first, begin, end
            first, begin, end, last = header, a, b, header.last
        if first:
            yield first, begin, end

    def _count(self, outcomes: Outcomes) -> None:
        stored, duplicate, quarantined, _ = np.bincount(outcomes, minlength=4).tolist()
        self._result.stored = stored
        self._result.duplicate = duplicate
        self._result.quarantined = quarantined

    def _quarantined(self) -> list[Quarantined]:
        return [Quarantined(self._headers[i], aside) for i, aside in self._aside]

    def _note_gateways(self) -> None:
        names = sorted({header.gateway for header in self._headers})
        if names:
            is_one = gateway.c.id.in_(names)
            # locked in order: an UPDATE takes rows as it finds them
            query = select(gateway.c.id).where(is_one).order_by(gateway.c.id)
            self._conn.execute(query.with_for_update())
            self._conn.execute(update(gateway).where(is_one).values(last_block_time=self._now_ms))


def _lane_of(header: BlockHeader) -> LaneKey:
    return header.gateway, header.epoch, header.lane
