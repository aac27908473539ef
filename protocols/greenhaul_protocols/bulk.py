"""The vectorised readers: the same results as `series.py` and `identity.py`, as numpy columns.

numpy comes with the extra `[bulk]` (and with `[cloud]`), so nothing here may be imported by an
edge that does without. Property tests hold every function equal to its plain twin.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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

    def take(self, rows: Int64s) -> "NumberColumn":
        """Some of its entries, by index."""
        return NumberColumn(self.values[rows], self.present[rows])


@dataclass(frozen=True, slots=True)
class BytesColumn:
    """One text, JSON or blob field: n entries, None where not present."""

    values: list[bytes | None]

    def take(self, rows: Int64s) -> "BytesColumn":
        """Some of its entries, by index."""
        return BytesColumn([self.values[row] for row in rows.tolist()])


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

    def take(self, rows: Int64s) -> "SeriesColumns":
        """Some of its readings, by place."""
        columns = {number: column.take(rows) for number, column in self.columns.items()}
        return replace(
            self,
            numbers=self.numbers[rows],
            device_time_ms=self.device_time_ms[rows],
            received_time_ms=self.received_time_ms[rows],
            time_quality=self.time_quality[rows],
            columns=columns,
        )

    def digests(self) -> Int64s:
        """(n,) identity digests, as `identity.digests`."""
        return digests_of(len(self), self.columns)


def digests_of(count: int, columns: Mapping[int, NumberColumn | BytesColumn]) -> Int64s:
    """(count,) identity digests of readings with these columns, by field number."""
    state = np.full(count, SEED, np.uint64)
    for number, column in sorted(columns.items()):
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
    return columns_of(parse_body(data))


def columns_of(parsed: Sequence[tuple[WireSeries, str]]) -> list[SeriesColumns]:
    """Columns of wire series, of one body or of many. Raises DecodeError.

    Live traffic is thousands of series of one reading, so arrays are made once a field; each
    series has slices of them.
    """
    counts = [len(wire.number) for wire, _ in parsed]
    columns: list[dict[int, NumberColumn | BytesColumn]] = [{} for _ in parsed]
    fields: defaultdict[int, _FieldColumns] = defaultdict(_FieldColumns)
    for place, ((wire, _), count) in enumerate(zip(parsed, counts, strict=True)):
        for number, column in {column.field: column for column in wire.columns}.items():
            if column.blobs:
                columns[place][number] = BytesColumn(unpack_bytes(column, count))
            else:
                fields[number].add(place, column, count)
    for number, gathered in fields.items():
        for place, found in gathered.columns():
            columns[place][number] = found
    ends = np.cumsum([0, *counts])
    numbers, device_time_ms, received_time_ms = (
        running_sums([step for wire, _ in parsed for step in getattr(wire, name)], counts)
        for name in ("number", "device_time_ms", "received_time_ms")
    )
    return [
        SeriesColumns(
            source,
            wire.kind,
            wire.flags,
            numbers[low:high],
            device_time_ms[low:high],
            received_time_ms[low:high],
            _quality(wire.time_quality, high - low),
            found,
        )
        for (wire, source), low, high, found in zip(
            parsed, ends[:-1].tolist(), ends[1:].tolist(), columns, strict=True
        )
    ]


class _FieldColumns:
    """One numeric field of many series, put one behind the other."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._counts: list[int] = []
        self._steps: list[int] = []
        self._steps_of: list[int] = []
        self._bitmaps: list[tuple[int, bytes]] = []

    def add(self, place: int, column: Column, count: int) -> None:
        """The field's column of a series. Raises DecodeError."""
        found, marked = len(column.values), count
        if column.present:
            marked = count_marked(column, count)
            self._bitmaps.append((len(self._places), column.present))
        if found != marked:
            raise DecodeError(f"field {column.field} has {found} values, {marked} marked")
        self._places.append(place)
        self._counts.append(count)
        self._steps += column.values
        self._steps_of.append(found)

    def columns(self) -> Iterator[tuple[int, NumberColumn]]:
        """Each series' place and column."""
        ends = np.cumsum([0, *self._counts]).tolist()
        present = np.ones(ends[-1], np.bool_)
        for i, bitmap in self._bitmaps:
            bits = np.frombuffer(bitmap, np.uint8)
            present[ends[i] : ends[i + 1]] = np.unpackbits(
                bits, count=self._counts[i], bitorder="little"
            )
        values = np.zeros(ends[-1], np.int64)
        values[present] = running_sums(self._steps, self._steps_of)
        for place, low, high in zip(self._places, ends[:-1], ends[1:], strict=True):
            yield place, NumberColumn(values[low:high], present[low:high])


