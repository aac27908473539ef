"""Fences, their versions, and what was found at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cloud.api_city import City, square_fence

from greenhaul_cloud.derive.runner import Deriver
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    pass


def test_a_fence_is_drawn_once_and_put_again(town: City) -> None:
    made = town.ask("POST", "/fences", "regulator", json=square_fence("depot"))
    assert made.status_code == 201, made.text
    assert made.json()["properties"]["version"] == 1
    assert made.json()["properties"]["hysteresis_m"] == 20
    again = town.ask("POST", "/fences", json=square_fence("depot"))
    assert again.status_code == 409
    assert "PUT" in again.json()["detail"]


def test_a_new_name_is_no_version_a_new_geometry_is(town: City) -> None:
    renamed = square_fence("centre", name="Old town")
    put = town.ask("PUT", "/fences/centre", json=renamed).json()
    assert (put["properties"]["version"], put["properties"]["name"]) == (1, "Old town")
    town.now_ms += 60_000
    moved = town.ask("PUT", "/fences/centre", json=square_fence("centre", south_deg=32.9)).json()
    assert moved["properties"]["version"] == 2
    versions = town.get("/fences/centre/versions")["items"]
    assert [version["version"] for version in versions] == [2, 1]
    assert versions[0]["valid_from"] == format_time(town.now_ms)
    assert versions[0]["created_by"] == "admin"


def test_put_makes_a_fence_that_is_not_there(town: City) -> None:
    feature = square_fence("new")
    del feature["properties"]["id"]
    assert town.ask("PUT", "/fences/new", json=feature).status_code == 201
    assert town.get("/fences/new")["id"] == "new"
    other = town.ask("PUT", "/fences/new", json=square_fence("another"))
    assert other.status_code == 422


def test_what_cannot_be_honoured_is_refused_with_its_reason(city: City) -> None:
    bad = square_fence("bad", rules=[{"rule": "no_entri"}])
    answer = city.ask("POST", "/fences", json=bad)
    assert answer.status_code == 422
    assert "no_entry" in answer.json()["detail"]
    slash = city.ask("POST", "/fences", json=square_fence("a/b"))
    assert slash.status_code == 422


def test_an_ended_fence_keeps_its_past(town: City) -> None:
    assert town.ask("DELETE", "/fences/centre", "regulator").status_code == 204
    fence = town.get("/fences/centre")
    assert fence["properties"]["valid_to"] is not None
    assert town.ask("DELETE", "/fences/nowhere").status_code == 404


def test_the_real_fold_fills_visits_and_violations(town: City) -> None:
    """A fence around the track: one visit, one violation, in the shape that was promised."""
    start_ms = town.now_ms - 3_600_000
    fence = square_fence("zone", valid_from=format_time(start_ms))
    assert town.ask("POST", "/fences", json=fence).status_code == 201
    while Deriver(town.store).run(town.now_ms).has_more:
        pass
    [violation] = town.get("/violations", "manager", fence_id="zone")["items"]
    assert violation["plate"] == "豫R·own"
    assert violation["fence_name"] == "Fence zone"
    assert violation["evidence"]["type"] == "Feature"
    assert violation.keys() >= {
        "id", "visit_id", "vehicle_id", "fence_id", "fence_version", "rule", "severity",
        "began_at", "ended_at", "window", "certainty", "detail", "state", "evidence", "amended",
        "handling",
    }  # fmt: skip
    [visit] = town.get("/visits", "manager", fence_id="zone")["items"]
    assert visit["violations"] == [violation]
    assert violation["visit_id"] == visit["id"]
    assert (visit["entered_by"], visit["left_by"]) == ("first_reading", "open")
    [other] = town.get("/violations", "regulator", fence_id="zone", vehicle_id="v-foreign")["items"]
    assert other["vehicle_id"] == "v-foreign"


def test_filters_of_violations(city: City) -> None:
    def count(**query: str) -> int:
        return len(city.get("/violations", **query)["items"])

    began = city.get("/violations")["items"][0]["began_at"]
    assert count() == 2
    assert count(vehicle_id="v-own") == 1
    assert count(rule="speed_limit") == 0
    assert count(state="handled") == 0
    assert count(to=began) == 0
    assert count(**{"from": began}) == 2
    assert city.ask("GET", "/violations", params={"state": "odd"}).status_code == 422


def test_handling_a_violation_is_noted_and_told(town: City) -> None:
    key = town.ids["own"]["violation_id"]
    path = f"/violations/{key}/handling"
    handled = town.ask("POST", path, "manager", json={"note": "driver was told"}).json()
    assert handled["state"] == "handled"
    assert handled["handling"] == {
        "note": "driver was told",
        "by": "manager",
        "at": format_time(town.now_ms),
    }
    assert [v["id"] for v in town.get("/violations", state="handled")["items"]] == [key]
    seen = {"Last-Event-ID": "2"}
    with town.client("manager", **seen) as client, client.stream("GET", "/live") as stream:
        told = next(line for line in stream.iter_lines() if "driver was told" in line)
    assert '"state":"handled"' in told
