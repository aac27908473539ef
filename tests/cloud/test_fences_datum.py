"""Datums: published shifts, exact inverses, and types that convert but once."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely import Point
from shapely.geometry import shape
from tests.cloud.fold_cases import feature

from greenhaul_cloud.fences.datum import Bd09, Gcj02, Wgs84, bd09_of, gcj02_of, wgs84_of
from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.plane import distances_m


def _column(value: float) -> np.ndarray:
    return np.array([value])


def _apart_m(one: Wgs84 | Gcj02 | Bd09, other: Wgs84 | Gcj02 | Bd09) -> float:
    columns = (one.longitude_deg, one.latitude_deg, other.longitude_deg, other.latitude_deg)
    return float(distances_m(*columns).max())


@pytest.mark.parametrize(
    ("longitude_deg", "latitude_deg", "shift_m"),
    [(115.04, 30.20, 584), (114.06, 22.55, 606), (116.40, 39.91, 556), (104.07, 30.67, 360)],
)
def test_the_shift_is_the_published_one(
    longitude_deg: float, latitude_deg: float, shift_m: float
) -> None:
    at = Wgs84(_column(longitude_deg), _column(latitude_deg))
    assert _apart_m(at, gcj02_of(at)) == pytest.approx(shift_m, abs=1)


def test_inverses_are_exact_to_less_than_a_millimetre_all_over_the_country() -> None:
    rng = np.random.default_rng(1)
    at = Wgs84(rng.uniform(73, 137, 50_000), rng.uniform(2, 55, 50_000))
    shifted = gcj02_of(at)
    assert _apart_m(at, wgs84_of(shifted)) < 0.001
    assert _apart_m(at, wgs84_of(bd09_of(at))) < 0.001
    assert _apart_m(shifted, gcj02_of(bd09_of(shifted))) < 0.001


def test_nothing_is_shifted_abroad() -> None:
    munich = Wgs84(_column(11.57), _column(48.14))
    assert _apart_m(munich, gcj02_of(munich)) == 0
    assert _apart_m(munich, wgs84_of(Gcj02(munich.longitude_deg, munich.latitude_deg))) == 0


def test_what_is_converted_cannot_be_converted_again() -> None:
    at = Wgs84(_column(112.5), _column(33.0))
    with pytest.raises(AssertionError, match="already in WGS-84"):
        wgs84_of(at)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="already in GCJ-02"):
        gcj02_of(gcj02_of(at))  # type: ignore[arg-type]


@pytest.mark.parametrize(("datum", "kind"), [("gcj02", Gcj02), ("bd09", Bd09)])
def test_a_fence_drawn_on_a_shifted_map_is_where_it_was_drawn(
    datum: str, kind: type[Gcj02 | Bd09]
) -> None:
    corners = np.array([(112.50, 32.95), (112.60, 32.95), (112.60, 33.05), (112.50, 33.05)])
    # Edges are straight on the map: so is the middle of one, which is no corner.
    middles = np.array([(112.55, 32.95), (112.60, 33.0)])
    drawn = feature(id="f", datum=datum)
    drawn["geometry"]["coordinates"] = [corners.tolist()]
    boundary = parse_feature(drawn).area.boundary
    on_map = np.concatenate((corners, middles))
    at = wgs84_of(kind(on_map[:, 0], on_map[:, 1]))
    for x, y in zip(at.longitude_deg, at.latitude_deg, strict=True):
        assert boundary.distance(Point(x, y)) * 111_000 < 0.05


def held_counts(features: list[dict[str, Any]], readings: np.ndarray) -> dict[str, int]:
    """How many readings (time, longitude, latitude) each fence holds."""
    index = FenceIndex([parse_feature(feature) for feature in features])
    slots, _ = index.held(readings[:, 1], readings[:, 2])
    return dict(Counter(index.versions[slot].fence_id for slot in slots.tolist()))


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("datum", "counts"),
    [
        # Read as if they were WGS-84, the districts lie half a kilometre off.
        ("wgs84", {"海淀": 100, "房山": 68, "丰台": 58, "石景山": 47}),
        # As within official borders, but for two readings: a border drawn by another hand.
        ("gcj02", {"海淀": 120, "房山": 94, "丰台": 21, "石景山": 38}),
    ],
)
def test_districts_of_beijing_hold_the_readings_they_hold_on_their_own_map(
    shared: Path, datum: str, counts: dict[str, int]
) -> None:
    readings = np.loadtxt(shared / "data" / "tracks" / "mapv_beijing_gps.csv", delimiter=",")
    found = json.loads((shared / "data" / "geo" / "mapv_bei_jing.geo.json").read_text())
    features = []
    for district in found["features"]:
        name = district["properties"]["name"]
        properties = {"id": name.removesuffix("区"), "datum": datum}
        features.append({**district, "properties": properties})
    assert held_counts(features, readings) == counts


@pytest.mark.corpus
def test_official_districts_of_beijing_hold_the_readings_stated(shared: Path) -> None:
    readings = np.loadtxt(shared / "data" / "tracks" / "mapv_beijing_gps.csv", delimiter=",")
    districts = official_districts(shared / "data" / "geo", "1101")
    counts = {"海淀": 120, "房山": 92, "石景山": 38, "丰台": 23}
    assert held_counts(districts, readings) == counts
    # The same borders moved to the provider's map, and said to be: hardly one reading changes.
    moved = []
    for district in districts:
        drawn = shapely.transform(shape(district["geometry"]), _on_gcj02)
        geometry = json.loads(shapely.to_geojson(drawn))
        properties = {**district["properties"], "datum": "gcj02"}
        moved.append({**district, "geometry": geometry, "properties": properties})
    assert held_counts(moved, readings) == counts


def _on_gcj02(points: np.ndarray) -> np.ndarray:
    at = gcj02_of(Wgs84(points[:, 0], points[:, 1]))
    return np.stack((at.longitude_deg, at.latitude_deg), axis=1)


@pytest.mark.corpus
def test_the_wuhan_drive_stays_within_its_district(shared: Path) -> None:
    rows = np.loadtxt(shared / "data" / "tracks" / "kfgins_wuhan_GNSS-RTK.txt")
    districts = official_districts(shared / "data" / "geo", "4201")
    assert held_counts(districts, rows[:, [0, 2, 1]]) == {"江夏": len(rows)}


def official_districts(folder: Path, adcode: str) -> list[dict[str, Any]]:
    """Districts whose code begins so, from Tianditu's packed polygons, as features."""
    with (folder / "tianditu_cn_district.csv").open(encoding="utf-8") as lines:
        names = [(row["district_adcode"], row["district_name"]) for row in csv.DictReader(lines)]
    packed = _counted(gzip.decompress((folder / "tianditu_cn_district.bin.gz").read_bytes()))
    features = []
    for (code, name), body in zip(names, packed, strict=True):
        if code.startswith(adcode):
            is_multiple = int.from_bytes(body[:4], "little") == 6
            parts = _counted(body[4:]) if is_multiple else [body[4:]]
            polygons = [[_ring(ring) for ring in _counted(part)] for part in parts]
            geometry = {"type": "MultiPolygon", "coordinates": polygons}
            properties = {"id": name.removesuffix("区")}
            features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return features


def _counted(body: bytes) -> list[bytes]:
    """Parts behind their number and their lengths."""
    count = int.from_bytes(body[:4], "little")
    ends = np.cumsum(np.frombuffer(body, "<u4", count, offset=4)) + 4 + 4 * count
    starts = [4 + 4 * count, *ends[:-1]]
    return [body[start:end] for start, end in zip(starts, ends, strict=True)]


def _ring(body: bytes) -> list[list[float]]:
    """Points as whole numbers of two millionths of a degree, or the first and 16-bit steps."""
    if int.from_bytes(body[:4], "little"):
        first = np.frombuffer(body, "<u4", 2, offset=4).astype(np.int64)
        steps = np.frombuffer(body, "<i2", offset=12).reshape(-1, 2)
        numbers = np.cumsum(np.vstack((first, steps)), axis=0)
    else:
        numbers = np.frombuffer(body, "<u4", offset=4).reshape(-1, 2).astype(np.int64)
    points: list[list[float]] = np.round(numbers * 2e-6 - (180, 90), 6).tolist()
    return points
