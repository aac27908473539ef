"""What a path has to do with fence versions, kept as the few points and cuts there are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Uint8s = NDArray[np.uint8]
Indices = NDArray[np.intp]

# Where a point is, as a number: side of the true edge and whether beyond the hysteresis.
OUT_FAR, OUT_NEAR, IN_NEAR, IN_FAR = 0, 1, 2, 3

_NONE: Indices = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where drawn segments change class, as columns ordered by (slot, segment, part).

    slot and segment name the version and the segment; the class is `place` from `part` (in [0, 1))
    on. Every segment that comes near to an edge has a row at part 0 that says how it begins.
    """

    slot: Indices
    segment: Indices
    part: Float64s
    place: Uint8s


@dataclass(frozen=True, slots=True)
class Meetings:
    """Points near edges and cuts of segments, by slot; `near`, `on_edge`: (2, m) slot and point.

    near: within the hysteresis. on_edge: too near to the true edge to be strictly on a side.
    """

    near: Indices
    on_edge: Indices
    cuts: Cuts


class Survey:
    """What a path of n points has to do with the versions of an index, by slot (index position)."""

    def __init__(self, size: int, held: Indices, meetings: Meetings) -> None:
        self.size = size
        self._inside = _by_slot(*held)
        self._near = _by_slot(*meetings.near)
        self._on_edge = _by_slot(*meetings.on_edge)
        cuts = meetings.cuts
        slots, starts = np.unique(cuts.slot, return_index=True)
        ends = np.append(starts, len(cuts.slot))[1:].tolist()
        self._cuts = {
            slot: (cuts.segment[low:high], cuts.part[low:high], cuts.place[low:high])
            for slot, low, high in zip(slots.tolist(), starts.tolist(), ends, strict=True)
        }

    @property
    def slots(self) -> frozenset[int]:
        """Those the path touches or comes near to."""
        return frozenset(self._inside) | frozenset(self._near) | frozenset(self._cuts)

    def classes(self, slot: int) -> Uint8s:
        """(n,) OUT_FAR, OUT_NEAR, IN_NEAR or IN_FAR of every point."""
        is_inside, is_near = (self._marked(found, slot) for found in (self._inside, self._near))
        return class_of(is_inside, is_near)

    def on_edge(self, slot: int) -> Bools:
        """(n,) whether a point is too near to the true edge to be strictly on a side."""
        return self._marked(self._on_edge, slot)

    def cuts(self, slot: int) -> tuple[Indices, Float64s, Uint8s]:
        """Where drawn segments change class: (segment, part of it in [0, 1), class after).

        One at part 0 may repeat the class of the segment's first point.
        """
        return self._cuts.get(slot, (_NONE, np.empty(0), np.empty(0, np.uint8)))

    def _marked(self, found: dict[int, Indices], slot: int) -> Bools:
        marked = np.zeros(self.size, bool)
        marked[found.get(slot, _NONE)] = True
        return marked


def class_of(is_inside: Bools, is_near: Bools) -> Uint8s:
    """The class of points by side and nearness."""
    near = np.where(is_inside, IN_NEAR, OUT_NEAR)
    far = np.where(is_inside, IN_FAR, OUT_FAR)
    return np.where(is_near, near, far).astype(np.uint8)


def _by_slot(slot: Indices, value: Indices) -> dict[int, Indices]:
    order = np.argsort(slot, kind="stable")
    slots, starts = np.unique(slot[order], return_index=True)
    return dict(zip(slots.tolist(), np.split(value[order], starts[1:]), strict=False))
