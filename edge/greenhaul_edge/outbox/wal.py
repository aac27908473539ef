"""SQLite's write-ahead log, read past the place where SQLite stops.

SQLite takes the frames of a WAL up to the first whose checksum does not fit, and forgets the rest
without a word. After a power cut the rest is one commit that nobody was told of; in a damaged file
it is commits that were acknowledged.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from greenhaul_edge.outbox.schema import PAGE_SIZE

# Larger than the WAL of any commit but the renumbering of a large backlog, which is not looked at.
WAL_READ_MAX = 16 << 20
_HEADER_SIZE, _FRAME_HEADER_SIZE = 32, 24
_FRAME_SIZE = _FRAME_HEADER_SIZE + PAGE_SIZE
_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Tail:
    """What SQLite makes of a WAL, and what it leaves."""

    frames: int = 0  # it takes so many
    commits: int = 0  # of the same generation lie behind them
    own: frozenset[int] = frozenset()  # frames of the same generation behind them


def tail_of(wal: bytes) -> Tail:
    """Where SQLite stops reading, by the checksums of file format 4.2."""
    if len(wal) < _HEADER_SIZE + _FRAME_HEADER_SIZE:
        return Tail()
    magic = int.from_bytes(wal[:4], "big")
    order = ">" if magic == _MAGIC_BIG else "<"
    sums = _checksum(wal[:24], (0, 0), order)
    is_taken = magic in (_MAGIC_LITTLE, _MAGIC_BIG) and sums == struct.unpack(">II", wal[24:32])
    # Of a damaged header the first frame still says which generation this is.
    salt = wal[16:24] if is_taken else wal[_HEADER_SIZE + 8 : _HEADER_SIZE + 16]
    frames, pending, commits, own = 0, 0, 0, set()
    for frame, at in enumerate(range(_HEADER_SIZE, len(wal) - _FRAME_HEADER_SIZE, _FRAME_SIZE)):
        header = wal[at : at + _FRAME_HEADER_SIZE]
        page = wal[at + _FRAME_HEADER_SIZE : at + _FRAME_SIZE]
        is_commit = header[4:8] != bytes(4)
        if is_taken and len(page) == PAGE_SIZE:
            sums = _checksum(header[:8] + page, sums, order)
            is_taken = header[8:16] == salt and sums == struct.unpack(">II", header[16:])
        else:
            is_taken = False
        if is_taken:
            pending += 1
            if is_commit:
                frames, pending = frame + 1, 0
        elif header[8:16] == salt:
            commits += is_commit
            own.add(frame)
    return Tail(frames, commits, frozenset({*range(frames, frames + pending), *own}))


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
