"""PostgreSQL, with or without TimescaleDB.

A kind of reading has two tables under a view of its name: `{kind}_main`, and `{kind}_odd` for
device times outside [now − ODD_BEFORE_DAYS, now + ODD_AFTER_DAYS). With TimescaleDB the main ones
are hypertables (`timescale.py`); without it they are plain tables with a BRIN index for retention:
partitions by day made a query without time bounds 200 times slower, and inserts no faster.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError

from greenhaul_cloud.store import timescale
from greenhaul_cloud.store.batch import Rows
from greenhaul_cloud.store.claims import Claims
from greenhaul_cloud.store.postgres_arrays import take_arrays
from greenhaul_cloud.store.postgres_claims import PostgresClaims
from greenhaul_cloud.store.postgres_copy import copy_data, fixed_first
from greenhaul_cloud.store.reading_tables import IDENTITY_COLUMNS, readings
from greenhaul_protocols.catalogue import KindSpec
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import format_time

log = logging.getLogger(__name__)

# The oldest one the tests run on.
VERSION_MIN = 15
# History that somebody imports reaches back a year; what is older, or later than the day after
# tomorrow, comes from a bad clock.
ODD_BEFORE_DAYS, ODD_AFTER_DAYS = 400, 2
_DAY_MS = 86_400_000
# An entry takes 41 bytes in a dense index, 72 in one of halved pages; small ones are left alone.
ENTRY_BYTES_MAX, REINDEX_BYTES_MIN = 55, 32 * 1024 * 1024
# Known readings come in bursts, when a gateway sends again what it has no receipt for: so many
# batches later the next one is tried as if all were new.
STAGED_AFTER_KNOWN = 50
# Classes of advisory locks; the second key says which one of the class.
_LOCK_MIGRATION, _LOCK_FEED, _LOCK_VEHICLE, _LOCK_ODD = 0x6701, 0x6702, 0x6703, 0x6704
_LOCK_TIDY = 0x6705

_KEY = ", ".join(IDENTITY_COLUMNS)
_IDENTITY = np.dtype([("source_id", ">i4"), ("device_time", ">i8"), ("digest", ">i8")])
_SENT = "int4send(source_id) || timestamptz_send(device_time) || int8send(digest)"
# PostgreSQL sends microseconds from 2000-01-01.
_EPOCH_MS = 946_684_800_000

# A process that hangs in a transaction holds its rows no longer than this; a client that reads an
# export more slowly is cut off.
_SESSION = "-c timezone=UTC -c idle_in_transaction_session_timeout=5min"
# A server that vanished is noticed after 10 s + 3 × 5 s of silence, or 20 s of unacknowledged
# bytes; libpq's default is the kernel's two hours.
_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class PostgresDriver:
    """COPY into the table when all is new; else into a staging table, and from there with
    INSERT … ON CONFLICT DO NOTHING. Advisory locks."""

    # one snapshot for all a fold or an export reads
    read_options: Mapping[str, str] = {"isolation_level": "REPEATABLE READ"}
    write_options: Mapping[str, str] = {}
    migration_options: Mapping[str, str] = {}
    is_shared = True

    def __init__(self) -> None:
        self._has_timescale: bool | None = None  # not asked yet
        self._staged: Counter[str] = Counter()  # batches of a kind that are to be staged

    def create_engine(self, url: str) -> Engine:
        """As `Driver.create_engine`; sessions speak UTC, so no instant leaves datetime's years."""
        parsed = make_url(url)
        try:
            make_conninfo("", **dict.fromkeys(parsed.query, ""))
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"store.url: {error}") from error
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args={"options": _SESSION, **_NETWORK},
            pool_size=16,
            pool_pre_ping=True,
        )
        event.listen(engine, "connect", lambda connection, _record: take_arrays(connection))
        return engine

    def check(self, engine: Engine) -> None:
        """As `Driver.check`."""
        with engine.connect() as conn:
            number = int(conn.execute(text("SHOW server_version_num")).scalar_one())
            if number < VERSION_MIN * 10_000:
                raise ConfigError(
                    f"store.url: PostgreSQL {number // 10_000} is too old; {VERSION_MIN} or later"
                )
            for setting in ("synchronous_commit", "fsync"):
                found = conn.execute(text(f"SHOW {setting}")).scalar_one()
                if found == "off":
                    raise ConfigError(
                        f"store.url: PostgreSQL says {setting} = off; receipts would promise what "
                        "a power cut can take back"
                    )

    def describe(self, conn: Connection) -> str:
        """As `Driver.describe`."""
        version = conn.execute(text("SHOW server_version")).scalar_one().split()[0]
        return f"PostgreSQL {version}, {timescale.describe(conn)}"

    def lock_migration(self, conn: Connection) -> None:
        """As `Driver.lock_migration`."""
        _lock(conn, _LOCK_MIGRATION)

    def finish_migration(self, conn: Connection) -> None:
        """As `Driver.finish_migration`: hypertables where the extension is."""
        if timescale.version(conn):
            for kind in readings.values():
                timescale.make_hypertable(conn, f"{kind.name}_main")

    def prepare_insert(self, conn: Connection, batches: Sequence[Rows]) -> None:
        """As `Driver.prepare_insert`.

        Two collectors whose clocks differ could put one reading into both tables of its kind, if
        its date is near a border: they wait for each other.
        """
        if any(_odd(batch, margin_ms=_DAY_MS).any() for batch in batches):
            _lock(conn, _LOCK_ODD)

    def insert_new(self, conn: Connection, batch: Rows) -> NDArray[np.bool_]:
        """As `Driver.insert_new`."""
        kind = batch.kind.name
        odd = _odd(batch)
        has_caught_up = not odd.all() and self._has_caught_up(conn, batch)
        if not (odd.any() or has_caught_up) and self._copied_whole(conn, batch):
            return np.ones(len(batch), np.bool_)
        names = self._stage(conn, batch)
        is_new = np.zeros(len(batch), np.bool_)
        if not odd.all():
            other = f"{kind}_odd" if has_caught_up else None
            is_new |= self._move(conn, batch, f"{kind}_main", names, ~odd, other)
        if odd.any():
            is_new |= self._move(conn, batch, f"{kind}_odd", names, odd, f"{kind}_main")
        if not is_new.all():
            self._staged[kind] = STAGED_AFTER_KNOWN
        return is_new

    def delete_before(self, conn: Connection, kind: KindSpec, before_ms: int, rows_max: int) -> int:
        """As `Driver.delete_before`."""
        deleted = 0
        if timescale.version(conn):
            deleted = timescale.drop_chunks(conn, f"{kind.name}_main", format_time(before_ms))
            tables = [f"{kind.name}_odd"]
        else:
            tables = [f"{kind.name}_main", f"{kind.name}_odd"]
        for table in tables:
            chosen = text(
                f'DELETE FROM "{table}" WHERE ctid = ANY(ARRAY(SELECT ctid FROM "{table}" '  # noqa: S608
                "WHERE device_time < :before AND stored_time < :before LIMIT :rows))"
            )
            done = conn.execute(chosen, {"before": format_time(before_ms), "rows": rows_max})
            deleted += done.rowcount
        return deleted

    def expect_retention(self, conn: Connection, kind: KindSpec, days: int | None) -> None:
        """As `Driver.expect_retention`: a policy of TimescaleDB, a day behind our own deleting.

        Folds are told what is gone before it goes, which the extension does not do.
        """
        if timescale.version(conn):
            timescale.set_retention(conn, f"{kind.name}_main", None if days is None else days + 1)

    def tidy(self, engine: Engine) -> None:
        """As `Driver.tidy`: autovacuum gives room back; here sparse indexes are made anew.

        Each source's readings grow in the middle of the key, and PostgreSQL splits pages there in
        halves (its remedy for keys that grow in groups ends at entries of 16 bytes; ours has 24):
        the index takes nearly twice what it needs, a fifth of a position's bytes.
        """
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            if timescale.version(conn) or not _try_lock(conn, _LOCK_TIDY):
                return
            try:
                _drop_unfinished(conn)
                _make_sparse_anew(conn)
            finally:
                conn.execute(text("SELECT pg_advisory_unlock(:lock, 0)"), {"lock": _LOCK_TIDY})

    def lock_vehicles(self, conn: Connection, vehicle_ids: Sequence[str]) -> set[str]:
        """As `Driver.lock_vehicles`; two vehicles of one word are locked as one."""
        words = {
            vehicle_id: int.from_bytes(
                blake2b(vehicle_id.encode(), digest_size=4).digest(), signed=True
            )
            for vehicle_id in vehicle_ids
        }
        taken = text(
            "SELECT word FROM unnest(CAST(:words AS int[])) AS word "
            "WHERE pg_try_advisory_xact_lock(:lock_class, word)"
        )
        asked = {"lock_class": _LOCK_VEHICLE, "words": sorted({*words.values()})}
        locked = set(conn.execute(taken, asked).scalars())
        return {vehicle_id for vehicle_id, word in words.items() if word in locked}

    def lock_feed(self, conn: Connection) -> None:
        """As `Driver.lock_feed`: an id is drawn only by who will commit next."""
        _lock(conn, _LOCK_FEED)

    def open_claims(self, engine: Engine, idle_s: float) -> Claims:
        """As `Driver.open_claims`."""
        _, named = engine.dialect.create_connect_args(engine.url)
        return PostgresClaims(partial(psycopg.connect, **{**_NETWORK, **named}), idle_s)

    def _copied_whole(self, conn: Connection, batch: Rows) -> bool:
        """Put the batch straight into the main table, if all of it is new.

        Half the work of staging, and nearly always right. What turns out to be known leaves dead
        rows behind, so the batches after one with known readings are staged.
        """
        kind = batch.kind.name
        if self._staged[kind]:
            self._staged[kind] -= 1
            return False
        if self._has_timescale is None:
            self._has_timescale = timescale.version(conn) is not None
        if self._has_timescale:  # what a COPY finds in chunks of columns is the extension's secret
            return False
        try:
            with conn.begin_nested():
                self._copy(conn, f"{kind}_main", batch)
        except IntegrityError:
            self._staged[kind] = STAGED_AFTER_KNOWN
            return False
        return True

    def _stage(self, conn: Connection, batch: Rows) -> str:
        """Put the batch into an unlogged table of this session; the names of its columns."""
        kind = batch.kind.name
        conn.exec_driver_sql(
            f'CREATE TEMP TABLE IF NOT EXISTS "{kind}_staging" (LIKE "{kind}_main") '
            "ON COMMIT DELETE ROWS"
        )
        # two batches of one kind in one transaction share the staging table
        conn.exec_driver_sql(f'TRUNCATE "{kind}_staging"')
        return self._copy(conn, f"{kind}_staging", batch)

    def _copy(self, conn: Connection, into: str, batch: Rows) -> str:
        """Copy the batch into a table; the names of its columns."""
        table = readings[batch.kind.number]
        columns = fixed_first(table, batch.columns)
        names = ", ".join(f'"{column.name}"' for column in columns)
        statement = f'COPY "{into}" ({names}) FROM STDIN (FORMAT binary)'
        driver: Any = conn.connection.driver_connection
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(copy_data(table, columns))
        except psycopg.Error as error:  # as SQLAlchemy names those of its own statements
            raise DBAPIError.instance(
                statement, None, error, psycopg.Error, connection_invalidated=driver.closed
            ) from error
        return names

    def _has_caught_up(self, conn: Connection, batch: Rows) -> bool:
        """Whether time has reached a reading that lies among the odd dates."""
        low_ms, high_ms = int(batch.device_time_ms.min()), int(batch.device_time_ms.max())
        query = text(
            f'SELECT EXISTS (SELECT 1 FROM "{batch.kind.name}_odd" '  # noqa: S608
            "WHERE device_time BETWEEN :low AND :high)"
        )
        span = {"low": format_time(low_ms), "high": format_time(high_ms)}
        return bool(conn.execute(query, span).scalar_one())

    def _move(
        self,
        conn: Connection,
        batch: Rows,
        table: str,
        names: str,
        chosen: NDArray[np.bool_],
        other: str | None,
    ) -> NDArray[np.bool_]:
        """From staging into a table what is new there and in the other; (rows,) which it were."""
        conditions = []
        if not chosen.all():
            low_ms, high_ms = _window(batch.stored_time_ms)
            is_within = (
                f"device_time >= '{format_time(low_ms)}' AND device_time < '{format_time(high_ms)}'"
            )
            conditions.append(is_within if table.endswith("_main") else f"NOT ({is_within})")
        if other:
            same = " AND ".join(f"known.{name} = staging.{name}" for name in IDENTITY_COLUMNS)
            conditions.append(f'NOT EXISTS (SELECT 1 FROM "{other}" known WHERE {same})')  # noqa: S608
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        found: bytes | None = conn.exec_driver_sql(
            f'WITH new AS (INSERT INTO "{table}" ({names}) SELECT {names} '  # noqa: S608
            f'FROM "{batch.kind.name}_staging" staging {where}ORDER BY {_KEY} '
            f"ON CONFLICT DO NOTHING RETURNING {_KEY}) "
            f"SELECT string_agg({_SENT}, ''::bytea) FROM new"
        ).scalar_one()
        identities = np.frombuffer(found or b"", _IDENTITY)
        if len(identities) == int(chosen.sum()):
            return chosen
        if not len(identities):
            return np.zeros(len(batch), np.bool_)
        time_ms = identities["device_time"] // 1000 + _EPOCH_MS
        keys = (identities["source_id"].tolist(), time_ms.tolist(), identities["digest"].tolist())
        return batch.which_are(set(zip(*keys, strict=True)))


