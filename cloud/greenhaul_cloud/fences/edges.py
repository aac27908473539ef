"""Edges of many fence versions: which pieces of path come near which, and where they cross.

An edge is a straight piece of a ring (inner rings too) or an arc of a circle. Whatever is found of
one arc is found of its whole circle: finding a thing twice is harmless.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from greenhaul_cloud.fences import chords
from greenhaul_cloud.fences.cells import Cells
from greenhaul_cloud.fences.chords import Complexes
from greenhaul_cloud.fences.model import FenceVersion
from greenhaul_cloud.fences.occupancy import Occupancy
from greenhaul_cloud.fences.plane import metres_per_degree

Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# Nearer than this to an edge, floating point cannot be trusted to say which side; such a reading
# is not *strictly* on a side.
EDGE_CLEARANCE_M = 0.001

# A circle is looked up by so many arcs: one box around it all would hold everything inside.
_ARCS = 16
_SAGITTA = 1 - np.cos(np.pi / _ARCS)  # of the radius

_DEGREES_MIN = 1e-9  # a plane at a pole has no east; nothing is judged there, nor divided by zero


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pieces of path and what they find of one edge each, columns of shape (m,).

    crossings, lows, highs: (m, k) parts of the piece: where it crosses the edge, and between which
    it is within the hysteresis; NaN where there is no such part. Without a hysteresis nothing is
    near: the edge itself is inside.
    """

    slot: Indices
    piece: Indices
    distance_m: Float64s  # of the piece's first point from the edge
    crossings: Float64s
    lows: Float64s
    highs: Float64s
    is_along: Bools  # whether the piece lies on the edge's line


