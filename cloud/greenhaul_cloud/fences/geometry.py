"""The geometry of a fence feature: read in the datum it was drawn in, made an area in WGS-84."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon, box

from greenhaul_cloud.fences.circle import Circle
from greenhaul_cloud.fences.corridor import Ends, corridor_area
from greenhaul_cloud.fences.datum import READ_AS, DatumName, Wgs84, wgs84_of
from greenhaul_cloud.fences.rings import VERTICES_MAX, FeatureError, area_of_rings

Float64s = NDArray[np.float64]

# A circle or a corridor wider than a city is a slip of units; their plane would not hold either.
RADIUS_M_MAX = 100_000.0
HALF_WIDTH_M_MAX = 10_000.0

# A straight edge on a shifted map is a curve in WGS-84. Cut to this length, each piece departs
# from it by about a centimetre: the shortest waves are 33 km long and 13 m high in GCJ-02,
# 13 km long and 40 m high in BD-09.
_EDGE_DEG_MAX: dict[DatumName, float] = {"gcj02": 0.004, "bd09": 0.001}
# ... unless a ring is so long that this many pieces would not do: a bound on hostile input.
_PIECES_MAX = 20_000

_FORMS: dict[str, tuple[str, str]] = {
    "Point": ("radius_m", "a circle is a Point with properties.radius_m"),
    "LineString": ("half_width_m", "a corridor is a LineString with properties.half_width_m"),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a feature draws: an area, and the circle that is meant exactly where it is one."""

    area: Polygon | MultiPolygon
    circle: Circle | None = None


