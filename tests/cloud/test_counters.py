"""Counters by day: they add up to the ledgers, and say what was odd about what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select
from tests.cloud.api_city import City

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.inspection import receive_block
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import Dropped, TimeQuality

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

MS_PER_DAY = 86_400_000
COUNTS = ("stored", "duplicate", "late", "unusable_time", "quarantined", "dropped")


def counts_of(store: Store, subject: str) -> dict[tuple[str, str], dict[str, int]]:
    """By name and day, what is not zero."""
    with store.read() as conn:
        if subject == "gateway":
            query = select(tables.gateway_day, tables.gateway_day.c.gateway_id.label("name"))
        else:
            query = select(tables.source_day, tables.source.c.name).join(tables.source)
        rows = conn.execute(query).mappings().all()
    names = (*COUNTS, "damaged")
    return {
        (row["name"], str(row["day"])): {name: row[name] for name in names if row.get(name)}
        for row in rows
    }


def test_each_reading_counts_on_the_day_it_came_by_what_settled_it(store: Store, kit: Kit) -> None:
    kit.register(store, "gw-1", ["808:*"])
    now_ms = kit.now_ms
    readings = [
        kit.position("808:1", now_ms),
        kit.position("808:1", now_ms - 301_000),  # late
        kit.position("808:2", now_ms, time_quality=TimeQuality.UNUSABLE),
        kit.position("808:2", now_ms - 1000, latitude_deg=112.5, longitude_deg=32.9),
        kit.position("other:3", now_ms),  # not granted, never heard of
        kit.position("808:1", now_ms),  # known by then
        Dropped(
            source="gw-1/outbox", device_time_ms=now_ms, received_time_ms=now_ms,
            epoch=kit.epoch - 2**64, lane=1, first=8, last=17, reason="full",
        ),
    ]  # fmt: skip
    outbox = kit.outbox(readings=readings)
    store_blocks(store, [outbox.received(1, 4)], now_ms)
    store_blocks(store, [outbox.received(4, 7), receive_block("gw-1", 1, b"rubbish")], now_ms)
    day = "2027-01-15"  # 16:00 in Shanghai
    assert counts_of(store, "source") == {
        ("808:1", day): {"stored": 2, "late": 1, "duplicate": 1},
        ("808:2", day): {"stored": 1, "unusable_time": 1, "quarantined": 1},
        ("gw-1/outbox", day): {"stored": 1, "dropped": 10},
    }
    gateway = {
        "stored": 4, "late": 1, "duplicate": 1, "unusable_time": 1, "quarantined": 2,
        "dropped": 10, "damaged": 1,
    }  # fmt: skip
    assert counts_of(store, "gateway") == {("gw-1", day): gateway}
    # the same again settles nothing new, and counts nowhere
    store_blocks(store, [outbox.received(1, 7)], now_ms)
    assert counts_of(store, "gateway") == {("gw-1", day): gateway}


def test_days_change_at_midnight_of_the_city_and_add_up_to_the_ledgers(
    store: Store, kit: Kit
) -> None:
    for gateway_id in ("gw-1", "gw-2"):
        kit.register(store, gateway_id)
    midnight_ms = kit.now_ms + 8 * 3_600_000  # 1.8e12 is 16:00 in Shanghai
    readings = [kit.position(f"808:{i % 3}", midnight_ms + i) for i in range(60)]
    for number in range(0, 60, 10):
        at_ms = midnight_ms - 25 + number
        blocks = [
            kit.outbox(gateway=gateway_id, readings=readings).received(number + 1, number + 10)
            for gateway_id in ("gw-1", "gw-2")
        ]
        store_blocks(store, blocks, at_ms)
    found = counts_of(store, "gateway")
    assert {day for _, day in found} == {"2027-01-15", "2027-01-16"}
    assert found["gw-1", "2027-01-15"] == {"stored": 30}
    assert found["gw-2", "2027-01-16"] == {"duplicate": 30}
    with store.read() as conn:
        for row in conn.execute(select(tables.lane)).mappings():
            days = [counts for (name, _), counts in found.items() if name == row["gateway_id"]]
            for name in ("stored", "duplicate", "quarantined", "dropped"):
                assert sum(counts.get(name, 0) for counts in days) == row[name]
    of_sources = counts_of(store, "source").values()
    assert sum(counts.get("stored", 0) for counts in of_sources) == 60


def test_days_come_newest_first_and_page_by_page(town: City) -> None:
    for day in range(3):
        town.now_ms += MS_PER_DAY
        town.report([town.position("808:own", town.now_ms)], epoch=20 + day)
    for path in ("/gateways/gw-city/days", "/sources/808:own/days"):
        whole = town.get(path)["items"]
        days = [item["day"] for item in whole]
        assert days == sorted(days, reverse=True)
        assert len(days) == 4
        assert set(whole[0]) >= {"day", *COUNTS}
        assert whole[0]["stored"] == 1
        page: dict[str, Any] = town.get(path, limit=3)
        rest = town.get(path, limit=3, cursor=page["next"])
        assert page["items"] + rest["items"] == whole
        assert rest["next"] is None


@pytest.mark.parametrize("path", ["/gateways/gw-city/days", "/sources/808:own/days"])
def test_days_are_for_who_sees_everything(city: City, path: str) -> None:
    assert city.ask("GET", path, "manager").status_code == 403
    assert city.ask("GET", path, "regulator").status_code == 200
    assert city.ask("GET", path.replace("gw-city", "x").replace("own", "x")).status_code == 404
