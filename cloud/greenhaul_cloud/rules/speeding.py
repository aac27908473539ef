"""Speed limits: runs above the limit in force, exact on the straight line between readings."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.rules import SpeedLimit
from greenhaul_cloud.fold.intervals import Certainty, How, Violation, Visit
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.segments import GAP
from greenhaul_cloud.hours.schedule import Schedule
from greenhaul_cloud.rules.pieces import Piece, Stretch

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
Run = tuple[int, int]  # [from_ms, to_ms]


def judge_speed_limit(piece: Piece, path: Path, known_to_ms: int) -> Iterator[Violation]:
    """Runs above the limit, cut to the piece, that last `for_s`.

    known_to_ms: how far the path is known to be inside; no further than its last reading.
    """
    rule = piece.rule
    assert isinstance(rule, SpeedLimit)
    all_ms = path.track.device_time_ms
    end_ms = min(piece.to_ms, known_to_ms)
    low = max(int(np.searchsorted(all_ms, piece.from_ms, side="right")) - 1, 0)
    high = int(np.searchsorted(all_ms, end_ms, side="right")) + 1
    time_ms, speed_kmh = all_ms[low:high], path.track.speed_kmh[low:high]
    is_known = path.in_window(piece.stretch.window).kinds[low : high - 1] != GAP
    for from_ms, to_ms in _runs(piece, (time_ms, speed_kmh, is_known), end_ms):
        if from_ms >= to_ms or to_ms - from_ms < rule.for_s * 1000:
            continue
        limits_kmh = limits_at(piece.stretch, np.array([from_ms, to_ms - 1]))
        ends_kmh = np.interp([from_ms, to_ms], time_ms, speed_kmh)
        is_above = (ends_kmh > limits_kmh).tolist()
        is_open = piece.to_ms > end_ms and to_ms == end_ms and is_above[1]
        within_kmh = speed_kmh[(time_ms >= from_ms) & (time_ms <= to_ms)]
        fastest_kmh = float(np.nanmax(np.concatenate((within_kmh, ends_kmh))))
        yield piece.violation(
            from_ms,
            None if is_open else to_ms,
            _run_certainty(piece.visit, (from_ms, to_ms), is_above),
            {"limit_kmh": float(limits_kmh[0]), "max_kmh": round(fastest_kmh, 1)},
        )


def limits_at(stretch: Stretch, time_ms: Int64s) -> Float64s:
    """(n,) the limit in force at instants in order."""
    rule = stretch.rule
    assert isinstance(rule, SpeedLimit)
    if rule.night_limit_kmh is None:
        return np.full(len(time_ms), rule.limit_kmh)
    is_night = stretch.schedule(rule.night_hours).are_open(time_ms)
    return np.where(is_night, rule.night_limit_kmh, rule.limit_kmh)


def _runs(
    piece: Piece, drawn: tuple[Int64s, Float64s, NDArray[np.bool_]], end_ms: int
) -> list[Run]:
    """Runs cut to the piece; one that goes on above the limit of the night is one run."""
    rule = piece.rule
    assert isinstance(rule, SpeedLimit)
    if rule.night_limit_kmh is None:
        runs = runs_above(*drawn, rule.limit_kmh)
        return [(max(low, piece.from_ms), min(high, end_ms)) for low, high in runs]
    schedule = piece.stretch.schedule(rule.night_hours)
    found: list[Run] = []
    for phase, limit_kmh in _phases(schedule, piece.from_ms, end_ms, rule):
        for low, high in runs_above(*drawn, limit_kmh):
            run = max(low, phase[0]), min(high, phase[1])
            if run[0] >= run[1]:
                continue
            if found and found[-1][1] == run[0] == phase[0] and low < phase[0]:
                found[-1] = found[-1][0], run[1]
            else:
                found.append(run)
    return found


def _phases(
    schedule: Schedule, from_ms: int, to_ms: int, rule: SpeedLimit
) -> list[tuple[Run, float]]:
    """Day and night within [from_ms, to_ms], in order, each with its limit."""
    phases: list[tuple[Run, float]] = []
    at_ms = from_ms
    night_limit_kmh = rule.limit_kmh if rule.night_limit_kmh is None else rule.night_limit_kmh
    for begin_ms, end_ms in schedule.within(from_ms, to_ms):
        if begin_ms > at_ms:
            phases.append(((at_ms, begin_ms), rule.limit_kmh))
        at_ms, before_ms = min(end_ms, to_ms), max(begin_ms, at_ms)
        phases.append(((before_ms, at_ms), night_limit_kmh))
    return phases if at_ms >= to_ms else [*phases, ((at_ms, to_ms), rule.limit_kmh)]


def _run_certainty(visit: Visit, span_ms: Run, is_above: Sequence[bool]) -> Certainty:
    """Only an end of a run cut off by a gap is in doubt; other gaps of its visit do not matter."""
    is_cut = visit.entered_by is How.GAP and span_ms[0] == visit.entered_ms and is_above[0]
    is_cut |= visit.left_by is How.GAP and span_ms[1] == visit.left_ms and is_above[1]
    return Certainty.POSSIBLE if is_cut else Certainty.CERTAIN


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
