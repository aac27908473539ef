"""Tracks: whole, point for point, in every format that is offered."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.cloud.api_city import STEP_MS, TRACK_POINTS, City

from greenhaul_cloud.store import tracks
from greenhaul_protocols.catalogue import TimeQuality
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    pass

TRACK = "/vehicles/v-own/track"


@pytest.fixture(scope="module")
def start_ms(city: City) -> int:
    return city.now_ms - TRACK_POINTS * STEP_MS


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_every_point_as_it_was_sent(city: City, start_ms: int) -> None:
    answer = city.ask("GET", TRACK, "manager", params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = rows_of(answer.text)
    assert [row["device_time"] for row in rows] == [
        format_time(start_ms + i * STEP_MS) for i in range(TRACK_POINTS)
    ]
    assert [float(row["latitude_deg"]) for row in rows] == [
        round(32.99 + i * 1e-5, 7) for i in range(TRACK_POINTS)
    ]
    assert {row["longitude_deg"] for row in rows} == {"112.52"}
    assert {row["altitude_m"] for row in rows} == {""}


def test_accept_chooses_too_and_format_outweighs_it(city: City) -> None:
    by_header = city.ask("GET", TRACK, headers={"Accept": "text/csv"})
    assert by_header.headers["content-type"].startswith("text/csv")
    both = city.ask("GET", TRACK, headers={"Accept": "text/csv"}, params={"format": "geojson"})
    assert both.headers["content-type"] == "application/geo+json"


def test_an_unknown_format_is_refused_with_the_known_ones(city: City) -> None:
    answer = city.ask("GET", TRACK, params={"format": "shp"})
    assert answer.status_code == 422
    assert "geojson, csv, gpx, kml, mfjson, parquet" in answer.json()["detail"]


def test_from_and_to_are_half_open(city: City, start_ms: int) -> None:
    span = {"from": format_time(start_ms), "to": format_time(start_ms + 3 * STEP_MS)}
    rows = rows_of(city.ask("GET", TRACK, params={"format": "csv", **span}).text)
    assert len(rows) == 3


def test_geojson_carries_a_time_for_every_vertex(city: City, start_ms: int) -> None:
    [feature] = city.get(TRACK)["features"]
    assert feature["geometry"]["type"] == "LineString"
    assert len(feature["geometry"]["coordinates"]) == TRACK_POINTS
    properties = feature["properties"]
    assert properties["device_time"][0] == format_time(start_ms)
    assert len(properties["device_time"]) == len(properties["speed_kmh"]) == TRACK_POINTS
    assert (properties["source"], properties["heading_deg"][0]) == ("808:own", None)


def test_no_line_is_drawn_over_a_gap_and_one_reading_is_a_point(town: City) -> None:
    alone = town.now_ms - TRACK_POINTS * STEP_MS - 121_000
    town.report([town.position("808:own", alone)], epoch=9)
    first, second = town.get(TRACK)["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [112.52, 32.99]}
    assert first["properties"]["device_time"] == [format_time(alone)]
    assert len(second["geometry"]["coordinates"]) == TRACK_POINTS


def test_a_track_of_many_chunks_is_whole(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings of one instant at a chunk's end are neither lost nor doubled."""
    whole = city.ask("GET", TRACK, params={"format": "csv"}).text
    monkeypatch.setattr(tracks, "CHUNK_READINGS", 7)
    assert city.ask("GET", TRACK, params={"format": "csv"}).text == whole
    features: list[Any] = city.get(TRACK)["features"]
    assert sum(len(f["properties"]["device_time"]) for f in features) == TRACK_POINTS


def test_a_track_without_readings_is_an_empty_answer(city: City) -> None:
    span = {"from": "2001-01-01T00:00:00Z", "to": "2002-01-01T00:00:00Z"}
    assert city.get(TRACK, **span) == {"type": "FeatureCollection", "features": []}
    csv_text = city.ask("GET", TRACK, params={"format": "csv", **span}).text
    assert csv_text.startswith("vehicle_id,device_time,latitude_deg,longitude_deg,")
    assert csv_text.count("\n") == 1


def test_a_sources_own_words_hold_what_no_track_uses(town: City) -> None:
    unusable = town.position("gw-city/gnss", 1000, time_quality=TimeQuality.UNUSABLE)
    lost = town.position("gw-city/gnss", 2000, is_located=False, latitude_deg=None)
    town.report([lost, unusable], epoch=9)
    path = "/sources/gw-city%2Fgnss/track"
    rows = rows_of(town.ask("GET", path, "regulator", params={"format": "csv"}).text)
    assert [(row["time_quality"], row["is_located"], row["latitude_deg"]) for row in rows] == [
        ("unusable", "true", "32.99"), ("source", "false", ""),
    ]  # fmt: skip
    assert town.ask("GET", path, "manager").status_code == 404
    later = town.ask("GET", path, params={"from": format_time(2000)}).text
    assert len(rows_of(later)) == 1


def test_geojson_is_strict_json(city: City) -> None:
    """NaN of the columns never reaches the text."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(city.ask("GET", TRACK).text, parse_constant=refuse)
