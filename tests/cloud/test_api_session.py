"""Signing in, tokens, and what every answer says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import select
from tests.cloud.api_city import PASSWORD, City

from greenhaul_cloud.api.security import BODY_SIZE_MAX, content_policy
from greenhaul_cloud.auth.throttle import ATTEMPTS_MAX, REFILL_MS, SUBJECTS_MAX, Throttle
from greenhaul_cloud.store import tables

if TYPE_CHECKING:
    pass


def sign_in(client: httpx.Client, **wish: str) -> httpx.Response:
    return client.post("/session", json={"name": "manager", "password": PASSWORD} | wish)


def test_a_session_opens_by_password_and_ends(town: City) -> None:
    with town.client(None) as client:
        answer = sign_in(client)
        assert answer.status_code == 200, answer.text
        user = {"name": "manager", "role": "manager", "enterprise_id": "e-own"}
        assert answer.json()["user"] == user
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/session").json() == answer.json()
        assert client.get("/vehicles").status_code == 200
        headers = {"X-CSRF-Token": answer.json()["csrf_token"]}
        key = client.cookies["greenhaul_session"]
        assert client.delete("/session").status_code == 403
        assert client.delete("/session", headers=headers).status_code == 204
        client.cookies.set("greenhaul_session", key)  # somebody kept it
        assert client.get("/session").status_code == 401


def test_a_change_by_cookie_needs_the_csrf_token(town: City) -> None:
    with town.client(None) as client:
        csrf_token = sign_in(client).json()["csrf_token"]
        wish = {"id": "v5"}
        assert client.post("/vehicles", json=wish).status_code == 403
        wrong = {"X-CSRF-Token": csrf_token[::-1]}
        assert client.post("/vehicles", json=wish, headers=wrong).status_code == 403
        right = {"X-CSRF-Token": csrf_token}
        assert client.post("/vehicles", json=wish, headers=right).status_code == 201


def test_a_session_ends_by_the_clock(town: City) -> None:
    with town.client(None) as client:
        sign_in(client)
        town.now_ms += 12 * 3_600_000 - 1
        assert client.get("/session").status_code == 200
        town.now_ms += 1
        assert client.get("/session").status_code == 401


def test_wrong_name_and_wrong_password_answer_alike_and_not_for_ever(town: City) -> None:
    with town.client(None) as client:
        wrong, unknown = sign_in(client, password="wrong"), sign_in(client, name="nobody")
        assert wrong.json() == unknown.json()
        assert wrong.status_code == 401
        for _ in range(ATTEMPTS_MAX - 2):
            assert town.context.throttle.wait_s(("address:127.0.0.1",), town.now_ms) == 0
        last = sign_in(client)
        assert last.status_code == 429
        town.now_ms += int(last.headers["retry-after"]) * 1000
        assert sign_in(client).status_code == 200


def test_the_throttle_forgets_the_oldest_before_it_grows() -> None:
    throttle = Throttle()
    for number in range(SUBJECTS_MAX + 10):
        assert throttle.wait_s((f"name:{number}",), 0) == 0
    assert len(throttle) == SUBJECTS_MAX


def test_the_throttle_gives_attempts_back_one_by_one() -> None:
    throttle = Throttle()
    for _ in range(ATTEMPTS_MAX):
        assert throttle.wait_s(("name:a",), 0) == 0
    assert throttle.wait_s(("name:a",), 0) == REFILL_MS // 1000
    assert throttle.wait_s(("name:a",), REFILL_MS - 1) == 1
    assert throttle.wait_s(("name:a",), REFILL_MS) == 0
    assert throttle.wait_s(("name:a",), REFILL_MS) > 0
    assert throttle.wait_s(("name:b",), 0) == 0


def test_a_token_is_shown_once_and_kept_as_a_hash(town: City) -> None:
    made = town.ask("POST", "/tokens", "manager", json={"name": "reports"}).json()
    listed = town.ask("GET", "/tokens", "manager").text
    assert made["token"] not in listed
    with town.store.read() as conn:
        kept = [repr(tuple(row)) for row in conn.execute(select(tables.token))]
    assert not any(made["token"] in row for row in kept)
    town.tokens["reports"] = made["token"]
    assert town.get("/vehicles", "reports")["items"][0]["id"] == "v-own"
    assert town.ask("DELETE", f"/tokens/{made['id']}", "manager").status_code == 204
    assert town.ask("GET", "/vehicles", "reports").status_code == 401


def test_a_token_ends_when_it_says(town: City) -> None:
    wish: dict[str, Any] = {"name": "short", "expires_at": "2027-01-15T09:00:00Z"}
    made = town.ask("POST", "/tokens", json=wish)
    town.tokens["short"] = made.json()["token"]
    assert town.ask("GET", "/session", "short").status_code == 401  # a token is no session
    assert town.ask("GET", "/vehicles", "short").status_code == 200
    town.now_ms += 7 * 24 * 3_600_000
    assert town.ask("GET", "/vehicles", "short").status_code == 401
    assert town.ask("POST", "/tokens", json=wish).status_code == 422


def test_a_barred_user_is_out_at_once_and_the_last_admin_stays(town: City) -> None:
    user = town.ids["user"]
    barred = {"is_disabled": True}
    assert town.ask("PATCH", f"/users/{user['manager']}", json=barred).status_code == 204
    assert town.ask("GET", "/vehicles", "manager").status_code == 401
    assert town.ask("PATCH", f"/users/{user['admin']}", json=barred).status_code == 409
    assert town.ask("GET", "/vehicles", "admin").status_code == 200


def test_users_are_entered_with_a_fit_role_and_password(town: City) -> None:
    wish = {"name": "lin", "password": "short", "role": "manager", "enterprise_id": "e-own"}
    assert town.ask("POST", "/users", json=wish).status_code == 422
    wish["password"] = "a longer password"
    made = town.ask("POST", "/users", json=wish)
    assert made.status_code == 201
    assert "password" not in made.text
    assert town.ask("POST", "/users", json=wish).status_code == 409
    with town.client(None) as client:
        assert sign_in(client, name="lin", password=wish["password"]).status_code == 200
    homeless = {"name": "x", "password": "a longer password", "role": "manager"}
    assert town.ask("POST", "/users", json=homeless).status_code == 422


def test_problems_are_problems_everywhere(city: City) -> None:
    cases = {
        ("GET", "/api/v1/nowhere"): 404,
        ("GET", "/nowhere"): 404,
        ("DELETE", "/healthz"): 405,
        ("GET", "/api/v1/violations/1/handling"): 405,
        ("GET", "/api/v1/vehicles"): 401,
        ("POST", "/api/v1/session"): 422,
    }
    with httpx.Client(base_url=city.url, verify=False) as client:
        for (method, path), status in cases.items():
            answer = client.request(method, path)
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "application/problem+json", path
            assert answer.json()["status"] == status


def test_a_large_body_is_refused_declared_or_not(city: City) -> None:
    large = b'"' + b"a" * BODY_SIZE_MAX + b'"'
    with city.client("admin", **{"Content-Type": "application/json"}) as client:
        assert client.post("/fences", content=large).status_code == 413
        chunked = client.post("/fences", content=iter([large[:1000], large[1000:]]))
        assert chunked.status_code == 413
        assert chunked.headers["content-type"] == "application/problem+json"


def test_every_answer_guards_the_browser(city: City) -> None:
    with httpx.Client(base_url=city.url, verify=False) as client:
        for path in ("/healthz", "/api/v1/vehicles", "/docs", "/nowhere"):
            headers = client.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "server" not in headers or headers["server"] == "uvicorn"
        assert client.get("/api/v1/vehicles").headers["cache-control"] == "no-store"


def test_the_policy_lets_in_the_tiles_host_and_no_other() -> None:
    assert "https://t.example.org" in content_policy("https://t.example.org/{z}/{x}/{y}.png")
    assert "https://*.example.org" in content_policy("https://{s}.example.org/{z}/{x}/{y}.png")
    assert "http" not in content_policy(None)


def test_docs_load_nothing_from_anywhere(city: City) -> None:
    with httpx.Client(base_url=city.url, verify=False) as client:
        page = client.get("/docs").text
        document = client.get("/api/v1/openapi.json").json()
    assert "/api/v1/vehicles/{vehicle_id}/track" in page
    assert "src=" not in page
    assert "http" not in page.replace("https://", "http://").partition("<body>")[0]
    assert document["openapi"].startswith("3.1")
    soc = document["components"]["schemas"]["BatteryReading"]["properties"]["soc_percent"]
    assert "Unit: %" in soc["description"]


def test_health_readiness_and_metrics_stand_outside(city: City) -> None:
    with httpx.Client(base_url=city.url, verify=False) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        client.get("/api/v1/vehicles/anything")
        metrics = client.get("/metrics").text
    assert "greenhaul_api_requests_total" in metrics
    assert "anything" not in metrics


def test_the_console_learns_its_settings_after_signing_in(city: City) -> None:
    settings = city.get("/console/settings", "manager")
    assert settings["center"] == [112.53, 32.99]
    assert settings["streets"] == "/api/v1/console/basemap.geojson"
    assert city.get("/console/basemap.geojson")["type"] == "FeatureCollection"
