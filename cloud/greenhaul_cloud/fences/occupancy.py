"""A coarse grid that says quickly of most pieces of path that nothing is near them."""

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# Cells a side: about eight for every edge met along it, within what a table of 4 MB holds.
_CELLS_MIN, _CELLS_MAX = 16, 1_024
_CELLS_PER_ROOT = 8

# An edge is marked as boxes of at most so many cells, for a slanting one fills little of its box.
_MARK_CELLS = 4


class Occupancy:
    """Edges (with a margin each) marked on a grid of degrees; asks boxes against it."""

    def __init__(self, start: Float64s, end: Float64s, margin: Float64s) -> None:
        """start, end, margin: (m, 2) degrees, longitude first."""
        if len(start) == 0:
            self._origin, self._size = np.zeros(2), np.ones(2)
            self._counts = np.zeros((3, 3), np.int32)
            return
        low = (np.minimum(start, end) - margin).min(axis=0)
        high = (np.maximum(start, end) + margin).max(axis=0)
        cells = int(np.clip(_CELLS_PER_ROOT * len(start) ** 0.5, _CELLS_MIN, _CELLS_MAX))
        self._origin, self._size = low, np.maximum((high - low) / cells, 1e-9)
        self._counts = self._marked(start, end, margin, cells)

    def _marked(
        self, start: Float64s, end: Float64s, margin: Float64s, cells: int
    ) -> NDArray[np.int32]:
        """Number of marked cells west and south of each cell's corner; an empty rim all round."""
        spans = np.abs(end - start) / self._size
        pieces = np.ceil(spans.max(axis=1) / _MARK_CELLS).astype(np.intp).clip(1)
        edge = np.repeat(np.arange(len(start)), pieces)
        step = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        along = (end - start)[edge] / pieces[edge, None]
        begin = start[edge] + along * step[:, None]
        low = self._cell(np.minimum(begin, begin + along) - margin[edge], cells)
        high = self._cell(np.maximum(begin, begin + along) + margin[edge], cells) + 1
        width = cells + 3
        marks = np.zeros(width * width)
        for (x, y), sign in (
            ((low[:, 0], low[:, 1]), 1.0), ((high[:, 0], low[:, 1]), -1.0),
            ((low[:, 0], high[:, 1]), -1.0), ((high[:, 0], high[:, 1]), 1.0),
        ):  # fmt: skip
            marks += sign * np.bincount(y * width + x, minlength=width * width)
        covered = marks.reshape(width, width).cumsum(axis=0).cumsum(axis=1) > 0.5
        counts = np.zeros((width + 1, width + 1), np.int32)
        counts[1:, 1:] = covered.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
        return counts

    def _cell(self, at: Float64s, cells: int) -> Indices:
        """Cell numbers from 1 to `cells` + 1 within the grid; 0 and beyond: the rim."""
        inside = np.clip(np.floor((at - self._origin) / self._size), -1, cells + 1)
        numbers: Indices = inside.astype(np.intp) + 1
        return numbers

    def meets(self, west: Float64s, south: Float64s, east: Float64s, north: Float64s) -> Bools:
        """(n,) whether anything marked may be in each box of degrees."""
        last = self._counts.shape[0] - 1
        columns, rows = (
            [
                np.clip((side - origin) / size + 1, 0, last - 1).astype(np.int32)
                for side in (low, high)
            ]
            for low, high, origin, size in (
                (west, east, self._origin[0], self._size[0]),
                (south, north, self._origin[1], self._size[1]),
            )
        )
        counts, width = self._counts.ravel(), self._counts.shape[1]
        below, above = rows[0] * width, (rows[1] + 1) * width
        left, right = columns[0], columns[1] + 1
        within = counts[above + right] - counts[above + left]
        within -= counts[below + right] - counts[below + left]
        is_met: Bools = within > 0
        return is_met
