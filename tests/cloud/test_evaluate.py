"""`fences evaluate`: files in, lines out; and real tracks against real city zones."""

import argparse
import csv
import json
import random
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import gpxpy
import pytest
from tests.cloud.fold_cases import SQUARE, START_MS, degrees, feature

from greenhaul_cloud import evaluate
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import format_time, parse_time

HEADER = ("vehicle_id", "device_time", "latitude_deg", "longitude_deg")


def write_tracks(
    path: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER
) -> Path:
    """A track file."""
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    return path


def write_fences(path: Path, *features: dict[str, Any]) -> Path:
    """A fence file."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def drive(vehicle_id: str = "v1", *extra: object) -> list[list[object]]:
    """Through the square at 2 m/s, a reading every ten seconds."""
    rows = []
    for n in range(26):
        longitude, latitude = degrees(-205 + 20 * n, 50)
        rows.append([vehicle_id, format_time(START_MS + 10_000 * n), latitude, longitude, *extra])
    return rows


def lines(
    capsys: pytest.CaptureFixture[str], fences: Path, tracks: Path, *options: str
) -> list[dict[str, Any]]:
    """What the command prints."""
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    given = ["--fences", str(fences), "--tracks", str(tracks), "--jsonl", *options]
    assert evaluate.run(parser.parse_args(given)) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_the_shape_of_the_interface(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fences = write_fences(tmp_path / "f.geojson", feature(SQUARE, id="centre"))
    assert lines(capsys, fences, write_tracks(tmp_path / "t.csv", drive())) == [
        {
            "vehicle_id": "v1",
            "fence_id": "centre",
            "fence_version": 1,
            "entered_at": format_time(START_MS + 102_500),
            "entered_by": "crossing",
            "left_at": format_time(START_MS + 152_500),
            "left_by": "crossing",
            "entered_certainty": "certain",
            "left_certainty": "certain",
            "certainty": "certain",
            "violations": [
                {
                    "rule": "no_entry",
                    "began_at": format_time(START_MS + 102_500),
                    "ended_at": format_time(START_MS + 152_500),
                    "certainty": "certain",
                    "window": None,
                    "detail": {},
                }
            ],
        }
    ]


def test_order_and_doubles_do_not_matter_and_lines_are_sorted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fences = write_fences(tmp_path / "f.geojson", feature(SQUARE, id="b"), feature(SQUARE, id="a"))
    rows = drive("v2") + drive("v1")
    expected = lines(capsys, fences, write_tracks(tmp_path / "t.csv", rows))
    assert [(line["vehicle_id"], line["fence_id"]) for line in expected] == [
        ("v1", "a"),
        ("v1", "b"),
        ("v2", "a"),
        ("v2", "b"),
    ]
    rng = random.Random(1)
    shuffled = rows + rng.sample(rows, 15)
    rng.shuffle(shuffled)
    assert lines(capsys, fences, write_tracks(tmp_path / "s.csv", shuffled)) == expected


def test_as_of_is_the_last_reading_unless_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    until = format_time(START_MS + 135_000)
    fences = write_fences(tmp_path / "f.geojson", feature(SQUARE, valid_to=until))
    tracks = write_tracks(tmp_path / "t.csv", drive())
    confirmed = feature(SQUARE, valid_to=until, confirm_s=5)
    assert lines(capsys, fences, tracks) == []
    fences = write_fences(tmp_path / "f.geojson", confirmed)
    [line] = lines(capsys, fences, tracks)
    assert (line["left_at"], line["left_by"]) == (until, "version")
    [line] = lines(capsys, fences, tracks, "--as-of", format_time(START_MS + 134_999))
    assert (line["left_at"], line["left_by"], line["left_certainty"]) == (None, "open", None)


def test_scope_follows_the_attributes_in_the_tracks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scope = {"energy": ["diesel"], "tags_none": ["permit"]}
    fences = write_fences(tmp_path / "f.geojson", feature(SQUARE, applies_to=scope))
    rows = drive("electric", "Electric", "") + drive("diesel", "Diesel", "")
    rows += drive("permit", "diesel", "cold;permit")
    late = drive("late", "diesel", "permit")
    rows += [[*row[:5], "" if n >= 13 else "permit"] for n, row in enumerate(late)]
    tracks = write_tracks(tmp_path / "t.csv", rows, [*HEADER, "energy", "tags"])
    found = lines(capsys, fences, tracks)
    assert [(line["vehicle_id"], line["entered_by"]) for line in found] == [
        ("diesel", "crossing"),
        ("late", "scope"),
    ]


def test_features_of_one_id_are_versions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = feature([(x + 1, y) for x, y in SQUARE], valid_from=format_time(START_MS + 130_000))
    fences = write_fences(tmp_path / "f.geojson", later, feature(SQUARE))
    found = lines(capsys, fences, write_tracks(tmp_path / "t.csv", drive()))
    assert [(line["fence_version"], line["entered_by"]) for line in found] == [(2, "version")]
    fences = write_fences(
        tmp_path / "f.geojson", *({**f, "properties": {**f["properties"], "confirm_s": 5}}
                                  for f in (later, feature(SQUARE)))
    )  # fmt: skip
    found = lines(capsys, fences, tmp_path / "t.csv")
    assert [(line["fence_version"], line["left_by"]) for line in found] == [
        (1, "version"),
        (2, "crossing"),
    ]


def test_without_jsonl_people_can_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fences = write_fences(tmp_path / "f.geojson", feature(SQUARE, id="centre"))
    tracks = write_tracks(tmp_path / "t.csv", drive())
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    evaluate.run(parser.parse_args(["--fences", str(fences), "--tracks", str(tracks)]))
    assert capsys.readouterr().out.split("\t")[:2] == ["v1", "centre"]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER[:3], "lacks longitude_deg"),
        ([["v1", "2026-01-01T00:00:00", 1, 2]], HEADER, "line 2: .*zone"),
        ([["v1", "2026-01-01T00:00:00Z", "north", 2]], HEADER, "line 2: latitude_deg: 'north'"),
        ([["v1", "2026-01-01T00:00:00Z", 91, 2]], HEADER, "line 2: .*not on the Earth"),
        ([["", "2026-01-01T00:00:00Z", 1, 2]], HEADER, "line 2: vehicle_id"),
        ([["v1", "2026-01-01T00:00:00Z", "", 2]], HEADER, "line 2: latitude_deg"),
        ([["v1", "2026-01-01T00:00:00Z"]], HEADER, "line 2: latitude_deg"),
    ],
)
def test_a_bad_track_file_is_named_with_its_line(
    tmp_path: Path, rows: list[list[object]], header: Sequence[str], message: str
) -> None:
    fences = write_fences(tmp_path / "f.geojson", feature(SQUARE))
    tracks = write_tracks(tmp_path / "bad.csv", rows, header)
    with pytest.raises(ConfigError, match=f"bad.csv: .*{message}"):
        evaluate.run(
            argparse.Namespace(
                fences=fences, tracks=tracks, as_of=None, jsonl=True, properties=None
            )
        )


@pytest.mark.parametrize("text", ["{", "7", '{"type": "FeatureCollection", "features": [{}]}'])
def test_a_bad_fence_file_is_named(tmp_path: Path, text: str) -> None:
    fences = tmp_path / "bad.geojson"
    fences.write_text(text)
    tracks = write_tracks(tmp_path / "t.csv", drive())
    with pytest.raises(ConfigError, match=r"bad\.geojson"):
        evaluate.run(
            argparse.Namespace(
                fences=fences, tracks=tracks, as_of=None, jsonl=True, properties=None
            )
        )


def test_a_bad_as_of_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--as-of"):
        evaluate.run(argparse.Namespace(fences=tmp_path, tracks=tmp_path, as_of="now", jsonl=True))


def test_absence_is_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far = [[112.9, 32.9], [112.91, 32.9], [112.91, 32.91], [112.9, 32.9]]
    wanted = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [far]},
        "properties": {"id": "depot", "rules": [{"rule": "must_visit_by", "hours": "19:07-19:08"}]},
    }
    tracks = write_tracks(tmp_path / "t.csv", drive())
    [line] = lines(capsys, write_fences(tmp_path / "f.geojson", wanted), tracks)
    assert (line["entered_at"], line["left_at"], line["entered_certainty"]) == (None, None, None)
    [violation] = line["violations"]
    assert violation["window"] == {
        "began_at": "2026-11-18T11:07:00Z",
        "ended_at": "2026-11-18T11:08:00Z",
    }
    assert (violation["rule"], violation["began_at"]) == ("must_visit_by", "2026-11-18T11:08:00Z")


# Other people's tracks and zones.


def low_emission_zone(path: Path) -> dict[str, Any]:
    """A zone given as lists of {latitude, longitude}, as a feature."""
    polygons = [
        [[[corner["longitude"], corner["latitude"]] for corner in ring]]
        for ring in json.loads(path.read_text())
    ]
    return {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        "properties": {"id": path.stem, "rules": [{"rule": "no_entry"}]},
    }


def munich_drive(path: Path) -> list[list[object]]:
    """(vehicle, time, latitude, longitude) of a drive given as WKT points with times."""
    rows: list[list[object]] = []
    for row in json.loads(path.read_text()):
        longitude, latitude = re.findall(r"[\d.]+", row["point"])
        moment = datetime.strptime(row["time"], "%Y-%m-%d %H:%M:%S%z")
        rows.append(["x0001", moment.isoformat(), latitude, longitude])
    return rows


def area(east_m: float) -> list[list[list[float]]]:
    """A ring of 100 m that begins so far east."""
    corners = ((0, 0), (100, 0), (100, 100), (0, 100), (0, 0))
    return [[list(degrees(east_m + x, y)) for x, y in corners]]


def text_of(polygons: Sequence[list[list[list[float]]]], height: str = "") -> str:
    """Rings as WKT writes them."""
    return ", ".join(
        f"(({', '.join(f'{x!r} {y!r}{height}' for x, y in rings[0])}))" for rings in polygons
    )


def kml_of(*polygons: list[list[list[float]]]) -> str:
    """A Placemark of several areas."""
    parts = "".join(
        "<Polygon><outerBoundaryIs><LinearRing><coordinates>"
        + " ".join(f"{x!r},{y!r},12" for x, y in rings[0])
        + "</coordinates></LinearRing></outerBoundaryIs></Polygon>"
        for rings in polygons
    )
    return (
        '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>f</name>'
        f"<MultiGeometry>{parts}</MultiGeometry></Placemark></Document></kml>"
    )


BOTH = [area(0), area(150)]
PARTS = [{"type": "Polygon", "coordinates": rings} for rings in BOTH]
FORMS = {
    "collection.geojson": {"type": "GeometryCollection", "geometries": PARTS},
    "nested.json": {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        "features": [
            {
                "type": "Feature",
                "id": "f",
                "properties": None,
                "geometry": {"type": "GeometryCollection", "geometries": PARTS},
            }
        ],
    },
    "alone": {"type": "MultiPolygon", "coordinates": BOTH},
    "area.wkt": f"SRID=4326;MULTIPOLYGON ({text_of(BOTH)})",
    "high.wkt": f"f\tsrid=4490; MultiPolygon Z ({text_of(BOTH, ' 31.5')})",
    "gathered.wkt": "GEOMETRYCOLLECTION ("
    f"POLYGON {text_of(BOTH[:1])}, MULTIPOLYGON ({text_of(BOTH[1:])}))",
    "area.kml": kml_of(*BOTH),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_area_of_two_parts_is_the_same_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    form = FORMS[name]
    (tmp_path / name).write_text(form if isinstance(form, str) else json.dumps(form))
    tracks = write_tracks(tmp_path / "t.csv", drive())
    given = '{"confirm_s": 5, "hysteresis_m": 0}'
    first, second = lines(capsys, tmp_path / name, tracks, "--properties", given)
    at_s = [
        (parse_time(line[key]) - START_MS) / 1000
        for line in (first, second)
        for key in ("entered_at", "left_at")
    ]
    assert at_s == pytest.approx([102.5, 152.5, 177.5, 227.5], abs=0.002)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"type": "GeometryCollection", "geometries": [{"type": "Point"}]}, "'Point' is none"),
        ({"type": "GeometryCollection", "geometries": []}, "geometry"),
        (
            {
                "type": "FeatureCollection",
                "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}},
                "features": [],
            },
            "3857.*WGS-84",
        ),
    ],
)
def test_what_is_no_area_or_lies_elsewhere_is_refused(
    tmp_path: Path, form: dict[str, Any], message: str
) -> None:
    path = tmp_path / "f.geojson"
    path.write_text(json.dumps(form))
    with pytest.raises(ConfigError, match=message):
        evaluate.read_fences(path)


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "left_after"), [("x0001-001", 339), ("x0001-015", 22)])
def test_the_munich_drive_leaves_its_zone_once(
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    left_after: int,
) -> None:
    zone = low_emission_zone(shared / "data" / "geo" / "umweltzone_lez_munich.json")
    rows = munich_drive(shared / "data" / "tracks" / f"barefoot_{name}.json")
    fences = write_fences(tmp_path / "f.geojson", zone)
    [line] = lines(capsys, fences, write_tracks(tmp_path / "t.csv", rows))
    times_ms = [parse_time(str(row[1])) for row in rows]
    assert parse_time(line["entered_at"]) == times_ms[0]
    assert (line["entered_by"], line["left_by"]) == ("first_reading", "crossing")
    left_ms = parse_time(line["left_at"])
    assert times_ms[left_after] < left_ms < times_ms[left_after + 1]
    assert line["certainty"] == "certain"
    assert [violation["rule"] for violation in line["violations"]] == ["no_entry"]


@pytest.mark.corpus
@pytest.mark.parametrize("city", ["munich", "berlin", "cologne", "darmstadt"])
def test_city_zones_are_taken(shared: Path, tmp_path: Path, city: str) -> None:
    zone = low_emission_zone(shared / "data" / "geo" / f"umweltzone_lez_{city}.json")
    [fence] = evaluate.read_fences(write_fences(tmp_path / "f.geojson", zone))
    assert fence.versions[0].area.is_valid


@pytest.mark.corpus
def test_zones_with_several_parts_are_taken(shared: Path) -> None:
    fences = evaluate.read_fences(shared / "data" / "geo" / "mds_no-ride-zone.geojson")
    assert len(fences) == 4


@pytest.mark.corpus
@pytest.mark.parametrize(
    "name",
    [
        "gpsbabel_garmin_xt_strk.gpx",
        "gpxpy_around-visnjan-with-car.gpx",
        "graphhopper_test1.gpx",
    ],
)
def test_gpx_tracks_against_a_box_around_their_middle(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with (shared / "data" / "tracks" / name).open() as source:
        points = [point for point, *_ in gpxpy.parse(source).walk()]
    rows = [
        ["v", point.time.isoformat(), point.latitude, point.longitude]
        for point in points
        if point.time is not None
    ]
    latitudes, longitudes = ([float(str(row[n])) for row in rows] for n in (2, 3))
    west, east = (min(longitudes) * 3 + max(longitudes)) / 4, max(longitudes) + 1
    south, north = min(latitudes) - 1, max(latitudes) + 1
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    box = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"id": "box", "confirm_s": 0, "hysteresis_m": 0},
    }
    found = lines(
        capsys, write_fences(tmp_path / "f.geojson", box), write_tracks(tmp_path / "t.csv", rows)
    )
    assert found
    for one, other in pairwise(found):
        assert parse_time(one["entered_at"]) <= parse_time(one["left_at"])
        assert parse_time(one["left_at"]) <= parse_time(other["entered_at"])
