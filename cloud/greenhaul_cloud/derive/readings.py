"""A vehicle's stored track as folds read it: asked for bit by bit, or its newest part held."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from greenhaul_cloud.fold.readings import ReadingWindow, TrackWindow
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.store.fleet_tracks import Part, load_parts
from greenhaul_cloud.store.tracks import Bound, first_from, last_before, load_track
from greenhaul_protocols.times import TIME_MS_MIN

FIELDS = ("latitude_deg", "longitude_deg", "speed_kmh", "heading_deg", "odometer_km", "status")
_STATUS_IGNITION = 1  # JT/T 808 status bit 0: ACC on


class StoredReadings:
    """A vehicle's stored track as the fold's reading window."""

    def __init__(self, conn: Connection, bounds: Sequence[Bound]) -> None:
        self._conn, self._bounds = conn, bounds

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms."""
        columns = load_track(self._conn, self._bounds, from_ms, to_ms, FIELDS)
        values = (columns.values[name] for name in FIELDS)
        return _track_of([columns.device_time_ms, columns.digest, *values])

    def last_before(self, time_ms: int) -> int | None:
        """Device time of the last reading before an instant."""
        return last_before(self._conn, self._bounds, time_ms)

    def first_from(self, time_ms: int) -> int | None:
        """Device time of the first reading at or after an instant."""
        return first_from(self._conn, self._bounds, time_ms)


class HeldReadings:
    """A track whose readings from an instant on, up to that of a fold, are at hand; older ones are
    asked for."""

    def __init__(self, held: Track, from_ms: int, older: ReadingWindow) -> None:
        """held: every reading from `from_ms` on, as if none were later than the fold."""
        self._held, self._from_ms, self._older = TrackWindow(held), from_ms, older
        self._has_all = from_ms <= TIME_MS_MIN

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms."""
        newer = self._held.load(from_ms, to_ms)
        if from_ms >= self._from_ms or self._has_all:
            return newer
        return self._older.load(from_ms, min(to_ms, self._from_ms)).joined(newer)

    def last_before(self, time_ms: int) -> int | None:
        """Device time of the last reading before an instant."""
        found = self._held.last_before(time_ms)
        if found is not None or self._has_all:
            return found
        return self._older.last_before(min(time_ms, self._from_ms))

    def first_from(self, time_ms: int) -> int | None:
        """Device time of the first reading at or after an instant."""
        if time_ms >= self._from_ms or self._has_all:
            return self._held.first_from(time_ms)
        found = self._older.first_from(time_ms)
        return self._held.first_from(time_ms) if found is None else found


def load_tracks(conn: Connection, parts: Sequence[Part]) -> list[Track]:
    """Parts of many vehicles' tracks, in a few statements."""
    return [_track_of(columns) for columns in load_parts(conn, parts, FIELDS)]


def _track_of(columns: Sequence[NDArray[Any]]) -> Track:
    """A track of device time, digest, and `FIELDS` in their order."""
    time_ms, digest, latitude, longitude, speed, heading, odometer, status = columns
    is_on = (np.nan_to_num(status).astype(np.int64) & _STATUS_IGNITION).astype(np.int8)
    ignition = np.where(np.isnan(status), np.int8(-1), is_on)
    return Track(time_ms, latitude, longitude, speed, heading, odometer, ignition, digest)
