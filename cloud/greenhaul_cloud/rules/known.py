"""What rules ask beside visits: how far time and readings go, and whether anybody saw."""

from collections.abc import Iterable
from functools import cached_property

from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS, Settings
from greenhaul_cloud.fold.readings import ReadingWindow
from greenhaul_cloud.fold.segments import GAP, Segments
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.windows import Interval, joined

# Of a vehicle silent for longer nothing new is concluded: it is not parked over a rule, it is lost.
SILENCE_MS_MAX = 7 * 86_400_000


class Known:
    """A vehicle's readings up to `as_of_ms`, asked about sparingly."""

    def __init__(self, readings: ReadingWindow, as_of_ms: int) -> None:
        self.as_of_ms = as_of_ms
        self._readings = readings
        self._before: dict[int, int] = {}

    @cached_property
    def first_ms(self) -> int:
        """The first reading; NEVER_MS without one."""
        found = self._readings.first_from(ALWAYS_MS)
        return NEVER_MS if found is None or found > self.as_of_ms else found

    @cached_property
    def last_ms(self) -> int:
        """The last reading; ALWAYS_MS without one."""
        found = self._readings.last_before(self.as_of_ms + 1)
        return ALWAYS_MS if found is None else found

    @property
    def concluded_ms(self) -> int:
        """Nothing that begins later is judged."""
        return min(self.as_of_ms, self.last_ms + SILENCE_MS_MAX)

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms that exist by then, in order."""
        return self._readings.load(from_ms, min(to_ms, self.as_of_ms + 1)).ordered()

    def has_reading(self, from_ms: int, to_ms: int) -> bool:
        """Whether there is a reading in a closed interval."""
        found = self._readings.first_from(from_ms)
        return found is not None and found <= min(to_ms, self.as_of_ms)

    def is_seen(self, from_ms: int, to_ms: int, settings: Settings) -> bool:
        """Whether readings cover an interval without a gap, from its begin past its end."""
        begin_ms = self._readings.last_before(from_ms + 1)
        end_ms = self._readings.first_from(to_ms)
        if begin_ms is None or end_ms is None or end_ms > self.as_of_ms:
            return False
        track = self.load(begin_ms, end_ms + 1)
        return not bool((Segments.of(track).kinds(settings) == GAP).any())

    def reach_back_ms(self, changes: Iterable[Interval]) -> int:
        """Where the reach of the first change begins; NEVER_MS without one."""
        first_ms = min((change[0] for change in changes), default=None)
        if first_ms is None:
            return NEVER_MS
        if first_ms not in self._before:
            before = self._readings.last_before(first_ms)
            self._before[first_ms] = ALWAYS_MS if before is None else before
        return self._before[first_ms]

    def reach(self, changes: Iterable[Interval]) -> list[Interval]:
        """Closed intervals in which changes matter: out to the next reading on either side."""
        reaching = []
        for first_ms, last_ms in changes:
            before = self._readings.last_before(first_ms)
            after = self._readings.first_from(last_ms + 1)
            is_last = after is None or after > self.as_of_ms
            reaching.append(
                (
                    ALWAYS_MS if before is None else before,
                    NEVER_MS if is_last or after is None else after,
                )
            )
        return joined(reaching)
