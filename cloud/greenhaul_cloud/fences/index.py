"""Many fence versions at once: where a path is inside, near an edge, or crosses one.

A tree of areas for presence of points, and cells of all edges for crossings and nearness behind a
coarse grid. A query costs in proportion to what it hits, not to fences × readings; nothing here
loops over readings or fences in Python.

An index is immutable. A new one is built beside the old and put in its place by one assignment;
it is built in small steps between which other threads run.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from greenhaul_cloud.fences.chords import Complexes
from greenhaul_cloud.fences.edges import EDGE_CLEARANCE_M, Edges, Pairs
from greenhaul_cloud.fences.model import FenceVersion
from greenhaul_cloud.fences.survey import (
    Bools,
    Cuts,
    Float64s,
    Indices,
    Meetings,
    Survey,
    Uint8s,
    class_of,
)

# Pieces looked up in one go: bounds the memory of the pair columns (some 300 bytes a pair).
PIECES_MAX = 20_000

_CutRows = tuple[Indices, Float64s, Uint8s]
_NO_CUTS: _CutRows = (np.empty(0, np.intp), np.empty(0), np.empty(0, np.uint8))

# A point this near to an area is on its edge: a micrometre, a thousand times what is rounded.
_TOUCH_DEG = 1e-11

# A piece of path shorter than this part of its segment is a rounding error, not a stay.
_PART_MIN = 1e-12


class FenceIndex:
    """An immutable index over fence versions; slot i is `versions[i]`."""

    def __init__(self, versions: Sequence[FenceVersion]) -> None:
        self.versions = tuple(versions)
        self.slot_of = {(v.fence_id, v.version): i for i, v in enumerate(self.versions)}
        self.settings = frozenset(v.settings for v in self.versions)
        self._areas = np.array([v.area for v in self.versions], dtype=object)
        shapely.prepare(self._areas)
        self._area_tree = shapely.STRtree(self._areas)
        self._area_tree.query(shapely.Point(0, 0))  # trees are built when first asked
        self._edges = Edges(self.versions, self._areas)

    def survey(self, longitude_deg: Float64s, latitude_deg: Float64s, drawn: Bools) -> Survey:
        """Survey a path of n points; `drawn` (n - 1,) says which segments are straight path."""
        held = self.held(longitude_deg, latitude_deg)
        return Survey(len(longitude_deg), held, self.meet(longitude_deg, latitude_deg, drawn))

    def held(self, longitude_deg: Float64s, latitude_deg: Float64s) -> Indices:
        """(2, m) slot and point of every point held by an area."""
        found = [np.empty((2, 0), np.intp)]
        for low in range(0, len(longitude_deg) if self.versions else 0, PIECES_MAX):
            x, y = (v[low : low + PIECES_MAX] for v in (longitude_deg, latitude_deg))
            point, slot = self._area_tree.query(shapely.points(x, y))
            is_held = self.contains(slot, x[point] + 1j * y[point])
            found.append(np.stack((slot[is_held], point[is_held] + low)))
        return np.concatenate(found, axis=1)

    def is_busy(self, at: Complexes, run: Complexes) -> Bools:
        """(m,) whether pieces of path from `at` along `run` may come near an edge (degrees)."""
        return self._edges.is_busy(at, run)

    def contains(self, slot: Indices, at: Complexes) -> Bools:
        """(m,) whether each point lies in its version's area or on its edge."""
        # A tree prepares what asks, not what is asked: a city's border must be, or it costs all.
        is_held: Bools = shapely.intersects_xy(self._areas[slot], at.real, at.imag)
        round_ones = self._edges.is_circle[slot] & is_held
        is_held[round_ones] = self._edges.is_within_circle(slot[round_ones], at[round_ones])
        return is_held

    def _touches(self, slot: Indices, at: Complexes) -> Bools:
        """(m,) whether each point lies in its version's area, as nearly as numbers tell."""
        points = shapely.points(at.real, at.imag)
        is_touching: Bools = shapely.dwithin(self._areas[slot], points, _TOUCH_DEG)
        return is_touching & ~self._edges.is_circle[slot]

    def meet(self, longitude_deg: Float64s, latitude_deg: Float64s, drawn: Bools) -> Meetings:
        """What a path of n points has to do with edges; arguments as of `survey`."""
        at = longitude_deg + 1j * latitude_deg
        run = np.zeros(len(at), complex)
        run[:-1] = np.where(drawn, np.diff(at), 0)
        parts = list(self._parts(at, run))
        nears, on_edges, cut_rows = zip(*parts, strict=True) if parts else ((), (), ())
        nothing = np.empty((2, 0), np.intp)
        columns = list(zip(_NO_CUTS, *cut_rows, strict=True))
        keys, part, place = (np.concatenate(column) for column in columns)
        # Each run of pieces is in order; a stable sort merges them.
        order = np.argsort(keys, kind="stable")
        slot, segment = np.divmod(keys[order], max(len(at), 1))
        return Meetings(
            np.concatenate((nothing, *nears), axis=1),
            np.concatenate((nothing, *on_edges), axis=1),
            Cuts(slot, segment, part[order], place[order]),
        )

    def _parts(self, at: Complexes, run: Complexes) -> Iterator[tuple[Indices, Indices, _CutRows]]:
        """(slot, point) near an edge, (slot, point) on one, and cut rows, of runs of pieces."""
        if not self.versions:
            return
        busy = np.flatnonzero(self._edges.is_busy(at, run))
        for low in range(0, len(busy), PIECES_MAX):
            pairs = self._edges.pairs(at, run, busy[low : low + PIECES_MAX])
            where = np.stack((pairs.slot, pairs.piece))
            hysteresis_m = self._edges.hysteresis_m[pairs.slot]
            near = where[:, (pairs.distance_m <= hysteresis_m) & (hysteresis_m > 0)]
            on_edge = where[:, pairs.distance_m <= EDGE_CLEARANCE_M]
            yield near, on_edge, self._cut_rows(at, run, pairs)

    def _cut_rows(self, at: Complexes, run: Complexes, pairs: Pairs) -> _CutRows:
        """(slot × points + segment, part, class after) of every change within drawn segments."""
        size = len(at)
        key = pairs.slot * size + pairs.piece
        crosses, is_near = np.isfinite(pairs.crossings), np.isfinite(pairs.lows)
        is_met = crosses.any(axis=1) | is_near.any(axis=1)
        keys, group = np.unique(key[is_met], return_inverse=True)
        if len(keys) == 0:
            return _NO_CUTS
        group_of_pair = np.full(len(key), -1)
        group_of_pair[is_met] = group
        crossing_group = group_of_pair[np.nonzero(crosses)[0]]
        band_group = group_of_pair[np.nonzero(is_near)[0]]
        has_crossing = np.zeros(len(keys), bool)
        has_crossing[crossing_group] = True
        # One row a breakpoint: crossings change nothing by themselves, band ends count in and out.
        rows_group = np.concatenate((np.arange(len(keys)), crossing_group, band_group, band_group))
        part = np.concatenate(
            (
                np.zeros(len(keys)), pairs.crossings[crosses],
                pairs.lows[is_near], pairs.highs[is_near],
            )
        )  # fmt: skip
        counts = [len(keys), len(crossing_group), len(band_group), len(band_group)]
        step = np.repeat([0, 0, 1, -1], counts)
        order = np.lexsort((part, rows_group))
        rows_group, part, near_count = rows_group[order], part[order], np.cumsum(step[order])
        part_end = np.ones(len(part))
        part_end[:-1] = np.where(rows_group[1:] == rows_group[:-1], part[1:], 1.0)
        lasts = part_end - part > _PART_MIN
        rows_group, part, part_end = rows_group[lasts], part[lasts], part_end[lasts]
        row_slot, row_piece = keys[rows_group] // size, keys[rows_group] % size
        # Asked where the piece begins, or, if it crosses, in the middle between two breakpoints.
        ask = has_crossing[rows_group]
        asked = at[row_piece] + np.where(ask, (part + part_end) / 2, 0.0) * run[row_piece]
        is_first = np.ones(len(part), bool)
        is_first[1:] = rows_group[1:] != rows_group[:-1]
        ask |= is_first
        is_inside = np.zeros(len(part), bool)
        is_inside[ask] = self.contains(row_slot[ask], asked[ask])
        # The middle of a piece that runs along a slanted edge is rounded off it, to either side.
        is_along = np.zeros(len(keys), bool)
        is_along[group_of_pair[is_met & pairs.is_along]] = True
        doubtful = np.flatnonzero(ask & ~is_inside & is_along[rows_group])
        is_inside[doubtful] = self._touches(row_slot[doubtful], asked[doubtful])
        is_inside = is_inside[_last_true(ask)]
        after = class_of(is_inside, near_count[lasts] > 0)
        changes = is_first
        changes[1:] |= after[1:] != after[:-1]
        return keys[rows_group[changes]], part[changes], after[changes]


def _last_true(marked: Bools) -> Indices:
    """(n,) index of the last marked row at or before each; the first is marked."""
    last: Indices = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), 0))
    return last
