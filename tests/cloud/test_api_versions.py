"""Changes of the past are shown first and made once; areas are asked about without a fence."""

from __future__ import annotations

from typing import Any

from tests.cloud.api_city import City, square_fence

from greenhaul_cloud.derive.runner import Deriver
from greenhaul_protocols.times import format_time

DAY_MS = 86_400_000


def fold_all(town: City) -> None:
    deriver = Deriver(town.store)
    while deriver.run(town.now_ms).has_more:
        pass


def backdated(town: City, **properties: Any) -> dict[str, Any]:
    return square_fence("zone", valid_from=format_time(town.now_ms - DAY_MS), **properties)


def settled(town: City) -> None:
    """A fence around the tracks, in force since a day ago, and all folded."""
    refused = town.ask("POST", "/fences", json=backdated(town))
    assert (refused.status_code, "dry-run" in refused.json()["detail"]) == (409, True)
    trial = town.ask("POST", "/fences/zone/dry-run", json=backdated(town)).json()
    assert {difference["change"] for difference in trial["differences"]} == {"added"}
    applied = town.ask("POST", "/fences/zone/apply", json=backdated(town)).json()
    assert applied["properties"]["version"] == 1
    fold_all(town)


def test_a_change_of_the_past_is_shown_then_made_then_nothing(town: City) -> None:
    settled(town)
    since = format_time(town.now_ms - DAY_MS + 1)
    lifted = square_fence("zone", valid_from=since, rules=[])
    refused = town.ask("PUT", "/fences/zone", json=lifted)
    assert refused.status_code == 409
    assert "dry-run" in refused.json()["detail"]
    before = town.get("/violations", fence_id="zone")["items"]
    assert before
    trial = town.ask("POST", "/fences/zone/dry-run", json=lifted).json()
    assert (trial["version"], trial["valid_from"], trial["is_complete"]) == (2, since, True)
    withdrawn = [d for d in trial["differences"] if d["what"] == "violation"]
    assert {d["id"] for d in withdrawn} == {violation["id"] for violation in before}
    assert {d["change"] for d in withdrawn} == {"withdrawn"}
    assert town.get("/violations", fence_id="zone")["items"] == before
    made = town.ask("POST", "/fences/zone/apply", json=lifted)
    assert made.json()["properties"]["version"] == 2
    fold_all(town)
    states = [v["state"] for v in town.get("/violations", fence_id="zone")["items"]]
    assert states == ["withdrawn"] * len(before)
    nothing = town.ask("POST", "/fences/zone/dry-run", json=lifted).json()
    assert (nothing["version"], nothing["differences"]) == (None, [])
    again = town.ask("POST", "/fences/zone/apply", json=lifted)
    assert again.json()["properties"]["version"] == 2


def test_managers_change_no_past(town: City) -> None:
    settled(town)
    for act in ("dry-run", "apply"):
        path = f"/fences/zone/{act}"
        assert town.ask("POST", path, "manager", json=backdated(town)).status_code == 403
        bad = backdated(town, rules=[{"rule": "no_entri"}])
        assert town.ask("POST", path, json=bad).status_code == 422


def test_who_was_in_an_area_is_asked_without_a_fence(town: City) -> None:
    settled(town)
    asked = {
        "feature": {**square_fence("asked")},
        "from": format_time(town.now_ms - DAY_MS),
        "to": format_time(town.now_ms),
    }
    found = town.ask("POST", "/visits/query", json=asked).json()
    told = town.get("/visits", fence_id="zone")["items"]
    assert found["is_complete"]
    keys = ("vehicle_id", "entered_at", "left_at", "certainty")
    assert sorted([v[k] for k in keys] for v in found["items"]) == sorted(
        [v[k] for k in keys] for v in told
    )
    own = town.ask("POST", "/visits/query", "manager", json=asked).json()["items"]
    assert {visit["vehicle_id"] for visit in own} == {"v-own"}
    long = {**asked, "from": format_time(town.now_ms - 100 * DAY_MS)}
    assert town.ask("POST", "/visits/query", json=long).status_code == 422


def test_a_year_of_the_calendar_is_entered_and_judged_by(town: City) -> None:
    years = town.ask("GET", "/calendar").json()
    settled(town)
    years = town.ask("GET", "/calendar").json()
    assert [year["year"] for year in years] == [2024, 2025, 2026]
    assert "国办发明电〔2025〕7号" in years[2]["source"]
    today = format_time(town.now_ms + 8 * 3_600_000)[:10]
    day_off = {"days_off": [today], "source": "test"}
    working = backdated(town, rules=[{"rule": "no_entry", "hours": "Mo-Su; PH off"}])
    assert town.ask("POST", "/fences/zone/apply", json=working).status_code == 200
    fold_all(town)
    standing = [
        v for v in town.get("/violations", fence_id="zone")["items"] if v["state"] == "open"
    ]
    assert standing
    put = town.ask("PUT", f"/calendar/{today[:4]}", json=day_off)
    assert put.status_code == 200, put.text
    fold_all(town)
    after = town.get("/violations", fence_id="zone")["items"]
    assert not any(v["state"] == "open" and v["began_at"][:10] == today for v in after)
    wrong = {"days_off": ["1999-01-01"]}
    assert town.ask("PUT", f"/calendar/{today[:4]}", json=wrong).status_code == 422
