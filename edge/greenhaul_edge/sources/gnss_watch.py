"""Whether a receiver still knows where it is: what makes `fix_lost` and `fix_regained` (pure)."""

from dataclasses import dataclass

# Under bridges and beside tall buildings fixes come and go; shorter gaps are no event.
LOST_MS = 5_000


@dataclass(frozen=True, slots=True)
class FixChange:
    """An event's code, its time, and how long there was no fix."""

    code: str
    at_ms: int
    without_ms: int


@dataclass(slots=True)
class FixWatch:
    """Told of every moment. Times are monotonic milliseconds."""

    _last_fix_ms: int | None = None
    _is_lost: bool = False

    def take_fix(self, at_ms: int) -> FixChange | None:
        """A moment with a fix; the change it is, if any."""
        last_ms, self._last_fix_ms = self._last_fix_ms, at_ms
        if not self._is_lost or last_ms is None:
            return None
        self._is_lost = False
        return FixChange("fix_regained", at_ms, at_ms - last_ms)

    def take_none(self, at_ms: int) -> FixChange | None:
        """A moment without a fix. A lost one was lost when it was there last."""
        last_ms = self._last_fix_ms
        if self._is_lost or last_ms is None or at_ms - last_ms < LOST_MS:
            return None
        self._is_lost = True
        return FixChange("fix_lost", last_ms, at_ms - last_ms)
