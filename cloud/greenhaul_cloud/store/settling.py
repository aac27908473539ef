"""Which numbers of a lane are settled, how each first was, and the receipts that say so.

A number is counted once, by what first put it into the range set: stored, duplicate, quarantined
or dropped. A receipt takes a new revision under the lock of its gateway's epoch, in the very
transaction that stored.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, select, tuple_

from greenhaul_cloud.store.statements import Upsert
from greenhaul_cloud.store.tables import gateway_epoch, lane, quarantine
from greenhaul_protocols.ranges import Pair, RangeSet
from greenhaul_protocols.receipt import REFUSED_MAX, LaneState, Receipt

# Ranges kept of one lane. A gateway with more holes than this settles no more until some close:
# its readings are stored, its numbers stay its own to send again. A receipt carries 2,000.
RANGES_HELD_MAX = 4_000
# An uncut receipt lists all the store has of a lane, so whatever it lacks is not held.
THROUGH_ALL = 2**63 - 1

EpochKey = tuple[str, int]  # gateway, epoch as the wire has it
LaneKey = tuple[str, int, int]  # gateway, epoch, lane


class Outcome(IntEnum):
    """What happened to a number that a block brought."""

    STORED = 0
    DUPLICATE = 1
    QUARANTINED = 2
    DROPPED = 3


COUNTERS = ("stored", "duplicate", "quarantined", "dropped")


_EPOCH_COLUMNS = ("gateway_id", "epoch", "revision", "first_block_time", "last_block_time")
_MET = Upsert(
    gateway_epoch,
    _EPOCH_COLUMNS,
    ["gateway_id", "epoch"],
    lambda _new: {"revision": gateway_epoch.c.revision},
)
_REVISED = Upsert(
    gateway_epoch,
    _EPOCH_COLUMNS,
    ["gateway_id", "epoch"],
    lambda new: {"revision": new.revision, "last_block_time": new.last_block_time},
)
_SAVED = Upsert(
    lane,
    ("gateway_id", "epoch", "lane", "settled", *COUNTERS),
    ["gateway_id", "epoch", "lane"],
    lambda new: {name: new[name] for name in ("settled", *COUNTERS)},
)


def to_signed(word: int) -> int:
    """A fixed64 of the wire as the signed 64 bits a BIGINT holds."""
    return word - 2**64 if word >= 2**63 else word


def to_unsigned(number: int) -> int:
    """A BIGINT as the fixed64 of the wire."""
    return number % 2**64


@dataclass(slots=True)
class Ledger:
    """One lane of one epoch: its settled numbers and the four counters."""

    settled: RangeSet = field(default_factory=RangeSet)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def settle(self, first: int, outcomes: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Settle `first` and the numbers after it; (numbers,) which were not settled before.

        Nothing is settled when it would take more than RANGES_HELD_MAX ranges.
        """
        last = first + len(outcomes) - 1
        gaps = self.settled.missing(first, last)
        is_new = np.zeros(len(outcomes), np.bool_)
        if not self._put(first, last):
            return is_new
        for a, b in gaps:
            is_new[a - first : b - first + 1] = True
        found = np.bincount(outcomes[is_new], minlength=4).tolist()
        self.counts = [old + new for old, new in zip(self.counts, found, strict=True)]
        return is_new

    def drop(self, first: int, last: int) -> int:
        """Settle numbers the edge gave up; how many were not settled otherwise."""
        new = sum(b - a + 1 for a, b in self.settled.missing(first, last))
        if not self._put(first, last):
            return 0
        self.counts[Outcome.DROPPED] += new
        return new

    def _put(self, first: int, last: int) -> bool:
        joins = len(self.settled.overlap(max(first - 1, 1), last + 1)) > 0
        if not joins and len(self.settled) >= RANGES_HELD_MAX:
            return False
        self.settled.add(first, last)
        return True


def lock_epochs(conn: Connection, keys: Iterable[EpochKey], now_ms: int) -> dict[EpochKey, int]:
    """Lock each gateway's epoch, in order, until the transaction ends; their revisions."""
    ordered = sorted((gateway, to_signed(epoch)) for gateway, epoch in keys)
    if not ordered:
        return {}
    # what is there is written as it was, which locks it
    _MET.run(conn, [(gateway, epoch, 0, now_ms, now_ms) for gateway, epoch in ordered])
    columns = gateway_epoch.c
    query = (
        select(columns.gateway_id, columns.epoch, columns.revision)
        .where(_among(columns.gateway_id, columns.epoch, ordered))
        .order_by(columns.gateway_id, columns.epoch)
        .with_for_update()
    )
    return {(row.gateway_id, to_unsigned(row.epoch)): row.revision for row in conn.execute(query)}


