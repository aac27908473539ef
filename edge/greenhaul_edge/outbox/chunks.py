"""Readings as rows: one commit is one encoded row a lane and priority."""

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

from greenhaul_edge.outbox.schema import DamagedFile
from greenhaul_protocols.catalogue import MediaPart, Reading, TimeQuality
from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.fleet_body import encode_readings
from greenhaul_protocols.series import Series, decode_body
from greenhaul_protocols.topics import LANE_BULK, LANE_LIVE

# One chunk is decoded whole to cut a block from it, so both bound the memory this takes.
CHUNK_READINGS_MAX, CHUNK_SIZE_MAX = 2_000, 512 * 1024
# A reading must fit a block even if its bytes do not compress: 64 KiB less header and columns.
READING_SIZE_MAX = 60 * 1024


class Priority(IntEnum):
    """What may be given up when the outbox is full."""

    EVICTABLE = 0  # the source cannot keep data itself: oldest are evicted, and recorded
    KEPT = 1  # the source keeps it until acknowledged: it is held back instead


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings that are committed together, or not at all.

    lane: None lets `lane_of` choose. copy_key: recognises a resent message of unusable time; its
    readings then take the received time of the first copy. is_unclocked: `device_time_ms` counts
    milliseconds of the boot's monotonic clock, and the readings wait for that clock to be mapped.
    """

    readings: Sequence[Reading]
    priority: Priority = Priority.KEPT
    lane: int | None = None
    copy_key: bytes | None = None
    is_unclocked: bool = False


def lane_of(reading: Reading, live_lanes: int) -> int:
    """Photos in the bulk lane; everything else in one of the live lanes, a source always in one."""
    if isinstance(reading, MediaPart):
        return LANE_BULK
    if live_lanes == 1:
        return LANE_LIVE
    return LANE_LIVE + crc32(reading.source.encode()) % live_lanes


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row: readings `first` to `first` + `count` - 1 of a lane."""

    first: int
    count: int
    body: bytes

    @property
    def last(self) -> int:
        """Number of the last reading."""
        return self.first + self.count - 1


class Row(NamedTuple):
    """A row of `chunk` or `unclocked`; the columns, in their order."""

    lane: int
    first: int
    readings: int
    priority: int
    boot: int
    from_ms: int
    to_ms: int
    committed_ms: int
    crc: int
    body: bytes

    @classmethod
    def read(cls, columns: Sequence[object]) -> "Row":
        """A row as SQLite gave it. Raises DamagedFile for one of other types."""
        *integers, body = columns
        if not isinstance(body, bytes) or not all(isinstance(one, int) for one in integers):
            raise DamagedFile("a row is not what was written")
        return cls._make(columns)

    @property
    def is_intact(self) -> bool:
        """Whether nothing of the row but its number can have changed since it was written."""
        return self.crc == (seal_of(self) if self.crc >= _SEALED else crc32(self.body))


ROW_COLUMNS = 'lane, first, "count", priority, boot, from_ms, to_ms, committed_ms, crc, body'

# Set in the CRC of a row whose other columns are covered too; rows of version 1 cover their body.
# `first` is not covered: a new epoch numbers the rows anew without rewriting their bodies.
_SEALED = 1 << 32
_SEALED_COLUMNS = struct.Struct("<8q")


def seal_of(row: Row) -> int:
    """The CRC of a row that covers every column but its number."""
    columns = _SEALED_COLUMNS.pack(row.lane, 0, *row[2:8])
    return _SEALED | crc32(columns, crc32(row.body))


class DamagedChunk(DecodeError):
    """A row that cannot be read back: its readings are lost and must be named."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"readings {first} to {last}: the row is damaged")
        self.first, self.last = first, last


def encode_chunk(readings: Sequence[Reading]) -> bytes:
    """The body of a row. Raises EncodeError for what cannot be kept, or never be sent."""
    body = encode_readings(readings)
    if len(body) > READING_SIZE_MAX:
        for reading in readings:
            size = len(encode_readings([reading]))
            if size > READING_SIZE_MAX:
                raise EncodeError(f"reading of {reading.source} has {size} bytes: no block fits it")
    return body


def encode_chunks(readings: Sequence[Reading]) -> Iterator[tuple[Sequence[Reading], bytes]]:
    """Readings and bodies of as few rows as the bounds allow, in order. Raises EncodeError."""
    if len(readings) > CHUNK_READINGS_MAX:
        for at in range(0, len(readings), CHUNK_READINGS_MAX):
            yield from encode_chunks(readings[at : at + CHUNK_READINGS_MAX])
        return
    body = encode_chunk(readings)
    if len(body) <= CHUNK_SIZE_MAX or len(readings) == 1:
        yield readings, body
        return
    middle = len(readings) // 2
    yield from encode_chunks(readings[:middle])
    yield from encode_chunks(readings[middle:])


def row_of(
    batch_lane: int,
    readings: Sequence[Reading],
    body: bytes,
    *,
    first: int = 0,
    priority: Priority,
    boot: int,
    now_ms: int,
) -> Row:
    """A row of these readings, sealed."""
    times = [reading.device_time_ms for reading in readings]
    row = Row(
        batch_lane, first, len(readings), priority, boot, min(times), max(times), now_ms, 0, body
    )
    return row._replace(crc=seal_of(row))


def insert_row(connection: sqlite3.Connection, row: Row, table: str = "chunk") -> None:
    """One row more. Part of the caller's transaction."""
    connection.execute(
        f"INSERT INTO {table} ({ROW_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
        row,
    )


def chunks_from(
    connection: sqlite3.Connection, lane: int, first: int, last: int
) -> Iterator[Chunk]:
    """Rows that cover first…last without a gap, in order; stops at the first gap.

    Raises DamagedChunk at a row whose CRC does not fit.
    """
    rows = connection.execute(
        f"SELECT {ROW_COLUMNS} FROM chunk WHERE lane = ?1 AND first <= ?3 AND first >= "  # noqa: S608
        "(SELECT max(first) FROM chunk WHERE lane = ?1 AND first <= ?2) ORDER BY first",
        (lane, first, last),
    )
    at = first
    for row in map(Row.read, rows):
        chunk = Chunk(row.first, row.readings, row.body)
        if chunk.first > at or chunk.last < at:
            return
        if not row.is_intact:
            raise DamagedChunk(chunk.first, chunk.last)
        yield chunk
        at = chunk.last + 1


def map_clock(body: bytes, shift_ms: int, quality: TimeQuality) -> list[Reading]:
    """Readings of an unclocked body with their device times shifted to UTC.

    Raises DecodeError for a damaged body.
    """
    found: list[tuple[int, Reading]] = []
    for series in decode_body(body):
        found += zip(series.numbers, series.readings(), strict=True)
    found.sort(key=lambda pair: pair[0])
    return [
        replace(reading, device_time_ms=reading.device_time_ms + shift_ms, time_quality=quality)
        for _, reading in found
    ]


def series_of(chunk: Chunk) -> list[Series]:
    """Series of a row; numbers count from the row's first reading. Raises DamagedChunk."""
    try:
        return decode_body(chunk.body)
    except DecodeError as error:
        raise DamagedChunk(chunk.first, chunk.last) from error
