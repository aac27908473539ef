"""Readings at which nothing is pending, so that the stored transitions tell the whole state."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.rules import RuleName
from greenhaul_cloud.fold.intervals import Side, Transition
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.windows import Window
from greenhaul_cloud.rules.pieces import stretches_of
from greenhaul_cloud.rules.speeding import limits_at

Bools = NDArray[np.bool_]


def sides_at(transitions: Sequence[Transition], time_ms: NDArray[np.int64]) -> Bools:
    """(n,) whether inside, as confirmed at each instant."""
    confirmed_ms = np.array([t.confirmed_ms for t in transitions], dtype=np.int64)
    after = np.array([False, *(t.to is Side.INSIDE for t in transitions)])
    is_inside: Bools = after[np.searchsorted(confirmed_ms, time_ms, side="right")]
    return is_inside


def anchors(path: Path, windows: Sequence[Window], transitions: Sequence[Transition]) -> Bools:
    """(n,) which readings of a path are anchors of a fold with these transitions.

    A reading strictly on the confirmed side of the true edge: one within the hysteresis on the
    other side has forgotten where its run crossed. Inside, no speed may be running above its limit
    either. Where the fence does not bind, nothing can be pending. Of readings of equal time only
    the last serves, for transitions are told apart by time alone.
    """
    time_ms = path.track.device_time_ms
    is_inside = sides_at(transitions, time_ms)
    is_anchor = np.ones(len(time_ms), bool)
    for window in windows:
        low, high = np.searchsorted(time_ms, (window.from_ms, window.to_ms))
        if low == high or not (path.is_touched(window) or is_inside[low:high].any()):
            continue
        here = np.zeros(len(time_ms), bool)
        here[low:high] = True
        settled = path.in_window(window).strictly(is_inside) & (~is_inside | _is_slow(path, window))
        is_anchor &= ~here | settled
    is_anchor[:-1] &= np.diff(time_ms) > 0
    return is_anchor


def _is_slow(path: Path, window: Window) -> Bools:
    """(n,) whether no limit in force is exceeded by the speed reported."""
    time_ms, speed_kmh = path.track.device_time_ms, path.track.speed_kmh
    is_slow = np.ones(len(path.track), bool)
    for stretch in stretches_of(window, RuleName.SPEED_LIMIT):
        low, high = np.searchsorted(time_ms, (stretch.from_ms, stretch.to_ms))
        is_slow[low:high] = ~(speed_kmh[low:high] > limits_at(stretch, time_ms[low:high]))
    return is_slow