def load_ledgers(conn: Connection, keys: Iterable[EpochKey]) -> dict[LaneKey, Ledger]:
    """Every lane of the (locked) epochs."""
    found: dict[LaneKey, Ledger] = {}
    wanted = [(gateway, to_signed(epoch)) for gateway, epoch in keys]
    if not wanted:
        return found
    for row in conn.execute(select(lane).where(_among(lane.c.gateway_id, lane.c.epoch, wanted))):
        counts = [row.stored, row.duplicate, row.quarantined, row.dropped]
        key = (row.gateway_id, to_unsigned(row.epoch), row.lane)
        found[key] = Ledger(RangeSet(json.loads(row.settled)), counts)
    return found


def _among(
    gateway: ColumnElement[str], epoch: ColumnElement[int], keys: Iterable[tuple[str, int]]
) -> ColumnElement[bool]:
    return tuple_(gateway, epoch).in_(list(keys))


def save_ledgers(conn: Connection, ledgers: dict[LaneKey, Ledger]) -> None:
    """Write lanes, in order."""
    rows = [
        (
            gateway,
            to_signed(epoch),
            number,
            json.dumps(list(ledger.settled), separators=(",", ":")),
            *ledger.counts,
        )
        for (gateway, epoch, number), ledger in ledgers.items()
    ]
    _SAVED.run(conn, sorted(rows))


def make_receipts(
    conn: Connection,
    revisions: dict[EpochKey, int],
    ledgers: dict[LaneKey, Ledger],
    store_id: int,
    now_ms: int,
) -> dict[EpochKey, Receipt]:
    """A receipt for each locked epoch, with a revision nothing before it had."""
    lanes: dict[EpochKey, list[LaneState]] = {key: [] for key in revisions}
    for (gateway, epoch, number), ledger in sorted(ledgers.items()):
        if (gateway, epoch) in lanes:
            lanes[gateway, epoch].append(_lane_state(conn, gateway, epoch, number, ledger))
    receipts = {
        (gateway, epoch): Receipt(
            gateway=gateway,
            epoch=epoch,
            store_id=store_id,
            revision=max(revision + 1, now_ms),
            server_time_ms=now_ms,
            lanes=tuple(lanes[gateway, epoch]),
        )
        for (gateway, epoch), revision in revisions.items()
    }
    _write_revisions(conn, receipts, now_ms)
    return receipts


def receipt_for(conn: Connection, gateway: str, epoch: int, store_id: int, now_ms: int) -> Receipt:
    """What is settled of a gateway's epoch just now, under a new revision."""
    key = (gateway, epoch)
    revisions = lock_epochs(conn, [key], now_ms)
    return make_receipts(conn, revisions, load_ledgers(conn, [key]), store_id, now_ms)[key]


def _write_revisions(conn: Connection, receipts: dict[EpochKey, Receipt], now_ms: int) -> None:
    rows = [
        (gateway, to_signed(epoch), one.revision, now_ms, now_ms)
        for (gateway, epoch), one in receipts.items()
    ]
    _REVISED.run(conn, sorted(rows))


def _lane_state(
    conn: Connection, gateway: str, epoch: int, number: int, ledger: Ledger
) -> LaneState:
    stored, duplicate, quarantined, dropped = ledger.counts
    return LaneState(
        lane=number,
        settled=tuple(ledger.settled),
        through=THROUGH_ALL,
        stored=stored,
        duplicate=duplicate,
        quarantined=quarantined,
        dropped=dropped,
        refused=_refused(conn, gateway, epoch, number) if quarantined else (),
    )


def _refused(
    conn: Connection, gateway: str, epoch: int, number: int
) -> tuple[tuple[Pair, str], ...]:
    rows = conn.execute(
        select(quarantine.c.first, quarantine.c.last, quarantine.c.reason)
        .where(
            quarantine.c.gateway_id == gateway,
            quarantine.c.epoch == to_signed(epoch),
            quarantine.c.lane == number,
            quarantine.c.first > 0,
            quarantine.c.released_at.is_(None),
        )
        # the end of the unique index: what came last, and no sorting of all that waits
        .order_by(quarantine.c.first.desc(), quarantine.c.last.desc())
        .limit(REFUSED_MAX)
    )
    return tuple(((row.first, row.last), row.reason) for row in reversed(rows.all()))
