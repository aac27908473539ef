"""Fleets: an enterprise's own parts, and what a map may be narrowed to."""

from __future__ import annotations

from tests.cloud.api_city import City


def test_a_fleet_is_entered_renamed_joined_and_taken_out(town: City) -> None:
    made = town.ask("POST", "/fleets", "manager", json={"id": "cold", "name": "Cold chain"})
    assert made.status_code == 201, made.text
    assert made.json()["enterprise_id"] == "e-own"
    again = town.ask("POST", "/fleets", json={"id": "cold", "name": "x", "enterprise_id": "e-own"})
    assert again.status_code == 409
    renamed = town.ask("PUT", "/fleets/cold", "manager", json={"name": "冷链"})
    assert renamed.json()["name"] == "冷链"
    joined = town.ask("PATCH", "/vehicles/v-own", "manager", json={"fleet_id": "cold"})
    assert joined.json()["fleet_id"] == "cold"
    assert [v["id"] for v in town.get("/vehicles", fleet_id="cold")["items"]] == ["v-own"]
    shown = town.get("/positions/latest", fleet="cold")["features"]
    assert [one["properties"]["vehicle_id"] for one in shown] == ["v-own"]
    assert town.get("/positions/latest", fleet="none")["features"] == []
    assert town.ask("DELETE", "/fleets/cold", "manager").status_code == 204
    assert town.get("/vehicles/v-own")["fleet_id"] is None


def test_a_vehicle_joins_fleets_of_its_own_enterprise_only(town: City) -> None:
    for role in ("manager", "admin"):
        wrong = town.ask("PATCH", "/vehicles/v-own", role, json={"fleet_id": "f-foreign"})
        assert wrong.status_code == 422
        assert "fleet_id" in wrong.json()["detail"]
    assert town.get("/vehicles/v-own")["fleet_id"] == "f-own"
    moved = town.ask("PATCH", "/vehicles/v-own", json={"enterprise_id": "e-foreign"})
    assert moved.json()["fleet_id"] is None
    assert town.ask("DELETE", "/enterprises/e-own").status_code == 409


def test_managers_see_their_own_fleets(city: City) -> None:
    assert [one["id"] for one in city.get("/fleets", "manager")["items"]] == ["f-own"]
    assert len(city.get("/fleets")["items"]) == 2
    assert len(city.get("/fleets", enterprise_id="e-foreign")["items"]) == 1
    assert city.get("/positions/latest", "manager", fleet="f-foreign")["features"] == []
    foreign = {"id": "x", "name": "x", "enterprise_id": "e-foreign"}
    assert city.ask("POST", "/fleets", "manager", json=foreign).status_code == 422
    assert city.ask("POST", "/fleets", "regulator", json=foreign).status_code == 403
