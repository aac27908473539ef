"""Readings as columns: the body of a block, and back.

A body holds *series*: the readings of one source, one kind and the same flags. Numbers and times
are kept as differences, values as integers in steps of the catalogue's resolution. Fields and
kinds this version does not know are carried through unchanged, so an old gateway loses nothing a
new source said, and the other way round.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, TypeVar

from google.protobuf.message import DecodeError as ProtobufDecodeError

from greenhaul_protocols.catalogue import KIND_OF, KINDS, Flags, Reading, TimeQuality
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.uplink_pb2 import Body, Column
from greenhaul_protocols.uplink_pb2 import Series as WireSeries

# More than the largest batch a sender makes (a 64 KiB block of one-byte values) by far.
READINGS_MAX = 200_000
# Sources are texts a gateway chose: `808:` + 20 digits, or gateway id (64) + `/` + input name.
SOURCE_LENGTH_MAX = 160

_WRAP = 1 << 64
_SIGN = 1 << 63

Value = int | bytes | None
_T = TypeVar("_T")


@dataclass(slots=True)
class Series:
    """Readings of one source and kind; every list has one entry a reading, in number order.

    numbers: offsets from the first reading of the body. columns: by catalogue field number, with
    None where a reading does not have the field.
    """

    source: str
    kind: int
    flags: int
    numbers: list[int] = field(default_factory=list)
    device_time_ms: list[int] = field(default_factory=list)
    received_time_ms: list[int] = field(default_factory=list)
    time_quality: list[int] = field(default_factory=list)
    columns: dict[int, list[Value]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def readings(self) -> list[Reading]:
        """The readings of a known kind, without fields this version does not know.

        Raises DecodeError for a kind not in the catalogue.
        """
        spec = KINDS.get(self.kind)
        if spec is None:
            raise DecodeError(f"kind {self.kind} is not in the catalogue")
        known = [(spec.by_number[n], c) for n, c in self.columns.items() if n in spec.by_number]
        found: list[Reading] = []
        for i, device_time_ms in enumerate(self.device_time_ms):
            values: dict[str, Any] = {}
            for field_spec, column in known:
                stored = column[i]
                if isinstance(stored, bytes):
                    values[field_spec.name] = field_spec.from_bytes(stored)
                elif stored is not None:
                    values[field_spec.name] = field_spec.scale(stored)
            found.append(
                spec.reading_class(
                    source=self.source,
                    device_time_ms=device_time_ms,
                    received_time_ms=self.received_time_ms[i],
                    time_quality=TimeQuality(self.time_quality[i]),
                    flags=Flags(self.flags),
                    **values,
                )
            )
        return found


def to_series(readings: Sequence[Reading]) -> list[Series]:
    """Columns of readings; reading i gets number i. Raises EncodeError for unkeepable values."""
    by_key: dict[tuple[str, int, int], list[int]] = {}
    for number, reading in enumerate(readings):
        key = (reading.source, KIND_OF[type(reading)].number, int(reading.flags))
        by_key.setdefault(key, []).append(number)
    return [_series_of(key, numbers, readings) for key, numbers in by_key.items()]


def _series_of(
    key: tuple[str, int, int], numbers: list[int], readings: Sequence[Reading]
) -> Series:
    source, kind, flags = key
    series = Series(source, kind, flags, numbers)
    own = [readings[number] for number in numbers]
    series.device_time_ms = [reading.device_time_ms for reading in own]
    series.received_time_ms = [reading.received_time_ms for reading in own]
    series.time_quality = [int(reading.time_quality) for reading in own]
    for spec in KINDS[kind].fields:
        column = [getattr(reading, spec.name) for reading in own]
        if any(value is not None for value in column):
            keep = spec.to_bytes if spec.is_bytes else spec.quantise
            series.columns[spec.number] = [None if v is None else keep(v) for v in column]
    return series


def merge_series(parts: Iterable[tuple[int, Sequence[Series]]]) -> list[Series]:
    """One list of series from several bodies, each given with what to add to its numbers.

    A source and kind may have several series, also in one body, whose numbers lie between each
    other's: who writes readings as they come makes one of each.
    """
    merged: dict[tuple[str, int, int], Series] = {}
    for shift, part in parts:
        for series in part:
            key = (series.source, series.kind, series.flags)
            target = merged.setdefault(key, Series(*key))
            before, added = len(target), len(series)
            target.numbers += [number + shift for number in series.numbers]
            target.device_time_ms += series.device_time_ms
            target.received_time_ms += series.received_time_ms
            target.time_quality += series.time_quality
            for number in target.columns.keys() | series.columns.keys():
                column = target.columns.setdefault(number, [None] * before)
                column += series.columns.get(number, [None] * added)
    return [one if _is_ascending(one.numbers) else _in_order(one) for one in merged.values()]


def _is_ascending(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def _in_order(series: Series) -> Series:
    """The same readings by their numbers."""
    order = sorted(range(len(series)), key=series.numbers.__getitem__)

    def put(values: list[_T]) -> list[_T]:
        return [values[place] for place in order]

    return Series(
        series.source,
        series.kind,
        series.flags,
        put(series.numbers),
        put(series.device_time_ms),
        put(series.received_time_ms),
        put(series.time_quality),
        {number: put(column) for number, column in series.columns.items()},
    )


def cut_series(series: Sequence[Series], first: int, last: int) -> list[Series]:
    """Only the readings with numbers `first` to `last`; numbers are counted from `first` anew."""
    cut: list[Series] = []
    for one in series:
        chosen = slice(bisect_left(one.numbers, first), bisect_right(one.numbers, last))
        if chosen.start == chosen.stop:
            continue
        cut.append(
            Series(
                one.source,
                one.kind,
                one.flags,
                [number - first for number in one.numbers[chosen]],
                one.device_time_ms[chosen],
                one.received_time_ms[chosen],
                one.time_quality[chosen],
                {number: column[chosen] for number, column in one.columns.items()},
            )
        )
    return cut


def encode_body(series: Sequence[Series]) -> bytes:
    """Protobuf `Body`, not compressed."""
    body = Body()
    index: dict[str, int] = {}
    for one in series:
        if one.source not in index:
            index[one.source] = len(index)
            body.sources.append(one.source)
        wire = body.series.add(source=index[one.source], kind=one.kind, flags=one.flags)
        wire.number.extend(_differences(one.numbers))
        wire.device_time_ms.extend(_differences(one.device_time_ms))
        wire.received_time_ms.extend(_differences(one.received_time_ms))
        wire.time_quality.extend(_pack_quality(one.time_quality))
        for number, values in sorted(one.columns.items()):
            present = [value for value in values if value is not None]
            if not present:
                continue
            column = wire.columns.add(field=number)
            if len(present) < len(values):
                column.present = _pack_bits([value is not None for value in values])
            if isinstance(present[0], bytes):
                column.blobs.extend(present)  # type: ignore[arg-type]  # a column is all bytes or all int
            else:
                column.values.extend(_differences(present))  # type: ignore[arg-type]
    return body.SerializeToString()


def decode_body(data: bytes) -> list[Series]:
    """Series of a body. Raises DecodeError for anything that contradicts itself."""
    return [decode_series(wire, source) for wire, source in parse_body(data)]


def parse_body(data: bytes) -> list[tuple[WireSeries, str]]:
    """Wire series with their sources, checked for what every reader relies on.

    Raises DecodeError.
    """
    try:
        body = Body.FromString(data)
    except ProtobufDecodeError as error:
        raise DecodeError("body is not a protobuf Body") from error
    if sum(len(wire.number) for wire in body.series) > READINGS_MAX:
        raise DecodeError(f"body has more than {READINGS_MAX} readings")
    if any(not 0 < len(source) <= SOURCE_LENGTH_MAX for source in body.sources):
        raise DecodeError(f"a source's name is empty or longer than {SOURCE_LENGTH_MAX}")
    found = []
    for wire in body.series:
        count = len(wire.number)
        if 0 in wire.number[1:]:
            raise DecodeError("a number stands twice in a series")
        if wire.source >= len(body.sources):
            raise DecodeError(f"source {wire.source} of {len(body.sources)}")
        if len(wire.device_time_ms) != count or len(wire.received_time_ms) != count:
            raise DecodeError(f"{count} numbers but another count of times")
        if len(wire.time_quality) not in (0, 1, count):
            raise DecodeError(f"{count} numbers but {len(wire.time_quality)} time qualities")
        if max(wire.time_quality, default=0) > TimeQuality.UNUSABLE:
            raise DecodeError("a time quality is not in the catalogue")
        found.append((wire, body.sources[wire.source]))
    return found


def decode_series(wire: WireSeries, source: str) -> Series:
    """One series of a parsed body. Raises DecodeError."""
    count = len(wire.number)
    quality = list(wire.time_quality) or [0]
    series = Series(
        source,
        wire.kind,
        wire.flags,
        list(accumulate(wire.number)),
        _sums(wire.device_time_ms),
        _sums(wire.received_time_ms),
        quality if len(quality) == count else quality * count,
    )
    for column in wire.columns:
        series.columns[column.field] = _column(column, count)
    return series


def _column(column: Column, count: int) -> list[Value]:
    if column.values and column.blobs:
        raise DecodeError(f"field {column.field} has numbers and bytes")
    present: list[int] | list[bytes] = _sums(column.values) if column.values else list(column.blobs)
    if not column.present:
        if len(present) != count:
            raise DecodeError(f"field {column.field} has {len(present)} values of {count}")
        return list(present)
    bits = _unpack_bits(column.present, count)
    if sum(bits) != len(present):
        raise DecodeError(f"field {column.field} has {len(present)} values, {sum(bits)} marked")
    values: Iterator[int | bytes] = iter(present)
    return [next(values) if bit else None for bit in bits]


def _differences(values: Sequence[int]) -> list[int]:
    """The first value, then differences, wrapped into signed 64 bits."""
    if not values:
        return []
    steps = [values[0], *(b - a for a, b in pairwise(values))]
    return [step if -_SIGN <= step < _SIGN else _wrap(step) for step in steps]


def _sums(differences: Iterable[int]) -> list[int]:
    return [v if -_SIGN <= v < _SIGN else _wrap(v) for v in accumulate(differences)]


def _wrap(value: int) -> int:
    return (value + _SIGN) % _WRAP - _SIGN


def _pack_quality(quality: Sequence[int]) -> list[int]:
    if not any(quality):
        return []
    return list(quality[:1]) if len(set(quality)) == 1 else list(quality)


def _pack_bits(bits: Sequence[bool]) -> bytes:
    number = sum(1 << i for i, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def _unpack_bits(data: bytes, count: int) -> list[bool]:
    if len(data) != (count + 7) // 8:
        raise DecodeError(f"bitmap of {len(data)} bytes for {count} readings")
    return [bool(data[i >> 3] >> (i & 7) & 1) for i in range(count)]
