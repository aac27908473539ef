"""Route × role × foreign object, walked from the API's own description of itself.

A route added without a guard, or a query without a scope, fails here without a line of new test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.cloud.api_city import FOREIGN, OWN, City, served

from greenhaul_cloud.api.app import create_app
from greenhaul_cloud.api.context import ApiContext, Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.config import CloudConfig
from greenhaul_cloud.store import registry
from greenhaul_cloud.store.pages import PageSpec
from greenhaul_cloud.store.scope import EVERYTHING

# What nobody needs a name for.
PUBLIC = {("POST", "/session")}
# Streams have no end to wait for; they have tests of their own.
STREAMS = {"/live"}
# Everybody sees the city's fences; only authorities change them.
SHARED = {"fence_id": "centre", "year": 2025}
# How many odd values each parameter is asked with.
ODD_TRIES = 4


@pytest.fixture(scope="module")
def routes(city: City) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of every route of the API."""
    return routes_of(city)


def routes_of(city: City) -> list[tuple[str, str, dict[str, Any]]]:
    document = city.get("/openapi.json", None)
    found = [
        (method.upper(), path.removeprefix("/api/v1"), operation | {"document": document})
        for path, operations in document["paths"].items()
        if path.startswith("/api/v1/")
        for method, operation in operations.items()
    ]
    assert len(found) > 40
    return found


def filled(path: str, owner: str, city: City) -> str:
    """The path with the owner's ids. An unknown parameter is a route this test must be taught."""
    name = f"{FOREIGN}-manager" if owner == FOREIGN else "manager"
    values: dict[str, Any] = {
        "vehicle_id": f"v-{owner}",
        "enterprise_id": f"e-{owner}",
        "fleet_id": f"f-{owner}",
        "source": f"808:{owner}",
        "violation_id": city.ids[owner]["violation_id"],
        "binding_id": city.ids[owner]["binding_id"],
        "token_id": city.ids["token"][name],
        "user_id": city.ids["user"][name],
        "gateway_id": "gw-city",
        "quarantine_id": 1,
        **SHARED,
    }
    return re.sub(r"\{(\w+)\}", lambda match: str(values[match[1]]), path)


def body_of(operation: dict[str, Any]) -> Any:
    """The smallest body the operation accepts."""
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return _example(schema, operation["document"]["components"]["schemas"])


