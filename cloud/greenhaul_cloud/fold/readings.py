"""The part of a stored track that a refold has looked at, loaded as far as it proves needed."""

from typing import Protocol

from greenhaul_cloud.fences.model import ALWAYS_MS
from greenhaul_cloud.fold.track import Track

# How far one first looks beyond a change, and by what factor more each time that is not enough.
# Three minutes hold six to two hundred readings of a moving truck: mostly an anchor among them.
REACH_MS = 180_000
REACH_GROWTH = 4


class ReadingWindow(Protocol):
    """A vehicle's stored track: foldable, located readings of the bound sources, in any order."""

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms."""
        ...

    def last_before(self, time_ms: int) -> int | None:
        """Device time of the last reading before an instant."""
        ...

    def first_from(self, time_ms: int) -> int | None:
        """Device time of the first reading at or after an instant."""
        ...


class TrackWindow:
    """A track in memory as a reading window."""

    def __init__(self, track: Track) -> None:
        self._track = track

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms."""
        return self._track.between(from_ms, to_ms)

    def last_before(self, time_ms: int) -> int | None:
        """Device time of the last reading before an instant."""
        at = int(self._track.device_time_ms.searchsorted(time_ms)) - 1
        return int(self._track.device_time_ms[at]) if at >= 0 else None

    def first_from(self, time_ms: int) -> int | None:
        """Device time of the first reading at or after an instant."""
        at = int(self._track.device_time_ms.searchsorted(time_ms))
        return int(self._track.device_time_ms[at]) if at < len(self._track) else None


class Neighbourhood:
    """The readings around a change, up to `as_of_ms`; grows backward and forward on demand.

    `readings_read` counts every reading loaded.
    """

    def __init__(self, readings: ReadingWindow, from_ms: int, to_ms: int, as_of_ms: int) -> None:
        self._readings = readings
        self._as_of_ms = as_of_ms
        self._low_ms = min(from_ms, as_of_ms + 1)
        self._high_ms = max(min(to_ms, as_of_ms) + 1, self._low_ms)
        self._back_ms = self._forth_ms = REACH_MS
        self.readings_read = 0
        self.reaches_start = self.reaches_end = False
        self.track = self._load(self._low_ms, self._high_ms)
        self.reach_back()
        self.reach_forth()

    @property
    def low_ms(self) -> int:
        """Readings from here on are held; ALWAYS_MS when there are none before."""
        return ALWAYS_MS if self.reaches_start else self._low_ms

    def _load(self, from_ms: int, to_ms: int) -> Track:
        track = self._readings.load(from_ms, to_ms).ordered()
        self.readings_read += len(track)
        return track

    def reach_back(self) -> None:
        """Load some readings earlier than those held."""
        last_ms = self._readings.last_before(self._low_ms)
        if last_ms is None:
            self.reaches_start = True
            return
        low_ms = last_ms - self._back_ms
        self.track = self._load(low_ms, self._low_ms).joined(self.track)
        self._low_ms, self._back_ms = low_ms, self._back_ms * REACH_GROWTH

    def reach_forth(self) -> None:
        """Load some readings later than those held."""
        first_ms = self._readings.first_from(self._high_ms)
        if first_ms is None or first_ms > self._as_of_ms:
            self.reaches_end = True
            return
        high_ms = min(first_ms + self._forth_ms, self._as_of_ms) + 1
        self.track = self.track.joined(self._load(self._high_ms, high_ms))
        self._high_ms, self._forth_ms = high_ms, self._forth_ms * REACH_GROWTH
