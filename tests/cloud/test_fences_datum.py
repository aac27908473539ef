"""Datums: published shifts, exact inverses, and types that convert but once."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from shapely import Point
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


@pytest.mark.corpus
def test_districts_of_beijing_hold_the_readings_they_hold_on_their_own_map(shared: Path) -> None:
    rows = np.loadtxt(shared / "data" / "tracks" / "mapv_beijing_gps.csv", delimiter=",")
    districts = json.loads((shared / "data" / "geo" / "mapv_bei_jing.geo.json").read_text())

    def counts(datum: str) -> dict[str, int]:
        versions = []
        for district in districts["features"]:
            name = district["properties"]["name"]
            properties = {"id": name.removesuffix("区"), "datum": datum}
            versions.append(parse_feature({**district, "properties": properties}))
        slots, _ = FenceIndex(versions).held(rows[:, 1], rows[:, 2])
        return dict(Counter(versions[slot].fence_id for slot in slots.tolist()))

    # Read as if they were WGS-84, the districts lie half a kilometre off.
    assert counts("wgs84") == {"海淀": 100, "房山": 68, "丰台": 58, "石景山": 47}
    # Official borders in WGS-84 give 120, 92, 23, 38: drawn by another hand, a few metres apart.
    assert counts("gcj02") == {"海淀": 120, "房山": 94, "丰台": 21, "石景山": 38}
