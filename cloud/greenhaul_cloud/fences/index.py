"""Many fence versions at once: where a path is inside, near an edge, or crosses one.

Two trees: one of areas, for presence of points, one of all edges (inner rings too), for crossings
and nearness. A query costs in proportion to what it hits, not to fences × readings; nothing here
loops over readings or fences in Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from greenhaul_cloud.fences import chords
from greenhaul_cloud.fences.model import FenceVersion
from greenhaul_cloud.fences.plane import Plane

Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Uint8s = NDArray[np.uint8]
Indices = NDArray[np.intp]

# Where a point is, as a number: side of the true edge and whether beyond the hysteresis.
OUT_FAR, OUT_NEAR, IN_NEAR, IN_FAR = 0, 1, 2, 3

# Nearer than this to an edge, floating point cannot be trusted to say which side; such a reading
# is not *strictly* on a side.
EDGE_CLEARANCE_M = 0.001

# Path pieces looked up in one go: bounds the memory of the pair columns (some 200 bytes a pair).
PIECES_MAX = 20_000

# A piece of path shorter than this part of its segment is a rounding error, not a stay.
_PART_MIN = 1e-12


_NONE: Indices = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a path of n points has to do with the versions of an index, by slot (index position).

    Kept as the few points and cuts there are, for n × slots can be large.
    """

    size: int
    _inside: dict[int, Indices]
    _near: dict[int, Indices]  # points within the hysteresis
    _touching: dict[int, Indices]  # points too near to the true edge to be strictly on a side
    _cuts: dict[int, tuple[Indices, Float64s, Uint8s]]

    @property
    def slots(self) -> frozenset[int]:
        """Those the path touches or comes near to."""
        return frozenset(self._inside) | frozenset(self._near) | frozenset(self._cuts)

    def classes(self, slot: int) -> Uint8s:
        """(n,) OUT_FAR, OUT_NEAR, IN_NEAR or IN_FAR of every point."""
        is_inside, is_near = (self._marked(found, slot) for found in (self._inside, self._near))
        return _class_of(is_inside, is_near)

    def on_edge(self, slot: int) -> Bools:
        """(n,) whether a point is too near to the true edge to be strictly on a side."""
        return self._marked(self._touching, slot)

    def cuts(self, slot: int) -> tuple[Indices, Float64s, Uint8s]:
        """Where drawn segments change class: (segment, part of it in [0, 1), class after).

        One at part 0 may repeat the class of the segment's first point.
        """
        return self._cuts.get(slot, (_NONE, np.empty(0), np.empty(0, np.uint8)))

    def _marked(self, found: dict[int, Indices], slot: int) -> Bools:
        marked = np.zeros(self.size, bool)
        marked[found.get(slot, _NONE)] = True
        return marked