def _example(schema: dict[str, Any], shapes: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(shapes[schema["$ref"].rpartition("/")[2]], shapes)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {
            name: _example(schema["properties"][name], shapes)
            for name in schema.get("required", [])
        }
    if schema.get("format") == "date-time":
        return "2027-02-01T00:00:00Z"
    return {"string": "x1", "integer": 1, "array": []}[schema["type"]]


def test_nobody_gets_nothing(city: City, routes: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Without a token every route but the public ones answers 401, whatever the path."""
    with city.client(None) as client:
        for method, path, operation in routes:
            if (method, path) in PUBLIC:
                continue
            answer = client.request(method, filled(path, OWN, city), json=body_of(operation))
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            assert answer.headers["content-type"] == "application/problem+json"


def objects(
    routes: list[tuple[str, str, dict[str, Any]]],
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for method, path, operation in routes:
        parameters = set(re.findall(r"\{(\w+)\}", path))
        if parameters and not parameters & set(SHARED):
            yield method, path, operation


def test_a_foreign_object_is_not_there(
    city: City, routes: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """404 where a manager may ask at all, 403 where not; nothing of it shows, nothing changes."""
    with city.client("manager") as client:
        for method, path, operation in objects(routes):
            answer = client.request(method, filled(path, FOREIGN, city), json=body_of(operation))
            assert answer.status_code in (403, 404), f"{method} {path}: {answer.status_code}"
    assert city.get("/vehicles/v-foreign")["plate"] == "豫R·foreign"
    assert city.get(f"/bindings/{city.ids[FOREIGN]['binding_id']}")["valid_to"] is None
    assert city.get("/vehicles", f"{FOREIGN}-manager")["items"][0]["id"] == "v-foreign"


def test_an_own_object_is_there(city: City, routes: list[tuple[str, str, dict[str, Any]]]) -> None:
    """The net above catches: the same routes do answer for what is the manager's own."""
    seen = 0
    with city.client("manager") as client:
        for method, path, _operation in objects(routes):
            if method == "GET":
                answer = client.get(filled(path, OWN, city))
                assert answer.status_code in (200, 403, 404)
                seen += answer.status_code == 200
    assert seen >= 6


def test_no_list_shows_what_is_foreign(
    city: City, routes: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """Also when asked for by name."""
    showing = set()
    for method, path, operation in routes:
        if method != "GET" or "{" in path or path in STREAMS:
            continue
        by_name = {
            "vehicle_id": "v-foreign",
            "source": "808:foreign",
            "enterprise_id": "e-foreign",
            "q": "oreig",
        }
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        queries: list[dict[str, str]] = [{}]
        queries += [{name: by_name[name]} for name in sorted(names & by_name.keys())]
        for query in queries:
            answer = city.ask("GET", path, "manager", params=query)
            assert answer.status_code in (200, 401, 403, 404), f"{path}: {answer.text}"
            assert FOREIGN not in answer.text, f"{path} {query}"
            if FOREIGN in city.ask("GET", path, "regulator", params=query).text:
                showing.add(path)
    # the net catches: there was something to hide
    expected = {"/enterprises", "/vehicles", "/sources", "/bindings", "/positions/latest"}
    assert showing >= expected | {"/visits", "/violations"}


def test_only_admins_reach_users_and_audit(
    city: City, routes: list[tuple[str, str, dict[str, Any]]]
) -> None:
    for method, path, operation in routes:
        if path.startswith(("/users", "/audit")):
            for role in ("manager", "regulator"):
                answer = city.ask(method, filled(path, OWN, city), role, json=body_of(operation))
                assert answer.status_code == 403, f"{method} {path}"


def test_a_regulator_runs_no_fleet(city: City) -> None:
    vehicle = city.ask("POST", "/vehicles", "regulator", json={"id": "v-new"})
    binding = {"source": "808:own", "vehicle_id": "v-own"}
    assert vehicle.status_code == 403
    assert city.ask("POST", "/bindings", "regulator", json=binding).status_code == 403


def test_a_manager_draws_no_fence(city: City) -> None:
    for method, path in (("POST", "/fences"), ("PUT", "/fences/centre")):
        assert city.ask(method, path, "manager", json={}).status_code == 403
    assert city.ask("DELETE", "/fences/centre", "manager").status_code == 403
    assert city.get("/fences", "manager")["items"][0]["id"] == "centre"


@pytest.mark.parametrize("source", ["808:foreign", "808:nobodys-foreign", "808:never-heard"])
def test_a_manager_cannot_take_a_source_that_is_not_theirs(city: City, source: str) -> None:
    wish = {"source": source, "vehicle_id": "v-own"}
    assert city.ask("POST", "/bindings", "manager", json=wish).status_code == 404


def test_a_manager_gives_no_vehicle_away(city: City) -> None:
    wish = {"enterprise_id": "e-foreign"}
    assert city.ask("PATCH", "/vehicles/v-own", "manager", json=wish).status_code == 422
    taken = city.ask("POST", "/vehicles", "manager", json={"id": "v2", **wish})
    assert taken.status_code == 422


def test_odd_requests_never_break_the_server(
    city: City, routes: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """Odd ids and parameters are answered, with a problem, below 500."""
    odd = [
        "", "0", "-1", "99999999999999999999999", "1e309", "NaN", "null", "'; drop table x", "%00",
        "..%2f..%2fetc", "\u202e豫", "a" * 300, "[]", "2026-13-01", "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59", "WzFd", "eyJhIjoxfQ==", "W251bGxd", "WyJcdTAwMDAiXQ==",
    ]  # fmt: skip
    turn = cycle(odd)  # each parameter gets some of them, all of them get asked often
    with city.client("admin") as client:
        for method, path, operation in routes:
            if method != "GET" or path in STREAMS:
                continue
            asked: list[tuple[str, dict[str, str]]] = []
            for parameter in operation.get("parameters", []):
                for _ in range(ODD_TRIES):
                    if parameter["in"] == "path":
                        asked.append((re.sub(r"\{\w+\}", next(turn) or "x", path), {}))
                    else:
                        asked.append((filled(path, OWN, city), {parameter["name"]: next(turn)}))
            for at, query in asked:
                answer = client.get(at, params=query)
                assert answer.status_code < 500, f"{at} {query}: {answer.text}"
                if answer.status_code >= 400:
                    assert answer.json()["status"] == answer.status_code


def test_odd_bodies_never_break_the_server(
    city: City, routes: list[tuple[str, str, dict[str, Any]]]
) -> None:
    odd = [b"", b"null", b"[]", b'{"id":', b'{"name":"\\u0000"}', b"\xff", b'{"id":"\\ud800"}',
           b'{"properties":{"id":1},"geometry":{"type":"Polygon","coordinates":[[[1e400,0]]]}}',
           b'{"type":"Feature","properties":[],"geometry":7}', b"[" * 10_000]  # fmt: skip
    with city.client("admin") as client:
        for method, path, operation in routes:
            if "requestBody" in operation:
                for body in odd:
                    answer = client.request(
                        method,
                        filled(path, "own", city).replace("manager", "x"),
                        content=body,
                        headers={"Content-Type": "application/json"},
                    )
                    assert answer.status_code < 500, f"{method} {path} {body[:30]!r}"


def test_the_nets_catch_a_route_that_forgot_guard_or_scope(city: City) -> None:
    """Two routes as a hurried hand might write them."""

    def unguarded(context: Context) -> object:
        with context.store.read() as connection:
            return len(registry.list_vehicles(connection, EVERYTHING, PageSpec(9), now_ms=0).rows)

    def unscoped(context: Context, _caller: Caller) -> object:
        with context.store.read() as connection:
            found = registry.list_vehicles(connection, EVERYTHING, PageSpec(9), now_ms=0)
            return [row["id"] for row in found.rows]

    app = create_app(ApiContext.of(city.store, CloudConfig(), CollectorRegistry()))
    for endpoint in (unguarded, unscoped):
        app.add_api_route(f"/api/v1/{endpoint.__name__}", endpoint)
    with served(app) as url:
        careless = replace(city, url=url)
        routes = routes_of(careless)
        with pytest.raises(AssertionError, match="/unguarded: 200"):
            test_nobody_gets_nothing(careless, routes)
        with pytest.raises(AssertionError, match="/unscoped"):
            test_no_list_shows_what_is_foreign(careless, routes)
