"""SQLite: the embedded default."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from greenhaul_cloud.store.batch import Rows
from greenhaul_cloud.store.claims import Claims
from greenhaul_cloud.store.sqlite_claims import SqliteClaims
from greenhaul_protocols.catalogue import KindSpec
from greenhaul_protocols.errors import ConfigError, Rejected

# Longer than the longest flush; a writer that waits longer reports the store as unavailable.
BUSY_TIMEOUT_MS = 10_000
_BEGIN, _BEFORE = "greenhaul_begin", "greenhaul_before_begin"
# auto_vacuum is heard only by an empty file, and before WAL writes its first page: what retention
# deletes can then go back to the disk a little at a time.
_PRAGMAS = (
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
)
# Free pages are the next readings' room; more than this share of the file is given back, in steps
# short enough for the intake to wait.
FREE_SHARE_MAX = 0.2
_STEP_PAGES = 2_000


class SqliteDriver:
    """WAL, `synchronous=FULL`, one writer at a time."""

    read_options: Mapping[str, str] = {}
    write_options: Mapping[str, str] = {_BEGIN: "BEGIN IMMEDIATE"}
    # A table that others refer to is made anew under its old name. The switch is heard only before
    # a transaction; these connections are used for nothing else.
    migration_options: Mapping[str, str] = {
        _BEFORE: "PRAGMA foreign_keys = OFF",
        _BEGIN: "BEGIN IMMEDIATE",
    }
    # one writer at a time: a second collector stands by
    is_shared = False

    def create_engine(self, url: str) -> Engine:
        """As `Driver.create_engine`; the folder of the file must exist."""
        parsed = make_url(url)
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError(
                "store.url: name a file; a store in memory loses what it acknowledged"
            )
        if not Path(parsed.database).absolute().parent.is_dir():
            raise ConfigError(f"store.url: folder of {parsed.database!r} does not exist")
        engine = create_engine(parsed.set(drivername="sqlite+pysqlite"), pool_size=16)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        return engine

    def check(self, engine: Engine) -> None:
        """As `Driver.check`; a file system without WAL silently keeps another mode."""
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
        with engine.connect() as conn:
            for pragma, value in wanted.items():
                found = conn.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
                if found != value:
                    raise ConfigError(f"store.url: SQLite says {pragma} = {found}, not {value}")

    def describe(self, conn: Connection) -> str:
        """As `Driver.describe`."""
        return f"SQLite {conn.exec_driver_sql('SELECT sqlite_version()').scalar_one()}"

    def lock_migration(self, conn: Connection) -> None:
        """BEGIN IMMEDIATE has locked already."""

    def finish_migration(self, conn: Connection) -> None:
        """As `Driver.finish_migration`: references were not checked meanwhile."""
        broken = conn.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise Rejected(f"store: a row of {broken[0]} refers to nothing in {broken[2]}")

    def prepare_insert(self, conn: Connection, batches: Sequence[Rows]) -> None:
        """BEGIN IMMEDIATE has locked already."""

    def insert_new(self, conn: Connection, batch: Rows) -> NDArray[np.bool_]:
        """As `Driver.insert_new`: what lies past the highest rowid afterwards is new."""
        table, names = batch.kind.name, [column.name for column in batch.columns]
        quoted = ", ".join(f'"{name}"' for name in names)
        before = conn.exec_driver_sql(f'SELECT max(rowid) FROM "{table}"').scalar() or 0  # noqa: S608
        marks = ", ".join("?" * len(names))
        statement = f'INSERT OR IGNORE INTO "{table}" ({quoted}) VALUES ({marks})'  # noqa: S608
        inserted = conn.exec_driver_sql(statement, batch.rows).rowcount
        if inserted == len(batch):
            return np.ones(len(batch), np.bool_)
        if inserted == 0:
            return np.zeros(len(batch), np.bool_)
        found = conn.exec_driver_sql(
            f'SELECT source_id, device_time, digest FROM "{table}" WHERE rowid > ?',  # noqa: S608
            (before,),
        )
        return batch.which_are({(row[0], row[1], row[2]) for row in found})

    def delete_before(self, conn: Connection, kind: KindSpec, before_ms: int, rows_max: int) -> int:
        """As `Driver.delete_before`."""
        # source by source, each a range of the key; a scan of the table would hold the intake up
        return conn.exec_driver_sql(
            f'DELETE FROM "{kind.name}" WHERE rowid IN (SELECT old.rowid FROM source '  # noqa: S608
            f'CROSS JOIN "{kind.name}" old ON old.source_id = source.id AND old.device_time < ? '
            "WHERE old.stored_time < ? LIMIT ?)",
            (before_ms, before_ms, rows_max),
        ).rowcount

    def expect_retention(self, conn: Connection, kind: KindSpec, days: int | None) -> None:
        """As `Driver.expect_retention`: nobody else deletes here."""

    def tidy(self, engine: Engine) -> None:
        """As `Driver.tidy`: shorten the write-ahead log, give back free pages."""
        with engine.connect().execution_options(**{_BEGIN: "SELECT 1"}) as conn:
            pages, free = (
                int(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("page_count", "freelist_count")
            )
            while free > pages * FREE_SHARE_MAX:
                held: Any = conn.connection.driver_connection
                # it frees a page a step, and only a script steps to the end of what has no columns
                held.executescript(f"PRAGMA incremental_vacuum({_STEP_PAGES})")
                left = int(conn.exec_driver_sql("PRAGMA freelist_count").scalar_one())
                if left >= free:  # a file made before it could: VACUUM alone would shrink it
                    break
                free = left
            conn.exec_driver_sql("PRAGMA optimize")
            conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()

    def lock_vehicles(self, conn: Connection, vehicle_ids: Sequence[str]) -> set[str]:  # noqa: ARG002
        """As `Driver.lock_vehicles`: there is one writer, and it is this transaction."""
        return set(vehicle_ids)

    def lock_feed(self, conn: Connection) -> None:
        """BEGIN IMMEDIATE has locked already."""

    def open_claims(self, engine: Engine, idle_s: float) -> Claims:  # noqa: ARG002
        """As `Driver.open_claims`: the kernel knows who lives."""
        return SqliteClaims(Path(str(engine.url.database)))


def _set_up(connection: Any, _record: Any) -> None:
    # transactions are begun by _begin, not by the driver when it sees an INSERT
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(conn: Connection) -> None:
    options = conn.get_execution_options()
    if _BEFORE in options:
        conn.exec_driver_sql(options[_BEFORE])
    conn.exec_driver_sql(options.get(_BEGIN, "BEGIN"))
