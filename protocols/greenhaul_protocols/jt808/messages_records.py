"""Recorder, waybill, driver, CAN frames, pass-through, keys."""

import zlib
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from greenhaul_protocols.jt808.declaration import Record, message, variant
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    BcdTime,
    BitFields,
    Byte,
    Byte_,
    Bytes,
    ByVersion,
    Counted,
    Dword,
    Dword_,
    FixedBytes,
    Undecodable,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import CountOf, IfLeft, Meanings
from greenhaul_protocols.jt808.texts import FixedText, Text

CARD_STATES = Meanings({1: "card inserted, on duty", 2: "card removed, off duty"})
CARD_RESULTS = Meanings(
    {0: "ok", 1: "key failure", 2: "card locked", 3: "card pulled out", 4: "data error"}
)
PASS_THROUGH_TYPES = Meanings(
    {
        0x00: "GNSS detail",
        0x0B: "IC card",
        0x41: "serial port 1",
        0x42: "serial port 2",
        # T/JSATL 12-2017
        0xF7: "state of units",
        0xF8: "what units there are",
    }
)


_GZIP = 31  # zlib's number for it
# A peer can send a few bytes that swell to gigabytes; an hour of location reports is a tenth of it.
DECOMPRESSED_SIZE_MAX = 4 * 1024 * 1024


@message(0x8700, clause="8.43")
@dataclass(frozen=True, slots=True)
class RecorderQuery:
    """Asks the tachograph (行驶记录数据采集命令). The block is of GB/T 19056."""

    command: Byte
    data: Annotated[bytes | None, ByVersion({2013: Bytes()}), IfLeft()] = None


@message(0x0700, clause="8.44")
@dataclass(frozen=True, slots=True)
class RecorderData:
    """What the tachograph has (行驶记录数据上传)."""

    answer_serial: Annotated[int | None, ByVersion({2013: Word_})]
    command: Byte
    total_size: Annotated[int | None, ByVersion({2011: Word_, 2013: None})]
    data: Annotated[bytes, ByVersion({2011: Bytes(Word_), 2013: Bytes()})]


@message(0x8701, clause="8.45")
@dataclass(frozen=True, slots=True)
class RecorderSetting:
    """Parameters for the tachograph (行驶记录参数下传命令)."""

    command: Byte
    data: Annotated[bytes, Bytes()]


@message(0x0701, clause="8.46")
@dataclass(frozen=True, slots=True)
class Waybill:
    """The electronic waybill (电子运单上报). Its content is not standardised."""

    data: Annotated[bytes, Bytes(Dword_)]


@message(0x8702, clause="8.47", since=2013)
@dataclass(frozen=True, slots=True)
class DriverQuery:
    """Asks who drives (上报驾驶员身份信息请求)."""


@message(0x0702, clause="8.48")
@dataclass(frozen=True, slots=True)
class DriverIdentity:
    """Who drives (驾驶员身份信息采集上报).

    A removed card has only status and time, a card that could not be read only these and the
    result; many terminals fill the other fields in all the same.
    """

    status: Annotated[Byte, CARD_STATES]
    card_time: BcdTime
    card_result: Annotated[int | None, Byte_, IfLeft(), CARD_RESULTS] = None
    name: Annotated[str | None, Text(Byte_), IfLeft()] = None
    certificate: Annotated[str | None, FixedText(20), IfLeft()] = None
    agency: Annotated[str | None, Text(Byte_), IfLeft()] = None
    valid_until: Annotated[str | None, Bcd(4), IfLeft()] = None  # YYYYMMDD
    identity_number: Annotated[str | None, ByVersion({2019: FixedText(20)}), IfLeft()] = None


@variant(0x0702, revisions=(2011,), replaces=True)
@dataclass(frozen=True, slots=True)
class DriverIdentity2011:
    """Who drives, as 2011 says it: without card and time."""

    name: Annotated[str, Text(Byte_)]
    identity_number: Annotated[str, FixedText(20)]
    certificate: Annotated[str, FixedText(40)]
    agency: Annotated[str, Text(Byte_)]


