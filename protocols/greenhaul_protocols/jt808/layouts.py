"""The vocabulary of the standard's tables: how one field lies in a body, in both directions.

A field's annotation names its layout; `declaration` compiles the annotations of a message into a
reader and a writer. All numbers are big-endian. Text has a module of its own.

Reading is faithful: what a terminal may have meant is kept. Writing is strict: what the standard
cannot carry raises EncodeError.
"""

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, get_type_hints

from greenhaul_protocols.errors import DecodeError, EncodeError


class Undecodable(NamedTuple):
    """Bytes a peer sent that the standard does not allow, kept whole."""

    reason: str
    raw: bytes
    said_size: int | None = None  # in front of the bytes, if anything said it


class Dated(ABC):
    """What an annotation may name: a layout, or one a revision."""

    @abstractmethod
    def at(self, revision: int) -> "Layout | None":
        """The layout as the revision has it; None if it knows no such field."""


class Layout(Dated):
    """One field's place in a body."""

    def at(self, revision: int) -> "Layout | None":  # noqa: ARG002
        return self

    @abstractmethod
    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        """Value and the offset behind it. Raises DecodeError."""

    @abstractmethod
    def write(self, value: Any) -> bytes:
        """The bytes for a value. Raises EncodeError."""


class Fixed(Layout):
    """A field of constant size: one `struct` code, and conversions where its value is not that."""

    code: str
    converts: bool = False  # whether from_wire does anything

    @property
    def size(self) -> int:
        """Bytes in the body."""
        return struct.calcsize(">" + self.code)

    def from_wire(self, wire: Any) -> Any:
        """The value for what `struct` unpacked."""
        return wire

    def to_wire(self, value: Any) -> Any:
        """What `struct` packs for the value."""
        return value

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        try:
            (wire,) = struct.unpack_from(">" + self.code, body, at)
        except struct.error:
            raise DecodeError(f"wants {self.size} bytes at {at}, has {len(body) - at}") from None
        return self.from_wire(wire), at + self.size

    def write(self, value: Any) -> bytes:
        try:
            return struct.pack(">" + self.code, self.to_wire(value))
        except (struct.error, TypeError, ValueError, OverflowError) as error:
            raise EncodeError(f"{value!r} does not fit {self.size} bytes ({error})") from error


@dataclass(frozen=True, eq=False)
class Number(Fixed):
    """BYTE, WORD, DWORD: an integer as it is."""

    code: str


@dataclass(frozen=True, eq=False)
class Scaled(Fixed):
    """A number in steps of 1/per_unit of its unit."""

    code: str
    per_unit: int
    converts = True

    def from_wire(self, wire: Any) -> Any:
        return wire / self.per_unit

    def to_wire(self, value: Any) -> Any:
        return round(value * self.per_unit)


@dataclass(frozen=True, eq=False)
class SignMagnitude(Fixed):
    """A WORD whose bit 15 means minus; the rest is the magnitude. Not two's complement.

    Two words say zero: -0.0 is the one with the bit.
    """

    code: str = "H"
    per_unit: int = 1
    converts = True

    def from_wire(self, wire: Any) -> Any:
        if wire == 0x8000:
            return -0.0
        steps = -(wire & 0x7FFF) if wire & 0x8000 else wire
        return steps if self.per_unit == 1 else steps / self.per_unit

    def to_wire(self, value: Any) -> Any:
        steps = abs(round(value * self.per_unit))
        if steps > 0x7FFF:
            raise ValueError("15 bits of magnitude")
        return steps | 0x8000 if math.copysign(1, value) < 0 else steps


