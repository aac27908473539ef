"""The way between two readings that say how fast and whither: a cubic (Hermite) curve in time.

Held against drives known second by second it lies three times nearer to the truth than the straight
line at an even speed, in place and in time: a truck that brakes for a turn is neither on the chord
nor half way at half time. Points are complex numbers, longitude + i·latitude in degrees.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.plane import metres_per_degree

Complexes = NDArray[np.complex128]
Float64s = NDArray[np.float64]
Indices = NDArray[np.intp]

# A curve is drawn as straight pieces that leave it by no more than this: less than a receiver does.
CURVE_DEPTH_M = 1.0
PIECES_MAX = 32

# Slower than this a receiver does not know whither.
_MOVING_KMH_MIN = 5.0

# A velocity may ask for so many chords at most: more would turn the curve back on itself.
_CHORDS_MAX = 3.0


@dataclass(frozen=True, slots=True)
class Curves:
    """Segments of a path that are driven along curves, columns of shape (c,) by segment.

    leaving, arriving: the velocities at the two ends, times the segment's duration. pieces: how
    many straight ones each curve is drawn as.
    """

    segment: Indices
    begin: Complexes
    end: Complexes
    leaving: Complexes
    arriving: Complexes
    pieces: Indices

    def __len__(self) -> int:
        return len(self.segment)

    def take(self, which: Indices) -> "Curves":
        """The chosen curves."""
        return Curves(
            self.segment[which], self.begin[which], self.end[which],
            self.leaving[which], self.arriving[which], self.pieces[which],
        )  # fmt: skip

    def at(self, curve: Indices, part: Float64s) -> Complexes:
        """Points of some curves at parts of their durations."""
        square, cube = part * part, part * part * part
        points: Complexes = (
            (2 * cube - 3 * square + 1) * self.begin[curve]
            + (cube - 2 * square + part) * self.leaving[curve]
            + (3 * square - 2 * cube) * self.end[curve]
            + (cube - square) * self.arriving[curve]
        )
        return points

    def corners(self) -> Complexes:
        """(4, c) points whose box holds the curve: those that control it."""
        return np.stack(
            (self.begin, self.begin + self.leaving / 3, self.end - self.arriving / 3, self.end)
        )


def no_curves() -> Curves:
    """A path without any."""
    nowhere = np.empty(0, complex)
    none = np.empty(0, np.intp)
    return Curves(none, nowhere, nowhere, nowhere, nowhere, none)


def curves_of(
    at: Complexes,
    duration_s: Float64s,
    speed_kmh: Float64s,
    heading_deg: Float64s,
    among: Indices,
) -> Curves:
    """The curves among some of the n - 1 segments of n points.

    A segment is straight and driven evenly unless both its ends say speed and heading, one of them
    moves, and no end that moves points away from the other: a heading that does is not believed.
    """
    knows = np.isfinite(speed_kmh) & np.isfinite(heading_deg)
    after = among + 1
    asked = among[
        knows[among] & knows[after]
        & (np.maximum(speed_kmh[among], speed_kmh[after]) >= _MOVING_KMH_MIN)
        & (at[among] != at[after])
        & (duration_s[among] > 0)
    ]  # fmt: skip
    east_m, north_m = metres_per_degree((at.imag[asked] + at.imag[asked + 1]) / 2)
    chord = at[asked + 1] - at[asked]
    chord_m = chord.real * east_m + 1j * (chord.imag * north_m)
    velocities = []
    is_believed = np.ones(len(asked), bool)
    for end in (asked, asked + 1):
        ahead = 1j * np.exp(-1j * np.radians(heading_deg[end]))
        reach_m = speed_kmh[end] / 3.6 * duration_s[asked]
        is_believed &= (speed_kmh[end] < _MOVING_KMH_MIN) | ((np.conj(ahead) * chord_m).real > 0)
        velocities.append(ahead * np.minimum(reach_m, _CHORDS_MAX * np.abs(chord_m)))
    pieces = _pieces(chord_m, *velocities)
    kept = np.flatnonzero(is_believed & (pieces > 1))
    leaving, arriving = (
        (v.real / np.maximum(east_m, 1e-9) + 1j * (v.imag / north_m))[kept] for v in velocities
    )
    segment = asked[kept]
    return Curves(segment, at[segment], at[segment + 1], leaving, arriving, pieces[kept])


def _pieces(chord: Complexes, leaving: Complexes, arriving: Complexes) -> Indices:
    """So many that each piece's chord leaves the curve by no more than is allowed (metres).

    A cubic's second derivative is largest at an end; a chord is off by an eighth of it at most.
    """
    bend = np.maximum(
        np.abs(6 * chord - 4 * leaving - 2 * arriving),
        np.abs(6 * chord - 2 * leaving - 4 * arriving),
    )
    pieces = np.ceil(np.sqrt(bend / (8 * CURVE_DEPTH_M)))
    counts: Indices = np.clip(pieces, 1, PIECES_MAX).astype(np.intp)
    return counts
