"""The way between two readings that say how fast and whither: a cubic (Hermite) curve in time.

Held against drives known second by second it lies three times nearer to the truth than the straight
line at an even speed, in place and in time: a truck that brakes for a turn is neither on the chord
nor half way at half time. Points are complex numbers, longitude + i·latitude in degrees.
"""

from dataclasses import dataclass, replace

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

# Steps in which the moment of a place on a chord is looked for, and how near to it they end: less
# than a microsecond of an hour. Six do, where the truck does not nearly stand.
_STEPS_MAX, _PART_SLACK = 50, 2.0**-32


@dataclass(frozen=True, slots=True)
class Curves:
    """Segments of a path that are driven along curves, columns of shape (c,) by segment.

    leaving, arriving: the velocities at the two ends, times the segment's duration; begin_rate,
    end_rate: what of them lies along the chord, in chords. pieces: how many straight ones each
    curve is drawn as. One that is a single piece keeps to its chord, and never turns back, but
    drives it unevenly: how far it has come is said by `progress`, when by `part_at`.
    """

    segment: Indices
    begin: Complexes
    end: Complexes
    leaving: Complexes
    arriving: Complexes
    begin_rate: Float64s
    end_rate: Float64s
    pieces: Indices

    def __len__(self) -> int:
        return len(self.segment)

    def take(self, which: Indices) -> "Curves":
        """The chosen curves."""
        return Curves(
            self.segment[which], self.begin[which], self.end[which],
            self.leaving[which], self.arriving[which],
            self.begin_rate[which], self.end_rate[which], self.pieces[which],
        )  # fmt: skip

    def between(self, low: int, high: int) -> "Curves":
        """The curves of the segments from `low` to before `high`, numbered from there on."""
        first, past = np.searchsorted(self.segment, (low, high))
        curves = self.take(np.arange(first, past))
        return replace(curves, segment=curves.segment - low)

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

    def progress(self, curve: Indices, part: Float64s) -> Float64s:
        """How much of their chords some curves have come along at parts of their durations."""
        square, cube = part * part, part * part * part
        progress: Float64s = (
            (cube - 2 * square + part) * self.begin_rate[curve]
            + 3 * square - 2 * cube
            + (cube - square) * self.end_rate[curve]
        )  # fmt: skip
        return progress

    def _pace(self, curve: Indices, part: Float64s) -> Float64s:
        """The derivative of `progress`."""
        square = part * part
        pace: Float64s = (
            (3 * square - 4 * part + 1) * self.begin_rate[curve]
            + 6 * (part - square)
            + (3 * square - 2 * part) * self.end_rate[curve]
        )
        return pace

    def part_at(self, curve: Indices, progress: Float64s) -> Float64s:
        """The inverse of `progress`, for curves that never turn back; between 0 and 1 itself."""
        low, high, part = np.zeros(len(curve)), np.ones(len(curve)), progress
        for _ in range(_STEPS_MAX):
            beyond = self.progress(curve, part) - progress
            low, high = np.where(beyond < 0, part, low), np.where(beyond < 0, high, part)
            with np.errstate(divide="ignore", invalid="ignore"):
                by_slope = part - beyond / self._pace(curve, part)
            is_within = (by_slope >= low) & (by_slope <= high)
            before, part = part, np.where(is_within, by_slope, (low + high) / 2)
            if np.abs(part - before).max(initial=0) < _PART_SLACK:
                break
        return np.clip(part, _PART_SLACK, 1 - _PART_SLACK)

    def corners(self) -> Complexes:
        """(4, c) points whose box holds the curve: those that control it."""
        return np.stack(
            (self.begin, self.begin + self.leaving / 3, self.end - self.arriving / 3, self.end)
        )


def no_curves() -> Curves:
    """A path without any."""
    nowhere = np.empty(0, complex)
    none = np.empty(0, np.intp)
    return Curves(
        none, nowhere, nowhere, nowhere, nowhere, nowhere.real, nowhere.real, none
    )  # fmt: skip


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
    rates = [(np.conj(chord_m) * v).real / np.abs(chord_m) ** 2 for v in velocities]
    pieces = _pieces(chord_m, *velocities)
    kept = np.flatnonzero(is_believed & (pieces > 1))
    # Between velocities that point ahead, of three chords at most, a cubic never turns back.
    pieces[_keep_to_chords(chord_m, *velocities) & (np.minimum(*rates) >= 0)] = 1
    leaving, arriving = (
        (v.real / np.maximum(east_m, 1e-9) + 1j * (v.imag / north_m))[kept] for v in velocities
    )
    segment = asked[kept]
    return Curves(
        segment, at[segment], at[segment + 1], leaving, arriving,
        rates[0][kept], rates[1][kept], pieces[kept],
    )  # fmt: skip


def _bends(
    chord: Complexes, leaving: Complexes, arriving: Complexes
) -> tuple[Complexes, Complexes]:
    """A cubic's second derivatives at its ends, between which all others lie."""
    return 6 * chord - 4 * leaving - 2 * arriving, 6 * chord - 2 * leaving - 4 * arriving


def _pieces(chord: Complexes, leaving: Complexes, arriving: Complexes) -> Indices:
    """So many that each piece's chord leaves the curve by no more than is allowed (metres).

    A chord is off by an eighth of the second derivative at most.
    """
    bend = np.maximum(*map(np.abs, _bends(chord, leaving, arriving)))
    pieces = np.ceil(np.sqrt(bend / (8 * CURVE_DEPTH_M)))
    counts: Indices = np.clip(pieces, 1, PIECES_MAX).astype(np.intp)
    return counts


def _keep_to_chords(chord: Complexes, leaving: Complexes, arriving: Complexes) -> NDArray[np.bool_]:
    """Whether curves leave their chords by no more than is allowed (metres): they only drive them
    unevenly, as most do."""
    aside = [(np.conj(chord) * bend).imag for bend in _bends(chord, leaving, arriving)]
    keep: NDArray[np.bool_] = np.maximum(*map(np.abs, aside)) <= (8 * CURVE_DEPTH_M * np.abs(chord))
    return keep
