"""Rules turn visits into violations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.model import NEVER_MS, FenceVersion, Rule, RuleName, SpeedLimit
from greenhaul_cloud.fold.intervals import Certainty, How, Violation, Visit
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.segments import GAP
from greenhaul_cloud.fold.windows import Window, window_at


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a visit in which one rule holds without change; `to_ms` NEVER_MS: still open."""

    visit: Visit
    version: FenceVersion
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
            pieces[-1] = _Piece(visit, last.version, rule, last.from_ms, to_ms)
        else:
            pieces.append(_Piece(visit, version, rule, from_ms, to_ms))
    return pieces


def _present(piece: _Piece, _path: Path | None = None) -> Iterator[Violation]:
    yield _violation(piece, piece.from_ms, piece.ended_ms, piece.visit.certainty, {})


def _too_fast(piece: _Piece, path: Path) -> Iterator[Violation]:
    """Runs above the limit, cut to the piece, that last `for_s`; exact on the straight line."""
    rule, visit = piece.rule, piece.visit
    assert isinstance(rule, SpeedLimit)
    time_ms, speed_kmh = path.track.device_time_ms, path.track.speed_kmh
    end_ms = min(piece.to_ms, int(time_ms[-1]))
    low = max(int(np.searchsorted(time_ms, piece.from_ms, side="right")) - 1, 0)
    high = int(np.searchsorted(time_ms, end_ms)) + 1
    kinds = path.kinds(piece.version.settings)[low : high - 1]
    for began_ms, ended_ms in runs_above(
        time_ms[low:high], speed_kmh[low:high], kinds != GAP, rule.limit_kmh
    ):
        from_ms, to_ms = max(began_ms, piece.from_ms), min(ended_ms, end_ms)
        if from_ms >= to_ms or to_ms - from_ms < rule.for_s * 1000:
            continue
        is_open = piece.ended_ms is None and to_ms == int(time_ms[-1])
        is_open = is_open and bool(speed_kmh[-1] > rule.limit_kmh)
        # Only ends cut at a gap are in doubt; other gaps of the visit are not this run's.
        is_cut = (from_ms, visit.entered_by) == (visit.entered_ms, How.GAP)
        is_cut |= (to_ms, visit.left_by) == (visit.left_ms, How.GAP)
        certainty = Certainty.POSSIBLE if is_cut else Certainty.CERTAIN
        fastest_kmh = _fastest(time_ms[low:high], speed_kmh[low:high], from_ms, to_ms)
        detail = {"limit_kmh": rule.limit_kmh, "max_kmh": round(fastest_kmh, 1)}
        yield _violation(piece, from_ms, None if is_open else to_ms, certainty, detail)


def _fastest(
    time_ms: NDArray[np.int64], speed_kmh: NDArray[np.float64], from_ms: int, to_ms: int
) -> float:
    """Highest speed in an interval whose speeds are known."""
    within = speed_kmh[(time_ms >= from_ms) & (time_ms <= to_ms)]
    ends = np.interp([from_ms, to_ms], time_ms, speed_kmh)
    return float(np.nanmax(np.concatenate((within, ends))))


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
        fence_version=piece.version.version,
        began_ms=began_ms,
        ended_ms=ended_ms,
        certainty=certainty,
        visit_entered_ms=piece.visit.entered_ms,
        detail=dict(detail),
    )
