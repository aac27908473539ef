"""Fence features into files: GeoJSON, KML, WKT, and frames that set them at a terminal.

GeoJSON says all a fence says, and KML too, in WGS-84; WKT has the area alone.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import shapely

from greenhaul_cloud.fences.datum import READ_AS, Wgs84, wgs84_of
from greenhaul_cloud.reasons import reason_of
from greenhaul_cloud.terminal_areas.messages import lines_of
from greenhaul_protocols.errors import ConfigError, EncodeError, Rejected

Feature = dict[str, Any]

_KML = "http://www.opengis.net/kml/2.2"
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_features(path: Path, features: Sequence[Feature], *, phone: str, revision: int) -> None:
    """Write a file by its ending. phone, revision: of the terminal that frames are for.

    Raises ConfigError for a file that cannot be written, Rejected for a fence it cannot say.
    """
    formats: dict[str, Callable[[Sequence[Feature]], str]]
    formats = {**FORMATS, ".hex": partial(_hex, phone=phone, revision=revision)}
    write = formats.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"{path}: not one of {', '.join(formats)}")
    try:
        path.write_text(write(features), encoding="utf-8")
    except (EncodeError, ValueError) as error:
        raise Rejected(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {reason_of(error)}") from error


def in_wgs84(feature: Feature) -> Feature:
    """The same fence with its coordinates in WGS-84."""
    properties = feature["properties"]
    datum = properties.get("datum", "wgs84")
    if datum == "wgs84":
        return feature
    geometry = feature["geometry"]
    moved = {**geometry, "coordinates": _moved(geometry["coordinates"], datum)}
    return {**feature, "geometry": moved, "properties": {**properties, "datum": "wgs84"}}


def _moved(coordinates: list[Any], datum: Any) -> list[Any]:
    if isinstance(coordinates[0], list):
        return [_moved(part, datum) for part in coordinates]
    longitude_deg, latitude_deg = np.array([[c] for c in coordinates[:2]], np.float64)
    at = READ_AS[datum](longitude_deg, latitude_deg)
    assert not isinstance(at, Wgs84), "asked for other datums alone"
    found = wgs84_of(at)
    return [float(found.longitude_deg[0]), float(found.latitude_deg[0]), *coordinates[2:]]


def _geojson(features: Sequence[Feature]) -> str:
    whole = {"type": "FeatureCollection", "features": features}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _wkt(features: Sequence[Feature]) -> str:
    """A line a fence, as the import reads it: id, tab, geometry."""
    lines = []
    for feature in map(in_wgs84, features):
        geometry, fence_id = feature["geometry"], feature["properties"]["id"]
        if geometry["type"] not in ("Polygon", "MultiPolygon"):
            raise ValueError(f"fence {fence_id!r}: WKT has no widths; GeoJSON and KML say them")
        shape = shapely.from_geojson(json.dumps(geometry))
        lines.append(f"{fence_id}\t{shapely.to_wkt(shape, rounding_precision=-1)}\n")
    return "".join(lines)


def _kml(features: Sequence[Feature]) -> str:
    """A Placemark a fence; what else it says stands in ExtendedData, as the import reads it."""
    root = ET.Element("kml", xmlns=_KML)
    document = ET.SubElement(root, "Document")
    for feature in map(in_wgs84, features):
        placemark = ET.SubElement(document, "Placemark")
        properties = {key: v for key, v in feature["properties"].items() if v is not None}
        ET.SubElement(placemark, "name").text = _xml_text(str(properties.get("name", "")))
        data = ET.SubElement(placemark, "ExtendedData")
        for key, value in properties.items():
            if key != "name":
                one = ET.SubElement(data, "Data", name=_xml_text(key))
                ET.SubElement(one, "value").text = _xml_text(_value_text(value))
        _add_geometry(placemark, feature["geometry"])
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _value_text(value: Any) -> str:
    """Texts stand as they are, unless they would be read as JSON."""
    if isinstance(value, str) and value == value.strip():
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


def _xml_text(text: str) -> str:
    if _NOT_IN_XML.search(text):
        raise ValueError(f"{text!r}: KML has no room for control characters")
    return text


def _add_geometry(parent: ET.Element, geometry: dict[str, Any]) -> None:
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind == "MultiPolygon":
        parent = ET.SubElement(parent, "MultiGeometry")
        for polygon in coordinates:
            _add_geometry(parent, {"type": "Polygon", "coordinates": polygon})
    elif kind == "Polygon":
        polygon = ET.SubElement(parent, "Polygon")
        for number, ring in enumerate(coordinates):
            side = "innerBoundaryIs" if number else "outerBoundaryIs"
            boundary = ET.SubElement(ET.SubElement(polygon, side), "LinearRing")
            ET.SubElement(boundary, "coordinates").text = _positions(ring)
    else:
        positions = coordinates if kind == "LineString" else [coordinates]
        ET.SubElement(ET.SubElement(parent, kind), "coordinates").text = _positions(positions)


def _positions(positions: Sequence[Sequence[float]]) -> str:
    return " ".join(",".join(repr(float(value)) for value in at[:2]) for at in positions)


def _hex(features: Sequence[Feature], phone: str, revision: int) -> str:
    lines = lines_of(map(in_wgs84, features), phone, revision)
    return "".join(f"{line}\n" for line in lines)


FORMATS: dict[str, Callable[[Sequence[Feature]], str]] = {
    ".geojson": _geojson,
    ".json": _geojson,
    ".kml": _kml,
    ".wkt": _wkt,
}
