"""Violations of one fence judged anew where something changed; the rest stands as stored."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import WANTING, MaxDwell, TransitTime, hours_of
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.resume import Resumption
from greenhaul_cloud.fold.violations import STAYING, ordered, staying_violations
from greenhaul_cloud.fold.windows import Interval, Window, joined
from greenhaul_cloud.rules.dwell import deadline_ms
from greenhaul_cloud.rules.known import Known
from greenhaul_cloud.rules.pieces import Piece, pieces_of
from greenhaul_cloud.rules.wanting import has_wanting, judge_wanting, meets, next_window_ms

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class StoredFold(Generic[K]):
    """What the store holds of one vehicle and fence: all of it, withdrawn intervals left out."""

    visits: Sequence[tuple[K, Visit]] = ()
    violations: Sequence[tuple[K, Violation]] = ()


def rejudged(
    resumption: Resumption,
    visits: Sequence[Visit],
    held: StoredFold[K],
    changes: Sequence[Interval],
    known: Known,
) -> list[Violation]:
    """All violations as they are now, by begin and rule.

    What follows from visits and time is judged anew for visits that are new, differ, or meet a
    change; absence only where its time meets one. Visits before the oldest kept reading stand.
    """
    before = {visit for _, visit in held.visits}
    differing = [visit.span for visit in before.symmetric_difference(visits)]
    frozen_ms = resumption.frozen_before_ms
    met = joined([*resumption.replaced, *known.reach(changes), *differing])
    reach = [(max(low, frozen_ms), high) for low, high in met if high >= frozen_ms]
    again = [visit for visit in visits if visit not in before or _meets(visit.span, reach)]
    entered_again = {visit.entered_ms for visit in again}
    entered = {visit.entered_ms for visit in visits}
    kept = [
        violation
        for _, violation in held.violations
        if violation.rule in STAYING
        and violation.visit_entered_ms in entered
        and violation.visit_entered_ms not in entered_again
    ]
    found = [*kept, *staying_violations(again, resumption.windows, known, resumption.leaving_ms)]
    found += [_renamed(violation, visits) for violation in resumption.speeding]
    wanting = [violation for _, violation in held.violations if violation.rule in WANTING]
    if wanting or has_wanting(resumption.windows):
        found += [violation for violation in wanting if not meets(violation, reach)]
        found += judge_wanting(visits, resumption.windows, known, reach)
    return ordered(found)


def next_deadline_ms(visits: Sequence[Visit], windows: Sequence[Window], after_ms: int) -> int:
    """The next instant at which time alone changes what is judged, NEVER_MS if there is none.

    Only a visit that is still open waits for anything, and absence.
    """
    deadlines = [next_window_ms(windows, after_ms)]
    if visits and visits[-1].left_ms is None:
        for name in STAYING:
            for piece in pieces_of(visits[-1], windows, name):
                deadlines += _deadlines(piece, after_ms)
    return min(deadline for deadline in (*deadlines, NEVER_MS) if deadline > after_ms)


def _deadlines(piece: Piece, after_ms: int) -> Iterable[int]:
    rule = piece.rule
    hours = hours_of(rule)
    if hours is not None:
        schedule = piece.stretch.schedule(hours)
        yield schedule.next_border_ms(after_ms)
        if isinstance(rule, MaxDwell):
            for begin_ms, end_ms in schedule.within(after_ms, after_ms + 1):
                span = (max(begin_ms, piece.visit.entered_ms), end_ms)
                yield deadline_ms(piece, span, rule.limit_s)
        return
    limit_s = rule.limit_s if isinstance(rule, MaxDwell) else None
    if isinstance(rule, TransitTime):
        limit_s = rule.max_s
    if limit_s is not None:
        yield deadline_ms(piece, (piece.visit.entered_ms, NEVER_MS), limit_s)


def _meets(span: Interval, reach: Iterable[Interval]) -> bool:
    return any(low <= span[1] and span[0] <= high for low, high in reach)


def _renamed(violation: Violation, visits: Iterable[Visit]) -> Violation:
    """The same violation, naming the visit it lies in as that is now."""
    entered_ms = max(v.entered_ms for v in visits if v.entered_ms <= violation.began_ms)
    return replace(violation, visit_entered_ms=entered_ms)
