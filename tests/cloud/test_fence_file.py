"""KML, WKT and GeoJSON say the same fences."""

from pathlib import Path
from typing import Any

import pytest

from greenhaul_cloud.fence_file import read_features
from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_protocols.errors import ConfigError

RING = [[112.5, 33.0], [112.6, 33.0], [112.6, 33.1], [112.5, 33.1], [112.5, 33.0]]
HOLE = [[112.54, 33.04], [112.56, 33.04], [112.56, 33.06], [112.54, 33.06], [112.54, 33.04]]

KML = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder>
 <Placemark id="centre"><name>老城</name>
  <ExtendedData><Data name="rules"><value>[{"rule": "no_entry"}]</value></Data>
   <Data name="severity"><value>info</value></Data></ExtendedData>
  <Polygon><outerBoundaryIs><LinearRing><coordinates>
    112.5,33.0,0 112.6,33.0,0 112.6,33.1,0 112.5,33.1,0 112.5,33.0,0
  </coordinates></LinearRing></outerBoundaryIs>
  <innerBoundaryIs><LinearRing><coordinates>
    112.54,33.04 112.56,33.04 112.56,33.06 112.54,33.06 112.54,33.04
  </coordinates></LinearRing></innerBoundaryIs></Polygon></Placemark>
 <Placemark><name>ring road</name>
  <ExtendedData><Data name="half_width_m"><value>25</value></Data></ExtendedData>
  <LineString><coordinates>112.5,33.0 112.7,33.0</coordinates></LineString></Placemark>
 <Placemark><name>depot</name>
  <ExtendedData><Data name="radius_m"><value>80</value></Data></ExtendedData>
  <Point><coordinates>112.5,33.0,12.5</coordinates></Point></Placemark>
</Folder></Document></kml>"""

WKT = """# id, tab, geometry
centre\tPOLYGON ((112.5 33, 112.6 33, 112.6 33.1, 112.5 33.1, 112.5 33), \
(112.54 33.04, 112.56 33.04, 112.56 33.06, 112.54 33.06, 112.54 33.04))
SRID=4326;MULTIPOLYGON (((112.5 33, 112.6 33, 112.6 33.1, 112.5 33)))
"""


def read(folder: Path, name: str, text: str, **properties: Any) -> list[Any]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_features(path, properties)


def test_a_kml_file_is_fences_of_every_kind(tmp_path: Path) -> None:
    centre, road, depot = read(tmp_path, "city.kml", KML)
    assert centre["geometry"] == {"type": "Polygon", "coordinates": [RING, HOLE]}
    version = parse_feature(centre)
    assert (version.fence_id, version.name, version.severity) == ("centre", "老城", "info")
    assert [rule.name.value for rule in version.rules] == ["no_entry"]
    assert road["properties"] == {"id": "ring road", "name": "ring road", "half_width_m": 25}
    circle = parse_feature(depot).circle
    assert circle is not None
    assert circle.radius_m == 80


def test_a_wkt_file_is_fences_with_the_properties_given(tmp_path: Path) -> None:
    rules = [{"rule": "no_entry"}]
    centre, other = read(tmp_path, "city.wkt", WKT, rules=rules)
    assert centre["geometry"] == {"type": "Polygon", "coordinates": [RING, HOLE]}
    assert centre["properties"] == {"id": "centre", "rules": rules}
    assert other["geometry"]["type"] == "MultiPolygon"
    assert other["properties"]["id"] == "line-3"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.kml", "<kml><Placemark><name>x</name></Placemark></kml>", "x.*no geometry"),
        ("a.kml", '<!DOCTYPE kml [<!ENTITY a "b">]><kml/>', "document type"),
        ("a.kml", "<kml>", "a.kml"),
        ("a.wkt", "POLYGON ((1 2, 3", "line 1"),
        ("a.wkt", "SRID=3857;POINT (1 2)", "SRID=3857"),
        ("a.shp", "", "not one of"),
        ("a.json", "[]", "FeatureCollection"),
    ],
)
def test_a_bad_file_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, name, text)
