"""Bodies of readings from many sources, written straight to bytes.

A gateway in front of thousands of terminals commits thousands of series of one reading each, where
objects for every column cost far more than the bytes they become. What is written here reads as
what `encode_body(to_series(readings))` writes; a property test holds the two equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from greenhaul_protocols.catalogue import KIND_OF, KINDS, Reading
from greenhaul_protocols.series import encode_body, to_series
from greenhaul_protocols.uplink_pb2 import Body

# Tags of uplink.proto: field number and wire type (0 varint, 2 length-delimited).
_SOURCES, _SERIES = 0x0A, 0x12
_SOURCE, _KIND, _NUMBER, _DEVICE_TIME = b"\x08", 0x10, b"\x1a", b"\x22"
_TIME_QUALITY, _COLUMNS, _FLAGS, _RECEIVED_TIME = 0x2A, 0x32, 0x38, b"\x42"
_FIELD, _VALUES, _BLOBS = 0x08, 0x1A, 0x22

_SMALL = [bytes((number,)) for number in range(128)]

_Field = tuple[str, Callable[[Any], Any], bool, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReading(Reading):
    """A reading whose series a vectorised reader has written already, but for source and number."""

    series: bytes


def encode_readings(readings: Sequence[Reading]) -> bytes:
    """The body of readings; reading i gets number i. Raises EncodeError for unkeepable values."""
    by_key: dict[tuple[str, type[Reading], int], list[int]] = {}
    sources: dict[str, int] = {}
    series = []
    for number, reading in enumerate(readings):
        if isinstance(reading, WrittenReading):
            index = sources.setdefault(reading.source, len(sources))
            series.append(_begun(index, number) + reading.series)
            continue
        key = (reading.source, type(reading), int(reading.flags))
        by_key.setdefault(key, []).append(number)
    if len(by_key) * 2 < len(readings) and not series:
        return encode_body(to_series(readings))
    for (source, _, _), numbers in by_key.items():
        index = sources.setdefault(source, len(sources))
        if len(numbers) == 1:
            series.append(_single(index, numbers[0], readings[numbers[0]]))
        else:
            series.append(_several(index, numbers, readings))
    names = [_framed(_SOURCES, source.encode()) for source in sources]
    return b"".join(names) + b"".join(_framed(_SERIES, one) for one in series)


def _single(source: int, number: int, reading: Reading) -> bytes:
    kind, fields = _fields_of(KIND_OF[type(reading)].number)
    device_time = _varint(_zigzag(reading.device_time_ms))
    parts = [
        _begun(source, number), kind, _DEVICE_TIME, _SMALL[len(device_time)], device_time
    ]  # fmt: skip
    if reading.time_quality:
        parts.append(bytes((_TIME_QUALITY, 1, reading.time_quality)))
    for name, keep, is_bytes, head in fields:
        value = getattr(reading, name)
        if value is None:
            continue
        kept = keep(value)
        if is_bytes:
            parts.append(_framed(_COLUMNS, head + _framed(_BLOBS, kept)))
            continue
        steps = kept << 1 if kept >= 0 else ~(kept << 1)
        wire = _SMALL[steps] if steps < 128 else _varint(steps)
        size = len(wire)
        parts += (_COLUMN_HEADS[size], head, _VALUE_HEADS[size], wire)
    if reading.flags:
        parts.append(bytes((_FLAGS,)) + _varint(int(reading.flags)))
    received_time = _varint(_zigzag(reading.received_time_ms))
    parts += (_RECEIVED_TIME, _SMALL[len(received_time)], received_time)
    return b"".join(parts)


def _begun(source: int, number: int) -> bytes:
    """Source and number: their order before the other fields is free."""
    numbered = _varint(number)
    return _SOURCE + _varint(source) + _NUMBER + _SMALL[len(numbered)] + numbered


def written_series(
    kind: int, device_time: bytes, columns: Sequence[bytes], received_time: bytes
) -> bytes:
    """The series of one reading of the source's own time, but for source and number.

    device_time, received_time: as `written_time`; columns: as `number_column` or `blob_column`.
    """
    head = bytes((_KIND, kind))
    return b"".join((head, _DEVICE_TIME, device_time, *columns, _RECEIVED_TIME, received_time))


def written_time(time_ms: int) -> bytes:
    """A time with its size in front."""
    wire = _varint(_zigzag(time_ms))
    return _SMALL[len(wire)] + wire


def number_column(field_number: int, steps: int) -> bytes:
    """A column of one number, within a series; the field's number takes one byte."""
    wire = _varint(_zigzag(steps))
    size = len(wire)
    return bytes((_COLUMNS, 4 + size, _FIELD, field_number, _VALUES, size)) + wire


def blob_column(field_number: int, blob: bytes) -> bytes:
    """A column of one blob, within a series."""
    return _framed(_COLUMNS, bytes((_FIELD, field_number)) + _framed(_BLOBS, blob))


def _several(source: int, numbers: Sequence[int], readings: Sequence[Reading]) -> bytes:
    (series,) = to_series([readings[number] for number in numbers])
    series.numbers = list(numbers)
    (wire,) = Body.FromString(encode_body([series])).series
    wire.source = source
    return wire.SerializeToString()


@cache
def _fields_of(kind: int) -> tuple[bytes, tuple[_Field, ...]]:
    """Tag and number of a kind, and what is needed of its fields in order."""
    fields = tuple(
        (
            field.name,
            field.to_bytes if field.is_bytes else field.quantise,
            field.is_bytes,
            bytes((_FIELD,)) + _varint(field.number),
        )
        for field in KINDS[kind].fields
    )
    return bytes((_KIND,)) + _varint(kind), fields


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


def _varint(number: int) -> bytes:
    if number < 128:
        return _SMALL[number]
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _framed(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + _varint(len(content)) + content


# Before a column with one varint of so many bytes; every field's number takes one byte.
_COLUMN_HEADS = [bytes((_COLUMNS, 4 + size)) for size in range(11)]
_VALUE_HEADS = [bytes((_VALUES, size)) for size in range(11)]
assert all(field.number < 128 for spec in KINDS.values() for field in spec.fields)
