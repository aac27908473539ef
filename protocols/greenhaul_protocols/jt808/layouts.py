"""The vocabulary of the standard's tables: how one field lies in a body, in both directions.

A field's annotation names its layout; `declaration` compiles the annotations of a message into a
reader and a writer. All numbers are big-endian, all text is GBK (STRING in the standard).

Reading is faithful: what a terminal may have meant is kept. Writing is strict: what the standard
cannot carry raises EncodeError.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

from greenhaul_protocols.errors import DecodeError, EncodeError

# Bytes a sender may have filled a text up with, in front or behind.
_PADDING = "\0 "


class Undecodable(NamedTuple):
    """Bytes a peer sent that the standard does not allow, kept whole."""

    reason: str
    raw: bytes


class Layout:
    """One field's place in a body."""

    def at(self, revision: int) -> "Layout | None":  # noqa: ARG002
        """This layout as the revision has it; None if it knows no such field."""
        return self

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        """Value and the offset behind it. Raises DecodeError."""
        raise NotImplementedError

    def write(self, value: Any) -> bytes:
        """The bytes for a value. Raises EncodeError."""
        raise NotImplementedError


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
    """A WORD whose bit 15 means minus; the rest is the magnitude. Not two's complement."""

    code: str = "H"
    converts = True

    def from_wire(self, wire: Any) -> Any:
        return -(wire & 0x7FFF) if wire & 0x8000 else wire

    def to_wire(self, value: Any) -> Any:
        if abs(value) > 0x7FFF:
            raise ValueError("15 bits of magnitude")
        return value if value >= 0 else 0x8000 | -value


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


class FixedText(Fixed):
    """BYTE[n] or STRING of constant size: text filled up with `pad`, behind or in front."""

    converts = True

    def __init__(self, size: int, *, pad: bytes = b"\0", pad_in_front: bool = False) -> None:
        self.code = f"{size}s"
        self.pad = pad
        self.pad_in_front = pad_in_front

    def from_wire(self, wire: Any) -> Any:
        return text_of(wire)

    def to_wire(self, value: Any) -> Any:
        wire = gbk_of(value)
        if len(wire) > self.size:
            raise ValueError(f"{self.size} bytes of GBK")
        return (
            wire.rjust(self.size, self.pad)
            if self.pad_in_front
            else wire.ljust(self.size, self.pad)
        )


@dataclass(frozen=True, eq=False)
class Text(Layout):
    """STRING of changing size: behind its size (`size`), or to the end of the body.

    is_terminated: ends with NUL even when empty, as the 2011 text has it.
    """

    size: Fixed | None = None
    size_max: int | None = None
    is_terminated: bool = False

    def read(self, body: bytes, at: int) -> tuple[str, int]:
        wire, at = _sized_bytes(self.size, body, at)
        return text_of(wire), at

    def write(self, value: str) -> bytes:
        wire = gbk_of(value)
        if self.size_max is not None and len(wire) > self.size_max:
            raise EncodeError(f"{value!r} has {len(wire)} bytes of GBK, {self.size_max} fit")
        wire += b"\0" if self.is_terminated else b""
        return self.size.write(len(wire)) + wire if self.size else wire


@dataclass(frozen=True, eq=False)
class Bytes(Layout):
    """Bytes behind their size, or to the end of the body."""

    size: Fixed | None = None

    def read(self, body: bytes, at: int) -> tuple[bytes, int]:
        return _sized_bytes(self.size, body, at)

    def write(self, value: bytes) -> bytes:
        return self.size.write(len(value)) + value if self.size else value


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
        count = None
        for counter in (self.count, self.packet_count):
            if counter is not None:
                count, at = counter.read(body, at)
        found: list[Any] = []
        read, end = self.of.read, len(body)
        while len(found) != count and (at < end or count is not None):
            try:
                value, at = read(body, at)
            except DecodeError as error:
                if not self.keeps_good:
                    raise DecodeError(f"[{len(found)}] {error}") from None
                found.append(Undecodable(str(error), body[at:]))
                return tuple(found), end
            found.append(value)
        return tuple(found), at

    def write(self, value: tuple[Any, ...]) -> bytes:
        counters = (c.write(len(value)) for c in (self.count, self.packet_count) if c is not None)
        return b"".join(counters) + b"".join(map(self.of.write, value))


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
            return Undecodable(f"wants {size} bytes at {start}, has {len(wire)}", wire), at
        try:
            value, used = self.of.read(wire, 0)
        except DecodeError as error:
            return Undecodable(str(error), wire), at
        if used < size:
            return Undecodable(f"{size - used} bytes are left over", wire), at
        return value, at

    def write(self, value: Any) -> bytes:
        wire = value.raw if isinstance(value, Undecodable) else self.of.write(value)
        return self.size.write(len(wire)) + wire


