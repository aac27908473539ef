"""Text in a body: STRING in the standard, GBK, with whatever terminals fill it up."""

from dataclasses import dataclass
from typing import Any

from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808.layouts import Fixed, Layout, sized_bytes


class WireText(str):
    """Text whose bytes were not those we would write: other padding, or bytes that are no GBK.

    Equal to the plain text; written again, it is the same bytes.
    """

    __slots__ = ("wire",)
    wire: bytes

    def __new__(cls, text: str, wire: bytes) -> "WireText":
        self = super().__new__(cls, text)
        self.wire = wire
        return self


class FixedText(Fixed):
    """BYTE[n] or STRING of constant size: text filled up with `pad`, behind or in front."""

    converts = True

    def __init__(self, size: int, *, pad: bytes = b"\0", pad_in_front: bool = False) -> None:
        self.code = f"{size}s"
        self.pad = pad
        self.pad_in_front = pad_in_front

    def from_wire(self, wire: Any) -> Any:
        text = text_of(wire)
        try:
            return text if self.to_wire(text) == wire else WireText(text, wire)
        except EncodeError:
            return WireText(text, wire)

    def to_wire(self, value: Any) -> Any:
        if isinstance(value, WireText) and len(value.wire) == self.size:
            return value.wire
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
        wire, at = sized_bytes(self.size, body, at)
        text = text_of(wire)
        try:
            return (text if self._wire_of(text) == wire else WireText(text, wire)), at
        except EncodeError:
            return WireText(text, wire), at

    def write(self, value: str) -> bytes:
        wire = value.wire if isinstance(value, WireText) else self._wire_of(value)
        return self.size.write(len(wire)) + wire if self.size else wire

    def _wire_of(self, text: str) -> bytes:
        wire = gbk_of(text)
        if self.size_max is not None and len(wire) > self.size_max:
            raise EncodeError(f"{text!r} has {len(wire)} bytes of GBK, {self.size_max} fit")
        return wire + b"\0" if self.is_terminated else wire


def text_of(wire: bytes) -> str:
    """GBK text without its padding. Bytes that are no GBK read as U+FFFD; the raw frame has them.

    GB 18030 contains GBK, and newer terminals send characters that only it has.
    """
    return _unpadded(wire.decode("gb18030", errors="replace"))


def gbk_of(text: str) -> bytes:
    """GBK bytes. Raises EncodeError for what would not come back: a character GBK lacks, or what
    reads as padding at an end."""
    if text != _unpadded(text):
        raise EncodeError(f"{text!r} begins or ends with what reads as padding")
    try:
        return text.encode("gbk")
    except UnicodeEncodeError as error:
        raise EncodeError(f"{text!r} has characters GBK lacks") from error


def _unpadded(text: str) -> str:
    """Without what fills a field up: NUL in front, NUL and space behind."""
    return text.lstrip("\0").rstrip("\0 ")
