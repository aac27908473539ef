"""What tests of the collector share: stores on every engine, blocks, a clock that is told."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert

from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.inspection import ReceivedBlock, receive_block
from greenhaul_cloud.store.tables import gateway
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.catalogue import Position, Reading
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
    readings: list[Reading] = field(default_factory=list)

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


@dataclass(frozen=True)
class Kit:
    """The builders of this file, for test modules."""

    outbox: type[Outbox] = Outbox
    position: Callable[..., Position] = position
    register: Callable[..., None] = register
    now_ms: int = NOW_MS
    epoch: int = EPOCH


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of our own, or the one of GREENHAUL_TEST_DSN."""
    dsn = os.environ.get("GREENHAUL_TEST_DSN")
    if dsn:
        yield dsn
        return
    programs = _postgres_bin()
    if programs is None:
        pytest.skip("no PostgreSQL: install it or set GREENHAUL_TEST_DSN")
    folder = tmp_path_factory.mktemp("postgres")
    # initdb refuses to run as root
    prefix = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if os.geteuid() == 0
        else []
    )
    if prefix:
        shutil.chown(folder, "postgres", "postgres")
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    data = folder / "data"

    def run(*command: str) -> None:
        done = subprocess.run(
            [*prefix, *command], check=False, capture_output=True, text=True, cwd=folder
        )
        assert done.returncode == 0, done.stderr

    run(str(programs / "initdb"), "-D", str(data), "-U", "greenhaul", "-A", "trust", "-N")
    options = f"-c listen_addresses='' -k {folder}"
    log = str(folder / "log")
    control = str(programs / "pg_ctl")
    run(control, "-D", str(data), "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql://greenhaul@/postgres?host={folder}"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "-w", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    dsn: str = request.getfixturevalue("postgres_dsn")
    name = "t_" + re.sub(r"\W", "_", tmp_path.name.lower())[-50:]
    with psycopg.connect(dsn.replace("+psycopg", ""), autocommit=True) as conn:
        conn.execute(f'DROP DATABASE IF EXISTS "{name}"')
        conn.execute(f'CREATE DATABASE "{name}"')
    return re.sub(r"(//[^/]*/)[^?]*", rf"\g<1>{name}", dsn)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store on each engine."""
    opened = open_store(store_url, NOW_MS)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A store on SQLite, for what does not depend on the engine."""
    opened = open_store(f"sqlite:///{tmp_path}/store.db", NOW_MS)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def kit() -> Kit:
    """What builds blocks; test modules cannot import this file."""
    return Kit()
