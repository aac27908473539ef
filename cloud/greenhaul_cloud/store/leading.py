"""The track rule: which of a vehicle's sources speaks for it at each instant (pure)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.store.marks import LEAD_GAP_MS

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


def leading(times_ms: Sequence[Int64s]) -> list[Bools]:
    """For each source, (n,) which of its readings are the vehicle's track.

    times_ms: device times of each source, ascending, highest priority first. At each instant the
    first source without a gap over 30 s there leads; where every source has one, the first with a
    reading at that very instant does.
    """
    distinct = [np.unique(times) for times in times_ms]
    chosen: list[Bools] = []
    for rank, times in enumerate(times_ms):
        is_steady = _is_covered(times, distinct[rank])
        by_better = np.zeros(len(times), np.bool_)
        by_lesser = np.zeros(len(times), np.bool_)
        same_instant = np.zeros(len(times), np.bool_)
        for other, others in enumerate(distinct):
            if other < rank:
                by_better |= _is_covered(times, others)
                same_instant |= np.isin(times, others)
            elif other > rank:
                by_lesser |= _is_covered(times, others)
        chosen.append(~by_better & (is_steady | ~(by_lesser | same_instant)))
    return chosen


def _is_covered(times_ms: Int64s, others_ms: Int64s) -> Bools:
    """(n,) whether an instant lies between two of the others' readings at most 30 s apart."""
    if len(others_ms) < 2:
        return np.zeros(len(times_ms), np.bool_)
    is_short = np.diff(others_ms) <= LEAD_GAP_MS
    # gap i lies between readings i and i + 1; outside the first and last there is silence
    padded = np.concatenate(([False], is_short, [False]))
    before = padded[np.searchsorted(others_ms, times_ms, side="left")]
    after = padded[np.searchsorted(others_ms, times_ms, side="right")]
    covered: Bools = before | after
    return covered
