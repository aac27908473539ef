"""Comparing what was written with what can be read, slice by slice beside the daily work.

Finds what opening a file does not: rows whose CRC no longer fits, rows that index and table
disagree about, rows that a page no longer leads to.
"""

import sqlite3

from greenhaul_edge.outbox.chunks import ROW_COLUMNS, Row
from greenhaul_edge.outbox.receipts import Ledger
from greenhaul_edge.outbox.schema import DamagedFile
from greenhaul_protocols.ranges import RangeSet

# Bytes of one slice: milliseconds on a good disk, a tenth of a second on a bad one.
_SLICE_SIZE = 1 << 20


class Scrub:
    """One pass over the rows that are there when it begins. Changes nothing."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        self._connection = connection
        self._epoch = ledger.epoch
        self._at = 0
        self._ends = {lane.lane: lane.next - 1 for lane in ledger.lanes.values()}
        self._seen: dict[int, RangeSet] = {}
        self.is_done = False

    def step(self, ledger: Ledger) -> list[tuple[int, int, int]]:
        """A slice; lane, first and last number of rows that are damaged in themselves.

        Raises DamagedFile when the file contradicts itself, sqlite3.Error.
        """
        if ledger.epoch != self._epoch:
            self.is_done = True  # numbered anew meanwhile
            return []
        damaged, size = [], 0
        rows = self._connection.execute(
            f"SELECT id, {ROW_COLUMNS} FROM chunk WHERE id > ? ORDER BY id",  # noqa: S608
            (self._at,),
        )
        for row_id, *columns in rows:
            row = Row.read(columns)
            last = row.first + row.readings - 1
            self._at = row_id
            self._check_index(row_id, row)
            self._seen.setdefault(row.lane, RangeSet()).add(row.first, last)
            if not row.is_intact:
                damaged.append((row.lane, row.first, last))
            size += len(row.body)
            if size > _SLICE_SIZE:
                rows.close()
                return damaged
        self._compare(ledger)
        self.is_done = True
        return damaged

    def _check_index(self, row_id: int, row: Row) -> None:
        found = self._connection.execute(
            "SELECT 1 FROM chunk INDEXED BY chunk_by_number "
            'WHERE lane = ? AND first = ? AND "count" = ? AND id = ?',
            (row.lane, row.first, row.readings, row_id),
        ).fetchone()
        if found is None:
            raise DamagedFile(f"lane {row.lane}: index and row {row.first} disagree")

    def _compare(self, ledger: Ledger) -> None:
        for lane in ledger.lanes.values():
            seen = self._seen.get(lane.lane, RangeSet())
            for first, last in lane.held.overlap(1, self._ends.get(lane.lane, 0)):
                for gap in seen.missing(first, last):
                    raise DamagedFile(f"lane {lane.lane}: rows {gap[0]} to {gap[1]} are missing")
