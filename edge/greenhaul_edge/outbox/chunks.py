"""Readings as rows: one commit is one encoded row a lane and priority."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from zlib import crc32

from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.series import Series, decode_body, encode_body, to_series
from greenhaul_protocols.topics import LANE_LIVE

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

    copy_key: recognises a resent message of unusable time; its readings then take the received
    time of the first copy. is_unclocked: `device_time_ms` counts milliseconds of the boot's
    monotonic clock, and the readings wait for that clock to be mapped.
    """

    readings: Sequence[Reading]
    priority: Priority = Priority.KEPT
    lane: int = LANE_LIVE
    copy_key: bytes | None = None
    is_unclocked: bool = False


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


class DamagedChunk(DecodeError):
    """A row that cannot be read back: its readings are lost and must be named."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(f"readings {first} to {last}: the row is damaged")
        self.first, self.last = first, last


def encode_chunk(readings: Sequence[Reading]) -> bytes:
    """The body of a row. Raises EncodeError for what cannot be kept, or never be sent."""
    body = encode_body(to_series(readings))
    if len(body) > READING_SIZE_MAX:
        for reading in readings:
            size = len(encode_body(to_series([reading])))
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


def insert_chunk(
    connection: sqlite3.Connection,
    lane: int,
    first: int,
    readings: Sequence[Reading],
    body: bytes,
    *,
    priority: Priority,
    boot: int,
    now_ms: int,
) -> None:
    """One row more. Part of the caller's transaction."""
    times = [reading.device_time_ms for reading in readings]
    connection.execute(
        'INSERT INTO chunk (lane, first, "count", priority, boot, from_ms, to_ms, committed_ms, '
        "crc, body) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            lane,
            first,
            len(readings),
            priority,
            boot,
            min(times),
            max(times),
            now_ms,
            crc32(body),
            body,
        ),
    )


def chunks_from(
    connection: sqlite3.Connection, lane: int, first: int, last: int
) -> Iterator[Chunk]:
    """Rows that cover first…last without a gap, in order; stops at the first gap.

    Raises DamagedChunk at a row whose CRC does not fit.
    """
    rows = connection.execute(
        'SELECT first, "count", crc, body FROM chunk WHERE lane = ?1 AND first <= ?3 AND first >= '
        "(SELECT max(first) FROM chunk WHERE lane = ?1 AND first <= ?2) ORDER BY first",
        (lane, first, last),
    )
    at = first
    for start, count, crc, body in rows:
        chunk = Chunk(start, count, body)
        if start > at or chunk.last < at:
            return
        if crc32(body) != crc:
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
