"""The ledger as rows: what is read at start and written with every commit."""

import sqlite3
import struct
from collections.abc import Iterable

from greenhaul_edge.outbox.receipts import Lane, Ledger
from greenhaul_protocols.ranges import Pair, RangeSet

_PAIR = struct.Struct("<QQ")


def meta(connection: sqlite3.Connection, key: str) -> str | None:
    """One value of the meta table."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Write one value of the meta table."""
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?,?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def load_ledger(connection: sqlite3.Connection, gateway: str) -> Ledger:
    """The open epoch: its lanes, what they hold, and the stores heard of."""
    epoch = int(meta(connection, "epoch") or 0)
    revisions = dict(unpack_pairs(bytes.fromhex(meta(connection, "revisions") or "")))
    ledger = Ledger(gateway, epoch, load_lanes(connection, epoch), revisions)
    # Only first and count are read: memory does not grow with what the rows hold.
    for lane, first, count in connection.execute(
        'SELECT lane, first, "count" FROM chunk ORDER BY lane, first'
    ):
        ledger.lane(lane).held.add(first, first + count - 1)
    for state in ledger.lanes.values():
        for gone in state.gone:
            state.held.remove(*gone)
    return ledger


def load_lanes(connection: sqlite3.Connection, epoch: int) -> dict[int, Lane]:
    """Lanes of an epoch, open or closed, without what they hold."""
    rows = connection.execute(
        "SELECT lane, next, sent_mark, settled, gone, stored, duplicate, quarantined, dropped "
        "FROM lane WHERE epoch = ?",
        (epoch,),
    )
    return {
        lane: Lane(
            lane,
            number,
            sent_mark,
            RangeSet(unpack_pairs(settled)),
            RangeSet(unpack_pairs(gone)),
            RangeSet(),
            *counters,
        )
        for lane, number, sent_mark, settled, gone, *counters in rows
    }


def save_lanes(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """Write every lane of the open epoch. Part of the caller's transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO lane (epoch, lane, next, sent_mark, settled, gone, stored, "
        "duplicate, quarantined, dropped) VALUES (?,?,?,?,?,?,?,?,?,?)",
        [
            (
                ledger.epoch,
                lane.lane,
                lane.next,
                lane.sent_mark,
                pack_pairs(lane.settled),
                pack_pairs(lane.gone),
                lane.stored,
                lane.duplicate,
                lane.quarantined,
                lane.dropped,
            )
            for lane in ledger.lanes.values()
        ],
    )


def pack_pairs(pairs: Iterable[Pair]) -> bytes:
    """Pairs of unsigned 64-bit integers, little-endian."""
    return b"".join(_PAIR.pack(*pair) for pair in pairs)


def unpack_pairs(data: bytes) -> list[Pair]:
    """The inverse of `pack_pairs`."""
    return [(first, last) for first, last in _PAIR.iter_unpack(data)]
