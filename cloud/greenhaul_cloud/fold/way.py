"""The way a truck is held to have driven between its readings: straight, or along curves."""

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.curves import Curves, curves_of
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.plane import distances_m, metres_per_degree
from greenhaul_cloud.fold.segments import Segments
from greenhaul_cloud.fold.track import Track

Complexes = NDArray[np.complex128]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# How far a drawn path may be off, by the square of its duration. Held against trucks known second
# by second: of passes longer than this, with both readings around them outside, and of all other
# visits, 996 in 1,000 are real at 10, 30 and 60 s between readings.
_STRAIGHT_OFF_M_S2, _CURVE_OFF_M_S2 = 0.1, 0.04


class Way:
    """A track's path as far as an index asks for it: (n,) places, (n - 1,) durations, curves."""

    def __init__(self, at: Complexes, duration_s: Float64s, curves: Curves) -> None:
        self._at, self._duration_s, self.curves = at, duration_s, curves

    @classmethod
    def of(cls, track: Track, segments: Segments, index: FenceIndex, drawn: Bools) -> "Way":
        """drawn: (n - 1,) along which segments there is a path. Curves far from all edges are left
        out."""
        at = track.longitude_deg + 1j * track.latitude_deg
        duration_s = segments.duration_ms / 1000
        asked = np.flatnonzero(drawn & np.isfinite(track.heading_deg[:-1] + track.heading_deg[1:]))
        asked = asked[_is_busy_around(at, asked, segments.length_m[asked], index)]
        said = track.speed_kmh, track.heading_deg
        return cls(at, duration_s, curves_of(at, duration_s, *said, asked))

    def part(self, low: int, high: int) -> "Way":
        """The way from one reading to before another."""
        curves = self.curves.between(low, high - 1)
        return Way(self._at[low:high], self._duration_s[low : high - 1], curves)

    def error_m(self, segment: Indices, is_straight: Bools) -> Float64s:
        """How far the path along some segments may be off; is_straight: drawn so in any case."""
        _, is_curve = self._curve_of(segment)
        rate = np.where(is_curve & ~is_straight, _CURVE_OFF_M_S2, _STRAIGHT_OFF_M_S2)
        errors_m: Float64s = rate * self._duration_s[segment] ** 2
        return errors_m

    def distance_m(
        self, segment: Indices, part: Float64s, to_part: Float64s, is_straight: Bools
    ) -> Float64s:
        """Between two points of the path along each of some segments."""
        begin, end = (self._place(segment, at, is_straight) for at in (part, to_part))
        return distances_m(begin.real, begin.imag, end.real, end.imag)

    def _place(self, segment: Indices, part: Float64s, is_straight: Bools) -> Complexes:
        curve, is_curve = self._curve_of(segment)
        bent = np.flatnonzero(is_curve & ~is_straight)
        begin = self._at[segment]
        place: Complexes = begin + part * (self._at[segment + 1] - begin)
        place[bent] = self.curves.at(curve[bent], part[bent])
        return place

    def _curve_of(self, segment: Indices) -> tuple[Indices, Bools]:
        """The curve of each segment, and whether there is one."""
        held = self.curves.segment
        if len(held) == 0:
            return np.zeros(len(segment), np.intp), np.zeros(len(segment), bool)
        at = np.minimum(np.searchsorted(held, segment), len(held) - 1)
        return at, held[at] == segment


def _is_busy_around(
    at: Complexes, segment: Indices, length_m: Float64s, index: FenceIndex
) -> Bools:
    """Whether an edge may be near a curve: none leaves its chord's box by more than the chord is
    long."""
    begin, end = at[segment], at[segment + 1]
    east_m, north_m = metres_per_degree(np.maximum(np.abs(begin.imag), np.abs(end.imag)))
    margin = length_m / np.maximum(east_m, 1.0) + 1j * length_m / north_m
    low = np.minimum(begin.real, end.real) + 1j * np.minimum(begin.imag, end.imag) - margin
    high = np.maximum(begin.real, end.real) + 1j * np.maximum(begin.imag, end.imag) + margin
    return index.is_busy(low, high - low)
