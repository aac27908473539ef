"""Rings of a GeoJSON polygon made into a valid area, or refused with what to do about it."""

import numpy as np
import shapely
from shapely import LinearRing, MultiPolygon, Polygon
from shapely.errors import ShapelyError
from shapely.validation import explain_validity

# A city boundary has some ten thousand vertices; beyond this a fence is a mistake or an attack.
VERTICES_MAX = 100_000

# Repairing may only tidy: an area that shrinks or grows by more than this part was not what the
# author drew, and guessing would fine people.
REPAIR_PART_MAX = 0.05


class FeatureError(ValueError):
    """A fence cannot be taken; the message says what to change."""


def area_of_rings(polygons: list[list[list[tuple[float, float]]]]) -> Polygon | MultiPolygon:
    """The area of polygons, each a shell and its holes of (longitude, latitude) degrees.

    Closes open rings; repairs self-touching and slightly self-crossing ones. Raises FeatureError.
    """
    if sum(len(ring) for rings in polygons for ring in rings) > VERTICES_MAX:
        raise FeatureError(f"geometry has more than {VERTICES_MAX} vertices; simplify it")
    parts = [_repaired(_polygon(rings)) for rings in polygons]
    area = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    if not isinstance(area, Polygon | MultiPolygon) or area.area == 0:
        raise FeatureError("geometry encloses no area; draw at least three corners not in a line")
    return area


def _polygon(rings: list[list[tuple[float, float]]]) -> Polygon:
    if not rings:
        raise FeatureError("geometry has a polygon without a ring")
    for ring in rings:
        if len(set(ring)) < 3:
            raise FeatureError(
                f"geometry has a ring of {len(set(ring))} different corners; it takes three"
            )
    try:
        return Polygon(rings[0], rings[1:])
    except (ShapelyError, ValueError) as error:
        raise FeatureError(f"geometry is not a polygon: {error}") from error


def _repaired(polygon: Polygon) -> Polygon | MultiPolygon:
    if polygon.is_valid:
        return polygon
    reason = explain_validity(polygon)
    drawn = abs(_signed_area(polygon.exterior)) - sum(
        abs(_signed_area(hole)) for hole in polygon.interiors
    )
    pieces = shapely.get_parts(shapely.get_parts(shapely.make_valid(polygon)))
    repaired = shapely.union_all([piece for piece in pieces if isinstance(piece, Polygon)])
    if not isinstance(repaired, Polygon | MultiPolygon):
        return Polygon()
    if abs(repaired.area - drawn) > REPAIR_PART_MAX * max(repaired.area, drawn):
        raise FeatureError(
            f"geometry crosses itself ({reason}) and cannot be repaired without changing its area "
            f"by more than {REPAIR_PART_MAX:.0%}; redraw the ring there"
        )
    return repaired


def _signed_area(ring: LinearRing) -> float:
    """Loops run the other way round count against it, which is how a bow tie is told."""
    x, y = np.asarray(ring.coords)[:, :2].T
    x, y = x - x[0], y - y[0]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)
