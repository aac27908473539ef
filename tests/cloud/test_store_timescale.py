"""TimescaleDB: the calls that are made when it is found, and what a store with it does.

Where the extension cannot be installed, the statements of the real code are recorded; where it is,
every store test runs on it too, and the last test here looks at what was made.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from tests.postgres_server import has_timescale

from greenhaul_cloud.store import timescale
from greenhaul_cloud.store.engine import describe_store, open_store
from greenhaul_cloud.store.postgres import PostgresDriver
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

POSITION = KINDS[1]


class Answer:
    """What a query gives: one value, or nothing."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.rowcount = 0

    def scalar(self) -> Any:
        """The value."""
        return self._value

    scalar_one = scalar

    def first(self) -> Any:
        """A row, if there is a value."""
        return None if self._value is None else (self._value,)


class RecordingConnection:
    """Has the extension in a version, and no hypertable yet; keeps what it is told."""

    def __init__(self, version: str | None, edition: str) -> None:
        self.version, self.edition, self.said = version, edition, list[str]()

    def execute(self, statement: Any, _values: Any = None) -> Answer:
        """Answers what the driver asks about."""
        said = str(statement)
        if "pg_extension" in said:
            return Answer(self.version)
        if "timescaledb.license" in said:
            return Answer(self.edition)
        if "count(*)" in said:
            self.said.append(said)
            return Answer(2)
        return Answer(None)

    def exec_driver_sql(self, statement: str) -> Answer:
        """Keeps it."""
        self.said.append(statement)
        return Answer(None)


@contextmanager
def _recording(version: str | None, edition: str = "timescale") -> Iterator[Any]:
    yield RecordingConnection(version, edition)


def test_hypertables_are_made_by_the_calls_of_today() -> None:
    with _recording("2.28.3") as conn:
        PostgresDriver().finish_migration(conn)
    of_positions = [said for said in conn.said if '"position_main"' in said
                    or "'position_main'" in said or "ix_position_main" in said]  # fmt: skip
    assert of_positions == [
        'DROP INDEX IF EXISTS "ix_position_main_device_time"',
        (
            "SELECT create_hypertable('position_main', by_range('device_time', INTERVAL '1 day'), "
            "create_default_indexes => false, migrate_data => true)"
        ),
        (
            'ALTER TABLE "position_main" SET (timescaledb.enable_columnstore, '
            "timescaledb.segmentby = 'source_id', timescaledb.orderby = 'device_time, digest')"
        ),
        "CALL add_columnstore_policy('position_main', after => INTERVAL '7 days')",
    ]
    assert len(conn.said) == 4 * len(KINDS)  # one table a kind
    assert not any("compress_" in said for said in conn.said)


def test_the_apache_edition_is_asked_for_no_more_than_it_has() -> None:
    with _recording("2.28.3", "apache") as conn:
        PostgresDriver().finish_migration(conn)
        PostgresDriver().expect_retention(conn, POSITION, 30)
        assert timescale.describe(conn) == (
            "TimescaleDB 2.28.3 (Apache edition: no columnstore), 2 hypertables"
        )
    asked = [said.partition("(")[0] for said in conn.said]
    assert asked.count("SELECT create_hypertable") == len(KINDS)
    assert not any("columnstore" in said or "policy" in said for said in conn.said)


def test_without_the_extension_nothing_is_asked_of_it() -> None:
    with _recording(None) as conn:
        PostgresDriver().finish_migration(conn)
        PostgresDriver().expect_retention(conn, POSITION, 30)
    assert conn.said == []


def test_retention_is_a_policy_that_follows_the_setting() -> None:
    with _recording("2.28.3") as conn:
        PostgresDriver().expect_retention(conn, POSITION, 30)
        assert PostgresDriver().delete_before(conn, POSITION, 1_800_000_000_000, 10) == 2
        timescale.set_retention(conn, "position_main", None)
    assert conn.said == [
        "SELECT remove_retention_policy('position_main', if_exists => true)",
        "SELECT add_retention_policy('position_main', INTERVAL '31 days')",
        "SELECT count(*) FROM drop_chunks(:name, older_than => :before ::timestamptz)",
        "SELECT remove_retention_policy('position_main', if_exists => true)",
    ]


def test_a_store_says_what_it_is(kit: Kit, store_url: str) -> None:
    assert describe_store(store_url).endswith((", not made yet", ", empty"))
    open_store(store_url, kit.now_ms).close()
    said = describe_store(store_url)
    assert said.startswith(("SQLite 3.", "PostgreSQL "))
    assert re.search(r", schema \d{4}$", said)
    if said.startswith("PostgreSQL"):
        assert "without TimescaleDB" in said or f"{len(KINDS)} hypertables" in said


@pytest.mark.skipif(not has_timescale(), reason="TimescaleDB is not installed here")
def test_chunks_become_columns_and_still_know_their_readings(
    kit: Kit, migrated_timescale: Store
) -> None:
    kit.empty(migrated_timescale)
    kit.register(migrated_timescale)
    found = [kit.position("808:1", kit.now_ms - 20 * 86_400_000 + i) for i in range(100)]
    for epoch, new in ((1, 100), (2, 0)):
        outbox = kit.outbox(epoch=epoch, readings=found)
        result = store_blocks(migrated_timescale, [outbox.received(1, 100)], kit.now_ms)
        assert (result.stored, result.duplicate) == (new, 100 - new)
        with migrated_timescale.write() as conn:
            chunks = conn.execute(text("SELECT show_chunks('position_main')")).scalars().all()
            for chunk in chunks:
                conn.execute(
                    text(f"CALL convert_to_columnstore('{chunk}', if_not_columnstore => true)")
                )
