"""JT/T 808 frames: delimiters, escapes, checksum; bytes in, frames out.

    7E | header, body, checksum, escaped | 7E

Every 7E may end one frame and begin the next, so a lost or shared delimiter costs one frame and
never the stream.

Some terminals escape twice, or not at all, or leave a delimiter out. Such bytes are a frame if the
standard's reading fails and theirs has the right checksum *and* the body length the header says.
"""

from collections import deque
from contextlib import suppress
from typing import NamedTuple

from greenhaul_protocols.errors import DecodeError

DELIMITER = 0x7E
_DELIMITER = b"\x7e"

# Header of 21 bytes with packet item, body of 1023, checksum; each byte may be escaped to two;
# and two delimiters (clause 4.4).
FRAME_SIZE_MAX = 2 * (21 + 1023 + 1) + 2

# Header of 12 bytes without packet item, an empty body, checksum.
CONTENT_SIZE_MIN = 13


# Pieces between 7E that may be one frame of a terminal that does not escape: a body of random
# bytes has a 7E every 256.
TORN_PIECES_MAX = 4


class Frame(NamedTuple):
    """A frame whose checksum is right."""

    raw: bytes  # as on the wire, with both delimiters even where one was missing
    content: bytes  # header and body: unescaped, without checksum


class Malformed(NamedTuple):
    """Bytes between two delimiters, or outside any, that are no frame."""

    reason: str
    raw: bytes  # as on the wire; delimiters included where there were any


def escape(content: bytes) -> bytes:
    """Content without any 7E: `7D` becomes `7D 01`, `7E` becomes `7D 02`, in this order."""
    return content.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")


def unescape(wire: bytes) -> bytes:
    """The inverse of `escape`. Raises DecodeError for 7D followed by anything but 01 or 02."""
    marks = wire.count(b"\x7d")
    if not marks:
        return wire
    if marks != wire.count(b"\x7d\x01") + wire.count(b"\x7d\x02"):
        raise DecodeError("escape: 7D is followed by neither 01 nor 02")
    # 7D 02 first: the other way round `7D 01 02` would read as 7E.
    return wire.replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")


def checksum(content: bytes) -> int:
    """XOR of all bytes. Folds one big integer in halves, some ten times faster than a loop."""
    folded = int.from_bytes(content, "big")
    width = 8 << max(len(content) - 1, 0).bit_length()
    while width > 8:
        width >>= 1
        folded ^= folded >> width
    return folded & 0xFF


def frame_of(content: bytes) -> bytes:
    """The frame that carries header and body: checksum, escapes, delimiters."""
    return _DELIMITER + escape(content + bytes((checksum(content),))) + _DELIMITER


def content_of(wire: bytes) -> bytes:
    """Header and body of what stands between two delimiters.

    Raises DecodeError that says which rule is broken.
    """
    content = unescape(wire)
    if len(content) < CONTENT_SIZE_MIN:
        raise DecodeError(f"frame: {len(content)} bytes, the shortest has {CONTENT_SIZE_MIN}")
    if checksum(content):
        computed, said = checksum(content[:-1]), content[-1]
        raise DecodeError(f"checksum: computed 0x{computed:02X}, frame says 0x{said:02X}")
    return content[:-1]


def fits(content: bytes) -> bool:
    """Whether the body is as long as the header says, in either shape of the header."""
    attributes = content[2] << 8 | content[3]
    packet_item_size = 4 if attributes & 0x2000 else 0
    return len(content) - packet_item_size - (attributes & 0x3FF) in (12, 17)


def _deviating_content(wire: bytes) -> bytes | None:
    """Header and body of what was escaped twice or not at all; None if it is neither."""
    is_short = len(wire) < CONTENT_SIZE_MIN
    if is_short or (b"\x7d" not in wire and DELIMITER not in wire):
        return None
    readings = [wire]
    with suppress(DecodeError):
        readings.append(unescape(unescape(wire)))
    for content in readings:
        if len(content) >= CONTENT_SIZE_MIN and fits(content[:-1]) and not checksum(content):
            return content[:-1]
    return None


