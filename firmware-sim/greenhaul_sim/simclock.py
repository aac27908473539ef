"""Simulated time that runs faster than ours and never overtakes it.

It starts in the past, far enough for a run of the given length to end now; from then on it keeps
step with the wall clock, so a report's time is never in the future.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimClock:
    """Seconds since 1970, simulated against wall."""

    speed: float
    wall_start_s: float
    run_s: float  # wall seconds until simulated time has caught up

    @property
    def start_s(self) -> float:
        """Simulated time at the beginning."""
        return self.wall_start_s - max(self.speed - 1.0, 0.0) * self.run_s

    def simulated(self, wall_s: float) -> float:
        """Simulated time at a wall time."""
        return min(self.start_s + self.speed * (wall_s - self.wall_start_s), wall_s)

    def wall(self, simulated_s: float) -> float:
        """The first wall time at which simulated time has got there."""
        return max(self.wall_start_s + (simulated_s - self.start_s) / self.speed, simulated_s)
