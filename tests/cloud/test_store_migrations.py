"""Every schema that was ever released becomes today's, with what lay in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.engine import make_url

from greenhaul_cloud.store.engine import migrate, open_store
from greenhaul_cloud.store.migrating import revision_of, upgrade
from greenhaul_cloud.store.tables import battery, dirty, latest, position, quarantine, vehicle
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud.conftest import Kit

RELEASED = ["0001", "0002", "0003"]
DAY_MS = 86_400_000


def _made(url: str, revision: str, fill: Callable[[Connection], None]) -> None:
    """A database of a former version."""
    name = "postgresql+psycopg" if url.startswith("postgresql") else "sqlite"
    engine = create_engine(make_url(url).set(drivername=name))
    with engine.begin() as conn:
        upgrade(conn, revision)
        assert revision_of(conn) == revision
        fill(conn)
    engine.dispose()


def _instant(conn: Connection, time_ms: int) -> str:
    if conn.dialect.name == "sqlite":
        return str(time_ms)
    return f"(timestamptz 'epoch' + {time_ms} * interval '1 millisecond')"


def _insert(conn: Connection, table: str, **values: Any) -> None:
    """A row in the words of its day; names that end in _at or _time are instants."""
    said = [
        _instant(conn, value) if name.endswith(("_at", "_time")) else repr(value)
        for name, value in values.items()
    ]
    names = ", ".join(f'"{name}"' for name in values)
    conn.exec_driver_sql(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(said)})')


def _who(conn: Connection, now_ms: int) -> None:
    _insert(conn, "enterprise", id="e", name="E", created_at=now_ms)
    _insert(conn, "vehicle", id="v", plate="P", enterprise_id="e", created_at=now_ms)
    _insert(conn, "source", id=1, name="808:1")
    _insert(conn, "gateway", id="gw-1", sources=json.dumps(["*"]), created_at=now_ms)
    _insert(conn, "dirty", source_id=1, from_time=5, to_time=9, revision=9)
    raw = "'abc'" if conn.dialect.name == "postgresql" else "X'616263'"
    has_count = revision_of(conn) not in ("0001", "0002")
    for first, last, count in ((0, 0, 0), (5, 9, 5)):
        name, value = (", count", f", {count}") if has_count else ("", "")
        conn.exec_driver_sql(
            "INSERT INTO quarantine (gateway_id, epoch, lane, first, last, reason, digest, raw, "
            f"stored_time{name}) VALUES ('gw-1', 1, 1, {first}, {last}, 'why', 7, {raw}, "
            f"{_instant(conn, now_ms)}{value})"
        )


@pytest.mark.parametrize("revision", RELEASED)
def test_an_older_store_becomes_todays(kit: Kit, store_url: str, revision: str) -> None:
    _made(store_url, revision, lambda conn: _who(conn, kit.now_ms))
    with pytest.raises(ConfigError, match="greenhaul-cloud migrate"):
        open_store(store_url, kit.now_ms)
    migrate(store_url)
    store = open_store(store_url, kit.now_ms)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    assert store_blocks(store, [outbox.received(1, 1)], kit.now_ms).stored == 1
    with store.read() as conn:
        assert conn.execute(select(vehicle.c.id, vehicle.c.plate, vehicle.c.fleet_id)).all() == [
            ("v", "P", None)
        ]
        counts = conn.execute(select(quarantine.c.count).order_by(quarantine.c.first)).scalars()
        assert counts.all() == [0, 5]
        assert conn.execute(select(position.c.source_id)).scalars().all() == [1]
        mark = conn.execute(select(dirty)).one()
        assert (mark.from_time, mark.to_time, mark.slot) == (5, kit.now_ms + 30_000, 0)
        assert mark.marked_at < kit.now_ms, "when the store was migrated"
    store.close()


def test_readings_are_carried_over_whole(kit: Kit, store_url: str) -> None:
    """With odd dates, and numbers that have no room in their column any more."""
    now_ms = kit.now_ms
    common = {"source_id": 1, "received_time": now_ms, "stored_time": now_ms, "time_quality": 0}

    def fill(conn: Connection) -> None:
        _who(conn, now_ms)
        for digest, at in enumerate((now_ms, 0, 4_070_908_800_000)):
            _insert(conn, "position", **common, flags=1, device_time=at, digest=digest,
                    latitude_deg=32.99, satellites=12, speed_kmh=36.6)  # fmt: skip
        _insert(conn, "position", **common, flags=0, device_time=now_ms, digest=9,
                satellites=70_000, speed_kmh=1e9, extra='{"99": "00"}')  # fmt: skip
        _insert(conn, "battery", **common, flags=0, device_time=now_ms, digest=9,
                cell_voltage_max_v=5000.25, soc_percent=50.5)  # fmt: skip
        _insert(conn, "latest", **common, device_time=now_ms, digest=9, satellites=70_000,
                speed_kmh=1e9, altitude_m=30.5)  # fmt: skip

    _made(store_url, "0002", fill)
    migrate(store_url)
    store = open_store(store_url, now_ms)
    columns = position.c
    query = select(
        columns.device_time, columns.digest, columns.flags, columns.latitude_deg,
        columns.satellites, columns.speed_kmh, columns.extra,
    ).order_by(columns.digest)  # fmt: skip
    with store.read() as conn:
        *usual, large = conn.execute(query).all()
        cells = conn.execute(select(battery)).mappings().one()
        newest = conn.execute(select(latest)).mappings().one()
    store.close()
    assert [tuple(row) for row in usual] == [
        (at, digest, 1, 32.99, 12, 36.6, None)
        for digest, at in enumerate((now_ms, 0, 4_070_908_800_000))
    ]
    assert tuple(large[1:6]) == (9, 0, None, None, None)
    assert json.loads(large.extra) == {"99": "00", "4": 10_000_000_000, "6": 70_000}
    assert (cells["soc_percent"], cells["cell_voltage_max_v"]) == (50.5, None)
    assert json.loads(cells["extra"]) == {"5": 5_000_250}
    assert (newest["satellites"], newest["speed_kmh"], newest["altitude_m"]) == (None, None, 30.5)


def test_a_migration_that_leaves_a_row_without_its_parent_is_refused(
    kit: Kit, tmp_path: Any
) -> None:
    """SQLite checks no reference while tables are made anew; afterwards all of them."""
    url = f"sqlite:///{tmp_path}/store.db"

    def fill(conn: Connection) -> None:
        _insert(conn, "vehicle", id="v", enterprise_id="nobody", created_at=kit.now_ms)

    _made(url, "0002", fill)
    with pytest.raises(Exception, match="refers to nothing in enterprise"):
        migrate(url)
    engine = create_engine(url)
    with engine.connect() as conn:
        assert conn.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0002"
    engine.dispose()