class FrameReader:
    """Cuts a byte stream into frames. The result does not depend on how the stream is chopped."""

    def __init__(self) -> None:
        self._held = bytearray()  # bytes since the last delimiter, FRAME_SIZE_MAX at most
        self._is_inside = False  # whether a delimiter came before them
        self._is_overlong = False  # whether they were given up and the rest is skipped
        # Pieces that were no frames, in case a 7E between them was not a delimiter.
        self._torn: deque[bytes] | None = None
        self.skipped_bytes = 0  # bytes of overlong rubbish that no Malformed carries

    @property
    def held_bytes(self) -> int:
        """How many bytes of a frame not yet ended are kept."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame | Malformed]:
        """Frames and malformed stretches that end in `data`, in order."""
        found: list[Frame | Malformed] = []
        pieces = data.split(_DELIMITER)
        for piece in pieces[:-1]:
            if self._held or self._is_overlong:
                self._keep(piece, found)
                piece, self._held = bytes(self._held), bytearray()
            if self._is_overlong:
                self._is_overlong = False
            elif piece:
                found.append(self._judge(piece))
            self._is_inside = True
        self._keep(pieces[-1], found)
        return found

    def close(self) -> list[Frame | Malformed]:
        """What the end of the stream cut off, if anything: only a delimiter, perhaps."""
        piece, self._held = bytes(self._held), bytearray()
        if not piece:
            return []
        try:
            content = content_of(piece)
            if fits(content):
                return [Frame(_DELIMITER + piece + _DELIMITER, content)]
        except DecodeError:
            pass
        if not self._is_inside:
            return [Malformed("bytes outside a frame", piece)]
        return [Malformed("frame: the stream ends inside it", _DELIMITER + piece)]

    def _keep(self, piece: bytes, found: list[Frame | Malformed]) -> None:
        if self._is_overlong:
            self.skipped_bytes += len(piece)
            return
        self._held += piece
        if len(self._held) > FRAME_SIZE_MAX:
            found.append(self._overlong(bytes(self._held[:FRAME_SIZE_MAX])))
            self.skipped_bytes += len(self._held) - FRAME_SIZE_MAX
            self._held.clear()
            self._is_overlong = True

    def _judge(self, piece: bytes) -> Frame | Malformed:
        if len(piece) > FRAME_SIZE_MAX:
            self.skipped_bytes += len(piece) - FRAME_SIZE_MAX
            return self._overlong(piece[:FRAME_SIZE_MAX])
        raw = _DELIMITER + piece + _DELIMITER
        try:
            content = content_of(piece)
        except DecodeError as error:
            return self._deviating(piece) or Malformed(
                *((str(error), raw) if self._is_inside else ("bytes outside a frame", piece))
            )
        if not fits(content):
            # Its reader says what is wrong with its length, if no other reading is right.
            return self._deviating(piece) or Frame(raw, content)
        if self._torn:
            self._torn.clear()
        return Frame(raw, content)

    def _deviating(self, piece: bytes) -> Frame | None:
        """The frame a terminal that does not escape by the rules meant, if it ends here."""
        if self._torn is None:
            self._torn = deque(maxlen=TORN_PIECES_MAX - 1)
        wire = piece
        pieces = iter(reversed(self._torn))
        while len(wire) <= FRAME_SIZE_MAX:
            content = _deviating_content(wire)
            if content is not None:
                self._torn.clear()
                return Frame(_DELIMITER + wire + _DELIMITER, content)
            before = next(pieces, None)
            if before is None:
                break
            wire = before + _DELIMITER + wire
        if self._is_inside:
            self._torn.append(piece)
        return None

    def _overlong(self, head: bytes) -> Malformed:
        start = _DELIMITER if self._is_inside else b""
        return Malformed(f"frame: longer than {FRAME_SIZE_MAX} bytes", start + head)
