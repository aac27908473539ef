"""What a vehicle's sources said of battery, drive, cargo and events, on both engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cloud.api_city import City, furnished_city

from greenhaul_cloud.store import tracks
from greenhaul_protocols.catalogue import CargoReading, DriveReading, Event, Reading

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

IGNITION_ON, SOS_ALARM = 1, 1


def drive_in(city: City) -> int:
    """Readings of every kind from the vehicle's own terminal; their first instant."""
    at_ms = city.now_ms - 60_000
    source: dict[str, Any] = {"source": "808:own", "received_time_ms": city.now_ms}
    readings: list[Reading] = []
    for step in range(4):
        time: dict[str, Any] = {"device_time_ms": at_ms + step * 1000}
        readings += [
            DriveReading(**source, **time, speed_kmh=30.0 + step, is_ignition_on=True),
            CargoReading(**source, **time, compartment_temperature_1_c=-18.0 - step),
        ]
        detail = {"from": step, "to": step + 1}
        readings.append(
            Event(**source, **time, code="fault_level", detail=json.dumps(detail), raw=b"\x01\xff")
        )
        readings.append(
            city.position(
                "808:own", at_ms + step * 1000, status=step % 2 * IGNITION_ON, alarms=SOS_ALARM
            )
        )
    city.report(readings)
    return at_ms


def test_drive_and_cargo_are_listed_as_battery_is(store: Store, tmp_path: Path, kit: Kit) -> None:
    with furnished_city(store, tmp_path, kit) as city:
        drive_in(city)
        drive = city.get("/vehicles/v-own/drive")["items"]
        assert [one["speed_kmh"] for one in drive] == [33.0, 32.0, 31.0, 30.0]
        assert (drive[0]["source"], drive[0]["is_ignition_on"]) == ("808:own", True)
        assert (drive[0]["time_quality"], drive[0]["gear"]) == ("source", None)
        cargo = city.get("/vehicles/v-own/cargo", to=drive[1]["device_time"])["items"]
        assert [one["compartment_temperature_1_c"] for one in cargo] == [-19.0, -18.0]
        newest = city.get("/vehicles/v-own/cargo", **{"from": drive[0]["device_time"]})["items"]
        assert [one["compartment_temperature_1_c"] for one in newest] == [-21.0]
        for path in ("drive", "cargo", "events"):
            for role, status in ((None, 401), ("manager", 404)):
                assert city.ask("GET", f"/vehicles/v-foreign/{path}", role).status_code == status


def test_events_are_those_reported_and_those_the_track_tells(
    store: Store, tmp_path: Path, kit: Kit
) -> None:
    with furnished_city(store, tmp_path, kit) as city:
        drive_in(city)
        items = city.get("/vehicles/v-own/events", limit=1000)["items"]
        assert [(one["code"], one["is_derived"]) for one in items] == [
            ("fault_level", False),
            ("ignition", True),
            ("fault_level", False),
            ("ignition", True),
            ("fault_level", False),
            ("ignition", True),
            ("fault_level", False),
        ]
        reported, told = items[0], items[1]
        assert (reported["detail"], reported["raw"]) == ({"from": 0, "to": 1}, "01ff")
        assert (reported["source"], reported["position"]) == ("808:own", None)
        assert (told["is_on"], told["raw"], len(told["position"])) == (True, None, 2)
        assert told["device_time"] == items[2]["device_time"]


def test_events_page_through_without_loss_whatever_the_page(
    store: Store, tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with furnished_city(store, tmp_path, kit) as city:
        drive_in(city)
        whole = city.get("/vehicles/v-own/events", limit=1000)["items"]
        monkeypatch.setattr(tracks, "CHUNK_READINGS", 3)
        for limit in (1, 2, 3, 6, 7):
            paged: list[dict[str, Any]] = []
            cursor: dict[str, str] = {}
            while True:
                page = city.get("/vehicles/v-own/events", limit=limit, **cursor)
                assert len(page["items"]) <= limit
                paged += page["items"]
                if page["next"] is None:
                    break
                cursor = {"cursor": page["next"]}
            assert paged == whole, limit
