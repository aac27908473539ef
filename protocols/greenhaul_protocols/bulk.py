"""The vectorised readers: the same results as `series.py` and `identity.py`, as numpy columns.

numpy comes with the extra `[bulk]` (and with `[cloud]`), so nothing here may be imported by an
edge that does without. Property tests hold every function equal to its plain twin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.identity import GOLDEN, SEED, hash_bytes
from greenhaul_protocols.series import parse_body
from greenhaul_protocols.uplink_pb2 import Column
from greenhaul_protocols.uplink_pb2 import Series as WireSeries

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """One numeric field: (n,) stored integers, 0 where not present, and (n,) present."""

    values: Int64s
    present: Bools


@dataclass(frozen=True, slots=True)
class BytesColumn:
    """One text, JSON or blob field: n entries, None where not present."""

    values: list[bytes | None]


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """A series as arrays of n entries. numbers are offsets from the block's first reading."""

    source: str
    kind: int
    flags: int
    numbers: Int64s
    device_time_ms: Int64s
    received_time_ms: Int64s
    time_quality: NDArray[np.int16]
    columns: dict[int, NumberColumn | BytesColumn]

    def __len__(self) -> int:
        return len(self.numbers)

    def digests(self) -> Int64s:
        """(n,) identity digests, as `identity.digests`."""
        state = np.full(len(self), SEED, np.uint64)
        for number, column in sorted(self.columns.items()):
            if isinstance(column, NumberColumn):
                words, present = column.values.view(np.uint64), column.present
            else:
                present = np.array([value is not None for value in column.values], np.bool_)
                words = np.array([hash_bytes(value or b"") for value in column.values], np.uint64)
            salt = np.uint64(number * GOLDEN & 2**64 - 1)
            state = np.where(present, _mix(state ^ _mix(words + salt)), state)
        return state.view(np.int64)


def decode_columns(data: bytes) -> list[SeriesColumns]:
    """Columns of a body, as `series.decode_body`. Raises DecodeError."""
    return [_columns_of(wire, source) for wire, source in parse_body(data)]


def _columns_of(wire: WireSeries, source: str) -> SeriesColumns:
    count = len(wire.number)
    quality = np.array(list(wire.time_quality) or [0], np.int16)
    return SeriesColumns(
        source,
        wire.kind,
        wire.flags,
        _sums(wire.number),
        _sums(wire.device_time_ms),
        _sums(wire.received_time_ms),
        quality if len(quality) == count else np.repeat(quality[:1], count),
        {column.field: _column(column, count) for column in wire.columns},
    )


def _column(column: Column, count: int) -> NumberColumn | BytesColumn:
    if column.values and column.blobs:
        raise DecodeError(f"field {column.field} has numbers and bytes")
    present = np.ones(count, np.bool_)
    if column.present:
        if len(column.present) != (count + 7) // 8:
            raise DecodeError(f"bitmap of {len(column.present)} bytes for {count} readings")
        bits = np.frombuffer(column.present, np.uint8)
        present = np.unpackbits(bits, count=count, bitorder="little").astype(np.bool_)
    found, marked = len(column.values) or len(column.blobs), int(present.sum())
    if found != marked:
        raise DecodeError(f"field {column.field} has {found} values, {marked} marked")
    if column.blobs:
        blobs = iter(column.blobs)
        return BytesColumn([next(blobs) if is_there else None for is_there in present.tolist()])
    values = np.zeros(count, np.int64)
    values[present] = _sums(column.values)
    return NumberColumn(values, present)


def _sums(differences: Sequence[int]) -> Int64s:
    # numpy's int64 sum wraps, as the wire's differences do
    return np.cumsum(np.array(differences, np.int64), dtype=np.int64)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