def parse_geometry(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> Geometry:
    """The geometry of a feature. Raises FeatureError.

    A Polygon, a MultiPolygon, or a GeometryCollection of such; a Point with `radius_m`; a
    LineString with `half_width_m` and, if its ends are not round, `ends`: "flat"; no geometry but a
    `bbox`: that rectangle.
    """
    datum = properties.get("datum", "wgs84")
    if datum not in get_args(DatumName):
        raise FeatureError(f"datum: {datum!r} is not one of {', '.join(get_args(DatumName))}")
    geometry = feature.get("geometry")
    if geometry is None and feature.get("bbox") is not None:
        return Geometry(_rectangle(feature["bbox"], datum))
    if not isinstance(geometry, Mapping):
        raise FeatureError("geometry: expected a GeoJSON geometry")
    if geometry.get("type") == "GeometryCollection":
        geometry = _gathered(geometry)
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    _refuse_strangers(kind, properties)
    if kind == "Polygon":
        return Geometry(area_of_rings([_rings(coordinates, datum)]))
    if kind == "MultiPolygon" and isinstance(coordinates, list) and coordinates:
        return Geometry(area_of_rings([_rings(part, datum) for part in coordinates]))
    if kind == "Point":
        return _circle(coordinates, properties, datum)
    if kind == "LineString":
        return Geometry(_corridor(coordinates, properties, datum))
    raise FeatureError(
        f"geometry: type {kind!r} is not one of Polygon, MultiPolygon, Point, LineString"
    )


def _gathered(collection: Mapping[str, Any]) -> Mapping[str, Any]:
    """A collection of areas as one MultiPolygon."""
    members = collection.get("geometries")
    parts: list[Any] = []
    for member in members if isinstance(members, list) else []:
        kind = member.get("type") if isinstance(member, Mapping) else None
        if kind == "Polygon":
            parts.append(member.get("coordinates"))
        elif kind == "MultiPolygon" and isinstance(member.get("coordinates"), list):
            parts += member["coordinates"]
        else:
            raise FeatureError(
                f"geometry: a GeometryCollection of areas is taken, {kind!r} is none"
            )
    return {"type": "MultiPolygon", "coordinates": parts}


def _refuse_strangers(kind: Any, properties: Mapping[str, Any]) -> None:
    """Lengths that belong to another kind of geometry were meant for something."""
    for owner, (length, form) in _FORMS.items():
        if properties.get(length) is not None and kind != owner:
            raise FeatureError(f"{length} with a {kind}: {form}")


def _rectangle(bbox: Any, datum: DatumName) -> Polygon | MultiPolygon:
    match bbox:
        case [*sides] if len(sides) in (4, 6):
            west, south = _vertex(sides[:2])
            east, north = _vertex(sides[len(sides) // 2 :][:2])
        case _:
            raise FeatureError(f"bbox: {bbox!r} is not [west, south, east, north]")
    if not (west < east and south < north):
        raise FeatureError("bbox: west must be less than east, south less than north")
    ring = [(float(x), float(y)) for x, y in box(west, south, east, north).exterior.coords]
    return area_of_rings([[_in_wgs84(ring, datum)]])


def _circle(coordinates: Any, properties: Mapping[str, Any], datum: DatumName) -> Geometry:
    [(longitude_deg, latitude_deg)] = _in_wgs84([_vertex(coordinates)], datum)
    radius_m = _length_m(properties, "radius_m", RADIUS_M_MAX, _FORMS["Point"][1])
    if abs(latitude_deg) > 89:
        raise FeatureError("geometry: a circle around a pole is not judged; draw it as a Polygon")
    circle = Circle(longitude_deg, latitude_deg, radius_m)
    return Geometry(circle.polygon(), circle)


def _corridor(
    coordinates: Any, properties: Mapping[str, Any], datum: DatumName
) -> Polygon | MultiPolygon:
    if not isinstance(coordinates, list) or len(coordinates) > VERTICES_MAX:
        raise FeatureError(f"geometry: a LineString is a list of at most {VERTICES_MAX} vertices")
    line = [_vertex(vertex) for vertex in coordinates]
    line = [v for i, v in enumerate(line) if i == 0 or v != line[i - 1]]
    if len(line) < 2:
        raise FeatureError("geometry: a LineString needs two different vertices")
    half_width_m = _length_m(properties, "half_width_m", HALF_WIDTH_M_MAX, _FORMS["LineString"][1])
    ends = properties.get("ends", "round")
    if ends not in get_args(Ends):
        raise FeatureError(f"ends: {ends!r} is not one of {', '.join(get_args(Ends))}")
    return corridor_area(np.array(_in_wgs84(line, datum)), half_width_m, ends)


def _length_m(properties: Mapping[str, Any], name: str, most_m: float, form: str) -> float:
    value = properties.get(name)
    if value is None:
        raise FeatureError(f"{name} is missing: {form}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FeatureError(f"{name}: {value!r} is not a number")
    if not 0 < value <= most_m:
        raise FeatureError(f"{name}: {value:g} is not above 0 and at most {most_m:g}")
    return float(value)


def _rings(coordinates: Any, datum: DatumName) -> list[list[tuple[float, float]]]:
    if not isinstance(coordinates, list) or not all(isinstance(ring, list) for ring in coordinates):
        raise FeatureError("geometry: a Polygon's coordinates are a list of rings")
    if sum(map(len, coordinates)) > VERTICES_MAX:
        raise FeatureError(f"geometry has more than {VERTICES_MAX} vertices; simplify it")
    rings = [[_vertex(vertex) for vertex in ring] for ring in coordinates]
    return [_in_wgs84(_closed(ring), datum) for ring in rings]


def _closed(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return ring if not ring or ring[0] == ring[-1] else [*ring, ring[0]]


def _vertex(vertex: Any) -> tuple[float, float]:
    match vertex:
        case [float() | int() as longitude, float() | int() as latitude, *_]:
            if abs(longitude) <= 180 and abs(latitude) <= 90:
                return float(longitude), float(latitude)
            hint = "; longitude comes first" if abs(latitude) > 90 >= abs(longitude) else ""
            raise FeatureError(f"geometry: [{longitude}, {latitude}] is not on the Earth{hint}")
    raise FeatureError(f"geometry: {vertex!r} is not [longitude, latitude]")


def _in_wgs84(line: list[tuple[float, float]], datum: DatumName) -> list[tuple[float, float]]:
    """A line in WGS-84, its edges straight where it was drawn. Once, and only here."""
    if datum == "wgs84" or not line:
        return line
    drawn = READ_AS[datum](*_fine(np.array(line), _EDGE_DEG_MAX[datum]).T)
    assert not isinstance(drawn, Wgs84), "asked for above"
    at = wgs84_of(drawn)
    return list(zip(at.longitude_deg.tolist(), at.latitude_deg.tolist(), strict=True))


def _fine(line: Float64s, edge_deg_max: float) -> Float64s:
    """The same line (n, 2) with points put into its long edges."""
    length_deg = np.abs(np.diff(line, axis=0)).max(axis=1, initial=0.0)
    step_deg = max(edge_deg_max, float(length_deg.sum()) / _PIECES_MAX)
    pieces = np.maximum(np.ceil(length_deg / step_deg).astype(np.intp), 1)
    edge = np.repeat(np.arange(len(pieces)), pieces)
    part = (np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[edge]
    fine = line[edge] + (line[edge + 1] - line[edge]) * part[:, None]
    return np.concatenate((fine, line[-1:]))
