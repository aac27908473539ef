"""A town of streets that does not exist, around a place that does: the ground trucks drive on.

A grid of side streets with an arterial every few blocks, jittered, bent and slightly turned, some
side streets missing, and a river only arterials cross. The same seed gives the same town.

Inside, places are metres east and north of the centre on a local plane; degrees exist at the
border only.
"""

import heapq
import math
import random
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

StreetClass = Literal["arterial", "side"]

# Nanyang 南阳, Henan: the inner city.
NANYANG_LATITUDE_DEG, NANYANG_LONGITUDE_DEG = 32.99, 112.53

METRES_PER_DEGREE = 111_320.0  # of latitude, on the mean sphere

LIMITS_KMH: dict[StreetClass, float] = {"arterial": 60.0, "side": 40.0}

_BLOCK_M = (230.0, 370.0)  # distance between parallel streets
_ARTERIAL_EVERY = 4  # every fourth street is an arterial
_JITTER_M: dict[StreetClass, float] = {"arterial": 8.0, "side": 28.0}
_SIDE_STREETS_MISSING = 0.13  # share
_RIVER_HALF_WIDTH_M = 90.0

# Route trees kept, one a destination: a town has some 1,200 junctions, a tree takes 10 kB.
_TREES_MAX = 2_048

_EAST_WEST_NAMES = ("人民路", "中州路", "建设路", "工业路", "张衡路", "信臣路", "滨河路", "长江路")
_NORTH_SOUTH_NAMES = ("独山大道", "车站路", "文化路", "光武路", "仲景路", "明山路", "北京路")


class Point(NamedTuple):
    """A place on the local plane."""

    x_m: float
    y_m: float