def unpack_bytes(column: Column, count: int) -> list[bytes | None]:
    """Texts or blobs of a column for `count` readings. Raises DecodeError."""
    if column.values:
        raise DecodeError(f"field {column.field} has numbers and bytes")
    present = np.ones(count, np.bool_)
    if column.present:
        _check_bitmap(column, count)
        bits = np.frombuffer(column.present, np.uint8)
        present = np.unpackbits(bits, count=count, bitorder="little").astype(np.bool_)
    found, marked = len(column.blobs), int(present.sum())
    if found != marked:
        raise DecodeError(f"field {column.field} has {found} values, {marked} marked")
    blobs = iter(column.blobs)
    return [next(blobs) if is_there else None for is_there in present.tolist()]


def count_marked(column: Column, count: int) -> int:
    """How many of `count` readings a column's bitmap marks. Raises DecodeError."""
    _check_bitmap(column, count)
    return (int.from_bytes(column.present, "little") & (1 << count) - 1).bit_count()


def _check_bitmap(column: Column, count: int) -> None:
    if len(column.present) != (count + 7) // 8:
        raise DecodeError(f"bitmap of {len(column.present)} bytes for {count} readings")


def _quality(said: Sequence[int], count: int) -> NDArray[np.int16]:
    if len(said) == count:
        return np.array(said, np.int16)
    return np.full(count, said[0] if said else 0, np.int16)


def running_sums(differences: Sequence[int] | Int64s, counts: Sequence[int] | Int64s) -> Int64s:
    """Running sums that begin anew after each of `counts` differences."""
    # numpy's int64 sum wraps, as the wire's differences do
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(differences, dtype=np.int64)))
    lengths = np.asarray(counts, np.int64)
    before = sums[np.cumsum(lengths) - lengths]
    found: Int64s = sums[1:] - np.repeat(before, lengths)
    return found


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def write_series(
    kind: int,
    device_time_ms: Int64s,
    received_time_ms: Int64s,
    columns: Mapping[int, NumberColumn],
) -> list[bytes]:
    """Of each of n readings the wire bytes of its own `Series`, but for source and number.

    Times are the sources' own (quality 0), flags are 0. columns: by catalogue field number.
    """
    count = len(device_time_ms)
    every = np.ones(count, np.bool_)
    pieces = [_heads(every, 0x10, kind, 0x22), *_sized(device_time_ms, every)]
    for number, column in sorted(columns.items()):
        if number > 127:
            raise ValueError(f"field {number}: its number takes more than a byte")
        size, value = _sized(column.values, column.present)
        pieces.append(_heads(column.present, 0x32, size[0][:, 0] + 4, 0x08, number, 0x1A))
        pieces += [size, value]
    pieces += [_heads(every, 0x42), *_sized(received_time_ms, every)]
    wire = np.concatenate([data for data, _ in pieces], axis=1)
    is_there = np.concatenate([mask for _, mask in pieces], axis=1)
    flat = wire[is_there].tobytes()
    ends = np.cumsum(is_there.sum(axis=1)).tolist()
    return [flat[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


# Bytes of n rows, (n, k), and which of them are there.
_Piece = tuple[NDArray[np.uint8], Bools]


def _heads(is_there: Bools, *row: int | NDArray[np.uint8]) -> _Piece:
    data = np.empty((len(is_there), len(row)), np.uint8)
    for place, value in enumerate(row):
        data[:, place] = value
    return data, np.repeat(is_there[:, None], len(row), axis=1)


def _sized(values: Int64s, is_there: Bools) -> tuple[_Piece, _Piece]:
    """Zigzag varints, and before each its size, which takes one byte."""
    words = ((values << 1) ^ (values >> 63)).view(np.uint64)
    places = max(1, -(-int(words.max(initial=0)).bit_length() // 7))
    groups = words[:, None] >> (np.arange(places, dtype=np.uint64) * np.uint64(7))
    used = groups != 0
    used[:, 0] = True
    data = (groups & np.uint64(127)).astype(np.uint8)
    data[:, :-1] |= used[:, 1:].astype(np.uint8) << 7
    sizes = used.sum(axis=1).astype(np.uint8)
    return _heads(is_there, sizes), (data, used & is_there[:, None])
