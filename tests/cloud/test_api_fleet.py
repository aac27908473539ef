"""Vehicles, bindings, sources, positions: what a manager's day is made of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from tests.cloud.api_city import TRACK_POINTS, City

from greenhaul_cloud.derive.runner import Deriver
from greenhaul_cloud.store import tables
from greenhaul_protocols.catalogue import Dropped, Reading
from greenhaul_protocols.times import format_time


def marks(city: City, vehicle_id: str) -> list[tuple[int, int]]:
    """Spans of a vehicle that wait for the fold."""
    with city.store.read() as conn:
        query = select(tables.dirty.c.from_time, tables.dirty.c.to_time)
        return [(row[0], row[1]) for row in conn.execute(query.where(
            tables.dirty.c.vehicle_id == vehicle_id))]  # fmt: skip


def test_a_vehicle_is_entered_changed_and_taken_out(town: City) -> None:
    wish = {"id": "v9", "plate": "豫R·9", "energy": "bev", "class": "van", "tags": ["cold", "cold"]}
    made = town.ask("POST", "/vehicles", "manager", json=wish)
    assert made.status_code == 201, made.text
    assert made.json()["enterprise_id"] == "e-own"
    assert made.json()["tags"] == ["cold"]
    assert town.ask("POST", "/vehicles", json=wish).status_code == 409
    found = town.get("/vehicles", "manager", q="豫r·9")["items"]
    assert [vehicle["id"] for vehicle in found] == ["v9"]
    Deriver(town.store).run(town.now_ms)  # even when the fold has looked at it
    assert town.ask("DELETE", "/vehicles/v9", "manager").status_code == 204
    assert town.ask("GET", "/vehicles/v9", "manager").status_code == 404
    assert town.ask("DELETE", "/vehicles/v-own", "manager").status_code == 409


def test_attributes_hold_from_an_instant_on_and_mark_the_fold(town: City) -> None:
    since = town.now_ms - 3_600_000
    wish = {"energy": "diesel", "valid_from": format_time(since)}
    changed = town.ask("PATCH", "/vehicles/v-own", "manager", json=wish).json()
    assert (changed["energy"], changed["class"], changed["tags"]) == ("diesel", "van", ["own"])
    history = [(entry["valid_from"], entry["energy"]) for entry in changed["attributes"]]
    assert history == [("1970-01-01T00:00:00Z", "bev"), (format_time(since), "diesel")]
    assert any(first <= since <= last for first, last in marks(town, "v-own"))


def test_an_unknown_key_is_refused_by_name(city: City) -> None:
    answer = city.ask("POST", "/vehicles", json={"id": "v8", "plat": "x"})
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["where"] == "body.plat"


def test_an_unknown_parameter_is_refused_by_name(city: City) -> None:
    slip = city.ask("GET", "/violations", params={"vehicle": "v-own"})
    assert slip.status_code == 422
    assert slip.json()["detail"] == "query.vehicle: unknown; did you mean 'vehicle_id'?"
    shifted = city.ask("GET", "/positions/latest", params={"datums": "gcj02"})
    assert shifted.json()["faults"] == [
        {"where": "query.datums", "what": "unknown; did you mean 'datum'?"}
    ]
    assert city.ask("GET", "/violations", params={"vehicle_id": "v-own"}).status_code == 200


def test_pages_follow_each_other_without_gap_or_double(town: City) -> None:
    for number in range(7):
        town.ask("POST", "/vehicles", json={"id": f"p{number}"})
    seen, cursor = [], None
    for _ in range(10):
        query: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = town.get("/vehicles", **query)
        seen += [vehicle["id"] for vehicle in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) == 9


def test_every_list_gives_a_cursor_that_it_takes_back(city: City) -> None:
    for path in ("/vehicles", "/sources", "/bindings", "/visits", "/violations", "/users",
                 "/tokens", "/enterprises", "/vehicles/v-own/battery"):  # fmt: skip
        first = city.get(path, limit=1)
        second = city.get(path, limit=1, cursor=first["next"])
        assert first["items"] != second["items"], path
        assert len(second["items"]) == 1, path


def test_claiming_a_source_gives_its_past_to_the_vehicle(town: City) -> None:
    unclaimed = town.get("/sources", unclaimed=True)["items"]
    assert [source["source"] for source in unclaimed] == ["808:nobodys-foreign"]
    wish = {"source": "808:nobodys-foreign", "vehicle_id": "v-own"}
    made = town.ask("POST", "/bindings", json=wish)
    assert made.status_code == 201, made.text
    assert made.json()["valid_from"] == "1970-01-01T00:00:00Z"
    assert town.get("/sources", unclaimed=True)["items"] == []
    rows = town.ask("GET", "/vehicles/v-own/track", params={"format": "csv"}).text.splitlines()
    assert len(rows) == 1 + TRACK_POINTS + 1
    assert marks(town, "v-own")


def test_a_source_that_moves_belongs_to_each_vehicle_in_its_time(town: City) -> None:
    town.ask("POST", "/vehicles", json={"id": "v2", "enterprise_id": "e-own"})
    moved = town.ask("POST", "/bindings", json={"source": "808:own", "vehicle_id": "v2"})
    assert moved.json()["valid_from"] == format_time(town.now_ms)
    before = town.get("/bindings", vehicle_id="v-own")["items"][0]
    assert before["valid_to"] == format_time(town.now_ms)
    late = {"source": "808:own", "vehicle_id": "v2", "valid_from": "2020-01-01T00:00:00Z"}
    clash = town.ask("POST", "/bindings", json=late)
    assert clash.status_code == 409
    assert "end that binding first" in clash.json()["detail"]


def test_ending_a_binding_twice_changes_nothing(town: City) -> None:
    binding_id = town.ids["own"]["binding_id"]
    assert town.ask("DELETE", f"/bindings/{binding_id}", "manager").status_code == 204
    ended = town.get(f"/bindings/{binding_id}")["valid_to"]
    town.now_ms += 60_000
    assert town.ask("DELETE", f"/bindings/{binding_id}", "manager").status_code == 204
    assert town.get(f"/bindings/{binding_id}")["valid_to"] == ended


def test_positions_show_vehicles_and_to_authorities_what_is_unclaimed(city: City) -> None:
    features = city.get("/positions/latest")["features"]
    assert [feature["id"] for feature in features] == [
        "vehicle:v-foreign", "vehicle:v-own", "source:808:nobodys-foreign",
    ]  # fmt: skip
    mine = city.get("/positions/latest", "manager")["features"]
    assert [feature["id"] for feature in mine] == ["vehicle:v-own"]
    told = mine[0]["properties"]
    assert told["state"] == "moving"
    assert told["is_violating"] is True
    assert told["device_time"] == format_time(city.now_ms - 10_000)
    assert mine[0]["geometry"]["coordinates"] == [told["longitude_deg"], told["latitude_deg"]]


def test_a_box_cuts_positions(city: City) -> None:
    assert city.get("/positions/latest", bbox="112,32,113,33")["features"] != []
    assert city.get("/positions/latest", bbox="0,0,1,1")["features"] == []
    assert city.get("/positions/latest", bbox="170,32,-170,33")["features"] == []
    assert city.ask("GET", "/positions/latest", params={"bbox": "1,2,3"}).status_code == 422


def test_who_is_not_heard_of_for_five_minutes_is_offline(town: City) -> None:
    town.now_ms += 299_000
    states = {f["properties"]["state"] for f in town.get("/positions/latest")["features"]}
    assert "offline" not in states
    town.now_ms += 2_000
    states = {f["properties"]["state"] for f in town.get("/positions/latest")["features"]}
    assert states == {"offline"}


def test_of_two_sources_the_one_of_higher_priority_leads_while_it_speaks(town: City) -> None:
    wish = {"source": "gw-city/gnss", "vehicle_id": "v-own", "priority": 5}
    assert town.ask("POST", "/bindings", json=wish).status_code == 201
    last_ms = town.now_ms - 10_000  # of the terminal's track
    town.report([town.position("gw-city/gnss", last_ms - 31_000)], epoch=6)
    assert leader(town) == "808:own"
    town.report([town.position("gw-city/gnss", last_ms - 29_000)], epoch=7)
    assert leader(town) == "gw-city/gnss"


def leader(city: City) -> str:
    [feature] = city.get("/positions/latest", "manager")["features"]
    return str(feature["properties"]["source"])


def test_battery_readings_come_newest_first_with_the_catalogues_fields(city: City) -> None:
    page = city.get("/vehicles/v-own/battery", limit=2)
    assert [reading["soc_percent"] for reading in page["items"]] == [79.6, 79.7]
    assert "pack_voltage_v" in page["items"][0]
    until = page["items"][1]["device_time"]
    earlier = city.get("/vehicles/v-own/battery", to=until)["items"]
    assert [reading["soc_percent"] for reading in earlier] == [79.8, 79.9, 80.0]


def test_a_gateway_shows_the_ledger_of_its_lanes(city: City) -> None:
    gateway = city.get("/gateways/gw-city")
    by_epoch = {epoch["epoch"]: epoch for epoch in gateway["epochs"]}
    [lane] = by_epoch[f"{1:016x}"]["lanes"]
    count = TRACK_POINTS + 5
    assert lane == {
        "lane": 1, "settled": [[1, count]], "through": count, "stored": count,
        "duplicate": 0, "quarantined": 0, "dropped": 0,
    }  # fmt: skip


def test_what_a_gateway_gave_up_is_listed_record_by_record(town: City) -> None:
    records: list[Reading] = [
        Dropped(
            source="gw-city/outbox",
            device_time_ms=town.now_ms + i,
            received_time_ms=town.now_ms,
            epoch=2**62 + 1,
            lane=1,
            first=None if i == 2 else 10 * i + 1,
            last=None if i == 2 else 10 * i + 5,
            from_time_ms=town.now_ms - 9_000 if i == 0 else None,
            to_time_ms=town.now_ms - 1_000 if i == 0 else None,
            reason="outbox full",
        )
        for i in range(3)
    ]
    town.report(records, epoch=7)
    page = town.get("/gateways/gw-city/dropped", limit=2)
    assert page["items"][0] == {
        "device_time": format_time(town.now_ms), "epoch": f"{2**62 + 1:016x}", "lane": 1,
        "first": 1, "last": 5, "from_time": format_time(town.now_ms - 9_000),
        "to_time": format_time(town.now_ms - 1_000), "reason": "outbox full",
    }  # fmt: skip
    assert (page["items"][1]["first"], page["items"][1]["from_time"]) == (11, None)
    [unknown] = town.get("/gateways/gw-city/dropped", limit=2, cursor=page["next"])["items"]
    assert (unknown["first"], unknown["last"]) == (None, None)
    assert town.ask("GET", "/gateways/gw-nobody/dropped").status_code == 404
    assert town.ask("GET", "/gateways/gw-city/dropped", "manager").status_code == 403


def test_what_somebody_did_stands_in_the_audit(town: City) -> None:
    town.ask("POST", "/gateways", json={"id": "gw-2", "sources": ["808:*"]})
    assert town.ask("POST", "/gateways", json={"id": "gw-2"}).status_code == 200
    [last, first] = town.get("/audit", limit=2)["items"]
    assert (first["action"], first["subject"]) == ("gateway.put", "gw-2")
    assert first["detail"] == {"sources": ["808:*"]}
    assert last["user_name"] == "admin"