@dataclass(frozen=True, slots=True)
class Plane:
    """The local plane around a centre: good to a few metres over a town."""

    latitude_deg: float = NANYANG_LATITUDE_DEG
    longitude_deg: float = NANYANG_LONGITUDE_DEG

    def to_degrees(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude of a place."""
        east_m = METRES_PER_DEGREE * math.cos(math.radians(self.latitude_deg))
        return self.latitude_deg + y_m / METRES_PER_DEGREE, self.longitude_deg + x_m / east_m

    def to_metres(self, latitude_deg: float, longitude_deg: float) -> Point:
        """The inverse of `to_degrees`."""
        east_m = METRES_PER_DEGREE * math.cos(math.radians(self.latitude_deg))
        return Point(
            (longitude_deg - self.longitude_deg) * east_m,
            (latitude_deg - self.latitude_deg) * METRES_PER_DEGREE,
        )


class Street(NamedTuple):
    """One block of street between two junctions, driven both ways."""

    start: int
    end: int
    length_m: float
    street_class: StreetClass
    name: str

    @property
    def limit_kmh(self) -> float:
        """Speed limit."""
        return LIMITS_KMH[self.street_class]


class StreetMap:
    """Junctions and the streets between them; every junction can be reached from every other."""

    def __init__(
        self, plane: Plane, junctions: list[Point], streets: list[Street], river: list[Point]
    ) -> None:
        self.plane = plane
        self.junctions = junctions
        self.streets = streets
        self.river = river  # its middle line, west to east
        self.neighbours: list[dict[int, Street]] = [{} for _ in junctions]
        for street in streets:
            self.neighbours[street.start][street.end] = street
            self.neighbours[street.end][street.start] = street
        self._trees: OrderedDict[int, list[int]] = OrderedDict()

    def nearest(self, place: Point) -> int:
        """The junction nearest to a place."""
        return min(
            range(len(self.junctions)), key=lambda index: math.dist(self.junctions[index], place)
        )

    def near(self, place: Point, radius_m: float) -> list[int]:
        """All junctions within a radius, never none: the nearest one if there is no other."""
        found = [
            index
            for index, junction in enumerate(self.junctions)
            if math.dist(junction, place) <= radius_m
        ]
        return found or [self.nearest(place)]

    def route(self, start: int, end: int) -> list[int]:
        """Junctions of the quickest way from `start` to `end`, both included."""
        tree = self._tree(end)
        way = [start]
        while way[-1] != end:
            way.append(tree[way[-1]])
        return way

    def _tree(self, end: int) -> list[int]:
        """For each junction the next one on the quickest way to `end`."""
        tree = self._trees.get(end)
        if tree is None:
            tree = self._trees[end] = self._quickest_to(end)
            if len(self._trees) > _TREES_MAX:
                self._trees.popitem(last=False)
        self._trees.move_to_end(end)
        return tree

    def _quickest_to(self, end: int) -> list[int]:
        tree = [-1] * len(self.junctions)
        best = [math.inf] * len(self.junctions)
        best[end] = 0.0
        queue = [(0.0, end)]
        while queue:
            time, junction = heapq.heappop(queue)
            if time > best[junction]:
                continue
            for neighbour, street in self.neighbours[junction].items():
                arrival = time + street.length_m / street.limit_kmh
                if arrival < best[neighbour]:
                    best[neighbour] = arrival
                    tree[neighbour] = junction
                    heapq.heappush(queue, (arrival, neighbour))
        return tree

    def to_geojson(self) -> dict[str, Any]:
        """Streets as lines with `name`, `class`, `limit_kmh`; the river as a `water` polygon."""
        water = _feature(
            "Polygon", [self._coordinates(_band(self.river))], {"name": "白河", "class": "water"}
        )
        lines = [
            _feature(
                "LineString",
                self._coordinates([self.junctions[index] for index in line]),
                {"name": name, "class": street_class, "limit_kmh": LIMITS_KMH[street_class]},
            )
            for name, street_class, line in self._lines()
        ]
        return {"type": "FeatureCollection", "features": [water, *lines]}

    def _lines(self) -> Iterator[tuple[str, StreetClass, list[int]]]:
        """Blocks that follow one another under one name, joined into lines."""
        line: list[int] = []
        last: Street | None = None
        for street in self.streets:
            if last and line[-1] == street.start and last[3:] == street[3:]:
                line.append(street.end)
            else:
                if last:
                    yield last.name, last.street_class, line
                line = [street.start, street.end]
            last = street
        if last:
            yield last.name, last.street_class, line

    def _coordinates(self, line: list[Point]) -> list[list[float]]:
        degrees = [self.plane.to_degrees(*point) for point in line]
        return [[round(longitude, 6), round(latitude, 6)] for latitude, longitude in degrees]


def build_town(seed: int, plane: Plane | None = None, half_width_m: float = 5_000.0) -> StreetMap:
    """A town reaching about `half_width_m` from the centre of the plane in each direction."""
    rng = random.Random(f"streets {seed}")
    columns = _street_offsets(rng, half_width_m)
    rows = _street_offsets(rng, half_width_m)
    turn = math.radians(rng.uniform(-9.0, 9.0))
    river = _river(rng, half_width_m)
    points = {
        (column, row): _junction(rng, columns[column], rows[row], _class(column, row), turn)
        for column in range(len(columns))
        for row in range(len(rows))
    }
    wanted = _keep_streets(rng, points, len(columns), len(rows), river)
    return _connected(plane or Plane(), points, wanted, river)


Cell = tuple[int, int]  # column, row


def _street_offsets(rng: random.Random, half_width_m: float) -> list[float]:
    offsets = [-half_width_m]
    while offsets[-1] < half_width_m:
        offsets.append(offsets[-1] + rng.uniform(*_BLOCK_M))
    return offsets


def _is_arterial(line: int) -> bool:
    return line % _ARTERIAL_EVERY == 1


def _class(column: int, row: int) -> StreetClass:
    return "arterial" if _is_arterial(column) or _is_arterial(row) else "side"


def _junction(
    rng: random.Random, x_m: float, y_m: float, street_class: StreetClass, turn: float
) -> Point:
    """Jittered, on streets that bend a little over kilometres, in a town that is turned."""
    jitter_m = _JITTER_M[street_class]
    x_m += rng.uniform(-jitter_m, jitter_m) + 60.0 * math.sin(y_m / 1_500.0)
    y_m += rng.uniform(-jitter_m, jitter_m) + 60.0 * math.sin(x_m / 1_900.0)
    return Point(
        x_m * math.cos(turn) - y_m * math.sin(turn), x_m * math.sin(turn) + y_m * math.cos(turn)
    )


def _river(rng: random.Random, half_width_m: float) -> list[Point]:
    """South of the centre, winding from west to east."""
    middle_m, phase = -rng.uniform(0.45, 0.6) * half_width_m, rng.uniform(0, math.tau)
    reach_m = 1.25 * half_width_m
    return [
        Point(x_m, middle_m + 260.0 * math.sin(x_m / 1_700.0 + phase))
        for x_m in (-reach_m + reach_m * step / 30 for step in range(61))
    ]


def _band(line: list[Point]) -> list[Point]:
    """A closed ring around the river's middle line."""
    north = [Point(point.x_m, point.y_m + _RIVER_HALF_WIDTH_M) for point in line]
    south = [Point(point.x_m, point.y_m - _RIVER_HALF_WIDTH_M) for point in reversed(line)]
    return [*south, *north, south[0]]


def _side_of_river(point: Point, river: list[Point]) -> bool:
    """Whether a place lies north of the river's middle line."""
    nearest = min(river, key=lambda bend: abs(bend.x_m - point.x_m))
    return point.y_m > nearest.y_m


def _keep_streets(
    rng: random.Random, points: dict[Cell, Point], columns: int, rows: int, river: list[Point]
) -> list[tuple[Cell, Cell, StreetClass, str]]:
    """Blocks of the grid that exist, street by street from one end to the other."""
    is_north = {cell: _side_of_river(point, river) for cell, point in points.items()}
    kept: list[tuple[Cell, Cell, StreetClass, str]] = []
    for is_row, lines, length in ((True, rows, columns), (False, columns, rows)):
        for line in range(lines):
            street_class: StreetClass = "arterial" if _is_arterial(line) else "side"
            name = _street_name(is_row, line)
            for step in range(length - 1):
                ends = (
                    ((step, line), (step + 1, line)) if is_row else ((line, step), (line, step + 1))
                )
                chance = rng.random()  # drawn always: one street more does not change the others
                crosses = is_north[ends[0]] != is_north[ends[1]]
                if street_class == "side" and (crosses or chance < _SIDE_STREETS_MISSING):
                    continue
                kept.append((*ends, street_class, name))
    return kept


def _street_name(is_row: bool, line: int) -> str:
    names = _EAST_WEST_NAMES if is_row else _NORTH_SOUTH_NAMES
    if _is_arterial(line):
        return names[line // _ARTERIAL_EVERY % len(names)]
    return f"{'东西' if is_row else '南北'}{line + 1}街"


def _connected(
    plane: Plane,
    points: dict[Cell, Point],
    wanted: list[tuple[Cell, Cell, StreetClass, str]],
    river: list[Point],
) -> StreetMap:
    """The map of everything that hangs together with the arterials."""
    links: dict[Cell, list[Cell]] = {cell: [] for cell in points}
    for start, end, _, _ in wanted:
        links[start].append(end)
        links[end].append(start)
    first = (1, 1)  # where two arterials cross
    reached, queue = {first}, [first]
    while queue:
        for neighbour in links[queue.pop()]:
            if neighbour not in reached:
                reached.add(neighbour)
                queue.append(neighbour)
    cells = [cell for cell in points if cell in reached]
    index = {cell: number for number, cell in enumerate(cells)}
    streets = [
        Street(index[start], index[end], math.dist(points[start], points[end]), street_class, name)
        for start, end, street_class, name in wanted
        if start in reached
    ]
    return StreetMap(plane, [points[cell] for cell in cells], streets, river)


def _feature(kind: str, coordinates: list[Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }
