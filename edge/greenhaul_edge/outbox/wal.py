"""SQLite's write-ahead log, read past the place where SQLite stops.

SQLite takes the frames of a WAL up to the first whose checksum does not fit, and forgets the rest
without a word. After a power cut the rest is one commit that nobody was told of; in a damaged file
it is commits that were acknowledged.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from greenhaul_edge.outbox.schema import PAGE_SIZE

# Larger than the WAL of any commit but the renumbering of a large backlog, which is not looked at.
WAL_READ_MAX = 16 << 20
_HEADER_SIZE, _FRAME_HEADER_SIZE = 32, 24
_FRAME_SIZE = _FRAME_HEADER_SIZE + PAGE_SIZE
_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683
_MASK = 0xFFFFFFFF


def generation_of(wal: bytes) -> frozenset[int]:
    """The frames written since the WAL was last begun anew; older ones may lie behind them."""
    salt = _salt_of(wal)
    return frozenset(frame for frame, header, _ in _frames(wal) if header[8:16] == salt)


def unread_commits(wal: bytes) -> int:
    """How many commits of this generation lie where SQLite does not read (file format 4.2)."""
    order = ">" if int.from_bytes(wal[:4], "big") == _MAGIC_BIG else "<"
    sums, salt = _checksum(wal[:24], (0, 0), order), _salt_of(wal)
    is_read, commits = _is_whole(wal), 0
    for _, header, page in _frames(wal):
        if is_read and len(page) == PAGE_SIZE:
            sums = _checksum(header[:8] + page, sums, order)
            is_read = header[8:16] == salt and sums == struct.unpack(">II", header[16:])
        else:
            is_read = False
        is_commit = header[4:8] != bytes(4)
        commits += not is_read and is_commit and header[8:16] == salt
    return commits


def _frames(wal: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, header and page of each frame; the last page may be cut short."""
    starts = range(_HEADER_SIZE, len(wal) - _FRAME_HEADER_SIZE, _FRAME_SIZE)
    for frame, at in enumerate(starts):
        page_at = at + _FRAME_HEADER_SIZE
        yield frame, wal[at:page_at], wal[page_at : at + _FRAME_SIZE]


def _is_whole(wal: bytes) -> bool:
    """Whether SQLite takes the WAL's header for one."""
    magic = int.from_bytes(wal[:4], "big")
    if magic not in (_MAGIC_LITTLE, _MAGIC_BIG) or len(wal) < _HEADER_SIZE:
        return False
    order = ">" if magic == _MAGIC_BIG else "<"
    return _checksum(wal[:24], (0, 0), order) == struct.unpack(">II", wal[24:32])


def _salt_of(wal: bytes) -> bytes:
    """What marks this generation; of a damaged header the first frame still says it."""
    return wal[16:24] if _is_whole(wal) else wal[_HEADER_SIZE + 8 : _HEADER_SIZE + 16]


def read_wal(database: Path) -> bytes:
    """The WAL of a database, or nothing if there is none, or one too large to be a few commits."""
    path = database.with_name(database.name + "-wal")
    try:
        return path.read_bytes() if path.stat().st_size <= WAL_READ_MAX else b""
    except OSError:
        return b""


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = sums
    for even, odd in struct.iter_unpack(f"{order}II", data):
        first = first + even + second & _MASK
        second = second + odd + first & _MASK
    return first, second
