"""Readings of a boot whose clock nobody has mapped to UTC yet, and first copies of messages."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace

from greenhaul_edge.outbox.chunks import (
    ROW_COLUMNS,
    Batch,
    DamagedChunk,
    Row,
    encode_chunks,
    insert_row,
    map_clock,
    row_of,
)
from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.topics import LANE_LIVE

log = logging.getLogger(__name__)

# First copies remembered of messages of unusable time; a terminal resends within minutes, and few
# terminals have no clock.
COPIES_MAX = 4_096
# Rows of a transaction that maps a clock.
_ROWS_MAX = 500


def put(connection: sqlite3.Connection, batch: Batch, *, boot: int, now_ms: int) -> None:
    """Keep readings that wait for their boot's clock. Part of the caller's transaction."""
    lane = LANE_LIVE if batch.lane is None else batch.lane
    for part, body in encode_chunks(batch.readings) if batch.readings else ():
        row = row_of(lane, part, body, priority=batch.priority, boot=boot, now_ms=now_ms)
        insert_row(connection, row, "unclocked")


def take(
    connection: sqlite3.Connection, boot: int, offset_ms: int, quality: TimeQuality
) -> Iterator[tuple[Row, list[Reading]]]:
    """Take out a slice of what waits, device times now in UTC. Part of the caller's transaction.

    offset_ms: UTC minus the monotonic clock of this boot; quality: how well known. Readings of
    other boots, which ended unmapped, get a time between the last one known and this boot's start,
    and are marked so.
    Yields each row with its readings; with none if the row is damaged.
    """
    rows = connection.execute(
        f"SELECT {ROW_COLUMNS}, id FROM unclocked ORDER BY id LIMIT ?",  # noqa: S608
        (_ROWS_MAX,),
    ).fetchall()
    known_ms: dict[int, int] = {}
    for *columns, row_id in rows:
        row = Row.read(columns)
        connection.execute("DELETE FROM unclocked WHERE id = ?", (row_id,))
        try:
            if not row.is_intact:
                raise DamagedChunk(0, 0)
            if row.boot == boot:
                readings = map_clock(row.body, offset_ms, quality)
            else:
                if row.boot not in known_ms:
                    known_ms[row.boot] = _known_ms(connection, row.boot, boot, offset_ms)
                readings = _bounded(row, known_ms[row.boot], offset_ms)
        except DecodeError:
            log.exception("unclocked readings of boot %d are damaged", row.boot)
            readings = []
        yield row, readings


def _known_ms(connection: sqlite3.Connection, boot: int, present: int, start_ms: int) -> int:
    """The last instant known before a boot that ended unmapped: those of earlier ones count."""
    latest = connection.execute(
        "SELECT max(to_ms) FROM chunk WHERE boot NOT IN (?, ?)", (boot, present)
    ).fetchone()[0]
    return start_ms if latest is None else min(int(latest), start_ms)


def _bounded(row: Row, known_ms: int, start_ms: int) -> list[Reading]:
    """Readings of a boot that never learnt the time, not later than the start of this one."""
    return [
        replace(reading, device_time_ms=min(known_ms + reading.device_time_ms, start_ms))
        for reading in map_clock(row.body, 0, TimeQuality.BOUNDED)
    ]


def evict(connection: sqlite3.Connection, rows_max: int) -> int:
    """Give up the oldest rows that may be; how many readings they had."""
    rows = connection.execute(
        'SELECT id, "count" FROM unclocked WHERE priority = 0 ORDER BY id LIMIT ?', (rows_max,)
    ).fetchall()
    connection.executemany("DELETE FROM unclocked WHERE id = ?", [(row[0],) for row in rows])
    return sum(row[1] for row in rows)


def with_first_times(connection: sqlite3.Connection, batch: Batch) -> Sequence[Reading]:
    """Readings of unusable time get the received time of the message's first copy."""
    if batch.copy_key is None or not batch.readings:
        return batch.readings
    row = connection.execute(
        'SELECT received_ms FROM copy WHERE "key" = ?', (batch.copy_key,)
    ).fetchone()
    received_ms = row[0] if row else batch.readings[0].received_time_ms
    if not row:
        cursor = connection.execute(
            'INSERT INTO copy ("key", received_ms) VALUES (?,?)', (batch.copy_key, received_ms)
        )
        oldest = (cursor.lastrowid or 0) - COPIES_MAX
        connection.execute("DELETE FROM copy WHERE id <= ?", (oldest,))
    return [
        replace(reading, device_time_ms=received_ms)
        if reading.time_quality is TimeQuality.UNUSABLE
        else reading
        for reading in batch.readings
    ]
