"""PostgreSQL, with or without TimescaleDB."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url

from greenhaul_cloud.store.batch import IDENTITY_COLUMNS, KindBatch
from greenhaul_protocols.errors import ConfigError

# Classes of advisory locks; the second key says which one of the class.
_LOCK_MIGRATION, _LOCK_FEED, _LOCK_VEHICLE = 0x6701, 0x6702, 0x6703
_INSTANTS = ("device_time", "received_time", "stored_time")


class PostgresDriver:
    """COPY into a staging table, then INSERT … ON CONFLICT DO NOTHING; advisory locks."""

    # one snapshot for all a fold or an export reads
    read_options: Mapping[str, str] = {"isolation_level": "REPEATABLE READ"}
    write_options: Mapping[str, str] = {}

    def create_engine(self, url: str) -> Engine:
        """As `Driver.create_engine`; sessions speak UTC, so no instant leaves datetime's years."""
        return create_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            connect_args={"options": "-c timezone=UTC"},
            pool_size=16,
            pool_pre_ping=True,
        )

    def check(self, engine: Engine) -> None:
        """As `Driver.check`."""
        with engine.connect() as conn:
            for setting in ("synchronous_commit", "fsync"):
                found = conn.execute(text(f"SHOW {setting}")).scalar_one()
                if found == "off":
                    raise ConfigError(
                        f"store.url: PostgreSQL says {setting} = off; receipts would promise what "
                        "a power cut can take back"
                    )

    def lock_migration(self, conn: Connection) -> None:
        """As `Driver.lock_migration`."""
        _lock(conn, _LOCK_MIGRATION)

    def insert_new(self, conn: Connection, batch: KindBatch) -> NDArray[np.bool_]:
        """As `Driver.insert_new`."""
        table, names = batch.table_name, batch.column_names
        self._stage(conn, batch)
        quoted = ", ".join(f'"{name}"' for name in names)
        chosen = ", ".join(
            f"timestamptz 'epoch' + \"{name}\" * interval '1 millisecond'"
            if name in _INSTANTS
            else f'"{name}"'
            for name in names
        )
        key = ", ".join(IDENTITY_COLUMNS)
        found = conn.exec_driver_sql(
            f'INSERT INTO "{table}" ({quoted}) SELECT {chosen} FROM "staging_{table}" '  # noqa: S608
            f"ORDER BY {key} ON CONFLICT DO NOTHING "
            "RETURNING source_id, (extract(epoch from device_time) * 1000)::bigint, digest"
        ).all()
        if len(found) == len(batch):
            return np.ones(len(batch), np.bool_)
        return batch.which_are({(row[0], row[1], row[2]) for row in found})

    def lock_vehicle(self, conn: Connection, vehicle_id: str) -> bool:
        """As `Driver.lock_vehicle`."""
        word = int.from_bytes(blake2b(vehicle_id.encode(), digest_size=4).digest(), signed=True)
        taken = text("SELECT pg_try_advisory_xact_lock(:lock_class, :word)")
        found = conn.execute(taken, {"lock_class": _LOCK_VEHICLE, "word": word})
        return bool(found.scalar_one())

    def lock_feed(self, conn: Connection) -> None:
        """As `Driver.lock_feed`: an id is drawn only by who will commit next."""
        _lock(conn, _LOCK_FEED)

    def _stage(self, conn: Connection, batch: KindBatch) -> None:
        table, names = batch.table_name, batch.column_names
        instants = ", ".join(f"ALTER {name} TYPE bigint USING NULL" for name in _INSTANTS)
        if not conn.execute(
            text("SELECT to_regclass(:name)"), {"name": f"pg_temp.staging_{table}"}
        ).scalar():
            conn.exec_driver_sql(
                f'CREATE TEMP TABLE "staging_{table}" (LIKE "{table}") ON COMMIT DELETE ROWS'
            )
            conn.exec_driver_sql(f'ALTER TABLE "staging_{table}" {instants}')
        quoted = ", ".join(f'"{name}"' for name in names)
        driver: Any = conn.connection.driver_connection
        with driver.cursor() as cursor:
            # two series of one kind in one transaction share the staging table
            cursor.execute(f'TRUNCATE "staging_{table}"')
            with cursor.copy(f'COPY "staging_{table}" ({quoted}) FROM STDIN') as copy:
                for row in batch.rows:
                    copy.write_row(row)


def _lock(conn: Connection, lock_class: int) -> None:
    conn.execute(text("SELECT pg_advisory_xact_lock(:lock_class, 0)"), {"lock_class": lock_class})
