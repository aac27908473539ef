"""Rules broken by being inside: no_entry, allowed_hours."""

from collections.abc import Iterable, Iterator

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import AllowedHours, NoEntry
from greenhaul_cloud.fold.intervals import Certainty, Violation
from greenhaul_cloud.fold.windows import Interval
from greenhaul_cloud.rules.known import Known
from greenhaul_cloud.rules.pieces import Piece, calendar_note


def judge_no_entry(piece: Piece, known: Known) -> Iterator[Violation]:
    """Being inside while the rule holds."""
    rule = piece.rule
    assert isinstance(rule, NoEntry)
    if rule.hours is None:
        return _present(piece, known, [(piece.from_ms, piece.to_ms)])
    schedule = piece.stretch.schedule(rule.hours)
    until_ms = min(piece.to_ms, known.concluded_ms + 1)
    return _present(piece, known, schedule.within(piece.from_ms, until_ms))


def judge_allowed_hours(piece: Piece, known: Known) -> Iterator[Violation]:
    """Being inside while the hours are closed."""
    rule = piece.rule
    assert isinstance(rule, AllowedHours)
    schedule = piece.stretch.schedule(rule.hours)
    until_ms = min(piece.to_ms, known.concluded_ms + 1)
    return _present(piece, known, schedule.without(piece.from_ms, until_ms))


def _present(piece: Piece, known: Known, spans: Iterable[Interval]) -> Iterator[Violation]:
    for span in spans:
        began_ms, ended_ms = max(span[0], piece.from_ms), min(span[1], piece.to_ms)
        if began_ms > known.as_of_ms:
            continue
        is_reached = ended_ms != NEVER_MS and ended_ms <= known.as_of_ms
        is_proven = began_ms <= known.last_ms
        yield piece.violation(
            began_ms,
            ended_ms if is_reached else None,
            piece.visit.certainty if is_proven else Certainty.POSSIBLE,
            _note(piece, (began_ms, ended_ms)),
        )


def _note(piece: Piece, span: Interval) -> dict[str, object]:
    hours = piece.rule.hours if isinstance(piece.rule, NoEntry | AllowedHours) else None
    return {} if hours is None else calendar_note(piece.stretch.schedule(hours), span)
