"""Passes that no reading saw: in and out again between two readings that are both outside.

The path alone tells of them, and it may be off: the chord of a street corner cuts what the truck
drove around. A pass no longer than the path may be off is a *glimpse*, and is possible only.
"""

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.survey import IN_NEAR
from greenhaul_cloud.fold.way import Way

Float64s = NDArray[np.float64]
Uint8s = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


def glimpsed(
    way: Way,
    group: Indices,
    segment: Indices,
    part: Float64s,
    place: Uint8s,
    starts_inside: Bools,
    is_straight: Bools,
) -> Bools:
    """(m,) which cuts are within a glimpse.

    Columns over cuts by group (a fence and a segment) and part; place: class after each.
    starts_inside: whether the segment's first reading is inside. is_straight: whether the fence
    asks for a straight path.
    """
    is_inside = place >= IN_NEAR
    is_new = np.ones(len(group), bool)
    is_new[1:] = group[1:] != group[:-1]
    was_inside = starts_inside | (part == 0)
    was_inside[1:] = np.where(is_new[1:], was_inside[1:], is_inside[:-1])
    entry = np.flatnonzero(is_inside & ~was_inside)
    ends = np.append(np.flatnonzero(~is_inside | is_new), len(group))
    leave = ends[np.searchsorted(ends, entry, side="right")]
    returns = np.flatnonzero(leave < len(group))
    returns = returns[~is_new[leave[returns]]]
    entry, leave = entry[returns], leave[returns]
    at, straight = segment[entry], is_straight[entry]
    length_m = way.distance_m(at, part[entry], part[leave], straight)
    is_short = length_m <= way.error_m(at, straight)
    change = np.zeros(len(group) + 1, np.intp)
    change[entry[is_short]] += 1
    change[leave[is_short]] -= 1
    is_glimpsed: Bools = np.cumsum(change[:-1]) > 0
    return is_glimpsed
