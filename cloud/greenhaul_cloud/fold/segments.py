"""What lies between two neighbouring readings: a path, a parking, or a gap nobody saw."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.model import Settings
from greenhaul_cloud.fences.plane import distances_m
from greenhaul_cloud.fold.track import Track

Int64s = NDArray[np.int64]
Uint8s = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Float64s = NDArray[np.float64]

PATH, STILL, GAP = 0, 1, 2

# Both ends of a long silence this near to each other: the truck stood there (architecture, 7).
BRIDGE_M_MAX = 50.0


@dataclass(frozen=True, slots=True)
class Segments:
    """The n - 1 segments of a track of n readings; every property depends on its two ends alone.

    That a segment knows nothing of its neighbours is what lets a fold be resumed anywhere.
    """

    duration_ms: Int64s
    length_m: Float64s
    _is_parked: Bools
    _is_bridged: Bools

    @classmethod
    def of(cls, track: Track) -> "Segments":
        """All there are."""
        longitude, latitude = track.longitude_deg, track.latitude_deg
        length_m = distances_m(longitude[:-1], latitude[:-1], longitude[1:], latitude[1:])
        before, after = track.odometer_km[:-1], track.odometer_km[1:]
        # NaN compares false: an odometer that is missing has neither advanced nor moved.
        has_advanced = after > before
        has_moved = has_advanced | (after < before)
        stands = track.speed_kmh == 0
        is_off = track.ignition == 0
        is_parked = stands[:-1] & stands[1:] & ((is_off[:-1] & is_off[1:]) | ~has_moved)
        is_bridged = (length_m <= BRIDGE_M_MAX) & ~has_advanced
        return cls(np.diff(track.device_time_ms), length_m, is_parked, is_bridged)

    def part(self, low: int, high: int) -> "Segments":
        """Those between the readings from one to before another."""
        chosen = slice(low, high - 1)
        return Segments(
            self.duration_ms[chosen], self.length_m[chosen],
            self._is_parked[chosen], self._is_bridged[chosen],
        )  # fmt: skip

    def kinds(self, settings: Settings) -> Uint8s:
        """(n - 1,) PATH, STILL or GAP under these settings."""
        is_gap = self._is_gap(settings.gap_s, settings.gap_m)
        kinds: Uint8s = np.where(is_gap, GAP, np.where(self._is_parked, STILL, PATH)).astype(
            np.uint8
        )
        return kinds

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
