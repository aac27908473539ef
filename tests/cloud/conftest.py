"""What tests of the collector share: stores on every engine, blocks, a clock that is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, text
from tests.cloud.api_city import City, Template, make_template, opened_city
from tests.postgres_server import find_programs, has_timescale, make_database, running

from greenhaul_cloud.store.engine import Store, migrate, open_store
from greenhaul_cloud.store.inspection import ReceivedBlock, receive_block
from greenhaul_cloud.store.tables import gateway, metadata, readings
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.catalogue import KINDS, Position, Reading
from greenhaul_protocols.series import encode_body, to_series

NOW_MS = 1_800_000_000_000
EPOCH = 2**63 + 17  # beyond what a signed column holds as it is


def position(source: str, time_ms: int, **values: object) -> Position:
    """A located position; ``values`` overrides."""
    fields = {"latitude_deg": 32.99, "longitude_deg": 112.52, "is_located": True} | values
    return Position(source=source, device_time_ms=time_ms, received_time_ms=time_ms, **fields)  # type: ignore[arg-type]


@dataclass
class Outbox:
    """A gateway's lane as the collector sees it: blocks of readings with numbers of their own."""

    gateway: str = "gw-1"
    epoch: int = EPOCH
    lane: int = 1
    readings: Sequence[Reading] = ()

    def block(self, first: int, last: int, *, asks_receipt: bool = False) -> bytes:
        """The bytes of readings first…last, numbered from 1."""
        header = BlockHeader(
            gateway=self.gateway,
            epoch=self.epoch,
            lane=self.lane,
            first=first,
            count=last - first + 1,
            asks_receipt=asks_receipt,
        )
        return wrap_block(header, encode_body(to_series(self.readings[first - 1 : last])))

    def received(self, first: int, last: int) -> ReceivedBlock:
        """The same, as it comes in on its topic."""
        return receive_block(self.gateway, self.lane, self.block(first, last))

    def hello(self) -> bytes:
        """The empty block that opens a connection."""
        return wrap_block(
            BlockHeader(gateway=self.gateway, epoch=self.epoch, lane=self.lane, first=1, count=0)
        )


def register(store: Store, gateway_id: str = "gw-1", sources: Sequence[str] = ("*",)) -> None:
    """Let a gateway in."""
    with store.write() as conn:
        conn.execute(
            insert(gateway).values(id=gateway_id, sources=list(sources), created_at=NOW_MS)
        )


def empty(store: Store) -> None:
    """Delete everything but the store's identity."""
    with store.write() as conn:
        for kind in KINDS.values():
            parts = ("_main", "_odd") if conn.dialect.name == "postgresql" else ("",)
            for part in parts:
                conn.execute(text(f'DELETE FROM "{kind.name}{part}"'))
        for table in reversed(metadata.sorted_tables):
            if table.name != "store_identity" and table not in readings.values():
                conn.execute(delete(table))
    store.source_ids.clear()


@dataclass(frozen=True)
class Kit:
    """The builders of this file, for test modules."""

    outbox: type[Outbox] = Outbox
    position: Callable[..., Position] = position
    register: Callable[..., None] = register
    empty: Callable[[Store], None] = empty
    now_ms: int = NOW_MS
    epoch: int = EPOCH


ENGINES = ["sqlite", "postgresql", *(["timescaledb"] if has_timescale() else [])]


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A PostgreSQL of our own, or the one of GREENHAUL_TEST_DSN."""
    dsn = os.environ.get("GREENHAUL_TEST_DSN")
    if dsn:
        yield dsn
        return
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: install it or set GREENHAUL_TEST_DSN")
    with running(programs) as own:
        yield own


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    dsn: str = request.getfixturevalue("postgres_dsn")
    return make_database(dsn, "greenhaul_test_empty", request.param)


@pytest.fixture(scope="session")
def migrated_postgres(postgres_dsn: str) -> Iterator[Store]:
    """One migrated database for all tests; `store` empties it."""
    opened = open_store(make_database(postgres_dsn, "greenhaul_test"), NOW_MS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated_timescale(postgres_dsn: str) -> Iterator[Store]:
    """The same with TimescaleDB."""
    url = make_database(postgres_dsn, "greenhaul_test_timescale", "timescaledb")
    opened = open_store(url, NOW_MS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store on each engine."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_store")
        return
    name = "migrated_timescale" if request.param == "timescaledb" else "migrated_postgres"
    opened: Store = request.getfixturevalue(name)
    empty(opened)
    yield opened


@pytest.fixture
def empty_url(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A second place on the engine of `store`, with nothing in it yet."""
    with store.read() as conn:
        if conn.dialect.name == "sqlite":
            return f"sqlite:///{tmp_path}/second.db"
    return make_database(request.getfixturevalue("postgres_dsn"), "greenhaul_test_second")


@pytest.fixture
def sqlite_store(tmp_path: Path, migrated_file: Path) -> Iterator[Store]:
    """An empty store on SQLite, for what does not depend on the engine."""
    shutil.copy(migrated_file, tmp_path / "store.db")
    opened = open_store(f"sqlite:///{tmp_path}/store.db", NOW_MS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def kit() -> Kit:
    """What builds blocks; test modules cannot import this file."""
    return Kit()


@pytest.fixture(scope="session")
def city_template(tmp_path_factory: pytest.TempPathFactory, kit: Kit) -> Template:
    """A furnished store, to be copied."""
    return make_template(tmp_path_factory.mktemp("template"), kit)


@pytest.fixture(scope="module")
def city(
    tmp_path_factory: pytest.TempPathFactory, kit: Kit, city_template: Template
) -> Iterator[City]:
    """A furnished store behind the real API, shared by a module's tests: to be read."""
    with opened_city(tmp_path_factory.mktemp("city"), kit, city_template) as opened:
        yield opened


@pytest.fixture
def town(tmp_path: Path, kit: Kit, city_template: Template) -> Iterator[City]:
    """The same for one test alone: to be changed."""
    with opened_city(tmp_path, kit, city_template) as opened:
        yield opened