class FenceIndex:
    """An immutable index over fence versions; slot i is `versions[i]`."""

    def __init__(self, versions: Sequence[FenceVersion]) -> None:
        self.versions = tuple(versions)
        self.slot_of = {(v.fence_id, v.version): i for i, v in enumerate(self.versions)}
        self._areas = np.array([v.area for v in self.versions], dtype=object)
        shapely.prepare(self._areas)
        self._area_tree = shapely.STRtree(self._areas)
        planes = [Plane.around(v.area.bounds) for v in self.versions]
        self._origin = np.array([complex(p.longitude_deg, p.latitude_deg) for p in planes])
        self._scale = np.array([complex(p.east_m, p.north_m) for p in planes])
        self._hysteresis_m = np.array([v.settings.hysteresis_m for v in self.versions], float)
        self._build_edges(planes)

    def _build_edges(self, planes: list[Plane]) -> None:
        points, ring, slot = _ring_points(self._areas)
        is_edge = ring[1:] == ring[:-1]
        start, end = points[:-1][is_edge], points[1:][is_edge]
        self._edge_slot = slot[:-1][is_edge]
        margins = [p.margin_deg(v.settings.hysteresis_m)
                   for p, v in zip(planes, self.versions, strict=True)]  # fmt: skip
        margin = np.array(margins, float).reshape(-1, 2)[self._edge_slot]
        low, high = np.minimum(start, end) - margin, np.maximum(start, end) + margin
        self._edge_tree = shapely.STRtree(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
        self._edge_start = self._to_metres(start[:, 0] + 1j * start[:, 1], self._edge_slot)
        edge_end = self._to_metres(end[:, 0] + 1j * end[:, 1], self._edge_slot)
        self._edge_along = edge_end - self._edge_start

    def _to_metres(self, degrees: chords.Complexes, slot: Indices) -> chords.Complexes:
        offset = degrees - self._origin[slot]
        scale = self._scale[slot]
        metres: chords.Complexes = offset.real * scale.real + 1j * (offset.imag * scale.imag)
        return metres

    def survey(self, longitude_deg: Float64s, latitude_deg: Float64s, drawn: Bools) -> Survey:
        """Survey a path of n points; `drawn` (n - 1,) says which segments are straight path."""
        size = len(longitude_deg)
        if size == 0 or not self.versions:
            return Survey(size, {}, {}, {}, {})
        at = longitude_deg + 1j * latitude_deg
        run = np.zeros(size, complex)
        run[:-1] = np.where(drawn, np.diff(at), 0)
        lows = range(0, size, PIECES_MAX)
        held = [self._held(longitude_deg, latitude_deg, low) for low in lows]
        slot, point = np.concatenate(held, axis=1)
        inside = _by_slot(slot, point)
        parts = [self._survey_edges(at, run, inside, low) for low in lows]
        near, touching, cut_rows = (
            np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True)
        )
        return Survey(size, inside, _by_slot(*near), _by_slot(*touching), _cuts_by_slot(cut_rows))

    def _held(self, longitude_deg: Float64s, latitude_deg: Float64s, low: int) -> Indices:
        """(2, m) slot and point of every point held by an area, of one run of points."""
        x, y = (v[low : low + PIECES_MAX] for v in (longitude_deg, latitude_deg))
        point, slot = self._area_tree.query(shapely.points(x, y))
        # The tree prepares what asks, not what is asked: a city's border must be, or it costs all.
        is_held = shapely.intersects_xy(self._areas[slot], x[point], y[point])
        return np.stack((slot[is_held], point[is_held] + low))

    def _survey_edges(
        self, at: chords.Complexes, run: chords.Complexes, inside: dict[int, Indices], low: int
    ) -> tuple[Indices, Indices, Float64s]:
        """(slot, point) near an edge, (slot, point) on one, and cut rows, of one run of pieces."""
        end = at[low : low + PIECES_MAX] + run[low : low + PIECES_MAX]
        start = at[low : low + PIECES_MAX]
        boxes = shapely.box(
            np.minimum(start.real, end.real), np.minimum(start.imag, end.imag),
            np.maximum(start.real, end.real), np.maximum(start.imag, end.imag),
        )  # fmt: skip
        piece, edge = self._edge_tree.query(boxes)
        piece += low
        slot = self._edge_slot[edge]
        begin = self._to_metres(at[piece], slot)
        reach = self._to_metres(at[piece] + run[piece], slot) - begin
        along, edge_start = self._edge_along[edge], self._edge_start[edge]
        distance_m = chords.distances_m(begin, edge_start, along)
        near, on_edge = (
            np.stack((slot, piece))[:, distance_m <= limit]
            for limit in (self._hysteresis_m[slot], EDGE_CLEARANCE_M)
        )
        is_drawn = reach != 0
        slot, piece, begin, reach = (
            slot[is_drawn],
            piece[is_drawn],
            begin[is_drawn],
            reach[is_drawn],
        )
        along, edge_start = along[is_drawn], edge_start[is_drawn]
        crossing = chords.crossings(begin, reach, edge_start, along)
        band = chords.within(begin, reach, edge_start, along, self._hysteresis_m[slot])
        return near, on_edge, self._cut_rows(at, run, inside, slot, piece, crossing, band)

    def _cut_rows(
        self,
        at: chords.Complexes,
        run: chords.Complexes,
        inside: dict[int, Indices],
        slot: Indices,
        piece: Indices,
        crossing: Float64s,
        band: tuple[Float64s, Float64s],
    ) -> Float64s:
        """(slot, segment, part, class after) of every change of class within drawn segments."""
        size = len(at)
        crosses, is_near = np.isfinite(crossing), np.isfinite(band[0])
        key = slot * size + piece
        keys, group = np.unique(key[crosses | is_near], return_inverse=True)
        if len(keys) == 0:
            return np.empty((4, 0))
        group_of_pair = np.full(len(key), -1)
        group_of_pair[crosses | is_near] = group
        has_crossing = np.zeros(len(keys), bool)
        has_crossing[group_of_pair[crosses]] = True
        # One row a breakpoint: crossings change nothing by themselves, band ends count in and out.
        rows_group = np.concatenate(
            (
                np.arange(len(keys)),
                group_of_pair[crosses],
                group_of_pair[is_near],
                group_of_pair[is_near],
            )
        )
        part = np.concatenate(
            (np.zeros(len(keys)), crossing[crosses], band[0][is_near], band[1][is_near])
        )
        step = np.repeat([0, 0, 1, -1], [len(keys), crosses.sum(), is_near.sum(), is_near.sum()])
        order = np.lexsort((part, rows_group))
        rows_group, part, near_count = rows_group[order], part[order], np.cumsum(step[order])
        part_end = np.ones(len(part))
        part_end[:-1] = np.where(rows_group[1:] == rows_group[:-1], part[1:], 1.0)
        lasts = part_end - part > _PART_MIN
        rows_group, part, part_end = rows_group[lasts], part[lasts], part_end[lasts]
        is_close = near_count[lasts] > 0
        row_slot, row_piece = keys[rows_group] // size, keys[rows_group] % size
        starts_inside = _is_member(inside, row_slot, row_piece)
        is_inside = starts_inside.copy()
        ask = has_crossing[rows_group]
        middle = at[row_piece] + run[row_piece] * ((part + part_end) / 2)
        is_inside[ask] = shapely.intersects_xy(
            self._areas[row_slot[ask]], middle.real[ask], middle.imag[ask]
        )
        after = _class_of(is_inside, is_close)
        changes = np.ones(len(after), bool)
        changes[1:] = (after[1:] != after[:-1]) | (rows_group[1:] != rows_group[:-1])
        return np.stack((row_slot, row_piece, part, after))[:, changes]


