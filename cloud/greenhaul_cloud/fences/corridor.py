"""A corridor: everything no farther than a half-width from a line.

Bends are round, as that definition makes them. Round ends (the default) are part of it; flat ends
stop square at the line's first and last vertex. Arcs are drawn as polygons that lie at most
`ARC_DEPTH_M` inside the true arc.
"""

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, MultiPolygon, Point, Polygon

from greenhaul_cloud.fences.plane import Plane

Ends = Literal["round", "flat"]
Float64s = NDArray[np.float64]

# A centimetre: less than any receiver knows, and a millisecond at 36 km/h.
ARC_DEPTH_M = 0.01

# A local plane keeps lengths within 0.02 % over this extent; a longer line is buffered in parts.
_PART_M_MAX = 5_000.0


def corridor_area(line: Float64s, half_width_m: float, ends: Ends) -> Polygon | MultiPolygon:
    """The area of a corridor; `line` (n, 2) WGS-84 degrees, longitude first, n ≥ 2.

    Loops of the line leave holes where they are wider than the corridor.
    """
    chunks = _chunks(line)
    pieces = [_widened(LineString(chunk), half_width_m, ends) for chunk in chunks]
    if ends == "flat":
        joints = [chunk[0] for chunk in chunks[1:]]
        pieces += [_widened(Point(joint), half_width_m, "round") for joint in joints]
    area = shapely.union_all(pieces)
    assert isinstance(area, Polygon | MultiPolygon), "a widened line has an area"
    return area


def _widened(shape: LineString | Point, half_width_m: float, ends: Ends) -> Polygon:
    """A shape buffered in the local plane of its own middle."""
    plane = Plane.around(shape.bounds)
    degrees = shapely.get_coordinates(shape)
    scale = np.array([plane.east_m, plane.north_m])
    origin = np.array([plane.longitude_deg, plane.latitude_deg])
    metres = shapely.set_coordinates(shape, (degrees - origin) * scale)
    step = 2 * math.acos(1 - min(ARC_DEPTH_M / half_width_m, 0.5))
    quarter = math.ceil(math.pi / 2 / step)
    widened = shapely.buffer(
        metres, half_width_m, quad_segs=quarter, cap_style=ends, join_style="round"
    )
    return shapely.transform(widened, lambda points: points / scale + origin)


def _chunks(line: Float64s) -> list[Float64s]:
    """The line in pieces of limited extent, each beginning where the one before ends.

    Points put into long edges lie on them: they part, but do not bend.
    """
    points = [line[0]]
    for start, end in pairwise(line):
        length_m = _length_m(start, end)
        steps = math.ceil(length_m / _PART_M_MAX) or 1
        points += [start + (end - start) * (step / steps) for step in range(1, steps)] + [end]
    chunks, chunk, run_m = [], [points[0]], 0.0
    for start, end in pairwise(points):
        length_m = _length_m(start, end)
        if len(chunk) > 1 and run_m + length_m > _PART_M_MAX:
            chunks.append(np.array(chunk))
            chunk, run_m = [start], 0.0
        chunk.append(end)
        run_m += length_m
    return [*chunks, np.array(chunk)]


def _length_m(start: Float64s, end: Float64s) -> float:
    plane = Plane.around((start[0], start[1], end[0], end[1]))
    return math.hypot((end[0] - start[0]) * plane.east_m, (end[1] - start[1]) * plane.north_m)
