"""Blocks on the wire: a header that says which readings, a CRC, a compressed body.

Every collector reads format 1, zlib. Format 2, packed, goes to those whose receipts say they read
it, where it is smaller.

CRC-32 (as in zlib) is taken over the header fields in a fixed little-endian layout, then the
gateway id in UTF-8, then the body as it travels:

    format u32 · epoch u64 · lane u32 · first u64 · count u32 · boot u64 ·
    monotonic_ms i64 · wall_ms i64 · wall_quality u32 · asks_receipt u8
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import DecodeError as ProtobufDecodeError

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.packing import pack_body, unpack_body
from greenhaul_protocols.uplink_pb2 import Block as WireBlock

# 1: the body is compressed by zlib. 2: it is packed, see packing.py.
FORMAT, FORMAT_PACKED = 1, 2
# What this version reads: a collector says it in its receipts.
FORMAT_MAX = FORMAT_PACKED
# A packed body costs its reader some microseconds more; it travels where it saves a sixteenth.
_SAVED_MIN = 16
# One MQTT message; small enough that live blocks wait under a second behind one on a slow link,
# and under every cloud broker's limit (the smallest common one is 128 KiB).
BLOCK_SIZE_MAX = 64 * 1024
# A body inflates to this at most, whatever its sender claims: 64 KiB of zlib could be 66 MB.
BODY_SIZE_MAX = 8 * 1024 * 1024

# A metered link is dearer than the millisecond a block that level 9 takes: 1 % of its bytes.
_LEVEL = 9
_CRC_HEADER = struct.Struct("<IQIQIQqqIB")
_UINT32_MAX, _UINT64_MAX = 2**32 - 1, 2**64 - 1


class WallQuality(IntEnum):
    """How the gateway's wall clock is known when a block is cut."""

    UNKNOWN = 0
    UNSET = 1  # never set since boot
    CLOUD = 2  # from the collector's answer
    NTP = 3
    GNSS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockHeader:
    """What a block says about itself. count 0 is a hello."""

    gateway: str
    epoch: int
    lane: int
    first: int
    count: int
    boot: int = 0
    monotonic_ms: int = 0
    wall_ms: int = 0
    wall_quality: int = WallQuality.UNKNOWN
    asks_receipt: bool = False

    @property
    def last(self) -> int:
        """Number of the last reading; first - 1 in a hello."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class Block:
    """A block that arrived whole: its CRC is right. The body is still compressed."""

    header: BlockHeader
    body: bytes
    block_format: int = FORMAT

    def inflate(self) -> bytes:
        """The protobuf `Body`. Raises DecodeError if it does not inflate, or to too much."""
        if not self.header.count:
            return b""
        if self.block_format == FORMAT_PACKED:
            return unpack_body(self.body, BODY_SIZE_MAX)
        inflater = zlib.decompressobj()
        try:
            body = inflater.decompress(self.body, BODY_SIZE_MAX)
        except zlib.error as error:
            raise DecodeError(f"body does not inflate: {error}") from error
        if not inflater.eof or inflater.unused_data:
            raise DecodeError(f"body is cut short, or inflates to over {BODY_SIZE_MAX} bytes")
        return body


class DamagedBlock(DecodeError):
    """The CRC does not fit, or it is no block at all: nothing it says can be believed."""


def wrap_block(header: BlockHeader, body: bytes = b"", *, format_max: int = FORMAT) -> bytes:
    """Bytes to publish. body: a protobuf `Body`, not compressed; empty for a hello.

    format_max: what the reader is known to read; the format is then whatever is smaller. Raises
    EncodeError for a header that the wire cannot carry.
    """
    if bool(header.count) != bool(body):
        raise EncodeError(f"a block of {header.count} readings with a body of {len(body)} bytes")
    block_format, content = FORMAT, zlib.compress(body, _LEVEL) if body else b""
    packed = pack_body(body) if body and format_max >= FORMAT_PACKED else None
    if packed is not None and len(packed) <= len(content) - len(content) // _SAVED_MIN:
        block_format, content = FORMAT_PACKED, packed
    wire = WireBlock(
        format=block_format,
        gateway=header.gateway,
        epoch=header.epoch,
        lane=header.lane,
        first=header.first,
        count=header.count,
        boot=header.boot,
        monotonic_ms=header.monotonic_ms,
        wall_ms=header.wall_ms,
        wall_quality=header.wall_quality,
        asks_receipt=header.asks_receipt,
        crc=_crc(header, content, block_format),
        body=content,
    )
    return wire.SerializeToString()


def unwrap_block(data: bytes) -> Block:
    """A block from the wire.

    Raises DamagedBlock when the bytes are damaged, DecodeError when they are whole but of a
    format this version does not know.
    """
    try:
        wire = WireBlock.FromString(data)
    except ProtobufDecodeError as error:
        raise DamagedBlock("not a protobuf Block") from error
    header = BlockHeader(
        gateway=wire.gateway,
        epoch=wire.epoch,
        lane=wire.lane,
        first=wire.first,
        count=wire.count,
        boot=wire.boot,
        monotonic_ms=wire.monotonic_ms,
        wall_ms=wire.wall_ms,
        wall_quality=wire.wall_quality,
        asks_receipt=wire.asks_receipt,
    )
    if wire.crc != _crc(header, wire.body, wire.format):
        raise DamagedBlock("CRC does not fit")
    if not FORMAT <= wire.format <= FORMAT_MAX:
        raise DecodeError(f"block format {wire.format}; this version reads 1 to {FORMAT_MAX}")
    return Block(header, wire.body, wire.format)


def _crc(header: BlockHeader, body: bytes, block_format: int) -> int:
    fields = _CRC_HEADER.pack(
        block_format,
        header.epoch,
        header.lane,
        header.first,
        header.count,
        header.boot,
        header.monotonic_ms,
        header.wall_ms,
        header.wall_quality,
        header.asks_receipt,
    )
    return zlib.crc32(body, zlib.crc32(header.gateway.encode(), zlib.crc32(fields)))