def _ring_points(areas: NDArray[np.object_]) -> tuple[Float64s, Indices, Indices]:
    """Vertices (m, 2) of all rings, the ring and the area each belongs to."""
    polygons, polygon_area = shapely.get_parts(areas, return_index=True)
    rings, ring_polygon = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    slots = polygon_area[ring_polygon[ring]] if len(ring) else np.empty(0, np.intp)
    return points, ring, slots


def _class_of(is_inside: Bools, is_near: Bools) -> Uint8s:
    classes: Uint8s = np.where(
        is_inside, np.where(is_near, IN_NEAR, IN_FAR), np.where(is_near, OUT_NEAR, OUT_FAR)
    ).astype(np.uint8)
    return classes


def _by_slot(slot: Indices, value: Indices) -> dict[int, Indices]:
    order = np.argsort(slot, kind="stable")
    slots, starts = np.unique(slot[order], return_index=True)
    return dict(zip(slots.tolist(), np.split(value[order], starts[1:]), strict=False))


def _is_member(members: dict[int, Indices], slot: Indices, value: Indices) -> Bools:
    is_member = np.zeros(len(slot), bool)
    for one in np.unique(slot).tolist():
        if one in members:
            rows = slot == one
            is_member[rows] = np.isin(value[rows], members[one])
    return is_member


def _cuts_by_slot(rows: Float64s) -> dict[int, tuple[Indices, Float64s, Uint8s]]:
    order = np.lexsort((rows[2], rows[1], rows[0]))
    slots, starts = np.unique(rows[0][order], return_index=True)
    return {
        int(slot): (rows[1][part].astype(np.intp), rows[2][part], rows[3][part].astype(np.uint8))
        for slot, part in zip(slots.tolist(), np.split(order, starts[1:]), strict=False)
    }
