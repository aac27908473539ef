"""A small city behind the real API: two enterprises, their trucks, tracks and violations.

Everything of the enterprise that a manager must not see has `foreign` in its name.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import insert

from greenhaul_cloud.api.app import create_app
from greenhaul_cloud.api.context import ApiContext
from greenhaul_cloud.auth.passwords import hash_password
from greenhaul_cloud.auth.secrets import hash_secret, new_token
from greenhaul_cloud.config import CloudConfig, ConsoleConfig
from greenhaul_cloud.store import accounts, fleets, registry, tables
from greenhaul_cloud.store.attributes import Attributes, set_attributes
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import BatteryReading, Reading

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

WAIT_S = 20
PASSWORD = "correct horse battery"
OWN, FOREIGN = "own", "foreign"
TRACK_POINTS = 200
STEP_MS = 10_000


class _Announcing(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """An application on a loopback port; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Announcing(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert server.begun.wait(WAIT_S), "the API did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@dataclass
class City:
    """The API, and who may ask it what."""

    store: Store
    kit: Kit
    now_ms: int
    url: str = ""
    context: ApiContext = field(init=False)
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, dict[str, int]] = field(default_factory=dict)

    @contextmanager
    def served(self, folder: Path) -> Iterator[None]:
        """The API, while it lasts."""
        basemap = folder / "streets.geojson"
        basemap.write_text('{"type":"FeatureCollection","features":[]}')
        config = CloudConfig(console=ConsoleConfig(basemap=basemap))
        self.context = ApiContext.of(
            self.store, config, CollectorRegistry(), now_ms=lambda: self.now_ms
        )
        with served(create_app(self.context)) as self.url:
            yield

    def client(self, role: str | None = "admin", **headers: str) -> httpx.Client:
        """A client with the role's token; None: nobody."""
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        # verify: reading the machine's authorities for a plain http client takes longer than a test
        url = self.url + "/api/v1"
        return httpx.Client(base_url=url, headers=headers, timeout=WAIT_S, verify=False)

    def ask(
        self, method: str, path: str, role: str | None = "admin", **more: Any
    ) -> httpx.Response:
        """One request."""
        with self.client(role) as client:
            return client.request(method, path, **more)

    def get(self, path: str, role: str | None = "admin", **query: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.ask("GET", path, role, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def report(self, readings: list[Reading], gateway: str = "gw-city", epoch: int = 5) -> None:
        """Readings come in, as from a gateway's outbox made just now."""
        outbox = self.kit.outbox(gateway=gateway, epoch=epoch, readings=readings)
        store_blocks(self.store, [outbox.received(1, len(readings))], self.now_ms)

    def position(self, source: str, time_ms: int, **values: Any) -> Reading:
        """A position received just now."""
        read = self.kit.position(source, time_ms, **values)
        return replace(read, received_time_ms=self.now_ms)


@dataclass(frozen=True)
class Template:
    """A furnished store as a file, made once and copied for every city."""

    database: Path
    tokens: dict[str, str]
    ids: dict[str, dict[str, int]]


def make_template(folder: Path, kit: Kit) -> Template:
    """Furnishes a store."""
    database = folder / "template.db"
    city = City(open_store(f"sqlite:///{database}", kit.now_ms), kit, kit.now_ms)
    _furnish(city)
    city.store.close()  # the last connection folds the write-ahead log into the file
    return Template(database, city.tokens, city.ids)


@contextmanager
def opened_city(folder: Path, kit: Kit, template: Template) -> Iterator[City]:
    """A city in a store of its own, served."""
    shutil.copy(template.database, folder / "city.db")
    store = open_store(f"sqlite:///{folder}/city.db", kit.now_ms)
    city = City(store, kit, kit.now_ms, tokens=dict(template.tokens), ids=template.ids)
    try:
        with city.served(folder):
            yield city
    finally:
        store.close()


@contextmanager
def furnished_city(store: Store, folder: Path, kit: Kit) -> Iterator[City]:
    """A city in a store of the caller's, on whichever engine."""
    city = City(store, kit, kit.now_ms)
    _furnish(city)
    with city.served(folder):
        yield city


def _furnish(city: City) -> None:
    store, kit, now_ms = city.store, city.kit, city.now_ms
    kit.register(store, "gw-city")
    start_ms = now_ms - TRACK_POINTS * STEP_MS
    with store.write() as conn:
        for owner in (OWN, FOREIGN):
            registry.add_enterprise(conn, f"e-{owner}", f"Enterprise {owner}", now_ms)
            fleets.add_fleet(conn, f"f-{owner}", f"Fleet {owner}", f"e-{owner}", now_ms)
            vehicle = {
                "id": f"v-{owner}", "plate": f"豫R·{owner}",
                "enterprise_id": f"e-{owner}", "fleet_id": f"f-{owner}",
            }  # fmt: skip
            registry.add_vehicle(conn, vehicle, now_ms)
            set_attributes(conn, f"v-{owner}", None, Attributes("bev", "van", (owner,)), now_ms)
        for role in ("admin", "regulator", "manager"):
            enterprise_id = f"e-{OWN}" if role == "manager" else None
            _add_user(city, conn, role, role, enterprise_id)
        _add_user(city, conn, f"{FOREIGN}-manager", "manager", f"e-{FOREIGN}")
        put_fence(conn, square_fence("centre"), now_ms, "admin")
    for epoch, owner in enumerate((OWN, FOREIGN), start=1):
        source = f"808:{owner}"
        readings: list[Reading] = [
            city.position(
                source,
                start_ms + i * STEP_MS,
                latitude_deg=round(32.99 + i * 1e-5, 7),
                speed_kmh=30.0,
                odometer_km=1000.0 + i / 10,
            )
            for i in range(TRACK_POINTS)
        ]
        readings += [
            BatteryReading(
                source=source,
                device_time_ms=start_ms + i * STEP_MS,
                received_time_ms=now_ms,
                soc_percent=80.0 - i / 10,
            )
            for i in range(5)
        ]
        city.report(readings, epoch=epoch)
        with store.write() as conn:
            city.ids[owner] = _findings(conn, owner, start_ms, now_ms)
            city.ids[owner]["binding_id"] = bind(
                conn, source, f"v-{owner}", valid_from_ms=0, now_ms=now_ms
            )
    city.report([city.position("808:nobodys-foreign", now_ms)], epoch=3)


def _add_user(city: City, conn: Any, name: str, role: str, enterprise_id: str | None) -> None:
    # hashing takes its time on purpose: only who signs in by password has a real one
    password_hash = hash_password(PASSWORD) if name == "manager" else "none"
    user_id = accounts.add_user(
        conn,
        name=name,
        password_hash=password_hash,
        role=role,
        enterprise_id=enterprise_id,
        now_ms=city.now_ms,
    )
    city.tokens[name] = token = new_token()
    token_id = accounts.add_token(
        conn,
        user_id=user_id,
        name=f"{name}'s",
        token_hash=hash_secret(token),
        expires_at_ms=None,
        now_ms=city.now_ms,
    )
    city.ids.setdefault("token", {})[name] = token_id
    city.ids.setdefault("user", {})[name] = user_id


def _findings(conn: Any, owner: str, start_ms: int, now_ms: int) -> dict[str, int]:
    """A visit and its violation, as the fold would write them."""
    visit_id = conn.execute(
        insert(tables.visit).values(
            vehicle_id=f"v-{owner}", fence_id="centre", fence_version=1,
            entered_at=start_ms, entered_by="first_reading", entered_certainty="certain",
            entered_confirmed_at=start_ms, left_by="open", certainty="certain", gaps=[],
            state="standing", amended=False, changed_at=now_ms,
        )
    ).inserted_primary_key[0]  # fmt: skip
    violation_id = conn.execute(
        insert(tables.violation).values(
            visit_id=visit_id, vehicle_id=f"v-{owner}", fence_id="centre", fence_version=1,
            rule="no_entry", rule_index=0, severity="serious", began_at=start_ms,
            certainty="certain", detail={}, evidence={"type": "Feature", "geometry": None},
            state="open", amended=False, changed_at=now_ms,
        )
    ).inserted_primary_key[0]  # fmt: skip
    body = {"violation_id": violation_id}
    conn.execute(
        insert(tables.feed).values(
            at=now_ms, topic="violations", vehicle_id=f"v-{owner}", body=body
        )
    )
    return {"visit_id": visit_id, "violation_id": violation_id}


def square_fence(fence_id: str, *, south_deg: float = 32.98, **properties: Any) -> dict[str, Any]:
    """A fence of some kilometres around the city."""
    west, east, north = 112.50, 112.55, south_deg + 0.05
    ring = [[west, south_deg], [east, south_deg], [east, north], [west, north], [west, south_deg]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "id": fence_id,
            "name": f"Fence {fence_id}",
            "rules": [{"rule": "no_entry"}],
            **properties,
        },
    }
