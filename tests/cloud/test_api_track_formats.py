"""Tracks for other people's tools, read by other people's tools."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

import gpxpy
import pytest
from pyarrow import parquet
from tests.cloud.api_city import STEP_MS, TRACK_POINTS, City

from greenhaul_protocols.times import format_time

TRACK = "/vehicles/v-own/track"
PLACE = ("longitude_deg", "latitude_deg")
KML = {"kml": "http://www.opengis.net/kml/2.2", "gx": "http://www.google.com/kml/ext/2.2"}


def expected(city: City) -> list[tuple[str, float, float]]:
    """Time, longitude and latitude of every point."""
    start_ms = city.now_ms - TRACK_POINTS * STEP_MS
    return [
        (format_time(start_ms + i * STEP_MS), 112.52, round(32.99 + i * 1e-5, 7))
        for i in range(TRACK_POINTS)
    ]


def track(city: City, wanted: str) -> str:
    answer = city.ask("GET", TRACK, "manager", params={"format": wanted})
    assert answer.status_code == 200, answer.text
    return answer.text


def test_gpx_is_read_by_gpxpy(city: City) -> None:
    (read,) = gpxpy.parse(track(city, "gpx")).tracks
    assert read.name == "v-own"
    (segment,) = read.segments
    points = [
        (format_time(int(p.time.timestamp() * 1000)), p.longitude, p.latitude)
        for p in segment.points
        if p.time
    ]
    assert points == expected(city)


def test_kml_has_a_time_for_each_coordinate(city: City) -> None:
    root = ET.fromstring(track(city, "kml"))
    (run,) = root.findall(".//gx:Track", KML)
    times = [when.text for when in run.findall("kml:when", KML)]
    places = [(coord.text or "").split() for coord in run.findall("gx:coord", KML)]
    read = [(t, float(x), float(y)) for t, (x, y, _) in zip(times, places, strict=True)]
    assert read == expected(city)


def test_mfjson_has_a_moving_point_with_its_speed(city: City) -> None:
    (feature,) = json.loads(track(city, "mfjson"))["features"]
    moving = feature["temporalGeometry"]
    assert moving["type"] == "MovingPoint"
    places = zip(moving["datetimes"], moving["coordinates"], strict=True)
    assert [(time, *place) for time, place in places] == expected(city)
    (speeds,) = feature["temporalProperties"]
    assert speeds["speed_kmh"]["values"] == [30.0] * TRACK_POINTS
    assert feature["properties"] == {"vehicle_id": "v-own", "source": "808:own"}


def test_parquet_is_read_by_arrow_with_nulls_for_what_was_not_said(city: City) -> None:
    answer = city.ask("GET", TRACK, "manager", params={"format": "parquet"})
    read = parquet.read_table(io.BytesIO(answer.content))
    times = [at.timestamp() * 1000 for at in read["device_time"].to_pylist()]
    columns = (map(format_time, map(int, times)), *(read[n].to_pylist() for n in PLACE))
    assert list(zip(*columns, strict=True)) == expected(city)
    assert read["altitude_m"].null_count == TRACK_POINTS
    assert set(read["source"].to_pylist()) == {"808:own"}


@pytest.mark.parametrize("wanted", ["gpx", "kml", "mfjson"])
def test_a_gap_parts_a_track_and_an_empty_one_is_whole(town: City, wanted: str) -> None:
    later_ms = town.now_ms + 600_000
    town.now_ms = later_ms
    town.report([town.position("808:own", later_ms)], epoch=40)
    assert sum(track(town, wanted).count(mark) for mark in
               ("<trkseg>", "<gx:Track>", "MovingPoint")) == 2  # fmt: skip
    nothing = town.ask(
        "GET", TRACK, params={"format": wanted, "from": "2001-01-01T00:00:00Z",
                              "to": "2001-01-02T00:00:00Z"})  # fmt: skip
    if wanted == "mfjson":
        assert nothing.json()["features"] == []
    else:
        ET.fromstring(nothing.text)
