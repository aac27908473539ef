"""The API says the same on both engines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cloud.api_city import FOREIGN, OWN, City, furnished_city, square_fence

from greenhaul_cloud.api import console
from greenhaul_protocols.catalogue import Reading, TimeQuality, Undecodable

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


def lists_of(city: City) -> list[str]:
    """Every route that answers a page."""
    document = city.get("/openapi.json", None)
    found = []
    for path, operations in document["paths"].items():
        names = {p["name"] for p in operations.get("get", {}).get("parameters", [])}
        if "cursor" in names:
            filled = path.format(
                vehicle_id="v-own", fence_id="centre", gateway_id="gw-city", source="808:own"
            )
            found.append(re.sub("^/api/v1", "", filled))
    assert len(found) > 10
    return found


def test_every_list_pages_through_on_both_engines(store: Store, tmp_path: Path, kit: Kit) -> None:
    with furnished_city(store, tmp_path, kit) as city:
        city.ask("PUT", "/fences/centre", json=square_fence("centre", south_deg=32.9))
        for role in ("admin", "manager"):
            for path in lists_of(city):
                if city.ask("GET", path, role).status_code == 403:
                    continue
                whole = city.get(path, role, limit=1000)["items"]
                paged: list[dict[str, Any]] = []
                cursor: dict[str, str] = {}
                for _ in range(len(whole)):
                    page = city.get(path, role, limit=1, **cursor)
                    paged += page["items"]
                    cursor = {"cursor": page["next"]} if page["next"] else {}
                assert paged == whole, path
                assert not cursor, path


def test_bytes_no_standard_allows_stand_in_the_quarantine_list(
    store: Store, tmp_path: Path, kit: Kit
) -> None:
    with furnished_city(store, tmp_path, kit) as city:
        waiting = len(city.get("/quarantine", limit=1000)["items"])
        raw = bytes.fromhex("7e02ff7e")
        readings: list[Reading] = [
            Undecodable(
                source="808:own",
                device_time_ms=city.now_ms + number,
                received_time_ms=city.now_ms,
                time_quality=TimeQuality.UNUSABLE,
                protocol="jt808",
                reason="checksum: computed 0x5A, frame says 0x5B",
                raw=raw,
            )
            for number in range(3)
        ]
        city.report(readings, epoch=6)
        listed: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while not listed or cursor:
            page = city.get("/quarantine", limit=2, **cursor)
            listed += page["items"]
            cursor = {"cursor": page["next"]} if page["next"] else {}
        assert len({entry["id"] for entry in listed}) == len(listed) == waiting + 3
        bad = [entry for entry in listed if entry["reason"].startswith("checksum")]
        assert [(entry["source"], entry["count"]) for entry in bad] == [("808:own", 1)] * 3
        assert city.get(f"/quarantine/{bad[0]['id']}")["raw"] == raw.hex()
        assert city.ask("POST", f"/quarantine/{bad[0]['id']}/release").status_code == 409
        assert city.ask("GET", "/quarantine/r1-2-3").status_code == 404


def test_filters_scopes_and_changes_hold_on_both_engines(
    store: Store, tmp_path: Path, kit: Kit
) -> None:
    with furnished_city(store, tmp_path, kit) as city:
        assert len(city.get("/vehicles", q="豫r·O")["items"]) == 1
        assert city.get("/vehicles", q="100%")["items"] == []
        assert [s["source"] for s in city.get("/sources", "manager")["items"]] == ["808:own"]
        [mine] = city.get("/positions/latest", "manager")["features"]
        assert mine["id"] == "vehicle:v-own"
        began = city.get("/violations", vehicle_id="v-own")["items"][0]["began_at"]
        assert city.get("/violations", to=began)["items"] == []
        key = city.ids[OWN]["violation_id"]
        handled = city.ask("POST", f"/violations/{key}/handling", "manager", json={})
        assert handled.json()["state"] == "handled"
        changed = city.ask("PATCH", "/vehicles/v-own", json={"energy": "diesel"})
        assert changed.json()["energy"] == "diesel"
        foreign = f"/violations/{city.ids[FOREIGN]['violation_id']}"
        assert city.ask("GET", foreign, "manager").status_code == 404
        assert city.ask("GET", "/sources/808:own/track").text.count("\n") == 201
        assert city.ask("DELETE", "/vehicles/v-own").status_code == 409


def test_what_a_gateway_may_not_carry_waits_and_is_let_in(town: City) -> None:
    assert town.ask("POST", "/gateways", json={"id": "gw-strict"}).status_code == 201
    reading = town.position("808:stray", town.now_ms)
    town.report([reading], gateway="gw-strict")
    [entry] = town.get("/quarantine", "regulator", gateway_id="gw-strict")["items"]
    assert entry["source"] == "808:stray"
    assert "not granted" in entry["reason"]
    assert town.get(f"/quarantine/{entry['id']}")["raw"]
    path = f"/quarantine/{entry['id']}/release"
    assert town.ask("POST", path, "regulator").status_code == 403
    refused = town.ask("POST", path)
    assert refused.status_code == 409
    assert "808:stray" in refused.json()["detail"]
    grant = {"id": "gw-strict", "sources": ["808:*"]}
    assert town.ask("POST", "/gateways", json=grant).status_code == 200
    assert town.get(f"/quarantine/{entry['id']}")["released_at"] is not None
    assert town.ask("GET", "/sources/808:stray/track").text.count("\n") == 2
    assert town.ask("POST", path).status_code == 409


def test_the_built_console_is_served_and_the_api_never_turns_into_a_page(
    sqlite_store: Store, tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "console"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<title>greenhaul</title>")
    (built / "assets" / "app-1a2b.js").write_text("1")
    monkeypatch.setattr(console, "CONSOLE_FOLDER", built)
    with furnished_city(sqlite_store, tmp_path, kit) as city:
        client = city.client(None)
        client.base_url = city.url
        with client:
            page = client.get("/")
            assert "<title>greenhaul" in page.text
            assert page.headers["cache-control"] == "no-cache"
            assert "immutable" in client.get("/assets/app-1a2b.js").headers["cache-control"]
            assert client.get("/../../etc/passwd").status_code == 404
            assert client.get("/api/v1/nowhere").headers["content-type"].startswith("application/p")
