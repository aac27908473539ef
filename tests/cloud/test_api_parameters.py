"""What may be asked of lists and maps beside a page: a datum, a box, a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.cloud.api_city import City

from greenhaul_cloud.fences.datum import Wgs84, bd09_of, gcj02_of


@pytest.mark.parametrize(
    ("datum", "convert"), [("wgs84", lambda at: at), ("gcj02", gcj02_of), ("bd09", bd09_of)]
)
def test_positions_come_in_the_datum_of_the_map(
    city: City, datum: str, convert: Callable[[Any], Any]
) -> None:
    plain = city.get("/positions/latest")
    assert plain["datum"] == "wgs84"
    shown = city.get("/positions/latest", datum=datum)
    assert shown["datum"] == datum
    for was, now in zip(plain["features"], shown["features"], strict=True):
        longitude, latitude = was["geometry"]["coordinates"]
        at = convert(Wgs84(np.array([longitude]), np.array([latitude])))
        expected = [at.longitude_deg[0], at.latitude_deg[0]]
        assert now["geometry"]["coordinates"] == pytest.approx(expected, abs=1e-7)
        told = now["properties"]
        assert [told["longitude_deg"], told["latitude_deg"]] == now["geometry"]["coordinates"]
    longitude, latitude = shown["features"][0]["geometry"]["coordinates"]
    box = f"{longitude - 1e-4},{latitude - 1e-4},{longitude + 1e-4},{latitude + 1e-4}"
    boxed = city.get("/positions/latest", datum=datum, bbox=box)["features"]
    assert shown["features"][0] in boxed
    assert city.ask("GET", "/positions/latest", params={"datum": "pz90"}).status_code == 422


@pytest.mark.parametrize(
    "path",
    ["/vehicles/v-own/track", "/vehicles/v-own/battery", "/vehicles/v-own/trips", "/visits",
     "/violations", "/sources/808:own/track"],
)  # fmt: skip
def test_a_time_that_runs_backwards_is_refused(city: City, path: str) -> None:
    late, early = "2026-11-20T08:00:00+08:00", "2026-11-19T23:59:59Z"
    answer = city.ask("GET", path, params={"from": late, "to": early})
    assert answer.status_code == 422
    assert answer.json()["faults"] == [{"where": "query.to", "what": "lies before from"}]
    assert city.ask("GET", path, params={"from": early, "to": late}).status_code == 200


@pytest.mark.parametrize("path", ["/sources/808:%00/days", "/vehicles/v%00", "/vehicles?fleet=%00"])
def test_nul_is_refused_on_either_engine(city: City, path: str) -> None:
    answer = city.ask("GET", path)
    assert (answer.status_code, answer.json()["faults"][0]["what"]) == (422, "holds NUL")
