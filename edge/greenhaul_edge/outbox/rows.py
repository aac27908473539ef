"""The ledger as rows: what is read at start and written with every commit."""

import sqlite3
import struct
from collections.abc import Iterable
from zlib import crc32

from greenhaul_edge.outbox.receipts import Lane, Ledger
from greenhaul_edge.outbox.schema import DamagedFile
from greenhaul_protocols.ranges import Pair, RangeSet

_PAIR = struct.Struct("<QQ")
_LANE_COLUMNS = (
    "epoch, lane, next, sent_mark, settled, gone, stored, duplicate, quarantined, dropped, crc"
)
_SAVE_LANE = (
    f"INSERT INTO lane ({_LANE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?) "  # noqa: S608
    "ON CONFLICT (epoch, lane) DO UPDATE SET next = excluded.next, sent_mark = excluded.sent_mark, "
    "settled = excluded.settled, gone = excluded.gone, stored = excluded.stored, "
    "duplicate = excluded.duplicate, quarantined = excluded.quarantined, "
    "dropped = excluded.dropped, crc = excluded.crc"
)


def meta(connection: sqlite3.Connection, key: str) -> str | None:
    """One value of the meta table. Raises DamagedFile if it is not what was written."""
    row = connection.execute('SELECT value, crc FROM meta WHERE "key" = ?', (key,)).fetchone()
    if row is None:
        return None
    value, crc = row
    if crc not in (None, _meta_crc(key, value)):
        raise DamagedFile(f"{key} in table meta is not what was written")
    return str(value)


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Write one value of the meta table."""
    connection.execute(
        'INSERT INTO meta ("key", value, crc) VALUES (?,?,?) '
        'ON CONFLICT ("key") DO UPDATE SET value = excluded.value, crc = excluded.crc',
        (key, value, _meta_crc(key, value)),
    )


def _meta_crc(key: str, value: object) -> int:
    return crc32(f"{key}={value}".encode(errors="replace"))


def load_ledger(connection: sqlite3.Connection, gateway: str) -> Ledger:
    """The open epoch: its lanes, what they hold, and the stores heard of.

    Raises DamagedFile if a lane is not what was written, or contradicts what is held.
    """
    epoch = int(meta(connection, "epoch") or 0)
    revisions = dict(unpack_pairs(bytes.fromhex(meta(connection, "revisions") or "")))
    ledger = Ledger(gateway, epoch, load_lanes(connection, epoch), revisions)
    counted: dict[int, int] = {}
    # Only the index is read: neither time nor memory grow with what the rows hold.
    for lane, first, count in connection.execute(
        'SELECT lane, first, "count" FROM chunk ORDER BY lane, first'
    ):
        if lane not in ledger.lanes or not isinstance(first, int) or not isinstance(count, int):
            raise DamagedFile(f"rows in lane {lane}, which has no state")
        ledger.lanes[lane].held.add(first, first + count - 1)
        counted[lane] = counted.get(lane, 0) + count
    for state in ledger.lanes.values():
        _check_lane(state, counted.get(state.lane, 0))
        for gone in state.gone:
            state.held.remove(*gone)
    return ledger


def _check_lane(lane: Lane, counted: int) -> None:
    """Every number is in exactly one place, or this is not the file that was written."""
    if lane.held.total != counted:
        raise DamagedFile(f"lane {lane.lane}: rows overlap")
    covered = lane.held.copy()
    for first, last in [*lane.settled, *lane.gone]:
        covered.add(first, last)
    if list(covered) != ([(1, lane.appended)] if lane.appended else []):
        raise DamagedFile(f"lane {lane.lane}: rows are missing or were never numbered")


def load_lanes(connection: sqlite3.Connection, epoch: int) -> dict[int, Lane]:
    """Lanes of an epoch, open or closed, without what they hold. Raises DamagedFile."""
    rows = connection.execute(
        f"SELECT {_LANE_COLUMNS} FROM lane WHERE epoch = ?",  # noqa: S608
        (epoch,),
    )
    lanes = {}
    for *columns, crc in rows:
        if crc not in (None, _lane_crc(columns)):
            raise DamagedFile(f"lane {columns[1]} is not what was written")
        _, lane, number, sent_mark, settled, gone, *counters = columns
        lanes[lane] = Lane(
            lane,
            number,
            sent_mark,
            RangeSet(unpack_pairs(settled)),
            RangeSet(unpack_pairs(gone)),
            RangeSet(),
            *counters,
        )
    return lanes


def save_lanes(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """Write every lane of the open epoch. Part of the caller's transaction."""
    rows = [
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
    ]
    # An upsert leaves the index alone, and so writes a page less than a replacement.
    connection.executemany(_SAVE_LANE, [(*row, _lane_crc(row)) for row in rows])


def _lane_crc(columns: Iterable[object]) -> int:
    return crc32(repr(tuple(columns)).encode())


def pack_pairs(pairs: Iterable[Pair]) -> bytes:
    """Pairs of unsigned 64-bit integers, little-endian."""
    return b"".join(_PAIR.pack(*pair) for pair in pairs)


def unpack_pairs(data: bytes) -> list[Pair]:
    """The inverse of `pack_pairs`. Raises DamagedFile for anything else."""
    if len(data) % _PAIR.size:
        raise DamagedFile("ranges are cut short")
    return [(first, last) for first, last in _PAIR.iter_unpack(data)]
