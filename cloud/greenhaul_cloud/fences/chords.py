"""Where straight pieces of path meet straight edges: closed forms, vectorised over pairs.

All arguments are columns over (path piece, edge) pairs, in metres: the piece runs from `start`
along `run` as its parameter goes from 0 to 1; the edge runs from `edge` along `along`. Points are
complex numbers (east + north·i): one array, one product for both dot and cross.
"""

import numpy as np
from numpy.typing import NDArray

Complexes = NDArray[np.complex128]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Vertices are shared by two edges, readings on an edge by two pieces; a path through one must meet
# at least one of them. Cuts found twice are harmless: presence between cuts is asked of the area.
_SLACK = 1e-9

# A piece this near to an edge's line and parallel to it runs on it: what degrees are rounded to.
_BESIDE_M_MAX = 1e-6


def _dot_and_cross(one: Complexes, other: Complexes) -> tuple[Float64s, Float64s]:
    product = np.conj(one) * other
    return product.real, product.imag


def crossings(start: Complexes, run: Complexes, edge: Complexes, along: Complexes) -> Float64s:
    """Parameter at which each piece meets its edge; NaN where it does not or runs along it."""
    offset = edge - start
    _, sine = _dot_and_cross(run, along)
    _, to_edge = _dot_and_cross(offset, along)
    _, on_edge = _dot_and_cross(offset, run)
    with np.errstate(divide="ignore", invalid="ignore"):
        at, edge_at = to_edge / sine, on_edge / sine
        meets = (
            (sine != 0)
            & (at >= -_SLACK)
            & (at <= 1 + _SLACK)
            & (edge_at >= -_SLACK)
            & (edge_at <= 1 + _SLACK)
        )
    return np.where(meets, np.clip(at, 0, 1), np.nan)


def runs_along(start: Complexes, run: Complexes, edge: Complexes, along: Complexes) -> Bools:
    """Whether each piece lies on its edge's line, as nearly as numbers tell."""
    _, sine = _dot_and_cross(run, along)
    _, beside = _dot_and_cross(start - edge, along)
    length = np.abs(along)
    is_along: Bools = np.abs(sine) <= _SLACK * np.abs(run) * length
    return is_along & (np.abs(beside) <= _BESIDE_M_MAX * length)


def distances_m(point: Complexes, edge: Complexes, along: Complexes) -> Float64s:
    """Distance of each point from its edge."""
    forward, _ = _dot_and_cross(along, point - edge)
    squared, _ = _dot_and_cross(along, along)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(squared > 0, np.clip(forward / squared, 0, 1), 0.0)
    distances: Float64s = np.abs(point - edge - at * along)
    return distances


def within(
    start: Complexes, run: Complexes, edge: Complexes, along: Complexes, radius_m: Float64s
) -> tuple[Float64s, Float64s]:
    """The parameters between which each piece is no farther than `radius_m` from its edge.

    The points within a radius of an edge are a capsule: two discs and a rectangle. It is convex, so
    what a line has of it is one interval, the hull of what it has of the three. NaN: none of it.
    """
    discs = [_in_disc(start - end, run, radius_m) for end in (edge, edge + along)]
    low, high = _in_rectangle(start - edge, run, along, radius_m)
    for disc_low, disc_high in discs:
        low, high = np.fmin(low, disc_low), np.fmax(high, disc_high)
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    touches = low < high
    return np.where(touches, low, np.nan), np.where(touches, high, np.nan)


def _in_disc(offset: Complexes, run: Complexes, radius_m: Float64s) -> tuple[Float64s, Float64s]:
    """Solves |offset + t·run| = radius."""
    forward, _ = _dot_and_cross(offset, run)
    squared, _ = _dot_and_cross(run, run)
    excess, _ = _dot_and_cross(offset, offset)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(forward**2 - squared * (excess - radius_m**2))
        return (-forward - root) / squared, (-forward + root) / squared


def _in_rectangle(
    offset: Complexes, run: Complexes, along: Complexes, radius_m: Float64s
) -> tuple[Float64s, Float64s]:
    """Between the edge's ends and no farther than the radius from its line."""
    position, height = _dot_and_cross(along, offset)
    position_rate, height_rate = _dot_and_cross(along, run)
    squared, _ = _dot_and_cross(along, along)
    reach = radius_m * np.sqrt(squared)
    low, high = _in_strip(position, position_rate, np.zeros_like(squared), squared)
    other_low, other_high = _in_strip(height, height_rate, -reach, reach)
    low, high = np.maximum(low, other_low), np.minimum(high, other_high)
    is_empty = ~(low <= high) | (squared == 0)
    return np.where(is_empty, np.nan, low), np.where(is_empty, np.nan, high)


def _in_strip(
    value: Float64s, rate: Float64s, least: Float64s, most: Float64s
) -> tuple[Float64s, Float64s]:
    """Parameters with least ≤ value + t·rate ≤ most; NaN: none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (least - value) / rate, (most - value) / rate
    is_inside = (least <= value) & (value <= most)
    low = np.where(rate != 0, np.minimum(one, other), np.where(is_inside, -np.inf, np.nan))
    high = np.where(rate != 0, np.maximum(one, other), np.where(is_inside, np.inf, np.nan))
    return low, high


def circle_crossings(start: Complexes, run: Complexes, radius_m: Float64s) -> Float64s:
    """(m, 2) parameters at which each piece meets the circle around 0; NaN where it does not.

    A piece that only touches the circle meets it in one parameter, twice.
    """
    at = np.stack(_in_disc(start, run, radius_m), axis=1)
    return np.where((at >= -_SLACK) & (at <= 1 + _SLACK), np.clip(at, 0, 1), np.nan)


def near_circle(
    start: Complexes, run: Complexes, radius_m: Float64s, reach_m: Float64s
) -> tuple[Float64s, Float64s]:
    """(m, 2) each: between which parameters each piece is within `reach_m` of the circle around 0.

    What a line has of a ring is what it has of the outer disc without what it has of the inner.
    """
    low, high = _in_disc(start, run, radius_m + reach_m)
    inner_m = radius_m - reach_m
    inner_low, inner_high = _in_disc(start, run, inner_m)
    is_holed = (inner_m > 0) & np.isfinite(inner_low)
    nothing = np.full_like(low, np.nan)
    lows = np.stack((low, np.where(is_holed, inner_high, nothing)), axis=1)
    highs = np.stack((np.where(is_holed, inner_low, high), high), axis=1)
    lows, highs = np.maximum(lows, 0.0), np.minimum(highs, 1.0)
    touches = lows < highs
    return np.where(touches, lows, np.nan), np.where(touches, highs, np.nan)
