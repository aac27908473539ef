"""Readings out of a file that no b-tree leads through any more.

Every page of the file and of its WAL is searched for the records of `chunk` and `unclocked`; a
record's shape says where its body lies, its CRC that it is what was written.

    leaf page   … | size | rowid | record header: 11 lengths | 9 integers | body … [next page] | …
    page chain                                       [next page | more of the body] …

Rows that were deleted since may come back from pages not yet written over: the store knows readings
by their identity, so they cost bytes and nothing else.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from greenhaul_edge.outbox.chunks import CHUNK_READINGS_MAX, Row
from greenhaul_edge.outbox.schema import PAGE_SIZE
from greenhaul_protocols.topics import LANE_MAX

# SQLite's file format 2.3.1: integers by their type in a record header.
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
# Header size, the rowid's place (NULL), nine integers, the body's length. Looked for at every
# offset, because a damaged page has no pointers to its cells.
_RECORD = re.compile(rb"[\x0c-\x0f]\x00[\x01-\x06\x08\x09]{9}([\x80-\xff]{0,3}[\x00-\x7f])")
# A row's body is 512 KiB, or one reading; anything larger is no row.
_BODY_SIZE_MAX = 1 << 20
_WAL_HEADER_SIZE, _FRAME_HEADER_SIZE = 32, 24
_FRAME_SIZE = _FRAME_HEADER_SIZE + PAGE_SIZE
# Most of a record that stands in its own page; 2.3.3.1 and 1.6 of the file format.
_LOCAL_MAX, _LOCAL_MIN = PAGE_SIZE - 35, (PAGE_SIZE - 12) * 32 // 255 - 23


@dataclass(slots=True)
class RawPages:
    """A database file and its WAL as numbered places: frames of the WAL first, then pages."""

    path: Path
    frames: int = 0
    pages: int = 0
    _database: int = -1
    _wal: int = -1
    _newest: dict[int, int] = field(default_factory=dict)  # page to the last frame that holds it

    def __post_init__(self) -> None:
        self._database, size = _open(self.path)
        self.pages = -(-size // PAGE_SIZE)
        self._wal, size = _open(self.path.with_name(self.path.name + "-wal"))
        self.frames = -(-max(size - _WAL_HEADER_SIZE, 0) // _FRAME_SIZE)
        for frame in range(self.frames):
            header = _pread(self._wal, 4, _WAL_HEADER_SIZE + frame * _FRAME_SIZE)
            self._newest[int.from_bytes(header, "big")] = frame

    @property
    def places(self) -> int:
        """How many pages there are to search."""
        return self.frames + self.pages

    def close(self) -> None:
        """Let go of both files."""
        for file in (self._database, self._wal):
            if file >= 0:
                os.close(file)

    def rows(self, place: int) -> Iterator[Row]:
        """The intact rows whose records begin at a place."""
        page = self._page_at(place)
        at = 0
        while match := _RECORD.search(page, at):
            at = match.start() + 1  # not its end: what looks like a record may hide one
            # The WAL's version of a chain is newer; the database's may be the one that is whole.
            for is_newest in (True, False):
                row = self._row(page, match, is_newest=is_newest)
                if row is not None:
                    yield row
                    break

    def _page_at(self, place: int) -> bytes:
        if place < self.frames:
            at = _WAL_HEADER_SIZE + place * _FRAME_SIZE + _FRAME_HEADER_SIZE
            return _pread(self._wal, PAGE_SIZE, at)
        return _pread(self._database, PAGE_SIZE, (place - self.frames) * PAGE_SIZE)

    def _page(self, number: int, *, is_newest: bool) -> bytes:
        frame = self._newest.get(number) if is_newest else None
        return self._page_at(self.frames + number - 1 if frame is None else frame)

    def _row(self, page: bytes, match: "re.Match[bytes]", *, is_newest: bool) -> Row | None:
        header, length = match[0], match[1]
        body_size = (_varint(length) - 12) // 2
        is_blob = _varint(length) >= 12 and _varint(length) % 2 == 0
        if header[0] != len(header) or not is_blob or body_size > _BODY_SIZE_MAX:
            return None
        at = match.end()
        integers = []
        for kind in header[2:11]:
            size = _INTEGER_SIZES[kind]
            integers.append(
                int.from_bytes(page[at : at + size], "big", signed=True) if size else kind - 8
            )
            at += size
        before = at - match.start()
        body = self._body(page, at, body_size, before, is_newest=is_newest)
        row = Row._make((*integers, body))
        is_one = 0 <= row.lane <= LANE_MAX and 0 < row.readings <= CHUNK_READINGS_MAX
        is_one = is_one and row.first >= 0 and row.priority in (0, 1) and row.boot >= 0
        return row if is_one and len(body) == body_size and row.is_intact else None

    def _body(self, page: bytes, at: int, size: int, before: int, *, is_newest: bool) -> bytes:
        """`size` bytes from an offset of a page and the chain behind it; fewer if it breaks."""
        local = before + size
        if local > _LOCAL_MAX:
            local = _LOCAL_MIN + (local - _LOCAL_MIN) % (PAGE_SIZE - 4)
            local = local if local <= _LOCAL_MAX else _LOCAL_MIN
        end = at + local - before
        parts, rest = [page[at:end]], size - (local - before)
        next_page = int.from_bytes(page[end : end + 4], "big")
        while rest > 0 and 0 < next_page <= 1 << 32:
            chained = self._page(next_page, is_newest=is_newest)
            if len(chained) < 4:
                break
            parts.append(chained[4 : 4 + rest])
            rest -= PAGE_SIZE - 4
            next_page = int.from_bytes(chained[:4], "big")
        return b"".join(parts)


def _open(path: Path) -> tuple[int, int]:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return -1, 0
    return file, os.fstat(file).st_size


def _pread(file: int, size: int, at: int) -> bytes:
    """Empty for what cannot be read: a bad sector does not end the salvage."""
    try:
        return os.pread(file, size, at) if file >= 0 else b""
    except OSError:
        return b""


def _varint(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
