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
from greenhaul_cloud.fences.curves import Curves, no_curves
from greenhaul_cloud.fences.edges import EDGE_CLEARANCE_M, Edges, Pairs
from greenhaul_cloud.fences.model import FenceVersion
from greenhaul_cloud.fences.pieces import CURVED, STRAIGHT, Pieces, pieces_of
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
        self.is_straight = np.array([v.settings.path == "straight" for v in self.versions], bool)

    def survey(
        self,
        longitude_deg: Float64s,
        latitude_deg: Float64s,
        drawn: Bools,
        curves: Curves | None = None,
    ) -> Survey:
        """Survey a path of n points; `drawn` (n - 1,) says along which segments there is a path.

        It is straight but for `curves`; of fences that ask for a straight path it is always.
        """
        held = self.held(longitude_deg, latitude_deg)
        return Survey(
            len(longitude_deg), held, self.meet(longitude_deg, latitude_deg, drawn, curves)
        )

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

    def meet(
        self,
        longitude_deg: Float64s,
        latitude_deg: Float64s,
        drawn: Bools,
        curves: Curves | None = None,
    ) -> Meetings:
        """What a path of n points has to do with edges; arguments as of `survey`."""
        at = longitude_deg + 1j * latitude_deg
        run = np.zeros(len(at), complex)
        run[:-1] = np.where(drawn, np.diff(at), 0)
        pieces = self._pieces(at, run, curves or no_curves())
        parts = list(self._parts(pieces))
        nears, on_edges, cut_rows = zip(*parts, strict=True) if parts else ((), (), ())
        nothing = np.empty((2, 0), np.intp)
        columns = list(zip(_NO_CUTS, *cut_rows, strict=True))
        keys, part, place = (np.concatenate(column) for column in columns)
        piece, slot = np.divmod(keys, max(len(self.versions), 1))
        segment, part = pieces.segment[piece], pieces.parts(piece, part)
        order = np.lexsort((part, segment, slot))
        return Meetings(
            np.concatenate((nothing, *nears), axis=1),
            np.concatenate((nothing, *on_edges), axis=1),
            Cuts(slot[order], segment[order], part[order], place[order]),
        )

    def _pieces(self, at: Complexes, run: Complexes, curves: Curves) -> Pieces:
        """The path as straight pieces; curves that keep away from all edges are left out."""
        is_drawn = run[curves.segment] != 0
        corners = curves.corners()
        low = corners.real.min(axis=0) + 1j * corners.imag.min(axis=0)
        high = corners.real.max(axis=0) + 1j * corners.imag.max(axis=0)
        busy = np.flatnonzero(is_drawn & self.is_busy(low, high - low))
        return pieces_of(at, run, curves.take(busy), bool(self.is_straight.any()))

    def _parts(self, pieces: Pieces) -> Iterator[tuple[Indices, Indices, _CutRows]]:
        """(slot, point) near an edge, (slot, point) on one, and cut rows, of runs of pieces."""
        if not self.versions:
            return
        busy = np.flatnonzero(self._edges.is_busy(pieces.at, pieces.run))
        for low in range(0, len(busy), PIECES_MAX):
            pairs = self._edges.pairs(pieces.at, pieces.run, busy[low : low + PIECES_MAX])
            is_point = pairs.piece < pieces.points
            where = np.stack((pairs.slot, pairs.piece))
            hysteresis_m = self._edges.hysteresis_m[pairs.slot]
            is_near = is_point & (pairs.distance_m <= hysteresis_m) & (hysteresis_m > 0)
            is_on_edge = is_point & (pairs.distance_m <= EDGE_CLEARANCE_M)
            whose = pieces.whose[pairs.piece]
            asked = whose != np.where(self.is_straight[pairs.slot], CURVED, STRAIGHT)
            yield where[:, is_near], where[:, is_on_edge], self._cut_rows(pieces, pairs, asked)

    def _cut_rows(self, pieces: Pieces, pairs: Pairs, is_asked: Bools) -> _CutRows:
        """(piece × slots + slot, part, class after) of every change within pieces."""
        slots, at, run = len(self.versions), pieces.at, pieces.run
        key = pairs.piece * slots + pairs.slot  # nearly in order as they come
        crosses = np.isfinite(pairs.crossings) & is_asked[:, None]
        is_near = np.isfinite(pairs.lows) & is_asked[:, None]
        met = np.flatnonzero(crosses.any(axis=1) | is_near.any(axis=1))
        # What a curve's piece ends in is said by the next one, whether or not that meets anything.
        followed = met[pieces.successors(pairs.piece[met])]
        keys, group = _numbered(np.append(key[met], key[followed] + slots))
        if len(keys) == 0:
            return _NO_CUTS
        group_of_pair = np.full(len(key), -1)
        group_of_pair[met] = group[: len(met)]
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
        row_piece, row_slot = np.divmod(keys[rows_group], slots)
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
        is_along[group_of_pair[met[pairs.is_along[met]]]] = True
        doubtful = np.flatnonzero(ask & ~is_inside & is_along[rows_group])
        is_inside[doubtful] = self._touches(row_slot[doubtful], asked[doubtful])
        is_inside = is_inside[_last_true(ask)]
        after = class_of(is_inside, near_count[lasts] > 0)
        changes = is_first
        changes[1:] |= after[1:] != after[:-1]
        return keys[rows_group[changes]], part[changes], after[changes]


def _numbered(keys: Indices) -> tuple[Indices, Indices]:
    """Each key once, in order, and the place among them of every one given."""
    order = np.argsort(keys, kind="stable")  # which runs through what is sorted already
    ordered = keys[order]
    is_new = np.ones(len(keys), bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    number = np.empty(len(keys), np.intp)
    number[order] = np.cumsum(is_new) - 1
    return ordered[is_new], number


def _last_true(marked: Bools) -> Indices:
    """(n,) index of the last marked row at or before each; the first is marked."""
    last: Indices = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), 0))
    return last
