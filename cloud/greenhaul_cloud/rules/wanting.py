"""Rules broken by absence: must_stay, must_visit_by. They look at the time between visits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenhaul_cloud.fences.model import NEVER_MS, Fence
from greenhaul_cloud.fences.rules import WANTING, MustStay, MustVisitBy, RuleName
from greenhaul_cloud.fold.intervals import Certainty, Violation, Visit, weaker
from greenhaul_cloud.fold.windows import Interval, Window
from greenhaul_cloud.rules.known import Known
from greenhaul_cloud.rules.pieces import Stretch, calendar_note, stretches_of


@dataclass(frozen=True, slots=True)
class _Absence:
    """[from_ms, to_ms) outside, with how certainly its ends are known; NEVER_MS: still outside."""

    from_ms: int
    to_ms: int
    from_certainty: Certainty = Certainty.CERTAIN
    to_certainty: Certainty = Certainty.CERTAIN


def can_want(fence: Fence) -> bool:
    """Whether absence can break a rule of some version of this fence, whomever it binds."""
    return any(rule.name in WANTING for version in fence.versions for rule in version.rules)


def has_wanting(windows: Sequence[Window]) -> bool:
    """Whether absence can break a rule of this fence, as it binds a vehicle."""
    # asked of every fence in every refold, so rules are looked through once
    return any(
        rule.name in WANTING
        for window in windows
        for _, version in window.phases
        for rule in version.rules
    )


def judge_wanting(
    visits: Sequence[Visit], windows: Sequence[Window], known: Known, within: Sequence[Interval]
) -> Iterator[Violation]:
    """Violations for want of a visit whose time meets one of the closed intervals `within`."""
    for window in windows:
        for name in sorted(WANTING):
            for stretch in stretches_of(window, name):
                for reach in within:
                    yield from _judge(stretch, visits, known, reach, within)


def meets(violation: Violation, within: Sequence[Interval]) -> bool:
    """Whether the time a violation for want of a visit speaks of meets a closed interval."""
    span = violation.span
    if violation.rule is RuleName.MUST_VISIT_BY and violation.window is not None:
        span = violation.window
    return any(low <= span[1] and span[0] <= high for low, high in within)


def _judge(
    stretch: Stretch,
    visits: Sequence[Visit],
    known: Known,
    reach: Interval,
    within: Sequence[Interval],
) -> Iterator[Violation]:
    """Those of one stretch that meet `reach`, and no earlier one of `within`."""
    low_ms = max(stretch.from_ms, known.first_ms, reach[0])
    high_ms = min(stretch.to_ms, known.concluded_ms + 1, reach[1] + 1)
    if low_ms > high_ms:
        return
    judge = _not_staying if isinstance(stretch.rule, MustStay) else _not_visiting
    earlier = within[: within.index(reach)]
    for violation in judge(stretch, visits, known, (low_ms, high_ms)):
        if meets(violation, (reach,)) and not meets(violation, earlier):
            yield violation


def _not_staying(
    stretch: Stretch, visits: Sequence[Visit], known: Known, span: Interval
) -> Iterator[Violation]:
    rule = stretch.rule
    assert isinstance(rule, MustStay)
    schedule = None if rule.hours is None else stretch.schedule(rule.hours)
    bound = (max(stretch.from_ms, known.first_ms), stretch.to_ms)
    # a neighbour that touches the span is told anew as well
    opened = [bound] if schedule is None else schedule.within(span[0] - 1, span[1] + 1)
    for absence in _absences(visits, bound):
        for begin_ms, end_ms in opened:
            began_ms = max(begin_ms, absence.from_ms)
            ended_ms = min(end_ms, absence.to_ms)
            if began_ms >= ended_ms or began_ms > known.concluded_ms:
                continue
            window = (stretch.from_ms, stretch.to_ms) if schedule is None else (begin_ms, end_ms)
            is_over = ended_ms != NEVER_MS and ended_ms <= known.as_of_ms
            proven = known.has_reading(began_ms, ended_ms - 1)
            certainty = weaker(
                absence.from_certainty if began_ms == absence.from_ms else None,
                absence.to_certainty if ended_ms == absence.to_ms else None,
                None if proven else Certainty.POSSIBLE,
            )
            detail = {} if schedule is None else calendar_note(schedule, (began_ms, ended_ms))
            ended = ended_ms if is_over else None
            yield _violation(stretch, began_ms, ended, certainty, window, detail)


def _absences(visits: Sequence[Visit], bound: Interval) -> Iterator[_Absence]:
    """The time between visits within [from_ms, to_ms)."""
    at_ms, certainty = bound[0], Certainty.CERTAIN
    for visit in visits:
        entered_ms, left_ms = visit.span
        if left_ms <= bound[0] or entered_ms >= bound[1]:
            continue
        if entered_ms > at_ms:
            yield _Absence(at_ms, entered_ms, certainty, visit.entered_certainty)
        if left_ms >= at_ms:
            at_ms, certainty = left_ms, visit.left_certainty or Certainty.CERTAIN
    if at_ms < bound[1]:
        yield _Absence(at_ms, bound[1], certainty)


def _not_visiting(
    stretch: Stretch, visits: Sequence[Visit], known: Known, span: Interval
) -> Iterator[Violation]:
    rule = stretch.rule
    assert isinstance(rule, MustVisitBy)
    schedule = stretch.schedule(rule.hours)
    for begin_ms, end_ms in schedule.within(span[0] - 1, span[1] + 1):
        begin_ms = max(begin_ms, stretch.from_ms)
        if end_ms > min(stretch.to_ms, known.as_of_ms) or end_ms <= known.first_ms:
            continue
        if begin_ms > known.concluded_ms:
            continue
        if any(v.entered_ms < end_ms and begin_ms < v.span[1] for v in visits):
            continue
        settings = stretch.window.version_at(end_ms - 1).settings
        is_certain = known.last_ms > end_ms and known.is_seen(begin_ms, end_ms, settings)
        certainty = Certainty.CERTAIN if is_certain else Certainty.POSSIBLE
        window = (begin_ms, end_ms)
        note = calendar_note(schedule, window)
        yield _violation(stretch, end_ms, end_ms, certainty, window, note)


def _violation(
    stretch: Stretch,
    began_ms: int,
    ended_ms: int | None,
    certainty: Certainty,
    window: Interval,
    detail: dict[str, Any],
) -> Violation:
    # a deadline falls on the end of its window, when the next version may be in force already
    judged_ms = began_ms - 1 if isinstance(stretch.rule, MustVisitBy) else began_ms
    return Violation(
        rule=stretch.rule.name,
        fence_version=stretch.window.version_at(judged_ms).version,
        began_ms=began_ms,
        ended_ms=ended_ms,
        certainty=certainty,
        visit_entered_ms=None,
        detail=detail,
        window=window,
    )


def next_window_ms(windows: Sequence[Window], after_ms: int) -> int:
    """The next instant at which time alone may make absence a violation; NEVER_MS if none."""
    return min(
        (
            stretch.schedule(stretch.rule.hours).next_border_ms(max(after_ms, stretch.from_ms - 1))
            for window in windows
            if window.to_ms > after_ms
            for name in sorted(WANTING)
            for stretch in stretches_of(window, name)
            if isinstance(stretch.rule, MustStay | MustVisitBy)
            and stretch.rule.hours is not None
            and stretch.to_ms > after_ms
        ),
        default=NEVER_MS,
    )
