"""One fence of a vehicle, resumed: anchor before a change, fold forward, stop where it agrees."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import takewhile

import numpy as np

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fold.anchors import anchors, sides_at
from greenhaul_cloud.fold.fold import Anchor, presence_of
from greenhaul_cloud.fold.intervals import Side, Transition, Violation
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.readings import Neighbourhood
from greenhaul_cloud.fold.violations import speeding_violations
from greenhaul_cloud.fold.visits import visits_of
from greenhaul_cloud.fold.windows import Interval, Window, version_at


class Outcome(Enum):
    """How far a change could be folded in with the readings at hand."""

    DONE = auto()
    NEEDS_EARLIER = auto()
    NEEDS_LATER = auto()


@dataclass(slots=True)
class Resumption:
    """A fence's transitions and speeding while changes are folded in, one after the other.

    Whatever depends on readings stands here; the rest follows from it. Readings older than
    `frozen_before_ms` are no longer kept, and what they said stands. `replaced` are the closed
    spans of device time that were folded anew. `leaving_ms` is where a run out of the open visit
    began that nothing confirms yet, known once a fold went to the end.
    """

    windows: Sequence[Window]
    transitions: list[Transition]
    speeding: list[Violation]
    frozen_before_ms: int = -NEVER_MS
    replaced: list[Interval] = field(default_factory=list)
    leaving_ms: int = NEVER_MS

    def concerns(self, path: Path, hood: Neighbourhood, change: Interval) -> bool:
        """Whether a change may matter: the fence is near or occupied, and it is not yet folded."""
        if any(low <= change[0] and change[1] < high for low, high in self.replaced):
            return False
        if self.transitions:
            last = self.transitions[-1]
            first_ms = -NEVER_MS if hood.reaches_start else int(path.track.device_time_ms[0])
            if last.to is Side.INSIDE or last.confirmed_ms >= first_ms:
                return True
        return any(path.is_touched(window) for window in self.windows)

    def fold_in(
        self, path: Path, hood: Neighbourhood, changes: Sequence[Interval], as_of_ms: int
    ) -> Outcome:
        """Fold in the first of `changes` (closed, in order), and later ones met on the way."""
        time_ms = path.track.device_time_ms
        was_anchor = anchors(path, self.windows, self.transitions)
        was_inside = sides_at(self.transitions, time_ms)
        earlier = np.flatnonzero(was_anchor & (time_ms < changes[0][0]))
        if len(earlier) == 0 and not hood.reaches_start:
            return Outcome.NEEDS_EARLIER
        is_frozen = any(t.confirmed_ms < self.frozen_before_ms for t in self.transitions)
        if is_frozen and len(time_ms) == 0:
            return Outcome.DONE
        anchor, from_ms = None, -NEVER_MS
        if len(earlier) or is_frozen:
            reading = int(earlier[-1]) if len(earlier) else 0
            anchor, from_ms = Anchor(reading, Side(int(was_inside[reading]))), int(time_ms[reading])
        kept = [t for t in self.transitions if t.confirmed_ms <= from_ms]
        known_to_ms = as_of_ms if hood.reaches_end else int(time_ms[-1])
        found = presence_of(path, self.windows, known_to_ms, anchor)
        folded = [*kept, *found.transitions]
        agrees = was_anchor & anchors(path, self.windows, folded)
        agrees &= was_inside == sides_at(folded, time_ms)
        agrees &= time_ms > changes[0][1]
        for first_ms, last_ms in takewhile(lambda c: c[0] <= known_to_ms, changes[1:]):
            agrees &= (time_ms < first_ms) | (time_ms > last_ms)
        stops = np.flatnonzero(agrees)
        if len(stops) == 0 and not hood.reaches_end:
            return Outcome.NEEDS_LATER
        if len(stops) == 0:
            self.leaving_ms = found.leaving_ms
        self._replace(path, folded, from_ms, int(time_ms[stops[0]]) if len(stops) else NEVER_MS)
        return Outcome.DONE

    def _replace(self, path: Path, folded: Sequence[Transition], from_ms: int, to_ms: int) -> None:
        """Take what was folded between two anchors; keep what lies before and after."""
        self.transitions = [
            *(t for t in folded if t.confirmed_ms <= to_ms),
            *(t for t in self.transitions if t.confirmed_ms > to_ms),
        ]
        overlapping = [
            visit
            for visit in visits_of(self.transitions, version_at(self.windows))
            if visit.span[1] >= from_ms and visit.entered_ms <= to_ms
        ]
        if len(path.track) == 0:
            overlapping = []
        # no speed runs over the reading where the fold stops: there nothing is pending
        judged = speeding_violations(overlapping, path, self.windows, self.leaving_ms)
        self.speeding = sorted(
            (
                *(v for v in self.speeding if not from_ms <= v.began_ms < to_ms),
                *(v for v in judged if from_ms <= v.began_ms < to_ms),
            ),
            key=lambda violation: violation.began_ms,
        )
        self.replaced.append((from_ms, to_ms))
