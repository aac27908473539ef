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
from sqlalchemy import Connection, bindparam, select, update

from greenhaul_cloud.store.statements import insert_into
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
    times = {"revision": 0, "first_block_time": now_ms, "last_block_time": now_ms}
    conn.execute(
        insert_into(conn, gateway_epoch).on_conflict_do_nothing(),
        [{"gateway_id": gateway, "epoch": epoch, **times} for gateway, epoch in ordered],
    )
    found = {}
    for gateway, epoch in ordered:
        query = select(gateway_epoch.c.revision).with_for_update()
        query = query.where(gateway_epoch.c.gateway_id == gateway, gateway_epoch.c.epoch == epoch)
        found[gateway, to_unsigned(epoch)] = int(conn.execute(query).scalar_one())
    return found


def load_ledgers(conn: Connection, keys: Iterable[EpochKey]) -> dict[LaneKey, Ledger]:
    """Every lane of the (locked) epochs."""
    found: dict[LaneKey, Ledger] = {}
    for gateway, epoch in keys:
        query = select(lane).where(lane.c.gateway_id == gateway, lane.c.epoch == to_signed(epoch))
        for row in conn.execute(query):
            counts = [row.stored, row.duplicate, row.quarantined, row.dropped]
            found[gateway, epoch, row.lane] = Ledger(RangeSet(json.loads(row.settled)), counts)
    return found


def save_ledgers(conn: Connection, ledgers: dict[LaneKey, Ledger]) -> None:
    """Write lanes, in order."""
    if not ledgers:
        return
    rows = [
        {
            "gateway_id": gateway,
            "epoch": to_signed(epoch),
            "lane": number,
            "settled": json.dumps(list(ledger.settled), separators=(",", ":")),
            **dict(zip(COUNTERS, ledger.counts, strict=True)),
        }
        for (gateway, epoch, number), ledger in ledgers.items()
    ]
    rows.sort(key=lambda row: (row["gateway_id"], row["epoch"], row["lane"]))
    statement = insert_into(conn, lane)
    columns = ("settled", *COUNTERS)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["gateway_id", "epoch", "lane"],
            set_={name: statement.excluded[name] for name in columns},
        ),
        rows,
    )


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
    if not receipts:
        return
    statement = (
        update(gateway_epoch)
        .where(
            gateway_epoch.c.gateway_id == bindparam("of_gateway"),
            gateway_epoch.c.epoch == bindparam("of_epoch"),
        )
        .values(revision=bindparam("new_revision"), last_block_time=now_ms)
    )
    conn.execute(
        statement,
        [
            {"of_gateway": gateway, "of_epoch": to_signed(epoch), "new_revision": one.revision}
            for (gateway, epoch), one in sorted(receipts.items())
        ],
    )


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
        .order_by(quarantine.c.id.desc())
        .limit(REFUSED_MAX)
    )
    return tuple(((row.first, row.last), row.reason) for row in reversed(rows.all()))
