"""JT/T 808 frames to send again as they are: hexadecimal in any text, or the bytes themselves."""

import re

from greenhaul_protocols.jt808.framing import Frame, FrameReader, Malformed

_HEX_FRAME = re.compile(r"7[eE](?:\s*[0-9a-fA-F]{2})+?\s*7[eE]")


def read_frames(content: bytes) -> list[Frame | Malformed]:
    """Every frame in order, broken ones as they came.

    A text is searched for 7E … 7E in hexadecimal: logs with words around the frames will do.
    """
    text = _text_of(content)
    if text is not None:
        return [
            found
            for line in text.splitlines()
            for frame in _HEX_FRAME.findall(line)
            for found in _read(bytes.fromhex(frame))
        ]
    return _read(content)


def has_frames(content: bytes) -> bool:
    """Whether the beginning of a file is JT/T 808, as bytes or in hexadecimal."""
    text = _text_of(content)
    if text is None:
        return b"\x7e" in content
    return bool(_HEX_FRAME.search(text))


def _text_of(content: bytes) -> str | None:
    """The text, or None for bytes: a header's first bytes are never text."""
    if b"\x00" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _read(data: bytes) -> list[Frame | Malformed]:
    reader = FrameReader()
    return [*reader.feed(data), *reader.close()]
