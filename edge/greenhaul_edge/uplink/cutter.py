"""Blocks cut from the outbox's rows, as large as the wire allows."""

import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from greenhaul_edge.outbox.chunks import chunks_from, series_of
from greenhaul_edge.outbox.recovery import is_damage
from greenhaul_edge.outbox.schema import DamagedFile, open_to_read
from greenhaul_edge.uplink.schedule import Cut
from greenhaul_protocols.block import BLOCK_SIZE_MAX, FORMAT, BlockHeader, wrap_block
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.series import Series, cut_series, encode_body, merge_series

# What zlib makes of columns to begin with; learnt from block to block, within these bounds.
_RATIO, _RATIO_MIN, _RATIO_MAX = 3.0, 1.0, 12.0
# Readings of a block: as objects some kilobyte each, and a truck's gateway has 60 MB for all it
# does. Half an hour of a truck, or two seconds of 2,000 terminals.
_READINGS_MAX = 4_000
_CACHE_KB = 256


@dataclass(frozen=True, slots=True)
class CutBlock:
    """A block ready for the wire: readings up to `last`, or none could be read."""

    payload: bytes
    last: int


class Cutter:
    """Reads the outbox beside its writer. One thread uses it."""

    def __init__(self, path: Path) -> None:
        self._path, self._epoch = path, 0
        self._connection = _open(path)
        self._ratio = _RATIO
        self.format_max = FORMAT  # of blocks, that the collector said it reads

    def close(self) -> None:
        """Close the reading connection."""
        self._connection.close()

    def cut(self, cut: Cut, header: BlockHeader, size_max: int = BLOCK_SIZE_MAX) -> CutBlock | None:
        """A block for as much of the cut as fits; None if the rows are not there (any more).

        header: everything but `first` and `count`. size_max: more than one reading never makes a
        larger block. Raises DamagedChunk for a row that cannot be
        read back, DamagedFile or Unavailable if the file cannot be read.
        """
        try:
            if header.epoch != self._epoch:
                # With another epoch comes, perhaps, another file of the same name.
                self._connection.close()
                self._connection = _open(self._path)
                self._epoch = header.epoch
            series, last = self._read(cut)
        except sqlite3.Error as error:
            if is_damage(error):
                raise DamagedFile(str(error)) from error
            raise Unavailable(f"outbox: {error}") from error
        # One row of the outbox may be much larger than what was asked for.
        size_max = min(size_max, 2 * cut.size_max)
        while last >= cut.first:
            body = encode_body(cut_series(series, 0, last - cut.first))
            count = last - cut.first + 1
            own = replace(header, first=cut.first, count=count)
            payload = wrap_block(own, body, format_max=self.format_max)
            if len(payload) <= size_max or count == 1:
                ratio = len(body) / len(payload)
                self._ratio = min(max((3 * self._ratio + ratio) / 4, _RATIO_MIN), _RATIO_MAX)
                return CutBlock(payload, last)
            last = cut.first + count // 2 - 1
        return None

    def _read(self, cut: Cut) -> tuple[list[Series], int]:
        """Series with numbers counted from cut.first, and the last number they reach."""
        budget = cut.size_max * self._ratio
        parts: list[tuple[int, list[Series]]] = []
        last = cut.first - 1
        end = min(cut.last, cut.first + _READINGS_MAX - 1)
        for chunk in chunks_from(self._connection, cut.lane, cut.first, end):
            begin = max(cut.first, chunk.first)
            last = min(end, chunk.last)
            own = cut_series(series_of(chunk), begin - chunk.first, last - chunk.first)
            parts.append((begin - cut.first, own))
            budget -= len(chunk.body) * (last - begin + 1) / chunk.count
            if budget <= 0:
                break
        return merge_series(parts), last


def _open(path: Path) -> sqlite3.Connection:
    connection = open_to_read(path)
    # Rows are read once, one after the other: SQLite's own 2 MB would only be filled.
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
    return connection
