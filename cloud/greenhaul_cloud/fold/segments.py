"""What lies between two neighbouring readings: a path, a parking, or a gap nobody saw."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.curves import Complexes, Curves, curves_of
from greenhaul_cloud.fences.model import Settings
from greenhaul_cloud.fences.plane import distances_m
from greenhaul_cloud.fold.track import Track

Uint8s = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]
Float64s = NDArray[np.float64]

PATH, STILL, GAP = 0, 1, 2

# Both ends of a long silence this near to each other: the truck stood there (architecture, 7).
BRIDGE_M_MAX = 50.0

# How far a drawn path may be off, by the square of its duration. Nine in ten passes shorter than
# this, if both readings around them are outside, are real; of longer ones, 997 in 1,000 (measured
# on trucks in streets at 10, 30 and 60 s).
_STRAIGHT_OFF_M_S2, _CURVE_OFF_M_S2 = 0.1, 0.04


class Segments:
    """The n - 1 segments of a track of n readings; every property depends on its two ends alone.

    That a segment knows nothing of its neighbours is what lets a fold be resumed anywhere.
    """

    def __init__(self, track: Track) -> None:
        self._track = track
        self._at = track.longitude_deg + 1j * track.latitude_deg
        self.duration_ms = np.diff(track.device_time_ms)
        longitude, latitude = track.longitude_deg, track.latitude_deg
        self.length_m = distances_m(longitude[:-1], latitude[:-1], longitude[1:], latitude[1:])
        before, after = track.odometer_km[:-1], track.odometer_km[1:]
        # NaN compares false: an odometer that is missing has neither advanced nor moved.
        has_advanced = after > before
        has_moved = has_advanced | (after < before)
        stands = track.speed_kmh == 0
        is_off = track.ignition == 0
        self._is_parked = stands[:-1] & stands[1:] & ((is_off[:-1] & is_off[1:]) | ~has_moved)
        self._is_bridged = (self.length_m <= BRIDGE_M_MAX) & ~has_advanced

    def kinds(self, settings: Settings) -> Uint8s:
        """(n - 1,) PATH, STILL or GAP under these settings."""
        is_gap = self._is_gap(settings.gap_s, settings.gap_m)
        kinds: Uint8s = np.where(is_gap, GAP, np.where(self._is_parked, STILL, PATH)).astype(
            np.uint8
        )
        return kinds

    @cached_property
    def curves(self) -> Curves:
        """Those that are driven along curves, where a path is drawn."""
        track = self._track
        return curves_of(self._at, self.duration_ms / 1000, track.speed_kmh, track.heading_deg)

    def error_m(self, segment: Indices, is_straight: Bools) -> Float64s:
        """How far the path along some segments may be off; is_straight: drawn so in any case."""
        _, is_curve = self._curve_of(segment)
        rate = np.where(is_curve & ~is_straight, _CURVE_OFF_M_S2, _STRAIGHT_OFF_M_S2)
        errors_m: Float64s = rate * (self.duration_ms[segment] / 1000) ** 2
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
        place: Complexes = self._at[segment] + part * (self._at[segment + 1] - self._at[segment])
        place[bent] = self.curves.at(curve[bent], part[bent])
        return place

    def _curve_of(self, segment: Indices) -> tuple[Indices, Bools]:
        """The curve of each segment, and whether there is one."""
        held = self.curves.segment
        if len(held) == 0:
            return np.zeros(len(segment), np.intp), np.zeros(len(segment), bool)
        at = np.minimum(np.searchsorted(held, segment), len(held) - 1)
        return at, held[at] == segment

    def drawn(self, settings: Iterable[Settings]) -> Bools:
        """(n - 1,) whether any of these settings lets a path be drawn."""
        settings = tuple(settings)
        gap_s = max((s.gap_s for s in settings), default=0.0)
        gap_m = max((s.gap_m for s in settings), default=0.0)
        is_drawn: Bools = (self.duration_ms > 0) & ~self._is_parked & ~self._is_gap(gap_s, gap_m)
        return is_drawn

    def _is_gap(self, gap_s: float, gap_m: float) -> Bools:
        is_long: Bools = (self.duration_ms > gap_s * 1000) | (self.length_m > gap_m)
        return is_long & ~self._is_bridged
