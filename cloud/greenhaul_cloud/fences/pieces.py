"""The straight pieces a path is drawn as: most segments are one, a curve is several."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.curves import Curves

Complexes = NDArray[np.complex128]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# Whose path a piece is: that of fences that ask for straight ones, of the others, or of all.
ALL, STRAIGHT, CURVED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces from `at` along `run` (degrees), columns of shape (m,) for a path of `points` points.

    Piece i < points begins at point i, and runs nowhere if nothing is drawn from there. low, width:
    which part of its segment a piece is. curve: of each piece beyond the points, among `curves`.
    """

    points: int
    at: Complexes
    run: Complexes
    segment: Indices
    low: Float64s
    width: Float64s
    whose: NDArray[np.uint8]
    curves: Curves
    curve: Indices

    def __len__(self) -> int:
        return len(self.at)

    def parts(self, piece: Indices, along: Float64s) -> Float64s:
        """Which parts of their segments' durations have gone by so far along some pieces."""
        parts = self.low[piece] + along * self.width[piece]
        bent = np.flatnonzero((piece >= self.points) & (along > 0))
        curve = self.curve[piece[bent] - self.points]
        is_chord = self.curves.pieces[curve] == 1
        bent, curve = bent[is_chord], curve[is_chord]
        parts[bent] = self.curves.part_at(curve, along[bent])
        return parts

    def successors(self, piece: Indices) -> Indices:
        """Which of some pieces (indices into `piece`) have a next one in their curve."""
        after = np.minimum(piece + 1, len(self) - 1)
        follows = (
            (piece >= self.points)
            & (after > piece)
            & (self.segment[after] == self.segment[piece])
        )  # fmt: skip
        return np.flatnonzero(follows)


def pieces_of(at: Complexes, run: Complexes, curves: Curves, is_straight_asked: bool) -> Pieces:
    """Points, straight segments, and those curves that are to be drawn (all of `curves`).

    is_straight_asked: whether some fence wants the curved segments straight, too.
    """
    points = len(at)
    run, whose = run.copy(), np.full(points, ALL, np.uint8)
    if not is_straight_asked:
        run[curves.segment] = 0
    whose[curves.segment] = STRAIGHT
    row = np.repeat(np.arange(len(curves)), curves.pieces)
    step = np.arange(len(row)) - np.repeat(np.cumsum(curves.pieces) - curves.pieces, curves.pieces)
    width = 1 / curves.pieces[row]
    low = step / curves.pieces[row]
    begin = curves.at(row, low)
    # Each piece ends where the next begins, the last one of a curve at its end.
    end = np.append(begin[1:], begin[:1])
    end[np.cumsum(curves.pieces) - 1] = curves.end
    return Pieces(
        points,
        np.concatenate((at, begin)),
        np.concatenate((run, end - begin)),
        np.concatenate((np.arange(points), curves.segment[row])),
        np.concatenate((np.zeros(points), low)),
        np.concatenate((np.ones(points), width)),
        np.concatenate((whose, np.full(len(row), CURVED, np.uint8))),
        curves,
        row,
    )
