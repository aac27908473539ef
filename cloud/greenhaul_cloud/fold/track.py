"""A vehicle's track as columns, in order of device time; many of them laid end to end."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Int8s = NDArray[np.int8]
Indices = NDArray[np.intp]


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

    def is_like(self, other: "Track") -> bool:
        """Whether it is of the same readings."""
        return np.array_equal(self.device_time_ms, other.device_time_ms) and np.array_equal(
            self.digest, other.digest
        )

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


@dataclass(frozen=True, slots=True)
class Fleet:
    """Tracks laid end to end, those without readings left out.

    Vehicle v has the readings `first[v]` to `first[v + 1] - 1`; `number[v]` is what the caller
    knows it by.
    """

    track: Track
    first: Indices
    number: Indices

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> "Fleet":
        """A fleet of ordered tracks, each known by its place."""
        sizes = np.array([len(track) for track in tracks], dtype=np.intp)
        columns = (
            np.concatenate([getattr(track, f.name) for track in (Track.empty(), *tracks)])
            for f in fields(Track)
        )
        return cls._of_sizes(Track(*columns), sizes, np.arange(len(tracks)))

    @classmethod
    def _of_sizes(cls, track: Track, sizes: Indices, number: Indices) -> "Fleet":
        is_present = sizes > 0
        first = np.append(0, np.cumsum(sizes[is_present]))
        return cls(track, first, number[is_present])

    def __len__(self) -> int:
        return len(self.number)

    @property
    def vehicle(self) -> Indices:
        """(n,) the vehicle of each reading."""
        vehicle: Indices = np.repeat(np.arange(len(self)), np.diff(self.first))
        return vehicle

    def until(self, as_of_ms: int) -> "Fleet":
        """Readings at or before an instant."""
        is_kept = self.track.device_time_ms <= as_of_ms
        if is_kept.all():
            return self
        sizes = np.bincount(self.vehicle[is_kept], minlength=len(self))
        return self._of_sizes(self.track.take(is_kept), sizes, self.number)

    def track_of(self, vehicle: int) -> Track:
        """The track of one vehicle."""
        return self.track.take(slice(int(self.first[vehicle]), int(self.first[vehicle + 1])))
