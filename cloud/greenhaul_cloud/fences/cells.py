"""Boxes of edges by the cells of a grid: which of many boxes meet which.

Plain columns: a tree of a million small objects takes the interpreter half a second to let go of,
and every garbage collection walks through them all.
"""

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
Indices = NDArray[np.intp]

# Some 200 m: a piece of path between two reports meets a few cells, a cell a few edges.
_CELL_DEG = 0.002

# An edge is kept as boxes of at most so many cells a side, for a slanting one fills little of its.
_BOX_CELLS = 4

# Boxes × cells kept (24 bytes each). Cells grow until edges of whole countries fit.
_ENTRIES_MAX = 10_000_000


class Cells:
    """Edges with a margin each, found by the boxes they meet."""

    def __init__(self, start: Float64s, end: Float64s, margin: Float64s) -> None:
        """start, end, margin: (m, 2) degrees, longitude first."""
        self._size = _CELL_DEG
        while True:
            edge, low, high = _boxes(start, end, margin, self._size)
            # of the boxes themselves: one may begin a rounding before its edge does
            self._origin = low.min(axis=0, initial=180.0)
            far = high.max(axis=0, initial=-180.0)
            first, last = self._cell(low), self._cell(high)
            counts = np.prod(last - first + 1, axis=1)
            if counts.sum() <= _ENTRIES_MAX:
                break
            self._size *= 2
        self._edge = edge
        self._low, self._high = (np.ascontiguousarray(corner.T) for corner in (low, high))
        self._limit = np.maximum(self._cell(far), 0)
        box, key = self._spread(first, last, counts)
        order = np.argsort(key, kind="stable")
        self._box, keys = box[order], key[order]
        is_new = np.ones(len(keys), bool)
        is_new[1:] = keys[1:] != keys[:-1]
        self._offset = np.append(np.flatnonzero(is_new), len(keys))
        self._keys = keys[is_new]

    def _cell(self, at: Float64s) -> Indices:
        """Column and row of places."""
        cells: Indices = np.floor((at - self._origin) / self._size).astype(np.intp)
        return cells

    def _spread(self, first: Indices, last: Indices, counts: Indices) -> tuple[Indices, Indices]:
        """(row, key) of every cell of ranges of cells."""
        row, step = _counted(counts)
        width = (last[:, 0] - first[:, 0] + 1)[row]
        column, line = first[row, 0] + step % width, first[row, 1] + step // width
        return row, line * (self._limit[0] + 1) + column

    def query(self, low: Float64s, high: Float64s) -> tuple[Indices, Indices]:
        """(row, edge) of every box asked, (n, 2) corners each, and edge whose boxes meet."""
        if len(self._keys) == 0:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        first = np.clip(self._cell(low), 0, self._limit)
        last = np.clip(self._cell(high), 0, self._limit)
        row, key = self._spread(first, last, np.prod(last - first + 1, axis=1))
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        is_kept = self._keys[at] == key
        row, key, at = row[is_kept], key[is_kept], at[is_kept]
        found, step = _counted(self._offset[at + 1] - self._offset[at])
        box, row, key = self._box[self._offset[at[found]] + step], row[found], key[found]
        for box_low, box_high, row_low, row_high in zip(
            self._low, self._high, low.T.copy(), high.T.copy(), strict=True
        ):
            meets = np.flatnonzero(
                (box_low[box] <= row_high[row]) & (box_high[box] >= row_low[row])
            )
            box, row, key = box[meets], row[meets], key[meets]
        # Two boxes that meet share several cells: they are told in that of their common corner.
        cell = self._cell(np.maximum(low[row], self._low.T[box]))
        is_told = cell[:, 1] * (self._limit[0] + 1) + cell[:, 0] == key
        return row[is_told], self._edge[box[is_told]]


def _boxes(
    start: Float64s, end: Float64s, margin: Float64s, size: float
) -> tuple[Indices, Float64s, Float64s]:
    """Edge, low and high corner (n, 2) of boxes along edges, each of a few cells."""
    pieces = np.ceil(np.abs(end - start).max(axis=1, initial=0) / (size * _BOX_CELLS))
    edge, step = _counted(np.maximum(pieces.astype(np.intp), 1))
    part = np.maximum(pieces, 1)[edge, None]
    begin = start[edge] + (end - start)[edge] * (step[:, None] / part)
    finish = start[edge] + (end - start)[edge] * ((step[:, None] + 1) / part)
    low = np.minimum(begin, finish) - margin[edge]
    return edge, low, np.maximum(begin, finish) + margin[edge]


def _counted(counts: Indices) -> tuple[Indices, Indices]:
    """Each row as often as it counts, and the how-manieth time it is, from 0 on."""
    row = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, step
