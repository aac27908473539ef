"""The fold resumed: from the last anchor before a change until it agrees with the store again.

What lies before the anchor and after the stop is neither read nor touched. The result equals a fold
from scratch over everything stored, whatever the order in which it came.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS
from greenhaul_cloud.fences.rules import WANTING, RuleName
from greenhaul_cloud.fold.evidence import evidence_of, evidence_span
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.matching import Matching, match
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.readings import Neighbourhood, ReadingWindow
from greenhaul_cloud.fold.rejudging import StoredFold, next_deadline_ms, rejudged
from greenhaul_cloud.fold.resume import Outcome, Resumption
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.visits import transitions_of, visits_of
from greenhaul_cloud.fold.windows import Interval, Window, begun, version_at
from greenhaul_cloud.rules.known import Known
from greenhaul_cloud.rules.wanting import has_wanting

__all__ = ["Refold", "StoredFold", "VehicleRefold", "refold"]

K = TypeVar("K", bound=Hashable)

# Changes nearer to each other than this are folded as one: they would share most of their readings.
CHANGES_APART_MS = 300_000

EvidenceKey = tuple[RuleName, int]  # rule and began_ms: unique for one vehicle and fence


@dataclass(frozen=True, slots=True)
class Refold(Generic[K]):
    """What to write for one vehicle and fence; everything not named stays as it is.

    evidence: GeoJSON of every violation whose evidence may have changed, new ones among them.
    """

    visits: Matching[K, Visit]
    violations: Matching[K, Violation]
    evidence: Mapping[EvidenceKey, dict[str, Any]]

    @property
    def is_unchanged(self) -> bool:
        """Whether the store already says all this."""
        return self.visits.is_unchanged and self.violations.is_unchanged and not self.evidence


@dataclass(frozen=True, slots=True)
class VehicleRefold(Generic[K]):
    """What to write for one vehicle, by fence id; fences in which nothing changed are left out.

    readings_read: how many readings were loaded to find this out. due_ms: when time alone will
    break a rule or heal it, window borders left aside; NEVER_MS if never. looked_back_ms: what was
    over and confirmed before it made no difference, except to fences that want visits.
    """

    fences: Mapping[str, Refold[K]]
    readings_read: int
    due_ms: int = NEVER_MS
    looked_back_ms: int = ALWAYS_MS


def refold(
    readings: ReadingWindow,
    fences: Mapping[str, Sequence[Window]],
    stored: Mapping[str, StoredFold[K]],
    changes: Iterable[Interval],
    *,
    as_of_ms: int,
    index: FenceIndex,
    why: str,
    frozen_before_ms: int = ALWAYS_MS,
    surveyed: Path | None = None,
) -> VehicleRefold[K]:
    """Fold changes of one vehicle into what is stored.

    fences: windows by fence id, as they are now. changes: closed intervals (first, last) of device
    time in which readings, bindings, fence versions or attributes have changed, all committed;
    `NEVER_MS` ends one without end. index: holds every version in the windows. why: for amendments.

    stored: what is stored, of every fence of which anything is; what was over before
    `looked_back_ms` of the result may be left out. Readings later than `as_of_ms` do
    not exist yet: let it not be earlier than that of the last fold, and count a window border
    passed since then (`next_border_ms`) as a change at its instant. frozen_before_ms: older
    readings have been deleted, and what they once said stands. surveyed: a path of the
    vehicle over the index, used where just its readings are needed.
    """
    resumptions = {
        fence_id: _resumption(begun(fences.get(fence_id, ()), as_of_ms), held, frozen_before_ms)
        for fence_id, held in stored.items()
    }
    for fence_id in (wanting_fences(index) - resumptions.keys()) & fences.keys():
        windows = begun(fences[fence_id], as_of_ms)
        resumptions[fence_id] = _resumption(windows, StoredFold(), frozen_before_ms)
    # of an open visit the end is always looked at: whether the truck is leaving is not stored
    spans = _joined([*changes, (as_of_ms, as_of_ms)], readings)
    readings_read, looked_back_ms = 0, NEVER_MS
    for number, span in enumerate(spans):
        hood = Neighbourhood(readings, *span, as_of_ms)
        path = _path(hood, index, surveyed)
        # A fence the path keeps away from can only matter for what is stored of it.
        for fence_id in (path.touched_fences() - resumptions.keys()) & fences.keys():
            windows = begun(fences[fence_id], as_of_ms)
            resumptions[fence_id] = _resumption(windows, StoredFold(), frozen_before_ms)
        waiting = [r for r in resumptions.values() if r.concerns(path, hood, span)]
        _fold_in(waiting, path, hood, spans[number:], as_of_ms)
        readings_read += hood.readings_read
        looked_back_ms = min(looked_back_ms, hood.low_ms)
    results, due_ms = {}, NEVER_MS
    counted = _Counted(readings)
    known = Known(counted, as_of_ms)
    for fence_id, resumption in resumptions.items():
        held = stored.get(fence_id, StoredFold())
        told = visits_of(resumption.transitions, version_at(resumption.windows))
        visits = _with_frozen(told, held, frozen_before_ms)
        if resumption.replaced or has_wanting(resumption.windows):
            looked_back_ms = min(looked_back_ms, known.reach_back_ms(spans))
            result = _result_of(resumption, visits, held, spans, known, why)
            if not result.is_unchanged:
                results[fence_id] = result
        due_ms = min(due_ms, next_deadline_ms(visits, resumption.windows, as_of_ms))
    return VehicleRefold(results, readings_read + counted.readings_read, due_ms, looked_back_ms)


def _path(hood: Neighbourhood, index: FenceIndex, surveyed: Path | None) -> Path:
    if surveyed is not None and surveyed.track.is_like(hood.track):
        return surveyed
    return Path(hood.track, index)


def _with_frozen(
    visits: Sequence[Visit], held: StoredFold[K], frozen_before_ms: int
) -> Sequence[Visit]:
    """The visits, those over before the oldest kept reading as they were judged: a version that
    begins in their time came too late for them."""
    frozen = {
        visit.entered_ms: visit
        for _, visit in held.visits
        if visit.left_confirmed_ms is not None and visit.left_confirmed_ms < frozen_before_ms
    }
    return [frozen.get(visit.entered_ms, visit) for visit in visits] if frozen else visits


@lru_cache(maxsize=2)
def wanting_fences(index: FenceIndex) -> frozenset[str]:
    """Fences whose rules absence can break: they matter wherever the truck is."""
    return frozenset(
        version.fence_id
        for version in index.versions
        if any(rule.name in WANTING for rule in version.rules)
    )


def _resumption(
    windows: Sequence[Window], held: StoredFold[K], frozen_before_ms: int
) -> Resumption:
    speeding = [v for _, v in held.violations if v.rule == RuleName.SPEED_LIMIT]
    transitions = transitions_of(v for _, v in held.visits)
    return Resumption(windows, transitions, speeding, frozen_before_ms)


def _fold_in(
    waiting: list[Resumption],
    path: Path,
    hood: Neighbourhood,
    changes: Sequence[Interval],
    as_of_ms: int,
) -> None:
    """Fold the first change into each fence, loading readings until all are satisfied."""
    while waiting:
        outcomes = [r.fold_in(path, hood, changes, as_of_ms) for r in waiting]
        pairs = zip(waiting, outcomes, strict=True)
        waiting = [r for r, outcome in pairs if outcome is not Outcome.DONE]
        if not waiting:
            return
        if Outcome.NEEDS_EARLIER in outcomes:
            hood.reach_back()
        if Outcome.NEEDS_LATER in outcomes:
            hood.reach_forth()
        path = Path(hood.track, path.index)


def _result_of(
    resumption: Resumption,
    visits: Sequence[Visit],
    held: StoredFold[K],
    changes: Sequence[Interval],
    known: Known,
    why: str,
) -> Refold[K]:
    violations = rejudged(resumption, visits, held, changes, known)
    matched = match(held.violations, violations, why)
    new = (*matched.added, *(amendment.now for amendment in matched.amended))
    touched = {(violation.rule, violation.began_ms): violation for violation in new}
    for violation in violations:
        low_ms, high_ms = evidence_span(violation)
        if any(first_ms <= high_ms and last_ms >= low_ms for first_ms, last_ms in changes):
            touched[violation.rule, violation.began_ms] = violation
    return Refold(
        visits=match(held.visits, visits, why),
        violations=matched,
        evidence={key: _evidence(known, violation) for key, violation in touched.items()},
    )


def _evidence(known: Known, violation: Violation) -> dict[str, Any]:
    """Evidence of a violation from the readings around its beginning."""
    low_ms, high_ms = evidence_span(violation)
    return evidence_of(known.load(low_ms, high_ms + 1), violation)


class _Counted:
    """A reading window that counts what is loaded."""

    def __init__(self, readings: ReadingWindow) -> None:
        self._readings = readings
        self.last_before, self.first_from = readings.last_before, readings.first_from
        self.readings_read = 0

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms."""
        track = self._readings.load(from_ms, to_ms)
        self.readings_read += len(track)
        return track


def _joined(changes: Iterable[Interval], readings: ReadingWindow) -> list[Interval]:
    """Closed intervals in order, made one where they are near or no reading lies between."""
    union: list[Interval] = []
    for first_ms, last_ms in sorted(changes):
        assert first_ms <= last_ms, "a change ends no earlier than it begins"
        if union and (
            first_ms - union[-1][1] <= CHANGES_APART_MS
            or _has_none(readings, union[-1][1] + 1, first_ms)
        ):
            union[-1] = (union[-1][0], max(last_ms, union[-1][1]))
        else:
            union.append((first_ms, last_ms))
    return union


def _has_none(readings: ReadingWindow, from_ms: int, to_ms: int) -> bool:
    found = readings.first_from(from_ms)
    return found is None or found >= to_ms