class CanId(NamedTuple):
    """The four bytes before the data of a CAN frame."""

    channel: int  # 0 is CAN 1
    is_extended: bool
    is_averaged: bool  # over the sampling interval; else as it was
    can_id: int


CAN_ID = BitFields(
    "I",
    CanId,
    {"channel": (31, 1), "is_extended": (30, 1), "is_averaged": (29, 1), "can_id": (0, 29)},
)


@dataclass(frozen=True, slots=True)
class CanFrame:
    """One frame of 0x0705. No length: always eight bytes."""

    head: Annotated[CanId, CAN_ID]
    data: Annotated[bytes, FixedBytes(8)]


@message(0x0705, clause="8.50", since=2013)
@dataclass(frozen=True, slots=True)
class CanReport:
    """Frames from the vehicle's CAN buses (CAN总线数据上传)."""

    frame_count: Annotated[Word, CountOf("frames")]
    # hhmmss and four digits of milliseconds; the date is that of the receipt.
    first_frame_time: Annotated[str, Bcd(5)]
    frames: Annotated[  # printed at offset 8 in 2013, really at 7
        tuple[CanFrame | Undecodable, ...], Counted(None, Record(CanFrame), keeps_good=True)
    ]

    @classmethod
    def of(cls, first_frame_time: str, frames: tuple[CanFrame, ...]) -> "CanReport":
        """A report of these frames."""
        return cls(len(frames), first_frame_time, frames)


@message(0x8900, clause="8.61")
@dataclass(frozen=True, slots=True)
class PassThroughDown:
    """Bytes for something behind the terminal (数据下行透传)."""

    pass_through_type: Annotated[Byte, PASS_THROUGH_TYPES]
    total_size: Annotated[int | None, ByVersion({2011: Dword_, 2013: None})]
    data: Annotated[bytes, ByVersion({2011: Bytes(Word_), 2013: Bytes()})]


@message(0x0900, clause="8.62")
@dataclass(frozen=True, slots=True)
class PassThroughUp:
    """Bytes from something behind the terminal (数据上行透传)."""

    pass_through_type: Annotated[Byte, PASS_THROUGH_TYPES]
    total_size: Annotated[int | None, ByVersion({2011: Dword_, 2013: None})]
    data: Annotated[bytes, ByVersion({2011: Bytes(Word_), 2013: Bytes()})]


@message(0x0901, clause="8.63")
@dataclass(frozen=True, slots=True)
class CompressedReport:
    """Bytes in gzip (数据压缩上报)."""

    data: Annotated[bytes, Bytes(Dword_)]

    @classmethod
    def of(cls, plain: bytes) -> "CompressedReport":
        """A report of these bytes."""
        gzip = zlib.compressobj(wbits=_GZIP)
        return cls(gzip.compress(plain) + gzip.flush())

    def decompressed(self) -> bytes | None:
        """What was compressed; None if it is no gzip, cut short, or larger than is sensible."""
        gzip = zlib.decompressobj(wbits=_GZIP)
        try:
            plain = gzip.decompress(self.data, DECOMPRESSED_SIZE_MAX)
        except zlib.error:
            return None
        return plain if gzip.eof else None


@message(0x8A00, clause="8.64")
@dataclass(frozen=True, slots=True)
class PlatformKey:
    """The platform's RSA public key (平台RSA公钥)."""

    exponent: Dword
    modulus: Annotated[bytes, FixedBytes(128)]


@message(0x0A00, clause="8.65")
@dataclass(frozen=True, slots=True)
class TerminalKey:
    """The terminal's RSA public key (终端RSA公钥)."""

    exponent: Dword
    modulus: Annotated[bytes, FixedBytes(128)]
