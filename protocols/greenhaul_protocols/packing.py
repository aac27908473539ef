"""A body packed tighter than zlib can: block format 2.

zlib spends most of a live block on tags, and on a code that all columns share. Here every column
has a code of its own (Rice): a live block of 17 signals is a third smaller. Which of the two a
block travels in is the sender's choice; a receipt says which formats its collector reads.

    packed   varint size of the bytes, bytes, bits
    bytes    varint sources, each: varint size, UTF-8
             varint series, each:
                varint source, kind, flags, readings n
                column of numbers, column of device times, the first from the series before
                column of received times less device times
                varint time qualities, each a varint
                varint columns, each: head, column
    head     field less the field before << 4 | shape; 0 << 4: varint field follows
    column   shapes 0-11: Rice parameter k; 12: what follows the first is zero; 13: a byte k follows
             14: a bitmap follows, then a byte with the shape; 15: blobs, each varint size, bytes
             then the first value, zigzag varint; all others are in the bits
             (times and numbers: a byte 0 or 16 | shape in front; 16: their steps are told as
             differences too, the first value is followed by the first step)
    bits     most significant first, column by column: the low k bits of each value, then of each
             the rest in unary: so many zeros and a one

Values are what `uplink.proto` has: the first, then differences; zigzag makes them unsigned.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.uplink_pb2 import Body, Column
from greenhaul_protocols.uplink_pb2 import Series as WireSeries

_ZERO, _WIDE, _BITMAP, _BLOBS = 12, 13, 14, 15
_STEPPED = 16
_WRAP, _SIGN = 1 << 64, 1 << 63
# Readings of a series from which on the code of its own pays.
_READINGS_MIN = 4


class _Unpackable(Exception):
    """The body is not worth packing, or says what this format cannot."""


def pack_body(body: bytes) -> bytes | None:
    """The packed form of a protobuf `Body`; None where zlib is the better choice."""
    wire = Body.FromString(body)
    if sum(len(one.number) for one in wire.series) < _READINGS_MIN * len(wire.series):
        return None
    writer = _Writer()
    writer.number(len(wire.sources))
    for source in wire.sources:
        writer.blob(source.encode())
    writer.number(len(wire.series))
    began = 0
    try:
        for series in wire.series:
            _pack_series(series, began, writer)
            began = series.device_time_ms[0]
    except _Unpackable:
        return None
    return writer.packed()


def unpack_body(packed: bytes, size_max: int) -> bytes:
    """The protobuf `Body`, of at most size_max values. Raises DecodeError."""
    try:
        reader = _Reader(packed, size_max)
        body = Body()
        body.sources.extend(reader.blob().decode() for _ in reader.some())
        began = 0
        for _ in reader.some():
            series = body.series.add()
            _unpack_series(series, began, reader)
            began = series.device_time_ms[0]
    except (IndexError, ValueError) as error:
        raise DecodeError(f"packed body: {error}") from error
    if not reader.is_empty:
        raise DecodeError("packed body: bytes are left over")
    return body.SerializeToString()


def _pack_series(series: WireSeries, began: int, writer: "_Writer") -> None:
    count = len(series.number)
    if not count or not count == len(series.device_time_ms) == len(series.received_time_ms):
        raise _Unpackable
    for value in (series.source, series.kind, series.flags, count):
        writer.number(value)
    first, *steps = series.device_time_ms
    writer.steps(series.number)
    writer.steps([_wrapped(first - began), *steps])
    late = zip(series.received_time_ms, series.device_time_ms, strict=True)
    writer.steps([_wrapped(received - device) for received, device in late])
    writer.number(len(series.time_quality))
    for quality in series.time_quality:
        writer.number(quality)
    writer.number(len(series.columns))
    before = 0
    for column in series.columns:
        _pack_column(column, count, before, writer)
        before = column.field


def _pack_column(column: Column, count: int, before: int, writer: "_Writer") -> None:
    told = column.blobs or column.values
    marked = int.from_bytes(column.present, "little").bit_count() if column.present else count
    if len(told) != marked or not told or (column.blobs and column.values):
        raise _Unpackable
    rest = [_zigzag(value) for value in column.values[1:]]
    parameter = _parameter(rest)
    code = bytes((_BLOBS,)) if column.blobs else _code_of(parameter)
    if column.present:
        code = bytes((_BITMAP, *column.present)) + code
        if len(column.present) != (count + 7) // 8:
            raise _Unpackable
    step = column.field - before
    if not 0 < step < 16:
        step = 0
    writer.raw(bytes((step << 4 | code[0],)))
    if not step:
        writer.number(column.field)
    writer.raw(code[1:])
    if column.blobs:
        for blob in column.blobs:
            writer.blob(blob)
        return
    writer.number(_zigzag(column.values[0]))
    writer.rice(rest, parameter)


def _unpack_series(series: WireSeries, began: int, reader: "_Reader") -> None:
    series.source, series.kind, series.flags, count = (reader.number() for _ in range(4))
    if not count:
        raise DecodeError("packed body: a series without readings")
    series.number.extend(reader.steps(count))
    first, *steps = reader.steps(count)
    series.device_time_ms.extend([_wrapped(first + began), *steps])
    late = zip(reader.steps(count), series.device_time_ms, strict=True)
    series.received_time_ms.extend(_wrapped(behind + device) for behind, device in late)
    series.time_quality.extend(reader.number() for _ in reader.some())
    before = 0
    for _ in reader.some():
        column = series.columns.add()
        _unpack_column(column, count, before, reader)
        before = column.field


def _unpack_column(column: Column, count: int, before: int, reader: "_Reader") -> None:
    (head,) = reader.raw(1)
    step, shape = head >> 4, head & 15
    column.field = before + step if step else reader.number()
    if shape == _BITMAP:
        column.present = reader.raw((count + 7) // 8)
        count = int.from_bytes(column.present, "little").bit_count()
        if not count:
            raise DecodeError("packed body: a column without values")
        (shape,) = reader.raw(1)
    if shape == _BLOBS:
        column.blobs.extend(reader.blob() for _ in range(count))
        return
    parameter = reader.parameter(shape)
    first = _unzigzag(reader.number())
    column.values.extend([first, *map(_unzigzag, reader.rice(count - 1, parameter))])


class _Writer:
    """Bytes in front, bits behind."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._bits: list[str] = []

    def packed(self) -> bytes:
        """All of it."""
        bits = "".join(self._bits)
        bits += "0" * (-len(bits) % 8)
        behind = int(bits, 2).to_bytes(len(bits) // 8) if bits else b""
        return _varint(len(self._bytes)) + self._bytes + behind

    def raw(self, data: bytes) -> None:
        """Bytes whose number the reader knows."""
        self._bytes += data

    def number(self, value: int) -> None:
        """A varint."""
        self._bytes += _varint(value)

    def blob(self, data: bytes) -> None:
        """Bytes with their number in front."""
        self._bytes += _varint(len(data)) + data

    def steps(self, values: Sequence[int]) -> None:
        """Numbers or times: a first value and differences, which are often all the same."""
        first, *steps = values
        once = [_zigzag(step) for step in steps]
        twice = [_zigzag(_wrapped(b - a)) for a, b in pairwise(steps)]
        k, k_twice = _parameter(once), _parameter(twice)
        if steps and _bits_of(twice, k_twice) < _bits_of(once, k):
            code = _code_of(k_twice)
            self.raw(bytes((_STEPPED | code[0],)) + code[1:])
            self.number(_zigzag(first))
            self.number(once[0])
            self.rice(twice, k_twice)
        else:
            self.raw(_code_of(k))
            self.number(_zigzag(first))
            self.rice(once, k)

    def rice(self, values: Sequence[int], k: int | None) -> None:
        """Values that follow a first. None: all of them are zero."""
        if k is None:
            return
        mask = (1 << k) - 1
        if k:
            self._bits += [f"{value & mask:0{k}b}" for value in values]
        self._bits += ["0" * (value >> k) + "1" for value in values]


class _Reader:
    """The inverse. Raises IndexError or ValueError where the data ends or makes no sense."""

    def __init__(self, packed: bytes, values_max: int) -> None:
        self._data, self._at = packed, 0
        size = self.number()
        self._end = self._at + size
        if self._end > len(packed):
            raise ValueError("cut short")
        behind = packed[self._end :]
        self._bits = f"{int.from_bytes(behind):0{8 * len(behind)}b}" if behind else ""
        self._bit = 0
        self._values_left = values_max

    @property
    def is_empty(self) -> bool:
        """Whether all was read, but for the bits that fill the last byte."""
        return self._at == self._end and len(self._bits) - self._bit < 8

    def raw(self, size: int) -> bytes:
        """So many bytes."""
        if size > self._end - self._at:
            raise ValueError("cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self) -> int:
        """A varint of at most 64 bits."""
        value = shift = 0
        while shift < 70:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value % _WRAP
            shift += 7
        raise ValueError("a number of more than 64 bits")

    def some(self) -> Iterator[int]:
        """Once for each of what follows; there cannot be more than bytes."""
        count = self.number()
        if count > self._end - self._at:
            raise ValueError("cut short")
        return iter(range(count))

    def blob(self) -> bytes:
        """Bytes with their number in front."""
        return self.raw(self.number())

    def parameter(self, shape: int) -> int | None:
        """How `rice` is to read; None for nothing but zeros."""
        if shape == _WIDE:
            (shape,) = self.raw(1)
            return shape
        if shape > _ZERO:
            raise ValueError(f"shape {shape}")
        return None if shape == _ZERO else shape

    def steps(self, count: int) -> list[int]:
        """As `_Writer.steps`."""
        (shape,) = self.raw(1)
        parameter = self.parameter(shape & ~_STEPPED)
        first = _unzigzag(self.number())
        if not shape & _STEPPED:
            return [first, *map(_unzigzag, self.rice(count - 1, parameter))]
        step = _unzigzag(self.number())
        found = [first, step]
        for change in self.rice(count - 2, parameter):
            step = _wrapped(step + _unzigzag(change))
            found.append(step)
        return found

    def rice(self, count: int, k: int | None) -> list[int]:
        """Values that follow a first."""
        self._values_left -= count
        if count < 0 or self._values_left < 0:
            raise ValueError("too many values")
        if k is None:
            return [0] * count
        bits, at = self._bits, self._bit
        if count * k > len(bits) - at:
            raise ValueError("cut short")
        low = [int(bits[at + i * k : at + (i + 1) * k], 2) for i in range(count)] if k else None
        at += count * k
        found = []
        for i in range(count):
            one = bits.index("1", at)
            value = one - at << k
            found.append(value | low[i] if low else value)
            at = one + 1
        self._bit = at
        return found


def _parameter(values: Sequence[int]) -> int | None:
    """The Rice parameter that takes fewest bits; None if nothing but zeros is to be told."""
    if not any(values):
        return None
    # The best is near the logarithm of the mean.
    near = (sum(values) // len(values)).bit_length()
    return min(range(max(near - 2, 0), near + 2), key=lambda k: _bits_of(values, k))


def _bits_of(values: Sequence[int], k: int | None) -> int:
    if k is None:
        return 0
    return len(values) * (k + 1) + sum([value >> k for value in values])


def _code_of(k: int | None) -> bytes:
    """The shape, and the parameter where it has a byte of its own."""
    if k is None:
        return bytes((_ZERO,))
    return bytes((k,)) if k < _ZERO else bytes((_WIDE, k))


def _wrapped(value: int) -> int:
    return (value + _SIGN) % _WRAP - _SIGN


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


def _unzigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
