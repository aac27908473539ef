"""Visits, readings and the calendar into violations: which rule looks at what."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import RuleName
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.readings import TrackWindow
from greenhaul_cloud.fold.windows import ALWAYS, Window
from greenhaul_cloud.rules.dwell import judge_max_dwell, judge_min_dwell, judge_transit_time
from greenhaul_cloud.rules.known import Known
from greenhaul_cloud.rules.pieces import Piece, pieces_of
from greenhaul_cloud.rules.presence import judge_allowed_hours, judge_no_entry
from greenhaul_cloud.rules.speeding import judge_speed_limit
from greenhaul_cloud.rules.wanting import judge_wanting

# Rules judged on visits, time and the calendar, without a look at single readings. Those broken by
# absence stand in `rules.wanting`, and the speed limit alone reads the path.
STAYING: dict[RuleName, Callable[[Piece, Known], Iterator[Violation]]] = {
    RuleName.NO_ENTRY: judge_no_entry,
    RuleName.ALLOWED_HOURS: judge_allowed_hours,
    RuleName.MAX_DWELL: judge_max_dwell,
    RuleName.MIN_DWELL: judge_min_dwell,
    RuleName.TRANSIT_TIME: judge_transit_time,
}


def violations_of(
    visits: Sequence[Visit],
    path: Path,
    windows: Sequence[Window],
    as_of_ms: int,
    leaving_ms: int = NEVER_MS,
) -> list[Violation]:
    """All violations of a whole path, by begin and rule.

    leaving_ms: where a run out of the open visit began that nothing confirms yet.
    """
    known = Known(TrackWindow(path.track), as_of_ms)
    found = [
        *staying_violations(visits, windows, known, leaving_ms),
        *speeding_violations(visits, path, windows, leaving_ms),
        *judge_wanting(visits, windows, known, ALWAYS),
    ]
    return ordered(found)


def staying_violations(
    visits: Iterable[Visit],
    windows: Sequence[Window],
    known: Known,
    leaving_ms: int = NEVER_MS,
) -> list[Violation]:
    """Violations that follow from stays and time, of an open stay up to where the truck leaves."""
    return [
        violation
        for visit in visits
        for name, judge in STAYING.items()
        for piece in pieces_of(visit, windows, name)
        for violation in judge(piece, known)
        if visit.left_ms is not None or violation.began_ms < leaving_ms
    ]


def speeding_violations(
    visits: Iterable[Visit], path: Path, windows: Sequence[Window], leaving_ms: int = NEVER_MS
) -> list[Violation]:
    """Violations of speed limits during these visits, as far as the path reaches."""
    return [
        violation
        for visit in visits
        for piece in pieces_of(visit, windows, RuleName.SPEED_LIMIT)
        for violation in judge_speed_limit(piece, path, _until(visit, path, leaving_ms))
    ]


def _until(visit: Visit, path: Path, leaving_ms: int) -> int:
    last_ms = int(path.track.device_time_ms[-1])
    return min(last_ms, leaving_ms) if visit.left_ms is None else last_ms


def ordered(violations: Iterable[Violation]) -> list[Violation]:
    """By begin, then by rule: no two of one rule begin at once."""
    return sorted(violations, key=lambda violation: (violation.began_ms, violation.rule))