class Edges:
    """All edges of some versions, and the planes in which their metres are measured."""

    def __init__(self, versions: Sequence[FenceVersion], areas: NDArray[np.object_]) -> None:
        bounds = shapely.bounds(areas).reshape(-1, 4)
        east_m, north_m = metres_per_degree((bounds[:, 1] + bounds[:, 3]) / 2)
        self._scale = np.maximum(east_m, _DEGREES_MIN) + 1j * north_m
        self._origin = (bounds[:, 0] + bounds[:, 2]) / 2 + 0.5j * (bounds[:, 1] + bounds[:, 3])
        self.hysteresis_m = np.array([v.settings.hysteresis_m for v in versions], float)
        self._radius_m = np.array([v.circle.radius_m if v.circle else 0.0 for v in versions])
        for slot, circle in ((i, v.circle) for i, v in enumerate(versions) if v.circle):
            plane = circle.plane
            self._origin[slot] = complex(plane.longitude_deg, plane.latitude_deg)
            self._scale[slot] = complex(plane.east_m, plane.north_m)
        start, end, self._slot, self._is_arc = self._drawn(areas)
        self._start = self.to_metres(start[:, 0] + 1j * start[:, 1], self._slot)
        ends = self.to_metres(end[:, 0] + 1j * end[:, 1], self._slot)
        self._along = ends - self._start
        # an arc leaves the diagonal of its box by its sagitta, in the middle
        arc_m = np.where(self._is_arc, self._radius_m[self._slot] * _SAGITTA, 0.0)
        reach_m = 1.001 * (self.hysteresis_m[self._slot] + arc_m) + 0.01
        scale = self._scale[self._slot]
        margin = np.stack((reach_m / scale.real, reach_m / scale.imag), axis=1)
        self._occupancy = Occupancy(start, end, margin)
        self._cells = Cells(start, end, margin)

    def _drawn(self, areas: NDArray[np.object_]) -> tuple[Float64s, Float64s, Indices, Bools]:
        """Begin and end (m, 2) in degrees and slot of each edge, and whether it is an arc's box."""
        circles = np.flatnonzero(self._radius_m)
        points, ring, slot = _ring_points(areas, self._radius_m == 0)
        is_edge = ring[1:] == ring[:-1]
        start, end, slot = points[:-1][is_edge], points[1:][is_edge], slot[:-1][is_edge]
        # The diagonal of an arc's box stands for it: it has the same box, and touches it at most.
        angle = np.linspace(0, 2 * np.pi, _ARCS + 1)
        around = np.exp(1j * angle) * self._radius_m[circles, None]
        degrees = (
            around.real / self._scale[circles, None].real
            + 1j * around.imag / self._scale[circles, None].imag
            + self._origin[circles, None]
        )
        from_deg, to_deg = (
            np.stack((column.real.ravel(), column.imag.ravel()), axis=1)
            for column in (degrees[:, :-1], degrees[:, 1:])
        )
        start, end = np.concatenate((start, from_deg)), np.concatenate((end, to_deg))
        is_arc = np.arange(len(start)) >= len(slot)
        slot = np.concatenate((slot, np.repeat(circles, _ARCS)))
        return start, end, slot, is_arc

    def to_metres(self, degrees: Complexes, slot: Indices) -> Complexes:
        """Longitude + i·latitude in the plane of each one's version."""
        offset, scale = degrees - self._origin[slot], self._scale[slot]
        metres: Complexes = offset.real * scale.real + 1j * (offset.imag * scale.imag)
        return metres

    def is_within_circle(self, slot: Indices, degrees: Complexes) -> Bools:
        """Whether each point lies in the circle of its version, for versions that are circles."""
        within: Bools = np.abs(self.to_metres(degrees, slot)) <= self._radius_m[slot]
        return within

    @property
    def is_circle(self) -> Bools:
        """By slot, whether a version is a circle."""
        return self._radius_m > 0

    def is_busy(self, at: Complexes, run: Complexes) -> Bools:
        """(m,) whether pieces from `at` along `run` (degrees) may come near an edge."""
        return self._occupancy.meets(*_boxes(at, at + run))

    def pairs(self, at: Complexes, run: Complexes, piece: Indices) -> Pairs:
        """What the chosen pieces (of those from `at` along `run`, degrees) find."""
        begin, end = at[piece], at[piece] + run[piece]
        west, south, east, north = _boxes(begin, end)
        low, high = np.stack((west, south), axis=1), np.stack((east, north), axis=1)
        row, edge = self._cells.query(low, high)
        slot = self._slot[edge]
        begin = self.to_metres(begin[row], slot)
        reach = self.to_metres(end[row], slot) - begin
        is_near = self._is_near(begin, reach, edge)
        row, edge, slot = row[is_near], edge[is_near], slot[is_near]
        return self._solved(piece[row], slot, edge, begin[is_near], reach[is_near])

    def _is_near(self, begin: Complexes, reach: Complexes, edge: Indices) -> Bools:
        """A cheap look at pairs whose boxes overlap: whether their middles are near enough."""
        along, start = self._along[edge], self._start[edge]
        is_arc = self._is_arc[edge]
        apart_m = np.abs(begin + reach / 2 - start - along / 2)
        slot = self._slot[edge]
        near_m = (np.abs(reach) + np.abs(along)) / 2 + self.hysteresis_m[slot] + 0.01
        is_near: Bools = is_arc | (apart_m <= near_m)
        return is_near

    def _solved(
        self, piece: Indices, slot: Indices, edge: Indices, begin: Complexes, reach: Complexes
    ) -> Pairs:
        size = len(piece)
        distance_m = np.empty(size)
        crossings, lows, highs = (np.full((size, 2), np.nan) for _ in range(3))
        hysteresis_m = self.hysteresis_m[slot]
        arc = np.flatnonzero(self._is_arc[edge])
        line = np.flatnonzero(~self._is_arc[edge])
        start, along = self._start[edge[line]], self._along[edge[line]]
        distance_m[line] = chords.distances_m(begin[line], start, along)
        crossings[line, 0] = chords.crossings(begin[line], reach[line], start, along)
        lows[line, 0], highs[line, 0] = chords.within(
            begin[line], reach[line], start, along, hysteresis_m[line]
        )
        is_along = np.zeros(size, bool)
        is_along[line] = chords.runs_along(begin[line], reach[line], start, along)
        if len(arc):
            radius_m = self._radius_m[slot[arc]]
            distance_m[arc] = np.abs(np.abs(begin[arc]) - radius_m)
            crossings[arc] = chords.circle_crossings(begin[arc], reach[arc], radius_m)
            lows[arc], highs[arc] = chords.near_circle(
                begin[arc], reach[arc], radius_m, hysteresis_m[arc]
            )
        stands = reach == 0
        crossings[stands] = np.nan
        lows[stands | (hysteresis_m == 0)] = np.nan
        return Pairs(slot, piece, distance_m, crossings, lows, highs, is_along & ~stands)


def _boxes(start: Complexes, end: Complexes) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    return (
        np.minimum(start.real, end.real), np.minimum(start.imag, end.imag),
        np.maximum(start.real, end.real), np.maximum(start.imag, end.imag),
    )  # fmt: skip


def _ring_points(areas: NDArray[np.object_], is_chosen: Bools) -> tuple[Float64s, Indices, Indices]:
    """Vertices (m, 2) of all rings of the chosen areas, the ring and the area each belongs to."""
    chosen = np.flatnonzero(is_chosen)
    polygons, polygon_area = shapely.get_parts(areas[chosen], return_index=True)
    rings, ring_polygon = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    slots = chosen[polygon_area[ring_polygon[ring]]] if len(ring) else np.empty(0, np.intp)
    return points, ring, slots
