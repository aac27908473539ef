"""SQLite: the embedded default."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from greenhaul_cloud.store.batch import KindBatch
from greenhaul_protocols.errors import ConfigError

# Longer than the longest flush; a writer that waits longer reports the store as unavailable.
BUSY_TIMEOUT_MS = 10_000
_BEGIN = "greenhaul_begin"
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


class SqliteDriver:
    """WAL, `synchronous=FULL`, one writer at a time."""

    read_options: Mapping[str, str] = {}
    write_options: Mapping[str, str] = {_BEGIN: "BEGIN IMMEDIATE"}

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

    def lock_migration(self, conn: Connection) -> None:
        """BEGIN IMMEDIATE has locked already."""

    def insert_new(self, conn: Connection, batch: KindBatch) -> NDArray[np.bool_]:
        """As `Driver.insert_new`: what lies past the highest rowid afterwards is new."""
        table, names = batch.table_name, batch.column_names
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

    def lock_vehicle(self, conn: Connection, vehicle_id: str) -> bool:  # noqa: ARG002
        """As `Driver.lock_vehicle`: there is one writer, and it is this transaction."""
        return True

    def lock_feed(self, conn: Connection) -> None:
        """BEGIN IMMEDIATE has locked already."""


def _set_up(connection: Any, _record: Any) -> None:
    # transactions are begun by _begin, not by the driver when it sees an INSERT
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(conn: Connection) -> None:
    conn.exec_driver_sql(conn.get_execution_options().get(_BEGIN, "BEGIN"))
