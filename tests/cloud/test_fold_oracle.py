"""The engine against two oracles that share nothing with it: slow, scalar, by the definition."""

import math
import random
from fractions import Fraction
from itertools import pairwise

import pytest
from tests.cloud.fold_cases import AS_OF_MS, START_MS, Ring, fence, seconds, track

from greenhaul_cloud.fold.fold import fold

Point = tuple[float, float]
Row = tuple[float, float, float]

# Concave, with a hole that shares no vertex with the shell; all corners on whole metres.
SHELL: Ring = ((0, 0), (200, 0), (200, 200), (120, 200), (100, 60), (80, 200), (0, 200))
HOLE: Ring = ((20, 20), (60, 20), (60, 60), (20, 60))
RINGS = (SHELL, HOLE)


def random_rows(rng: random.Random, size: int) -> list[Row]:
    """Off the lattice of the corners, so that no reading and no vertex coincide."""
    rows, time_s = [], 0.0
    for _ in range(size):
        time_s += rng.choice((1, 5, 10, 30))
        rows.append((time_s, rng.randrange(-80, 280) + 0.37, rng.randrange(-80, 280) + 0.41))
    return rows


# Exact: crossings as fractions.


def is_inside(x: Fraction, y: Fraction) -> bool:
    """Even-odd rule over all rings."""
    inside = False
    for ring in RINGS:
        for (ax, ay), (bx, by) in zip(ring, (*ring[1:], ring[0]), strict=True):
            if (ay > y) != (by > y):
                at = Fraction(ax) + (y - Fraction(ay)) * Fraction(bx - ax) / Fraction(by - ay)
                inside ^= x < at
    return inside


def exact_stays(rows: list[Row]) -> list[tuple[Fraction, Fraction | None]]:
    """Every stay of the path inside, in exact seconds."""
    cuts: list[Fraction] = []
    for (t0, x0, y0), (t1, x1, y1) in pairwise(rows):
        px, py, qx, qy = (Fraction(v).limit_denominator(1000) for v in (x0, y0, x1, y1))
        dx, dy = qx - px, qy - py
        for ring in RINGS:
            for (ax, ay), (bx, by) in zip(ring, (*ring[1:], ring[0]), strict=True):
                ex, ey = Fraction(bx - ax), Fraction(by - ay)
                cross = dx * ey - dy * ex
                if cross == 0:
                    continue
                along = ((ax - px) * ey - (ay - py) * ex) / cross
                beside = ((ax - px) * dy - (ay - py) * dx) / cross
                if 0 <= along <= 1 and 0 <= beside <= 1:
                    cuts.append(Fraction(t0) + Fraction(along) * Fraction(t1 - t0))
    cuts.sort()
    inside = is_inside(*(Fraction(v).limit_denominator(1000) for v in rows[0][1:]))
    stays: list[tuple[Fraction, Fraction | None]] = [(Fraction(rows[0][0]), None)] if inside else []
    for cut in cuts:
        if inside:
            stays[-1] = (stays[-1][0], cut)
        else:
            stays.append((cut, None))
        inside = not inside
    return stays


def test_crossing_instants_are_exact_to_a_millisecond() -> None:
    found = 0
    one = fence(*RINGS, confirm_s=0, hysteresis_m=0)
    for seed in range(60):
        rows = random_rows(random.Random(seed), 12)
        expected = exact_stays(rows)
        if any(
            left is not None and left - entered < Fraction(1, 100) for entered, left in expected
        ):
            continue  # a corner cut by less than the clock can tell
        visits = fold(track(rows), one, as_of_ms=AS_OF_MS).visits
        assert len(visits) == len(expected), seed
        for visit, (entered, left) in zip(visits, expected, strict=True):
            assert abs(visit.entered_ms - START_MS - entered * 1000) <= 1, seed
            assert (visit.left_ms is None) == (left is None)
            if visit.left_ms is not None and left is not None:
                assert abs(visit.left_ms - START_MS - left * 1000) <= 1, seed
        found += len(visits)
    assert found > 200


# By the definition, in small steps: hysteresis and hold.

STEP_S = 0.1


def distance_m(x: float, y: float) -> float:
    """From the nearest edge."""
    nearest = math.inf
    for ring in RINGS:
        for (ax, ay), (bx, by) in zip(ring, (*ring[1:], ring[0]), strict=True):
            ex, ey = bx - ax, by - ay
            at = min(max(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0), 1)
            nearest = min(nearest, math.hypot(x - ax - at * ex, y - ay - at * ey))
    return nearest


def stepped_stays(
    rows: list[Row], confirm_s: float, hysteresis_m: float
) -> list[tuple[float, float | None]]:
    """Walk the path in small steps with the state machine of the text."""
    stays: list[tuple[float, float | None]] = []
    side: bool | None = None
    run_s = beyond_s = None
    for (t0, x0, y0), (t1, x1, y1) in pairwise(rows):
        for step in range(round((t1 - t0) / STEP_S)):
            part = step * STEP_S / (t1 - t0)
            now_s, x, y = t0 + step * STEP_S, x0 + part * (x1 - x0), y0 + part * (y1 - y0)
            inside = is_inside(Fraction(x), Fraction(y))
            if side is None:
                side = inside
                if inside:
                    stays.append((now_s, None))
            if inside == side:
                run_s = beyond_s = None
                continue
            run_s = now_s if run_s is None else run_s
            if distance_m(x, y) <= hysteresis_m:
                beyond_s = None
                continue
            beyond_s = now_s if beyond_s is None else beyond_s
            if now_s - beyond_s >= confirm_s:
                if inside:
                    stays.append((run_s, None))
                else:
                    stays[-1] = (stays[-1][0], run_s)
                side, run_s, beyond_s = inside, None, None
    return stays


def test_hysteresis_and_hold_are_those_of_the_text() -> None:
    judged = 0
    for seed in range(14):
        rng = random.Random(seed)
        rows = random_rows(rng, 14)
        confirm_s, hysteresis_m = rng.choice((4, 8)), rng.choice((5, 15))
        shorter, longer = (stepped_stays(rows, confirm_s + d, hysteresis_m) for d in (-0.25, 0.25))
        if shorter != longer:
            continue  # a hold on the border: steps cannot judge it
        one = fence(*RINGS, confirm_s=confirm_s, hysteresis_m=hysteresis_m)
        visits = fold(track(rows), one, as_of_ms=AS_OF_MS).visits
        assert len(visits) == len(shorter), seed
        for visit, (entered_s, left_s) in zip(visits, shorter, strict=True):
            assert seconds(visit.entered_ms) == pytest.approx(entered_s, abs=2 * STEP_S), seed
            if left_s is not None:
                assert seconds(visit.left_ms) == pytest.approx(left_s, abs=2 * STEP_S), seed
        judged += 1
    assert judged >= 8
