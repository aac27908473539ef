"""The JT/T 808 message header, in both shapes, and frames around it.

    2011, 2013:  id W | attributes W |             phone BCD[6]  | serial W | [packet item]
    2019:        id W | attributes W | version B | phone BCD[10] | serial W | [packet item]

Attributes: bits 0-9 body length, 10-12 encryption, 13 packet item present, 14 edition 2019.

Locks of containers number their reports in one byte, and mean something else by bits 10 to 15.
Trackers that have no number send the first 14 digits of their IMEI as one integer in its place.
"""

import struct
from typing import NamedTuple

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.framing import content_of, frame_of

# Reports of locks, live and kept (Jointech and others).
SHORT_SERIAL_IDS = frozenset({0x5501, 0x5502})

BODY_SIZE_MAX = 1023  # ten bits of the attributes word
SERIAL_COUNT = 65_536

_HEADER_2013 = struct.Struct(">HH6sH")
_HEADER_2019 = struct.Struct(">HHB10sH")
_PACKET_ITEM = struct.Struct(">HH")
_SPLIT, _EDITION_2019 = 1 << 13, 1 << 14
_SHORT_SERIAL_SIZE = 11  # of a header whose serial is one byte

# Answers, which want no answer themselves.
_ANSWERS = frozenset({0x0001, 0x8001, 0x8004, 0x8100, 0x8800})


class PartNumber(NamedTuple):
    """Which packet of a split message this is."""

    number: int  # from 1
    total: int


class Header(NamedTuple):
    """What stands before a body."""

    message_id: int
    phone: str  # 12 digits, or 20 in the 2019 shape, zeros in front kept; hexadecimal if not BCD
    serial: int
    is_2019: bool  # the shape of the header, whatever bit 14 said
    encryption: int = 0  # bits 10-12: 0 none, 1 RSA
    part: PartNumber | None = None
    protocol_version: int = 1  # 2019 only; 1 is the first edition
    serial_size: int = 2  # bytes; 1 of SHORT_SERIAL_IDS


class Packet(NamedTuple):
    """One frame taken apart."""

    header: Header
    body: bytes
    raw: bytes


def split_header(content: bytes) -> tuple[Header, bytes]:
    """Header and body of a frame's content.

    Bit 14 says which shape to expect, but terminals get it wrong both ways; the shape in which the
    declared body length is the true one wins. Raises DecodeError when neither fits.
    """
    attributes = content[2] << 8 | content[3]
    packet_item_size = 4 if attributes & _SPLIT else 0
    body_size = attributes & BODY_SIZE_MAX
    rest = len(content) - packet_item_size - body_size
    protocol_version = 1
    if len(content) - body_size == _SHORT_SERIAL_SIZE:
        message_id = content[0] << 8 | content[1]
        if message_id in SHORT_SERIAL_IDS:
            phone, serial = content[4:10].hex(), content[10]
            return Header(message_id, phone, serial, False, serial_size=1), content[11:]
    if rest == 17:
        message_id, _, protocol_version, phone, serial = _HEADER_2019.unpack_from(content)
    elif rest == 12:
        message_id, _, phone, serial = _HEADER_2013.unpack_from(content)
    else:
        size = 17 if attributes & _EDITION_2019 else 12
        actual = len(content) - packet_item_size - size
        raise DecodeError(f"length: header says {body_size} bytes of body, frame has {actual}")
    part = None
    if packet_item_size:
        total, number = _PACKET_ITEM.unpack_from(content, rest)
        part = PartNumber(number, total)
    encryption = attributes >> 10 & 0b111
    header = Header(message_id, phone.hex(), serial, rest == 17, encryption, part, protocol_version)
    return header, content[rest + packet_item_size :]


def wrap(header: Header, body: bytes) -> bytes:
    """The frame for a header and a body of at most BODY_SIZE_MAX bytes. Raises EncodeError."""
    if len(body) > BODY_SIZE_MAX:
        raise EncodeError(f"body: {len(body)} bytes, a packet carries {BODY_SIZE_MAX}")
    if header.serial_size != 2:
        raise EncodeError("header: those with a serial of one byte are only read")
    attributes = len(body) | header.encryption << 10
    packet_item = b""
    try:
        if header.part:
            attributes |= _SPLIT
            packet_item = _PACKET_ITEM.pack(header.part.total, header.part.number)
        if header.is_2019:
            head = _HEADER_2019.pack(
                header.message_id,
                attributes | _EDITION_2019,
                header.protocol_version,
                _phone_bytes(header.phone, 10),
                header.serial,
            )
        else:
            phone = _phone_bytes(header.phone, 6)
            head = _HEADER_2013.pack(header.message_id, attributes, phone, header.serial)
    except struct.error as error:
        raise EncodeError(f"header: {header} does not fit its fields ({error})") from error
    return frame_of(head + packet_item + body)


def imei_of(phone: str) -> str | None:
    """The IMEI in place of a number, its check digit (Luhn) added; None if there is none."""
    if len(phone) != 12 or phone.isdecimal():
        return None
    digits = f"{int(phone, 16):014}"
    if len(digits) != 14:
        return None
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(digits)]
    total = sum(number // 10 + number % 10 for number in doubled)
    return f"{digits}{-total % 10}"


def unwrap(frame: bytes) -> Packet:
    """One frame, with both delimiters, taken apart. Raises DecodeError."""
    if len(frame) < 2 or frame[0] != 0x7E or frame[-1] != 0x7E:
        raise DecodeError("frame: does not begin and end with 7E")
    if frame.count(b"\x7e") != 2:
        raise DecodeError("frame: 7E inside")
    header, body = split_header(content_of(frame[1:-1]))
    return Packet(header, body, frame)


def is_downlink(message_id: int) -> bool:
    """Whether a platform sends it: 8xxx to Dxxx and, since 2019 for vendors, Fxxx."""
    return 0x8000 <= message_id <= 0xDFFF or message_id >= 0xF000


def wants_answer(message_id: int) -> bool:
    """Whether a general answer is due if there is no answer of its own."""
    return message_id not in _ANSWERS


def _phone_bytes(phone: str, size: int) -> bytes:
    """BCD padded with zeros in front. Hexadecimal digits pass: a reply repeats the peer's own."""
    digits = phone.lstrip("0").rjust(2 * size, "0")
    if len(digits) == 2 * size:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            pass
    raise EncodeError(f"phone: {phone!r} is not a number of at most {2 * size} digits")
