"""Fences whose inside is known by its definition: the ground truth an engine is held against.

Shapes are in metres on the town's plane, and are asked in the plainest way there is; nothing is
shared with any engine under test.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from greenhaul_sim.streets import Plane, Point, StreetMap

Ring = tuple[Point, ...]

# How many of each kind there are, and how large. Such that looking at reports alone misses as many
# visits as was measured of it elsewhere: some 8 / 25 / 37 % at 10 / 30 / 60 s, corridors most (two
# in three at 60 s), circles least. The tests hold it to that: no easier truth, no harder one.
_KINDS = (("polygon", 4), ("circle", 3), ("corridor", 1))
_POLYGON_M, _CIRCLE_M, _HALF_WIDTH_M = (200.0, 1_100.0), (100.0, 800.0), (50.0, 80.0)
_CORNERS = (8, 40)
_HOLED_SHARE = 0.3
_BENDS, _BEND_RAD, _LEG_M = (5, 13), 0.5, (200.0, 600.0)


class Shape(Protocol):
    """An area on the plane."""

    def holds(self, place: Point) -> bool:
        """Whether a place lies inside."""
        ...

    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north, in metres."""
        ...

    def to_geojson(self, plane: Plane) -> tuple[dict[str, Any], dict[str, Any]]:
        """Geometry and the properties that belong to it."""
        ...


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle."""

    centre: Point
    radius_m: float

    def holds(self, place: Point) -> bool:
        """Whether a place is no farther than the radius."""
        return math.dist(place, self.centre) <= self.radius_m

    def bounds(self) -> tuple[float, float, float, float]:
        """The square around it."""
        x_m, y_m, radius_m = *self.centre, self.radius_m
        return x_m - radius_m, y_m - radius_m, x_m + radius_m, y_m + radius_m

    def to_geojson(self, plane: Plane) -> tuple[dict[str, Any], dict[str, Any]]:
        """A Point and its radius."""
        [coordinates] = _coordinates([self.centre], plane)
        return {"type": "Point", "coordinates": coordinates}, {"radius_m": self.radius_m}


@dataclass(frozen=True, slots=True)
class Rings:
    """A polygon, a shell and perhaps holes."""

    rings: tuple[Ring, ...]

    def holds(self, place: Point) -> bool:
        """By the number of edges east of a place."""
        inside = False
        for ring in self.rings:
            for start, end in zip(ring, (*ring[1:], ring[0]), strict=True):
                if (start.y_m > place.y_m) != (end.y_m > place.y_m):
                    part = (place.y_m - start.y_m) / (end.y_m - start.y_m)
                    inside ^= place.x_m < start.x_m + part * (end.x_m - start.x_m)
        return inside

    def bounds(self) -> tuple[float, float, float, float]:
        """The box of the shell."""
        return _box(self.rings[0], 0.0)

    def to_geojson(self, plane: Plane) -> tuple[dict[str, Any], dict[str, Any]]:
        """A Polygon."""
        coordinates = [_coordinates([*ring, ring[0]], plane) for ring in self.rings]
        return {"type": "Polygon", "coordinates": coordinates}, {}


@dataclass(frozen=True, slots=True)
class Band:
    """A corridor: all places near a line."""

    line: tuple[Point, ...]
    half_width_m: float

    def holds(self, place: Point) -> bool:
        """Whether some piece of the line is no farther than the half-width."""
        ends = zip(self.line[:-1], self.line[1:], strict=True)
        return any(_distance_m(place, start, end) <= self.half_width_m for start, end in ends)

    def bounds(self) -> tuple[float, float, float, float]:
        """The box of the line, widened."""
        return _box(self.line, self.half_width_m)

    def to_geojson(self, plane: Plane) -> tuple[dict[str, Any], dict[str, Any]]:
        """A LineString and its half-width."""
        geometry = {"type": "LineString", "coordinates": _coordinates(self.line, plane)}
        return geometry, {"half_width_m": self.half_width_m}


@dataclass(frozen=True, slots=True)
class TrueFence:
    """A fence of the truth."""

    fence_id: str
    shape: Shape

    def feature(self, plane: Plane, **properties: Any) -> dict[str, Any]:
        """The fence as a GeoJSON feature with these properties (rules, confirm_s, …)."""
        geometry, own = self.shape.to_geojson(plane)
        return {
            "type": "Feature",
            "geometry": geometry,
            "properties": {"id": self.fence_id, **own, **properties},
        }


def build_fences(town: StreetMap, count: int, seed: int) -> list[TrueFence]:
    """Fences of all kinds, scattered over a town; the same seed gives the same fences."""
    rng = random.Random(f"fences {seed}")
    kinds = [kind for kind, share in _KINDS for _ in range(share)]
    makers: dict[str, Callable[[random.Random, StreetMap], Shape]]
    makers = {"polygon": _polygon, "circle": _disc, "corridor": _band}
    return [
        TrueFence(f"{kind}-{number}", makers[kind](rng, town))
        for number, kind in ((number, kinds[number % len(kinds)]) for number in range(count))
    ]


def _polygon(rng: random.Random, town: StreetMap) -> Rings:
    centre = town.junctions[rng.randrange(len(town.junctions))]
    radius_m = rng.uniform(*_POLYGON_M)
    shell = _star(rng, centre, 0.5 * radius_m, radius_m)
    if rng.random() >= _HOLED_SHARE:
        return Rings((shell,))
    return Rings((shell, _star(rng, centre, 0.15 * radius_m, 0.4 * radius_m)))


def _star(rng: random.Random, centre: Point, least_m: float, most_m: float) -> Ring:
    """Corners in order of their angle, so that no two edges cross."""
    corners = rng.randint(*_CORNERS)
    turn = rng.uniform(0, math.tau)
    ring = []
    for corner in range(corners):
        angle = turn + (corner + rng.uniform(-0.3, 0.3)) * math.tau / corners
        reach_m = rng.uniform(least_m, most_m)
        ring.append(
            Point(centre.x_m + reach_m * math.cos(angle), centre.y_m + reach_m * math.sin(angle))
        )
    return tuple(ring)


def _disc(rng: random.Random, town: StreetMap) -> Disc:
    centre = town.junctions[rng.randrange(len(town.junctions))]
    off_m = Point(rng.uniform(-150, 150), rng.uniform(-150, 150))
    return Disc(
        Point(centre.x_m + off_m.x_m, centre.y_m + off_m.y_m), round(rng.uniform(*_CIRCLE_M), 1)
    )


def _band(rng: random.Random, town: StreetMap) -> Band:
    """Across the town, whatever the streets: a river, a railway, the edge of a green belt."""
    place = town.junctions[rng.randrange(len(town.junctions))]
    angle = rng.uniform(0, math.tau)
    line = [place]
    for _ in range(rng.randint(*_BENDS)):
        leg_m = rng.uniform(*_LEG_M)
        place = Point(place.x_m + leg_m * math.cos(angle), place.y_m + leg_m * math.sin(angle))
        line.append(place)
        angle += rng.uniform(-_BEND_RAD, _BEND_RAD)
    return Band(tuple(line), round(rng.uniform(*_HALF_WIDTH_M), 1))


def _distance_m(place: Point, start: Point, end: Point) -> float:
    along = Point(end.x_m - start.x_m, end.y_m - start.y_m)
    length = along.x_m**2 + along.y_m**2
    forward = (place.x_m - start.x_m) * along.x_m + (place.y_m - start.y_m) * along.y_m
    part = min(max(forward / length, 0.0), 1.0) if length else 0.0
    return math.dist(place, (start.x_m + part * along.x_m, start.y_m + part * along.y_m))


def _box(points: Sequence[Point], margin_m: float) -> tuple[float, float, float, float]:
    xs, ys = [p.x_m for p in points], [p.y_m for p in points]
    return min(xs) - margin_m, min(ys) - margin_m, max(xs) + margin_m, max(ys) + margin_m


def _coordinates(points: Sequence[Point], plane: Plane) -> list[list[float]]:
    degrees = (plane.to_degrees(*point) for point in points)
    return [[longitude_deg, latitude_deg] for latitude_deg, longitude_deg in degrees]
