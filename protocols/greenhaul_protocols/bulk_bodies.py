"""Bodies of many blocks made columns at once, by kind of reading.

A city's traffic is thousands of series of a few readings: here nothing is made for a series but
its entries in lists, and arrays are made once a field. The same readings as `bulk.columns_of`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.bulk import (
    BytesColumn,
    Int64s,
    NumberColumn,
    count_marked,
    digests_of,
    running_sums,
    unpack_bytes,
)
from greenhaul_protocols.catalogue import KINDS
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.uplink_pb2 import Column
from greenhaul_protocols.uplink_pb2 import Series as WireSeries


@dataclass(frozen=True, slots=True)
class KindColumns:
    """Readings of one kind, columns of n entries, in the order of their series.

    place: of the series each is from, among those given. numbers: offsets from the first reading
    of its block. columns: by catalogue field number.
    """

    kind: int
    place: Int64s
    flags: Int64s
    numbers: Int64s
    device_time_ms: Int64s
    received_time_ms: Int64s
    time_quality: NDArray[np.int16]
    columns: dict[int, NumberColumn | BytesColumn]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Int64s) -> "KindColumns":
        """Some of the readings, by their index."""
        return KindColumns(
            self.kind,
            self.place[rows],
            self.flags[rows],
            self.numbers[rows],
            self.device_time_ms[rows],
            self.received_time_ms[rows],
            self.time_quality[rows],
            {number: column.take(rows) for number, column in self.columns.items()},
        )

    def digests(self) -> Int64s:
        """(n,) identity digests, as `identity.digests`."""
        return digests_of(len(self), self.columns)


def gather(parsed: Sequence[tuple[WireSeries, str]]) -> tuple[list[KindColumns], set[int]]:
    """Wire series, of one body or of many, as columns by kind; and which of them (by place) have
    a known field of another type than the catalogue's, which is left out.

    A kind comes in several parts if series differ in which of its unknown fields are bytes.
    Raises DecodeError for a column that contradicts itself.
    """
    gathered: dict[tuple[int, tuple[int, ...]], _Gathered] = {}
    mistyped: set[int] = set()
    for place, (wire, _) in enumerate(parsed):
        columns: Iterable[Column] = wire.columns
        # the last of several columns of one field counts
        fields = {column.field: column for column in columns}
        kind = KINDS.get(wire.kind)
        unknown = fields.keys() - kind.by_number.keys() if kind else fields.keys()
        are_bytes = tuple(sorted(n for n in unknown if fields[n].blobs)) if unknown else ()
        key = (wire.kind, are_bytes)
        found = gathered.get(key)
        if found is None:
            found = gathered[key] = _Gathered(wire.kind, are_bytes)
        if not found.add(place, wire, fields):
            mistyped.add(place)
    return [found.columns() for _, found in sorted(gathered.items())], mistyped


class _Gathered:
    """Series of one kind, put one behind the other."""

    def __init__(self, kind: int, unknown_bytes: Sequence[int]) -> None:
        self._kind = kind
        self._bytes = set(unknown_bytes)
        spec = KINDS.get(kind)
        if spec:
            self._bytes |= {field.number for field in spec.fields if field.is_bytes}
        self._places: list[int] = []
        self._counts: list[int] = []
        self._flags: list[int] = []
        self._numbers: list[int] = []
        self._device: list[int] = []
        self._received: list[int] = []
        # of series that say no quality, or one for all, and by reading where they differ
        self._quality: list[int] = []
        self._qualities: list[tuple[int, Sequence[int]]] = []
        self._fields: dict[int, _Field] = {}

    def add(self, place: int, wire: WireSeries, fields: dict[int, Column]) -> bool:
        """Take a series; False when a field of it is of another type, and was left out."""
        index, count = len(self._places), len(wire.number)
        self._places.append(place)
        self._counts.append(count)
        self._flags.append(wire.flags)
        self._numbers += wire.number
        self._device += wire.device_time_ms
        self._received += wire.received_time_ms
        said = wire.time_quality
        self._quality.append(said[0] if len(said) else 0)
        if len(said) > 1:
            self._qualities.append((index, said))
        is_right = True
        for number, column in fields.items():
            found = self._fields.get(number)
            if found is None:
                found = self._fields[number] = _Field(is_bytes=number in self._bytes)
            is_right &= found.add(index, column, count)
        return is_right

    def columns(self) -> KindColumns:
        """All of them."""
        counts = np.array(self._counts, np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        quality = np.repeat(np.array(self._quality, np.int16), counts)
        for index, said in self._qualities:
            quality[starts[index] : starts[index + 1]] = said
        return KindColumns(
            self._kind,
            np.repeat(np.array(self._places, np.int64), counts),
            np.repeat(np.array(self._flags, np.int64), counts),
            running_sums(self._numbers, self._counts),
            running_sums(self._device, self._counts),
            running_sums(self._received, self._counts),
            quality,
            {
                number: column
                for number, field in sorted(self._fields.items())
                if (column := field.column(starts, counts)) is not None
            },
        )


class _Field:
    """One field of many series."""

    def __init__(self, *, is_bytes: bool) -> None:
        self._is_bytes = is_bytes
        self._series: list[int] = []
        self._steps: list[int] = []
        self._steps_of: list[int] = []
        self._bitmaps: list[tuple[int, bytes]] = []
        self._blobs: list[tuple[int, list[bytes | None]]] = []

    def add(self, series: int, column: Column, count: int) -> bool:
        """The field's column of a series; False when it is of another type."""
        if column.blobs:
            found = unpack_bytes(column, count)
            if self._is_bytes:
                self._blobs.append((series, found))
            return self._is_bytes
        steps, bitmap = column.values, column.present
        if bitmap:
            marked = count_marked(column, count)
            if len(steps) != marked:
                raise DecodeError(f"field {column.field} has {len(steps)} values, {marked} marked")
        elif len(steps) != count:
            raise DecodeError(f"field {column.field} has {len(steps)} values, {count} marked")
        if self._is_bytes:
            return not steps  # a column in which nothing is present has no type
        if bitmap:
            self._bitmaps.append((len(self._series), bitmap))
        self._series.append(series)
        self._steps += steps
        self._steps_of.append(len(steps))
        return True

    def column(self, starts: Int64s, counts: Int64s) -> NumberColumn | BytesColumn | None:
        """(n,) the field of all series; None when no series has it after all."""
        size = int(starts[-1])
        if self._is_bytes:
            values: list[bytes | None] = [None] * size
            for series, found in self._blobs:
                values[starts[series] : starts[series + 1]] = found
            return BytesColumn(values) if self._blobs else None
        if not self._series:
            return None
        bits = [
            (i, np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little"))
            for i, bitmap in self._bitmaps
        ]
        steps = running_sums(self._steps, self._steps_of)
        return spread(steps, np.array(self._series, np.int64), bits, starts, counts)


def spread(
    values: Int64s,
    series: Int64s,
    bitmaps: Iterable[tuple[int, NDArray[Any]]],
    starts: Int64s,
    counts: Int64s,
) -> NumberColumn:
    """A field's values put to their readings. starts, counts: of the readings of each series.

    series: which ones have the field, by index; bitmaps: of some of these, by place among them,
    which of their readings have it.
    """
    size = int(starts[-1])
    rows = ranges(starts[series], counts[series])
    is_there = np.ones(len(rows), np.bool_)
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts[series])))
    is_whole = len(series) == len(counts)
    for i, bits in bitmaps:
        low, high = ends[i], ends[i + 1]
        is_there[low:high] = bits[: high - low]
        is_whole = False
    if is_whole:
        return NumberColumn(values, is_there)
    numbers, present = np.zeros(size, np.int64), np.zeros(size, np.bool_)
    there = rows[is_there]
    numbers[there] = values
    present[there] = True
    return NumberColumn(numbers, present)


def ranges(starts: Int64s, counts: Int64s) -> Int64s:
    """starts[0], starts[0] + 1, … counts[0] of them, and so on for each."""
    before = np.cumsum(counts) - counts
    found: Int64s = np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
    return found