class BitFields(Fixed):
    """Several values in the bits of one number.

    cls is a NamedTuple; `bits` says for each of its fields the lowest bit and how many there are.
    A field annotated `bool` is a flag.
    """

    converts = True

    def __init__(self, code: str, cls: Any, bits: Mapping[str, tuple[int, int]]) -> None:
        hints = get_type_hints(cls)
        assert tuple(hints) == tuple(bits), f"{cls.__name__}: bits for other fields than declared"
        self.code = code
        self.cls = cls
        self._parts = [
            (lowest, (1 << count) - 1, hints[name] is bool)
            for name, (lowest, count) in bits.items()
        ]

    def from_wire(self, wire: Any) -> Any:
        values = ((wire >> lowest & mask, is_flag) for lowest, mask, is_flag in self._parts)
        return self.cls(*(bool(value) if is_flag else value for value, is_flag in values))

    def to_wire(self, value: Any) -> Any:
        wire = 0
        for part, (lowest, mask, _) in zip(value, self._parts, strict=True):
            if not 0 <= part <= mask:
                raise ValueError(f"{part} does not fit its bits")
            wire |= int(part) << lowest
        return wire


class Bcd(Fixed):
    """BCD digits, kept as they came: a terminal's garbage reads as hexadecimal digits."""

    converts = True

    def __init__(self, size: int, *, is_time: bool = False) -> None:
        self.code = f"{size}s"
        self.is_time = is_time

    def from_wire(self, wire: Any) -> Any:
        return wire.hex()

    def to_wire(self, value: Any) -> Any:
        wire = bytes.fromhex(value)
        if len(wire) != self.size or value != wire.hex():
            raise ValueError(f"{2 * self.size} digits")
        return wire


class FixedBytes(Fixed):
    """BYTE[n]."""

    def __init__(self, size: int) -> None:
        self.code = f"{size}s"

    def to_wire(self, value: Any) -> Any:
        if len(value) != self.size:
            raise ValueError(f"{self.size} bytes")
        return value


@dataclass(frozen=True, eq=False)
class Bytes(Layout):
    """Bytes behind their size, or to the end of the body."""

    size: Fixed | None = None

    def read(self, body: bytes, at: int) -> tuple[bytes, int]:
        return sized_bytes(self.size, body, at)

    def write(self, value: bytes) -> bytes:
        return self.size.write(len(value)) + value if self.size else value


class PartialList(tuple[Any, ...]):  # noqa: SLOT001 - a tuple cannot have them
    """The items of one packet, where the sender says there are `total` in all (2011)."""

    total: int

    @classmethod
    def of(cls, items: list[Any], counts: list[int]) -> tuple[Any, ...]:
        """A plain tuple where the counts agree with it: of all, and of this packet."""
        if counts and counts[0] != len(items):
            partial = cls(items)
            partial.total = counts[0]
            return partial
        return tuple(items)


def write_counts(counters: tuple[Fixed | None, Fixed | None], items: tuple[Any, ...]) -> bytes:
    """The counters before a list: of all items, and (2011) of those in this packet."""
    total, in_packet = counters
    wire = b"" if total is None else total.write(getattr(items, "total", len(items)))
    return wire if in_packet is None else wire + in_packet.write(len(items))