class Item(NamedTuple):
    """An id-length-value item as it came. What it says stands in a table of items."""

    id: int
    raw: bytes


@dataclass(frozen=True, eq=False)
class Items(Layout):
    """Id-length-value items. Unknown ids, order and repetitions are kept.

    Without a count they run to the end of the body, and reading stops before an item whose length
    runs past it; table: name under which describers find what the ids mean.
    """

    id_code: Literal["B", "H", "I"]
    table: str
    count: Fixed | None = None
    packet_count: Fixed | None = None

    def read(self, body: bytes, at: int) -> tuple[tuple[Item, ...], int]:
        if self.count is None:
            return self._to_end(body, at)
        count = 0
        for counter in (self.count, self.packet_count):
            if counter is not None:
                count, at = counter.read(body, at)
        found: list[Item] = []
        id_size = struct.calcsize(">" + self.id_code)
        end = len(body)
        for number in range(count):
            value_at = at + id_size + 1
            if value_at > end or value_at + body[value_at - 1] > end:
                raise DecodeError(f"[{number}] of {count} items runs past the end of the body")
            at = value_at + body[value_at - 1]
            item_id = int.from_bytes(body[value_at - 1 - id_size : value_at - 1], "big")
            found.append(Item(item_id, body[value_at:at]))
        return tuple(found), at

    def _to_end(self, body: bytes, at: int) -> tuple[tuple[Item, ...], int]:
        assert self.id_code == "B", "only location reports have items without a count"
        found: list[Item] = []
        last = len(body) - 2
        while at <= last:
            behind = at + 2 + body[at + 1]
            if behind > last + 2:
                break
            found.append(Item(body[at], body[at + 2 : behind]))
            at = behind
        return tuple(found), at

    def write(self, value: tuple[Item, ...]) -> bytes:
        counters = (c.write(len(value)) for c in (self.count, self.packet_count) if c is not None)
        id_layout = Number(self.id_code)
        items = (id_layout.write(i) + Byte_.write(len(raw)) + raw for i, raw in value)
        return b"".join(counters) + b"".join(items)


@dataclass(frozen=True, eq=False)
class ByVersion(Layout):
    """Dated layouts: each holds from its year until the next. None: the revision has no such
    field, nor has any before the first year."""

    layouts: Mapping[int, Layout | None]

    def at(self, revision: int) -> "Layout | None":
        years = [year for year in self.layouts if year <= revision]
        layout = self.layouts[max(years)] if years else None
        return None if layout is None else layout.at(revision)


def text_of(wire: bytes) -> str:
    """GBK text without its padding. Bytes that are no GBK read as U+FFFD; the raw frame has them.

    GB 18030 contains GBK, and newer terminals send characters that only it has.
    """
    return wire.decode("gb18030", errors="replace").strip(_PADDING)


def gbk_of(text: str) -> bytes:
    """GBK bytes. Raises EncodeError for what would not come back: a character GBK lacks, or a NUL
    or space at an end, where it reads as padding."""
    if text != text.strip(_PADDING):
        raise EncodeError(f"{text!r} begins or ends with what reads as padding")
    try:
        return text.encode("gbk")
    except UnicodeEncodeError as error:
        raise EncodeError(f"{text!r} has characters GBK lacks") from error


def _sized_bytes(size_layout: Fixed | None, body: bytes, at: int) -> tuple[bytes, int]:
    if size_layout is None:
        return body[at:], len(body)
    size, at = size_layout.read(body, at)
    if at + size > len(body):
        raise DecodeError(f"wants {size} bytes at {at}, has {len(body) - at}")
    return body[at : at + size], at + size


Byte_, Word_, Dword_ = Number("B"), Number("H"), Number("I")

Byte = Annotated[int, Byte_]
Word = Annotated[int, Word_]
Dword = Annotated[int, Dword_]
Degrees = Annotated[float, Scaled("I", per_unit=1_000_000)]
BcdTime = Annotated[str, Bcd(6, is_time=True)]  # YYMMDDhhmmss in GMT+8, see clock
