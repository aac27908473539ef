"""Rules about how long a stay lasts: max_dwell, min_dwell, transit_time."""

from collections.abc import Iterator

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import MaxDwell, MinDwell, TransitTime
from greenhaul_cloud.fold.intervals import Certainty, How, Violation
from greenhaul_cloud.fold.windows import Interval
from greenhaul_cloud.rules.known import Known
from greenhaul_cloud.rules.pieces import Piece, calendar_note

# A stay first seen, or bound, while it lasted is longer than it is known to be.
_SEEN_LATE = frozenset({How.FIRST_READING, How.VERSION, How.SCOPE})

# The fence let go of the truck; the truck did not leave.
_LET_GO = frozenset({How.VERSION, How.SCOPE})


def judge_max_dwell(piece: Piece, known: Known) -> Iterator[Violation]:
    """A stay that goes on past the limit, on each part of it within the hours."""
    rule = piece.rule
    assert isinstance(rule, MaxDwell)
    entered_ms = piece.visit.entered_ms
    if rule.hours is None:
        yield from _too_long(piece, known, (entered_ms, NEVER_MS), rule.limit_s, "limit_s")
        return
    schedule = piece.stretch.schedule(rule.hours)
    for begin_ms, end_ms in schedule.within(entered_ms, min(piece.to_ms, known.concluded_ms + 1)):
        span = (max(begin_ms, entered_ms), end_ms)
        for violation in _too_long(piece, known, span, rule.limit_s, "limit_s"):
            violation.detail.update(calendar_note(schedule, span))
            yield violation


def judge_min_dwell(piece: Piece, known: Known) -> Iterator[Violation]:  # noqa: ARG001
    """A stay left before the limit, within the hours."""
    rule = piece.rule
    assert isinstance(rule, MinDwell)
    if rule.hours is None:
        yield from _too_short(piece, rule.limit_s, "limit_s")
        return
    schedule = piece.stretch.schedule(rule.hours)
    if piece.has_left and schedule.is_open(piece.to_ms):
        for violation in _too_short(piece, rule.limit_s, "limit_s"):
            violation.detail.update(calendar_note(schedule, (piece.to_ms, piece.to_ms + 1)))
            yield violation


def judge_transit_time(piece: Piece, known: Known) -> Iterator[Violation]:
    """A way through that took longer, or less long, than allowed."""
    rule = piece.rule
    assert isinstance(rule, TransitTime)
    if rule.max_s is not None:
        span = (piece.visit.entered_ms, NEVER_MS)
        yield from _too_long(piece, known, span, rule.max_s, "max_s")
    if rule.min_s is not None:
        yield from _too_short(piece, rule.min_s, "min_s")


def deadline_ms(piece: Piece, span: Interval, limit_s: float) -> int:
    """When a stay within a span reaches the limit while the rule holds."""
    return max(span[0] + round(limit_s * 1000), piece.from_ms)


def _too_long(
    piece: Piece, known: Known, span: Interval, limit_s: float, limit_name: str
) -> Iterator[Violation]:
    began_ms = deadline_ms(piece, span, limit_s)
    ended_ms = min(span[1], piece.to_ms)
    if began_ms >= ended_ms or began_ms > known.as_of_ms:
        return
    is_over = ended_ms != NEVER_MS and ended_ms <= known.as_of_ms
    detail: dict[str, object] = {limit_name: limit_s}
    if is_over:
        detail["dwell_s"] = (ended_ms - span[0]) / 1000
    certainty = piece.visit.certainty if known.last_ms > began_ms else Certainty.POSSIBLE
    yield piece.violation(began_ms, ended_ms if is_over else None, certainty, detail)


def _too_short(piece: Piece, limit_s: float, limit_name: str) -> Iterator[Violation]:
    visit = piece.visit
    if visit.left_ms is None or not piece.has_left or visit.left_by in _LET_GO:
        return
    dwell_ms = visit.left_ms - visit.entered_ms
    if dwell_ms >= round(limit_s * 1000):
        return
    is_doubtful = visit.entered_by in _SEEN_LATE
    certainty = Certainty.POSSIBLE if is_doubtful else visit.certainty
    detail = {limit_name: limit_s, "dwell_s": dwell_ms / 1000}
    yield piece.violation(visit.left_ms, visit.left_ms, certainty, detail)