def _window(now_ms: int) -> tuple[int, int]:
    """Device times of main tables, [from, to): of whole days, so that borders seldom move."""
    today_ms = now_ms - now_ms % _DAY_MS
    return today_ms - ODD_BEFORE_DAYS * _DAY_MS, today_ms + (ODD_AFTER_DAYS + 1) * _DAY_MS


def _odd(batch: Rows, margin_ms: int = 0) -> NDArray[np.bool_]:
    """(rows,) whether a date is odd, or within margin_ms of being so."""
    low_ms, high_ms = _window(batch.stored_time_ms)
    time_ms = batch.device_time_ms
    found: NDArray[np.bool_] = (time_ms < low_ms + margin_ms) | (time_ms >= high_ms - margin_ms)
    return found


def _lock(conn: Connection, lock_class: int) -> None:
    conn.execute(text("SELECT pg_advisory_xact_lock(:lock_class, 0)"), {"lock_class": lock_class})


def _try_lock(conn: Connection, lock_class: int) -> bool:
    """Take a lock of the session's; False when another session has it."""
    taken = text("SELECT pg_try_advisory_lock(:lock_class, 0)")
    return bool(conn.execute(taken, {"lock_class": lock_class}).scalar_one())


def _drop_unfinished(conn: Connection) -> None:
    """Drop what a REINDEX that was cut short left: it serves nobody, and inserts may keep it up."""
    query = text(
        "SELECT index.relname FROM pg_index JOIN pg_class index ON index.oid = indexrelid "
        "JOIN pg_class main ON main.oid = indrelid WHERE NOT indisvalid "
        "AND main.relnamespace = current_schema()::regnamespace "
        "AND main.relname = ANY(:names) AND index.relname ~ '_cc(new|old)[0-9]*$'"
    )
    names = [f"{table.name}_main" for table in readings.values()]
    for name in conn.execute(query, {"names": names}).scalars().all():
        log.info("event=unfinished_index_dropped index=%s", name)
        conn.exec_driver_sql(f'DROP INDEX CONCURRENTLY "{name}"')


def _make_sparse_anew(conn: Connection) -> None:
    query = text(
        "SELECT pg_class.relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid "
        "JOIN pg_class main ON main.oid = indrelid WHERE pg_class.relname = ANY(:names) "
        "AND pg_relation_size(pg_class.oid) > greatest(main.reltuples * :each, :least)"
    )
    names = [f"pk_{table.name}_main" for table in readings.values()]
    limits = {"names": names, "each": ENTRY_BYTES_MAX, "least": REINDEX_BYTES_MIN}
    for name in conn.execute(query, limits).scalars().all():
        log.info("event=index_made_anew index=%s", name)
        conn.exec_driver_sql(f'REINDEX INDEX CONCURRENTLY "{name}"')
