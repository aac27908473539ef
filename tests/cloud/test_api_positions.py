"""Everybody's newest position: as the schema says it, whatever is in it; and who is newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update
from tests.cloud.api_city import City, furnished_city

from greenhaul_cloud.api.columns import time_texts
from greenhaul_cloud.api.positions import PositionCollection
from greenhaul_cloud.store import tables
from greenhaul_cloud.store.positions import Whereabouts, where_everybody
from greenhaul_cloud.store.scope import EVERYTHING
from greenhaul_protocols.catalogue import TimeQuality
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

DAY_MS = 86_400_000


def by_the_model(one: Whereabouts) -> dict[str, Any]:
    """A feature of the shape that the API's schema is made of."""
    properties = one._asdict()
    properties["time_quality"] = TimeQuality(one.time_quality).name.lower()
    place = (one.longitude_deg, one.latitude_deg)
    return {"id": one.key, "geometry": {"coordinates": place}, "properties": properties}


def test_it_is_written_as_its_schema_says(town: City) -> None:
    odd = town.position(
        '808:"\\绿', town.now_ms - 1, latitude_deg=-0.0000001, longitude_deg=179.9999999
    )
    town.report([odd], epoch=7)
    with town.store.write() as conn:
        conn.execute(
            update(tables.vehicle).where(tables.vehicle.c.id == "v-own").values(plate='绿"\\%s')
        )
    with town.store.read() as conn:
        everybody = where_everybody(conn, EVERYTHING, town.now_ms)
    assert len(everybody) > 3
    expected = PositionCollection.model_validate(
        {"datum": "wgs84", "features": [by_the_model(one) for one in everybody]}
    )
    answer = town.ask("GET", "/positions/latest")
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == expected.model_dump_json()


def test_nobody_is_an_empty_collection(town: City) -> None:
    answer = town.get("/positions/latest", bbox="0,0,1,1", datum="gcj02")
    assert answer == {"type": "FeatureCollection", "datum": "gcj02", "features": []}


@pytest.mark.parametrize(
    "times_ms",
    [
        [],
        [0, -1, 1, -1000, 999, 1000],
        [TIME_MS_MIN, TIME_MS_MIN + 1, TIME_MS_MAX, TIME_MS_MAX - 999],
    ],
)
def test_instants_of_a_column_read_as_each_alone(times_ms: list[int]) -> None:
    assert time_texts(times_ms) == list(map(format_time, times_ms))


def test_a_clock_ahead_holds_a_truck_no_longer_than_to_its_next_position(
    store: Store, tmp_path: Path, kit: Kit
) -> None:
    """A position is at its newest when it is stored, whatever its clock said."""
    with furnished_city(store, tmp_path, kit) as city:

        def seen() -> str:
            features = city.get("/positions/latest")["features"]
            [own] = [one for one in features if one["id"] == "vehicle:v-own"]
            return str(own["properties"]["device_time"])

        ahead_ms = city.now_ms + 2 * DAY_MS
        city.report([city.position("808:own", ahead_ms)], epoch=21)
        assert seen() == format_time(ahead_ms)
        city.now_ms += 10_000
        city.report([city.position("808:own", city.now_ms - 1000)], epoch=22)
        assert seen() == format_time(city.now_ms - 1000)
        # a backlog of before is no news
        city.report([city.position("808:own", city.now_ms - 60_000)], epoch=23)
        assert seen() == format_time(city.now_ms - 1000)
        # a truck whose clock is always ahead moves all the same
        for epoch in (24, 25):
            city.now_ms += 10_000
            city.report([city.position("808:own", city.now_ms + DAY_MS)], epoch=epoch)
            assert seen() == format_time(city.now_ms + DAY_MS)


def test_a_second_source_leads_past_one_whose_clock_was_ahead(town: City) -> None:
    bound = {"source": "gw-city/gnss", "vehicle_id": "v-own", "valid_from": format_time(0)}
    town.ask("POST", "/bindings", json=bound).raise_for_status()
    town.report([town.position("gw-city/gnss", town.now_ms + DAY_MS)], epoch=31)
    town.now_ms += 60_000
    town.report([town.position("808:own", town.now_ms - 1000)], epoch=32)
    features = town.get("/positions/latest")["features"]
    [own] = [one for one in features if one["id"] == "vehicle:v-own"]
    assert own["properties"]["source"] == "808:own"
