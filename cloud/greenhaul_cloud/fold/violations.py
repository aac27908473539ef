"""Rules turn visits into violations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.model import NEVER_MS, Rule, RuleName, SpeedLimit
from greenhaul_cloud.fold.intervals import Certainty, How, Violation, Visit
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.segments import GAP
from greenhaul_cloud.fold.windows import Window, window_at


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a visit in which one rule holds without change; `to_ms` NEVER_MS: still open."""

    visit: Visit
    window: Window
    rule: Rule
    from_ms: int
    to_ms: int

    @property
    def ended_ms(self) -> int | None:
        return None if self.to_ms == NEVER_MS else self.to_ms


def violations_of(
    visits: Iterable[Visit],
    path: Path,
    windows: Sequence[Window],
    names: Iterable[RuleName] = tuple(RuleName),
) -> list[Violation]:
    """Violations of these visits and rules, by begin and rule, as far as the path reaches."""
    found = [
        violation
        for visit in visits
        for name in names
        for piece in _pieces(visit, windows, name)
        for violation in RULES[name](piece, path)
    ]
    return sorted(found, key=lambda violation: (violation.began_ms, violation.rule))


def presence_violations_of(visits: Iterable[Visit], windows: Sequence[Window]) -> list[Violation]:
    """Violations that follow from visits alone, without a look at readings."""
    return [
        violation
        for visit in visits
        for piece in _pieces(visit, windows, RuleName.NO_ENTRY)
        for violation in _present(piece)
    ]


def _pieces(visit: Visit, windows: Sequence[Window], name: RuleName) -> list[_Piece]:
    """The parts of a visit in which a rule of this name holds, equal neighbours joined."""
    window = window_at(windows, visit.entered_ms)
    assert window is not None, "a visit begins while its fence binds"
    starts = [from_ms for from_ms, _ in window.phases[1:]]
    borders = zip([visit.entered_ms, *starts], [*starts, NEVER_MS], window.phases, strict=True)
    pieces: list[_Piece] = []
    for low_ms, high_ms, (_, version) in borders:
        from_ms, to_ms = max(low_ms, visit.entered_ms), min(high_ms, visit.span[1])
        rule = version.rule(name)
        if rule is None or from_ms > to_ms or (from_ms == to_ms and from_ms != visit.entered_ms):
            continue
        last = pieces[-1] if pieces else None
        if last and last.to_ms == from_ms and last.rule == rule:
            pieces[-1] = _Piece(visit, window, rule, last.from_ms, to_ms)
        else:
            pieces.append(_Piece(visit, window, rule, from_ms, to_ms))
    return pieces


def _present(piece: _Piece, _path: Path | None = None) -> Iterator[Violation]:
    yield _violation(piece, piece.from_ms, piece.ended_ms, piece.visit.certainty, {})


def _too_fast(piece: _Piece, path: Path) -> Iterator[Violation]:
    """Runs above the limit, cut to the piece, that last `for_s`; exact on the straight line."""
    rule = piece.rule
    assert isinstance(rule, SpeedLimit)
    last_ms = int(path.track.device_time_ms[-1])
    end_ms = min(piece.to_ms, last_ms)
    low = max(int(np.searchsorted(path.track.device_time_ms, piece.from_ms, side="right")) - 1, 0)
    high = int(np.searchsorted(path.track.device_time_ms, end_ms, side="right")) + 1
    time_ms, speed_kmh = path.track.device_time_ms[low:high], path.track.speed_kmh[low:high]
    is_known = path.in_window(piece.window).kinds[low : high - 1] != GAP
    for began_ms, ended_ms in runs_above(time_ms, speed_kmh, is_known, rule.limit_kmh):
        from_ms, to_ms = max(began_ms, piece.from_ms), min(ended_ms, end_ms)
        if from_ms >= to_ms or to_ms - from_ms < rule.for_s * 1000:
            continue
        ends_kmh = np.interp([from_ms, to_ms], time_ms, speed_kmh)
        is_above = (ends_kmh > rule.limit_kmh).tolist()
        is_open = piece.ended_ms is None and to_ms == last_ms and is_above[1]
        within_kmh = speed_kmh[(time_ms >= from_ms) & (time_ms <= to_ms)]
        fastest_kmh = float(np.nanmax(np.concatenate((within_kmh, ends_kmh))))
        yield _violation(
            piece,
            from_ms,
            None if is_open else to_ms,
            _run_certainty(piece.visit, (from_ms, to_ms), is_above),
            {"limit_kmh": rule.limit_kmh, "max_kmh": round(fastest_kmh, 1)},
        )


def _run_certainty(visit: Visit, span_ms: tuple[int, int], is_above: Sequence[bool]) -> Certainty:
    """Only an end of a run cut off by a gap is in doubt; other gaps of its visit do not matter."""
    is_cut = visit.entered_by is How.GAP and span_ms[0] == visit.entered_ms and is_above[0]
    is_cut |= visit.left_by is How.GAP and span_ms[1] == visit.left_ms and is_above[1]
    return Certainty.POSSIBLE if is_cut else Certainty.CERTAIN


RULES: dict[RuleName, Callable[[_Piece, Path], Iterator[Violation]]] = {
    RuleName.NO_ENTRY: _present,
    RuleName.SPEED_LIMIT: _too_fast,
}


def runs_above(
    time_ms: NDArray[np.int64],
    speed_kmh: NDArray[np.float64],
    is_known: NDArray[np.bool_],
    limit_kmh: float,
) -> list[tuple[int, int]]:
    """Maximal (from_ms, to_ms) in which the speed, linear between n readings, is above a limit.

    is_known: (n - 1,) segments on which the line may be drawn; one with an unknown speed (NaN) at
    an end may not.
    """
    before, after, begin_ms = speed_kmh[:-1], speed_kmh[1:], time_ms[:-1]
    duration_ms = np.diff(time_ms)
    is_known = is_known & np.isfinite(before) & np.isfinite(after)
    is_above = is_known & ((before > limit_kmh) | (after > limit_kmh))
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = (limit_kmh - before) / (after - before)
    low = np.where(before > limit_kmh, 0.0, meets)[is_above]
    high = np.where(after > limit_kmh, 1.0, meets)[is_above]
    begin_ms, duration_ms = begin_ms[is_above], duration_ms[is_above]
    from_ms = begin_ms + np.rint(low * duration_ms).astype(np.int64)
    to_ms = begin_ms + np.rint(high * duration_ms).astype(np.int64)
    segment = np.flatnonzero(is_above)
    if len(segment) == 0:
        return []
    goes_on = (np.diff(segment) == 1) & (before[segment[1:]] > limit_kmh)
    first = np.concatenate(([True], ~goes_on))
    last = np.concatenate((~goes_on, [True]))
    return list(zip(from_ms[first].tolist(), to_ms[last].tolist(), strict=True))


def _violation(
    piece: _Piece,
    began_ms: int,
    ended_ms: int | None,
    certainty: Certainty,
    detail: dict[str, float],
) -> Violation:
    return Violation(
        rule=piece.rule.name,
        fence_version=piece.window.version_at(began_ms).version,
        began_ms=began_ms,
        ended_ms=ended_ms,
        certainty=certainty,
        visit_entered_ms=piece.visit.entered_ms,
        detail=dict(detail),
    )
