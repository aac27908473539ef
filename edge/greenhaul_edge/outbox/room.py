"""What is deleted, and in which order: delivered readings first, then, named, the evictable."""

import sqlite3
from dataclasses import dataclass, field

from greenhaul_edge.outbox.chunks import CHUNK_READINGS_MAX
from greenhaul_edge.outbox.receipts import Ledger
from greenhaul_edge.outbox.schema import WAL_SIZE_MAX, DamagedFile
from greenhaul_protocols.ranges import Pair, RangeSet

BALLAST_SIZE_MAX = 4 << 20
# Rows deleted in one transaction: a few milliseconds, so that commits of readings do not wait.
DELETE_ROWS_MAX = 500
# Rows evicted between two looks at the size.
EVICT_ROWS = 20
# Numbers in one step of the grace ring, for the same reason.
GRACE_STEP = 20_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the outbox may hold."""

    size_max: int = 512 << 20  # bytes on the disk: database, WAL and ballast
    grace_size_max: int = 64 << 20  # bytes of delivered readings kept
    grace_age_ms_max: int = 48 * 3_600_000
    age_ms_max: int = 0  # evictable readings older than this are given up; 0 = never

    @property
    def ballast_size(self) -> int:
        """Bytes that are kept free for the worst moment."""
        return min(BALLAST_SIZE_MAX, self.size_max // 8)

    @property
    def database_size_max(self) -> int:
        """What WAL and ballast leave for the pages of the database."""
        return self.size_max - self.ballast_size - min(WAL_SIZE_MAX, self.size_max // 8)


@dataclass(frozen=True, slots=True)
class Limits:
    """What follows from the bytes that may be in use: the bound's, or fewer on a full disk."""

    size_max: int

    @property
    def backpressure_size(self) -> int:
        """Above this, sources that keep their data themselves are held back."""
        return self.size_max * 9 // 10

    @property
    def evict_above_size(self) -> int:
        """Above this, readings of sources that keep nothing are evicted."""
        return self.size_max * 19 // 20

    @property
    def evict_to_size(self) -> int:
        """Eviction goes on down to this: a record for every row would fill the outbox in turn."""
        return self.evict_above_size - self.size_max // 64


class GraceRing:
    """Delivered readings in order of delivery, kept in case the store loses them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.size = 0
        self.reload()

    def reload(self) -> None:
        """Count again, after a rollback or a deletion by number."""
        row = self._connection.execute("SELECT total(size) FROM grace").fetchone()
        self.size = int(row[0])

    def put(self, lane: int, first: int, last: int, now_ms: int) -> None:
        """Readings first…last were delivered now."""
        for start in range(first, last + 1, GRACE_STEP):
            end = min(start + GRACE_STEP - 1, last)
            row = self._connection.execute(
                "SELECT total(length(body)) FROM chunk WHERE lane = ? AND first BETWEEN ? AND ?",
                (lane, start, end),
            ).fetchone()
            self._connection.execute(
                "INSERT INTO grace (lane, first, last, delivered_ms, size) VALUES (?,?,?,?,?)",
                (lane, start, end, now_ms, int(row[0])),
            )
            self.size += int(row[0])

    def take_back(self, lane: int, first: int, last: int) -> None:
        """Readings first…last wait again; steps that hold nothing else are forgotten."""
        self._connection.execute(
            "DELETE FROM grace WHERE lane = ? AND first >= ? AND last <= ?", (lane, first, last)
        )
        self.reload()

    def clear(self) -> None:
        """Forget every delivery; the readings themselves stay."""
        self._connection.execute("DELETE FROM grace")
        self.size = 0

    def oldest_ms(self) -> int | None:
        """When the oldest step was delivered."""
        row = self._connection.execute(
            "SELECT delivered_ms FROM grace ORDER BY id LIMIT 1"
        ).fetchone()
        return None if row is None else int(row[0])

    def trim(self, ledger: Ledger, size_max: int, oldest_ms: int) -> bool:
        """Delete a bounded slice of the oldest steps; whether any was over the bounds."""
        deleted, was_trimmed = 0, False
        while deleted < DELETE_ROWS_MAX:
            row = self._connection.execute(
                "SELECT id, lane, first, last, delivered_ms, size FROM grace ORDER BY id LIMIT 1"
            ).fetchone()
            if row is None or (self.size <= size_max and row[4] > oldest_ms):
                break
            if not all(isinstance(column, int) for column in row):
                raise DamagedFile("the grace ring is not what was written")
            row_id, lane, first, last, _, size = row
            deleted += 1 + self._delete_settled(ledger, lane, first, last)
            self._connection.execute("DELETE FROM grace WHERE id = ?", (row_id,))
            self.size -= size
            was_trimmed = True
        return was_trimmed

    def _delete_settled(self, ledger: Ledger, lane: int, first: int, last: int) -> int:
        """Delete rows that overlap first…last and are settled as a whole; how many."""
        state = ledger.lane(lane)
        rows = self._connection.execute(
            'SELECT id, first, "count" FROM chunk WHERE lane = ? AND first BETWEEN ? AND ?',
            (lane, first - CHUNK_READINGS_MAX, last),
        ).fetchall()
        settled = [
            (row_id, start, start + count - 1)
            for row_id, start, count in rows
            if start + count > first and not state.settled.missing(start, start + count - 1)
        ]
        self._connection.executemany("DELETE FROM chunk WHERE id = ?", [(s[0],) for s in settled])
        for _, start, end in settled:
            state.held.remove(start, end)
        return len(settled)


@dataclass(slots=True)
class Evicted:
    """What of one lane was given up and must be named."""

    ranges: RangeSet = field(default_factory=RangeSet)
    span_ms: Pair | None = None  # earliest and latest device time

    def note(self, from_ms: int, to_ms: int) -> None:
        """One row more."""
        before = self.span_ms or (from_ms, to_ms)
        self.span_ms = min(before[0], from_ms), max(before[1], to_ms)


def evict(
    connection: sqlite3.Connection,
    ledger: Ledger,
    given_up: dict[int, Evicted],
    committed_before_ms: int,
) -> int:
    """Give up the oldest evictable rows; how many. Adds to `given_up`, by lane, what to name."""
    rows = connection.execute(
        'SELECT id, lane, first, "count", from_ms, to_ms FROM chunk INDEXED BY chunk_evictable '
        "WHERE priority = 0 AND committed_ms < ? ORDER BY id LIMIT ?",
        (committed_before_ms, EVICT_ROWS),
    ).fetchall()
    for row in rows:
        if not all(isinstance(column, int) for column in row):
            raise DamagedFile("a row is not what was written")
        row_id, lane, first, count, from_ms, to_ms = row
        connection.execute("DELETE FROM chunk WHERE id = ?", (row_id,))
        evicted = given_up.setdefault(lane, Evicted())
        for part in ledger.lane(lane).give_up(first, first + count - 1):
            evicted.ranges.add(*part)
            evicted.note(from_ms, to_ms)
    return len(rows)
