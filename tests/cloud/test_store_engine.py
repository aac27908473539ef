"""A store opens only when it keeps what it acknowledges, under the schema it was written for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Index, MetaData, create_engine, insert, inspect, select, text
from sqlalchemy.engine import make_url
from tests.postgres_server import find_programs, running

from greenhaul_cloud.store import postgres, sqlite, timescale
from greenhaul_cloud.store.engine import STORES, Store, describe_store, migrate, open_store
from greenhaul_cloud.store.migrating import upgrade
from greenhaul_cloud.store.tables import enterprise, metadata, position, readings, source
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit


def test_an_empty_database_is_migrated_and_keeps_its_identity(kit: Kit, store_url: str) -> None:
    first = open_store(store_url, kit.now_ms)
    first.ping()
    second = open_store(store_url, kit.now_ms + 1)
    assert first.store_id == second.store_id > 0
    migrate(store_url)  # nothing left to do
    first.close()
    second.close()


def test_the_migrated_schema_is_the_declared_one(store: Store) -> None:
    with store.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, _as_made(conn)) == []


def _as_made(conn: Connection) -> MetaData:
    """The declared tables as they are in an engine."""
    if conn.dialect.name == "sqlite":
        return metadata
    made = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        if table not in readings.values():
            table.to_metadata(made)
            continue
        for part in ("main", "odd"):
            copied = table.to_metadata(made, name=f"{table.name}_{part}")
            if part == "odd" or not timescale.version(conn):
                Index(None, copied.c.device_time)
    return made


def test_checks_and_keys_are_migrated_too(tmp_path: Path, sqlite_store: Store) -> None:
    """Alembic compares no check constraints; SQLite tells the whole declaration."""
    declared = create_engine(f"sqlite:///{tmp_path}/declared.db")
    metadata.create_all(declared)
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")

    def normal(sql: str) -> list[str]:
        # a renamed table has its name in quotes
        lines = sql.replace('"', "").splitlines()
        return sorted(line.strip(" ,\t") for line in lines if line.strip(" ,\t)"))

    with declared.connect() as conn, sqlite_store.read() as migrated:
        wanted = {row.name: normal(row.sql) for row in conn.execute(query)}
        found = {row.name: normal(row.sql) for row in migrated.execute(query)}
    declared.dispose()
    found.pop("alembic_version")
    assert found == wanted


def test_a_newer_schema_is_refused_with_advice(kit: Kit, store_url: str) -> None:
    store = open_store(store_url, kit.now_ms)
    with store.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(ConfigError, match="newer greenhaul"):
        open_store(store_url, kit.now_ms)
    with pytest.raises(ConfigError, match="newer greenhaul"):
        migrate(store_url)


def test_somebody_elses_database_is_refused(kit: Kit, store_url: str) -> None:
    """Not opened, not called well, and above all not given our tables."""
    engine = STORES[make_url(store_url).get_backend_name()]().create_engine(store_url)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE theirs (id INTEGER)"))
    for touch in (lambda url: open_store(url, kit.now_ms), describe_store, migrate):
        with pytest.raises(ConfigError, match="of its own"):
            touch(store_url)
    with engine.connect() as conn:
        assert inspect(conn).get_table_names() == ["theirs"]
    engine.dispose()


def test_a_store_that_waits_for_a_migration_is_not_called_well(store_url: str) -> None:
    engine = STORES[make_url(store_url).get_backend_name()]().create_engine(store_url)
    with engine.begin() as conn:
        upgrade(conn, "0002")
    engine.dispose()
    with pytest.raises(ConfigError, match=r"0002.* run: greenhaul-cloud migrate"):
        describe_store(store_url)


def test_an_option_nobody_knows_is_named() -> None:
    with pytest.raises(ConfigError, match=r"store\.url: .*sslmod"):
        describe_store("postgresql://greenhaul@127.0.0.1/greenhaul?sslmod=verify-full")


def test_what_only_keeps_a_store_makes_none(kit: Kit, store_url: str) -> None:
    with pytest.raises(ConfigError, match="no store at"):
        open_store(store_url, kit.now_ms, may_make=False)
    assert describe_store(store_url).endswith((", not made yet", ", empty"))
    open_store(store_url, kit.now_ms).close()
    open_store(store_url, kit.now_ms, may_make=False).close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:////nowhere/at/all.db", "does not exist"),
        ("mysql://localhost/x", "unknown"),
        ("rubbish", "not a database URL"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_store(url, 0)


def test_every_connection_is_durable(sqlite_store: Store) -> None:
    for transaction in (sqlite_store.read, sqlite_store.write):
        with transaction() as conn:
            assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert conn.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_store_that_may_lose_a_commit_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PRAGMAS", ("journal_mode = WAL", "synchronous = NORMAL"))
    with pytest.raises(ConfigError, match="synchronous = 1"):
        open_store(f"sqlite:///{tmp_path}/store.db", 0)


def test_postgres_without_durable_commits_does_not_open(
    kit: Kit, migrated_postgres: Store, postgres_dsn: str
) -> None:
    with migrated_postgres.read() as conn:
        role = conn.execute(text("SELECT current_user")).scalar_one()
    with migrated_postgres.write() as conn:
        conn.execute(text(f'ALTER ROLE "{role}" SET synchronous_commit = off'))
    try:
        with pytest.raises(ConfigError, match="synchronous_commit = off"):
            open_store(postgres_dsn, kit.now_ms)
    finally:
        with migrated_postgres.write() as conn:
            conn.execute(text(f'ALTER ROLE "{role}" RESET synchronous_commit'))


def test_a_postgres_that_is_too_old_does_not_open(
    kit: Kit, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "VERSION_MIN", 100)
    with pytest.raises(ConfigError, match="too old; 100 or later"):
        open_store(postgres_dsn, kit.now_ms)


def test_postgres_that_does_not_wait_for_its_disk_does_not_open(kit: Kit) -> None:
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL to start without fsync")
    with running(programs, "fsync=off") as dsn:
        for touch in (lambda url: open_store(url, kit.now_ms), describe_store):
            with pytest.raises(ConfigError, match="fsync = off"):
                touch(dsn)


def test_an_id_learnt_from_a_server_that_failed_is_asked_for_again(
    kit: Kit, migrated_postgres: Store, postgres_dsn: str
) -> None:
    """The standby that took over lost the source's commit, and gave the id to another one."""
    store, readings = migrated_postgres, [kit.position("808:1", kit.now_ms + i) for i in range(2)]
    outbox = kit.outbox(readings=readings)
    kit.empty(store)
    kit.register(store)
    for _ in range(2):  # what is committed already is remembered
        store_blocks(store, [outbox.received(1, 1)], kit.now_ms)
    url = make_url(postgres_dsn).set(database="greenhaul_test")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as standby:
        standby.execute("UPDATE source SET name = '808:2'")
        standby.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store_blocks(store, [outbox.received(2, 2)], kit.now_ms).stored == 1
    query = select(source.c.name).join(position, position.c.source_id == source.c.id)
    with store.read() as conn:
        names = conn.execute(query.order_by(position.c.device_time)).scalars().all()
    assert names == ["808:2", "808:1"]


