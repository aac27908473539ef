"""A vehicle's track as columns, in order of device time."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Int8s = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Track:
    """Positions of one vehicle, columns of shape (n,), ordered by (device_time_ms, digest).

    speed_kmh, heading_deg, odometer_km: NaN where the source did not say. ignition: 1 on, 0 off,
    -1 unknown (JT/T 808 status bit 0). digest: the identity digest; orders equal times and tells
    doubles.
    """

    device_time_ms: Int64s
    latitude_deg: Float64s
    longitude_deg: Float64s
    speed_kmh: Float64s
    heading_deg: Float64s
    odometer_km: Float64s
    ignition: Int8s
    digest: Int64s

    @classmethod
    def of(
        cls,
        device_time_ms: ArrayLike,
        latitude_deg: ArrayLike,
        longitude_deg: ArrayLike,
        *,
        digest: ArrayLike,
        speed_kmh: ArrayLike | None = None,
        heading_deg: ArrayLike | None = None,
        odometer_km: ArrayLike | None = None,
        ignition: ArrayLike | None = None,
    ) -> "Track":
        """A track of readings in any order, doubles and positions without a fix among them."""
        time = np.asarray(device_time_ms, dtype=np.int64)
        unknown = np.full(len(time), np.nan)
        track = cls(
            time,
            np.asarray(latitude_deg, dtype=np.float64),
            np.asarray(longitude_deg, dtype=np.float64),
            unknown if speed_kmh is None else np.asarray(speed_kmh, dtype=np.float64),
            unknown if heading_deg is None else np.asarray(heading_deg, dtype=np.float64),
            unknown if odometer_km is None else np.asarray(odometer_km, dtype=np.float64),
            np.full(len(time), -1, np.int8)
            if ignition is None
            else np.asarray(ignition, dtype=np.int8),
            np.asarray(digest, dtype=np.int64),
        )
        return track.ordered()

    @classmethod
    def empty(cls) -> "Track":
        """A track without readings."""
        return cls.of([], [], [], digest=[])

    def __len__(self) -> int:
        return len(self.device_time_ms)

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Track":
        """The chosen readings, in the order chosen."""
        return Track(*(getattr(self, f.name)[which] for f in fields(self)))

    def ordered(self) -> "Track":
        """Sorted by (time, digest), each reading once, only those with finite coordinates."""
        located = np.isfinite(self.latitude_deg) & np.isfinite(self.longitude_deg)
        track = self if located.all() else self.take(located)
        time, digest = track.device_time_ms, track.digest
        order = np.lexsort((digest, time))
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = (np.diff(time[order]) != 0) | (np.diff(digest[order]) != 0)
        return track.take(order[is_new])

    def joined(self, other: "Track") -> "Track":
        """Readings of both, ordered, each once."""
        both = (
            np.concatenate((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)
        )
        return Track(*both).ordered()

    def between(self, from_ms: int, to_ms: int) -> "Track":
        """Readings with from_ms ≤ device time < to_ms."""
        low, high = np.searchsorted(self.device_time_ms, (from_ms, to_ms))
        return self.take(slice(int(low), int(high)))
