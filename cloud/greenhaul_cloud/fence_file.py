"""Fences from files: GeoJSON, KML, WKT and frames of JT/T 808, all as GeoJSON features."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import shapely

from greenhaul_cloud.reasons import reason_of
from greenhaul_cloud.terminal_areas.messages import features_of_lines
from greenhaul_protocols.errors import ConfigError

Feature = dict[str, Any]

# The streets of a province are less; more is not a file of fences.
FILE_SIZE_MAX = 64 * 1024 * 1024

# What WGS-84 is called; CGCS2000 (EPSG:4490) is the same within decimetres.
_WGS84_CODES = ("CRS84", "4326", "4490")


def read_features(
    path: Path, properties: Mapping[str, Any] | None = None, *, revision: int | None = None
) -> list[Feature]:
    """The fence features of a file, by its ending, GeoJSON by its first letter, too.

    properties: for every feature that does not say otherwise; KML and WKT have no rules of their
    own. revision: of JT/T 808, for frames that do not say it. Raises ConfigError that names the
    file and the place in it.
    """
    try:
        if path.stat().st_size > FILE_SIZE_MAX:
            raise ConfigError(f"{path}: larger than {FILE_SIZE_MAX >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {reason_of(error)}") from error
    formats: dict[str, Callable[[str], list[Any]]] = {
        **FORMATS,
        ".hex": partial(features_of_lines, revision=revision),
    }
    is_json = text.lstrip()[:1] in ("{", "[")
    read = formats.get(path.suffix.lower(), _geojson if is_json else None)
    if read is None:
        raise ConfigError(f"{path}: not one of {', '.join(formats)}")
    try:
        features = read(text)
    except (ValueError, RecursionError, ET.ParseError, shapely.GEOSException) as error:
        raise ConfigError(f"{path}: {error}") from error
    return [_with(feature, properties or {}) for feature in features]


def parse_properties(text: str | None) -> dict[str, Any]:
    """The argument `--properties`; nothing given is none. Raises ConfigError."""
    try:
        properties = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"--properties: {error}") from error
    if not isinstance(properties, dict):
        raise ConfigError("--properties: expected a JSON object")
    return properties


def _with(feature: Any, properties: Mapping[str, Any]) -> Any:
    if not isinstance(feature, dict) or not properties:
        return feature
    return {**feature, "properties": {**properties, **(feature.get("properties") or {})}}


def _geojson(text: str) -> list[Any]:
    """Features, alone, listed or in a collection, or a geometry by itself."""
    found = json.loads(text)
    if isinstance(found, dict):
        _refuse_strange_crs(found)
    match found:
        case {"type": "FeatureCollection", "features": [*features]}:
            return features
        case {"type": "Feature"}:
            return [found]
        case {"coordinates": _} | {"geometries": _}:
            return [{"type": "Feature", "geometry": found, "properties": {}}]
        case [_, *_]:
            return list(found)
    raise ValueError("expected a GeoJSON Feature or FeatureCollection")


def _refuse_strange_crs(document: Mapping[str, Any]) -> None:
    """GeoJSON of before RFC 7946 may name another reference system: metres, or a shifted map."""
    match document.get("crs"):
        case {"properties": {"name": str(name)}}:
            if name.rpartition(":")[2].upper() not in _WGS84_CODES:
                raise ValueError(f"crs {name} is not WGS-84 (CRS84, EPSG:4326 or EPSG:4490)")


def _wkt(text: str) -> list[Feature]:
    """A geometry a line, behind an id and a tab if it has one; EWKT's SRID must say WGS-84."""
    features = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fence_id, _, wkt = line.rpartition("\t")
        srid, _, wkt = wkt.rpartition(";")
        if srid and srid.upper().rpartition("=")[2].strip() not in _WGS84_CODES:
            raise ValueError(f"line {number}: {srid.strip()} is not WGS-84 (SRID=4326)")
        try:
            shape = shapely.from_wkt(wkt.strip())
        except shapely.GEOSException as error:
            raise ValueError(f"line {number}: {error}") from error
        geometry = json.loads(shapely.to_geojson(shapely.force_2d(shape)))
        features.append(_feature(fence_id.strip() or f"line-{number}", geometry, {}))
    return features


def _kml(text: str) -> list[Feature]:
    """Each Placemark: its area, its name, and the Data of its ExtendedData as properties."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("a KML file has no document type")
    root = ET.fromstring(text)  # noqa: S314 - no document type, so no entities to blow up
    features = []
    for number, placemark in enumerate(_all(root, "Placemark"), 1):
        parts = list(_parts(placemark))
        name = _text(placemark, "name")
        if not parts:
            raise ValueError(f"Placemark {number} ({name or 'without a name'}) has no geometry")
        properties = {key: value for key, value in _data(placemark) if value not in ("", None)}
        if name:
            properties.setdefault("name", name)
        fence_id = placemark.get("id") or name or f"placemark-{number}"
        features.append(_feature(fence_id, _joined(parts), properties))
    return features


def _feature(fence_id: str, geometry: Any, properties: dict[str, Any]) -> Feature:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"id": fence_id, **properties},
    }


def _parts(placemark: ET.Element) -> Iterator[dict[str, Any]]:
    for polygon in _all(placemark, "Polygon"):
        boundaries = [*_all(polygon, "outerBoundaryIs"), *_all(polygon, "innerBoundaryIs")]
        rings = [_positions(boundary) for boundary in boundaries]
        yield {"type": "Polygon", "coordinates": rings}
    for line in _all(placemark, "LineString"):
        yield {"type": "LineString", "coordinates": _positions(line)}
    for point in _all(placemark, "Point"):
        yield {"type": "Point", "coordinates": _positions(point)[0]}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) == 1:
        return parts[0]
    if any(part["type"] != "Polygon" for part in parts):
        raise ValueError("a MultiGeometry of other things than polygons is no fence")
    return {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in parts]}


def _positions(element: ET.Element) -> list[list[float]]:
    tuples = (_text(element, "coordinates") or "").split()
    if not tuples:
        raise ValueError("a geometry without coordinates")
    return [[float(part) for part in position.split(",")[:2]] for position in tuples]


def _data(placemark: ET.Element) -> Iterator[tuple[str, Any]]:
    for data in _all(placemark, "Data"):
        text = _text(data, "value") or ""
        yield data.get("name", ""), _value(text)
    for data in _all(placemark, "SimpleData"):
        yield data.get("name", ""), _value((data.text or "").strip())


def _value(text: str) -> Any:
    """Numbers and lists as JSON has them, all else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _all(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Descendants of a name, in any namespace: KML 2.0 to 2.3 and none are all about."""
    return (child for child in element.iter() if child.tag.rpartition("}")[2] == name)


def _text(element: ET.Element, name: str) -> str | None:
    found = next(_all(element, name), None)
    return None if found is None or found.text is None else found.text.strip()


FORMATS: dict[str, Callable[[str], list[Any]]] = {
    ".geojson": _geojson,
    ".json": _geojson,
    ".kml": _kml,
    ".wkt": _wkt,
}
