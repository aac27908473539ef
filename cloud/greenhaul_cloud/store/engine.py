"""A store: one SQLAlchemy engine that has been checked to keep what it acknowledges.

SQLite runs in WAL mode with `synchronous=FULL`, PostgreSQL with `synchronous_commit` and `fsync`
on: a receipt makes an edge delete its copy, so a store that may lose a commit may not answer.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from secrets import randbits
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from greenhaul_cloud.store.claims import Claims
from greenhaul_cloud.store.driver import Driver
from greenhaul_cloud.store.migrating import is_empty, require_current, revision_of, upgrade
from greenhaul_cloud.store.postgres import PostgresDriver
from greenhaul_cloud.store.sqlite import SqliteDriver
from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import store_identity
from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable

log = logging.getLogger(__name__)

STORES: dict[str, type[Driver]] = {"sqlite": SqliteDriver, "postgresql": PostgresDriver}

# SQLSTATE classes that say these data will never be accepted: cardinality, data, integrity, limits
# of a row or an index. Not those of a database that is other than our statements expect (42, 0A: a
# right taken away, a table changed by a newer version): that is mended, and nothing set aside.
_DATA_STATES = ("21", "22", "23", "54")

# Claims of a process the database has not heard of for so long are lost, as are its rows. Folding
# what is claimed at a time takes less, even of a truck that has broken a rule daily for decades: a
# fold that loses its claim ends its turn, and vehicles behind it would wait for ever.
CLAIMS_IDLE_S = 300.0
# Names are looked up once; a city has some 10,000 sources. Past this the cache starts anew.
SOURCES_CACHED_MAX = 200_000


class Store:
    """Transactions on an opened, migrated and checked database."""

    def __init__(self, engine: Engine, driver: Driver, store_id: int, zone: ZoneInfo) -> None:
        """zone: whose days are counted."""
        self.driver = driver
        self.zone = zone
        self.store_id = store_id
        self.source_ids: dict[str, int] = {}
        # a new connection may lead to a server that lost the last commits, and numbers anew
        event.listen(engine, "connect", lambda *_: self.source_ids.clear())
        self._engine = engine
        self._reading = engine.execution_options(**driver.read_options)
        self._writing = engine.execution_options(**driver.write_options)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot for reading. Raises Unavailable."""
        with _named_errors(), self._reading.connect() as conn, conn.begin():
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable transaction: committed at the end, rolled back on any exception.

        Raises Unavailable (try again) or Rejected (these data will never be accepted).
        """
        with _named_errors(), self._writing.connect() as conn, conn.begin():
            yield conn

    def ping(self) -> None:
        """Raises Unavailable when the database does not answer."""
        with self.read() as conn:
            conn.execute(select(store_identity.c.store_id)).one()

    def tidy(self) -> None:
        """Give back what deleted rows took. Raises Unavailable."""
        with _named_errors():
            self.driver.tidy(self._engine)

    @cached_property
    def claims(self) -> Claims:
        """What this process is at; see that nobody else is."""
        return self.open_claims(CLAIMS_IDLE_S)

    def open_claims(self, idle_s: float) -> Claims:
        """Claims of a holder of their own, lost when it has not renewed them for `idle_s`."""
        return self.driver.open_claims(self._engine, idle_s)

    def remember_source(self, name: str, source_id: int) -> None:
        """Cache a *committed* name, until the next connection is made."""
        if len(self.source_ids) >= SOURCES_CACHED_MAX:
            self.source_ids.clear()
        self.source_ids[name] = source_id

    def close(self) -> None:
        """Give back every connection."""
        if "claims" in self.__dict__:
            self.claims.close()
        self._engine.dispose()


def open_store(
    url: str, now_ms: int, *, timezone: str = "Asia/Shanghai", may_make: bool = True
) -> Store:
    """The store at `url`; an empty database gets its schema first, if may_make.

    timezone: whose days it counts. Raises ConfigError for a URL, setting or schema we must not run
    with, or when there is no store, Unavailable when the database does not answer.
    """
    driver = _driver_of(url)
    engine = driver.create_engine(url)
    try:
        if not may_make:
            _require_made(url, driver, engine)
        with _named_errors():
            driver.check(engine)
            with engine.connect() as conn:
                was_empty = is_empty(conn)
        if was_empty:
            migrate(url)
        with _named_errors():
            with engine.connect() as conn:
                require_current(conn)
                log.info("event=store_opened engine=%r", driver.describe(conn))
            store_id = _identify(engine.execution_options(**driver.write_options), now_ms)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, driver, store_id, ZoneInfo(timezone))


def describe_store(url: str) -> str:
    """What is at `url`, for people: engine, version, extension, schema. Makes nothing.

    Raises ConfigError for a URL, setting or schema we must not run with, Unavailable when the
    database does not answer.
    """
    driver = _driver_of(url)
    engine = driver.create_engine(url)
    try:
        if _is_missing_file(url, driver):
            return "SQLite, not made yet"
        with _named_errors():
            driver.check(engine)
            with engine.connect() as conn:
                if is_empty(conn):
                    return f"{driver.describe(conn)}, empty"
                require_current(conn)
                return f"{driver.describe(conn)}, schema {revision_of(conn)}"
    finally:
        engine.dispose()


@contextmanager
def claims_of(url: str) -> Iterator[tuple[Claims, bool]]:
    """Claims in the store at `url`, to look at them; whether many may write it at a time.

    Makes nothing. Raises ConfigError for a URL.
    """
    driver = _driver_of(url)
    engine = driver.create_engine(url)
    claims = driver.open_claims(engine, CLAIMS_IDLE_S)
    try:
        yield claims, driver.is_shared
    finally:
        claims.close()
        engine.dispose()


def migrate(url: str) -> None:
    """Bring the database at `url` to this version's schema, in one transaction.

    Raises ConfigError when it was written by a newer version, Unavailable.
    """
    driver = _driver_of(url)
    engine = driver.create_engine(url)
    try:
        with (
            _named_errors(),
            engine.execution_options(**driver.migration_options).connect() as conn,
            conn.begin(),
        ):
            driver.lock_migration(conn)
            upgrade(conn)
            driver.finish_migration(conn)
    finally:
        engine.dispose()


@contextmanager
def empty_database(url: str) -> Iterator[Connection]:
    """One transaction on a database nobody has used, and nobody else may migrate meanwhile.

    Raises ConfigError when anything lies in it, Unavailable.
    """
    driver = _driver_of(url)
    engine = driver.create_engine(url)
    writing = engine.execution_options(**driver.write_options)
    try:
        with _named_errors(), writing.connect() as conn, conn.begin():
            driver.lock_migration(conn)
            if not is_empty(conn):
                raise ConfigError(f"{_hide(url)}: has tables already; give it an empty database")
            yield conn
    finally:
        engine.dispose()


def _driver_of(url: str) -> Driver:
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise ConfigError(f"store.url: {_hide(url)!r} is not a database URL") from error
    if backend not in STORES:
        raise ConfigError(f"store.url: {backend!r} is unknown; use {' or '.join(STORES)}")
    return STORES[backend]()


def _is_missing_file(url: str, driver: Driver) -> bool:
    """Whether to connect would make a file."""
    return isinstance(driver, SqliteDriver) and not Path(make_url(url).database or "").exists()


def _require_made(url: str, driver: Driver, engine: Engine) -> None:
    """Raises ConfigError when nothing is there: an empty store kept safe is a wrong URL unseen."""
    is_missing = _is_missing_file(url, driver)
    if not is_missing:
        with _named_errors(), engine.connect() as conn:
            is_missing = is_empty(conn)
    if is_missing:
        raise ConfigError(f"store.url: there is no store at {_hide(url)} yet")


def _hide(url: str) -> str:
    try:
        password = urlsplit(url).password
    except ValueError:
        return "…"
    return url.replace(password, "***") if password else url


def _identify(engine: Engine, now_ms: int) -> int:
    with engine.connect() as conn, conn.begin():
        conn.execute(
            insert_into(conn, store_identity)
            .values(id=1, store_id=randbits(63), created_at=now_ms)
            .on_conflict_do_nothing()
        )
        return int(conn.execute(select(store_identity.c.store_id)).scalar_one())


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if _is_about_data(error):
            raise Rejected(f"store refuses: {_first_line(error)}") from error
        raise Unavailable(f"store: {_first_line(error)}") from error
    except sqlite3.Error as error:  # of a script: SQLAlchemy was not asked
        raise Unavailable(f"store: {error}") from error
    except PoolTimeout as error:  # every connection is taken; other errors of the kind are bugs
        raise Unavailable(f"store: {_first_line(error)}") from error


def _is_about_data(error: DBAPIError) -> bool:
    """Whether these very data are refused, so that waiting is no use.

    A full disk, a deadlock, a failed serialization, a standby that only reads, a damaged file: all
    that ends some day, and until then everything is kept.
    """
    if error.connection_invalidated:
        return False
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_DATA_STATES)
    return isinstance(error, (DataError, IntegrityError, ProgrammingError, NotSupportedError))


def _first_line(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).partition("\n")[0][:200]