@dataclass(frozen=True, eq=False)
class Counted(Layout):
    """A list of `of`, behind its count or (count None) to the end of the body.

    packet_count: the second counter 2011 carries, the items in this packet. It is the one that
    holds for reading; for writing both are the length of the list. keeps_good: a list cut short
    keeps the items that came, and an Undecodable in place of the rest.
    """

    count: Fixed | None
    of: Layout
    packet_count: Fixed | None = None
    keeps_good: bool = False

    def at(self, revision: int) -> "Layout | None":
        of = self.of.at(revision)
        return None if of is None else replace(self, of=of)

    def read(self, body: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        counts: list[int] = []
        for counter in (self.count, self.packet_count):
            if counter is not None:
                number, at = counter.read(body, at)
                counts.append(number)
        count = counts[-1] if counts else None
        found: list[Any] = []
        read, end = self.of.read, len(body)
        while len(found) != count and (at < end or count is not None):
            try:
                value, at = read(body, at)
            except DecodeError as error:
                if not self.keeps_good:
                    raise DecodeError(f"[{len(found)}] {error}") from None
                found.append(Undecodable(str(error), body[at:]))
                return PartialList.of(found, counts), end
            found.append(value)
        return PartialList.of(found, counts), at

    def write(self, value: tuple[Any, ...]) -> bytes:
        counts = write_counts((self.count, self.packet_count), value)
        return counts + b"".join(map(self._write_one, value))

    def _write_one(self, item: Any) -> bytes:
        is_rest = isinstance(item, Undecodable) and item.said_size is None
        return item.raw if is_rest and self.keeps_good else self.of.write(item)


@dataclass(frozen=True, eq=False)
class Sized(Layout):
    """`of` behind its size in bytes. What fails inside is kept as Undecodable: the neighbours of a
    bad item are good."""

    size: Fixed
    of: Layout

    def at(self, revision: int) -> "Layout | None":
        of = self.of.at(revision)
        return None if of is None else replace(self, of=of)

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        size, start = self.size.read(body, at)
        wire = body[start : start + size]
        at = start + len(wire)
        if len(wire) < size:
            return Undecodable(f"wants {size} bytes at {start}, has {len(wire)}", wire, size), at
        try:
            value, used = self.of.read(wire, 0)
        except DecodeError as error:
            return Undecodable(str(error), wire, size), at
        if used < size:
            return Undecodable(f"{size - used} bytes are left over", wire, size), at
        return value, at

    def write(self, value: Any) -> bytes:
        if isinstance(value, Undecodable):
            size = len(value.raw) if value.said_size is None else value.said_size
            return self.size.write(size) + value.raw
        wire = self.of.write(value)
        return self.size.write(len(wire)) + wire


@dataclass(frozen=True, eq=False)
class BySize(Layout):
    """The last field of a structure, in one of several layouts: the bytes left decide."""

    layouts: Mapping[int, Layout]

    def at(self, revision: int) -> "Layout | None":
        found = {size: layout.at(revision) for size, layout in self.layouts.items()}
        return BySize({size: layout for size, layout in found.items() if layout is not None})

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        layout = self.layouts.get(len(body) - at)
        if layout is None:
            sizes = " or ".join(map(str, self.layouts))
            raise DecodeError(f"wants {sizes} bytes at {at}, has {len(body) - at}")
        return layout.read(body, at)

    def write(self, value: Any) -> bytes:
        for size, layout in self.layouts.items():
            try:
                wire = layout.write(value)
            except EncodeError:
                continue
            if len(wire) == size:
                return wire
        raise EncodeError(f"{value!r} fits none of its layouts")


@dataclass(frozen=True, eq=False)
class ByVersion(Dated):
    """Dated layouts: each holds from its year until the next. None: the revision has no such
    field, nor has any before the first year."""

    layouts: Mapping[int, Dated | None]

    def at(self, revision: int) -> "Layout | None":
        years = [year for year in self.layouts if year <= revision]
        layout = self.layouts[max(years)] if years else None
        return None if layout is None else layout.at(revision)


def signed_deg(magnitude_deg: float) -> float:
    """A coordinate as some terminals mean it: in two's complement, which no magnitude reaches."""
    if magnitude_deg >= 2_147.483_648:
        return round(magnitude_deg - 4_294.967_296, 6)
    return magnitude_deg


def sized_bytes(size_layout: Fixed | None, body: bytes, at: int) -> tuple[bytes, int]:
    """Bytes behind their size, or to the end, and the offset behind them. Raises DecodeError."""
    if size_layout is None:
        return body[at:], len(body)
    size, at = size_layout.read(body, at)
    if at + size > len(body):
        raise DecodeError(f"wants {size} bytes at {at}, has {len(body) - at}")
    return body[at : at + size], at + size


Byte_, Word_, Dword_ = Number("B"), Number("H"), Number("I")

SignedWord = Annotated[int, Number("h")]  # below sea level, or below zero

Byte = Annotated[int, Byte_]
Word = Annotated[int, Word_]
Dword = Annotated[int, Dword_]
MICRODEGREES = Scaled("I", per_unit=1_000_000)
Degrees = Annotated[float, MICRODEGREES]
BcdTime = Annotated[str, Bcd(6, is_time=True)]  # YYMMDDhhmmss in GMT+8, see clock