def test_a_failed_transaction_leaves_nothing(kit: Kit, store: Store) -> None:
    row = {"id": "e", "name": "E", "created_at": kit.now_ms}

    def fail() -> None:
        with store.write() as conn:
            conn.execute(insert(enterprise).values(row))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as conn:
        assert conn.execute(select(enterprise)).all() == []


def test_errors_say_whether_to_wait_or_to_give_up(kit: Kit, store: Store) -> None:
    row = {"id": "e", "name": None, "created_at": kit.now_ms}
    with pytest.raises(Rejected), store.write() as conn:
        conn.execute(insert(enterprise).values(row))
    with pytest.raises(Unavailable), store.write() as conn:
        conn.execute(text("DELETE FROM a_table_of_another_version"))
    with pytest.raises(Unavailable):
        open_store("postgresql://nobody@127.0.0.1:1/none", kit.now_ms)


def test_a_second_writer_waits_its_turn(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 20)
    impatient = open_store(f"sqlite:///{tmp_path}/store.db", 0)
    with sqlite_store.write(), pytest.raises(Unavailable, match="locked"), impatient.write():
        raise AssertionError("two writers at once")
    monkeypatch.setattr(sqlite, "FREE_SHARE_MAX", -1)  # there is always something to give back
    with sqlite_store.write(), pytest.raises(Unavailable, match="locked"):
        impatient.tidy()
    impatient.close()
