"""Whole tables of PostgreSQL as streams of COPY, and the counters that number their rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import psycopg
from sqlalchemy import Connection, inspect, text

from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.store.migrating import VERSION_TABLE
from greenhaul_protocols.errors import Rejected, Unavailable

_CHUNK_BYTES = 1 << 20


# What outlives a crash and is not a part of another table; staging tables are unlogged.
_KEPT = text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relkind IN ('r', 'p') AND relpersistence = 'p' AND NOT relispartition"
)


def tables_of(conn: Connection) -> dict[str, list[str]]:
    """Columns of every table there is, by table, in an order that foreign keys allow.

    As the database has them: readings lie in other tables there than on SQLite.
    """
    seen = inspect(conn)
    kept = set(conn.execute(_KEPT).scalars()) - {VERSION_TABLE}
    names = (name for name, _ in seen.get_sorted_table_and_fkc_names())
    ordered = [name for name in names if name is not None and name in kept]
    return {name: [column["name"] for column in seen.get_columns(name)] for name in ordered}


def copy_out(
    conn: Connection, table: str, columns: Sequence[str], file: IO[bytes], progress: Progress
) -> int:
    """Write a table as binary COPY; how many rows it has."""
    # a query, since COPY of a table itself leaves out what lies in partitions and chunks
    query = f"SELECT {_quoted(columns)} FROM {_quote(table)}"  # noqa: S608  # names of our own
    held: Any = conn.connection.driver_connection
    with _named_errors(), held.cursor() as cursor:
        progress.show(table, 0)
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
            for data in copy:
                file.write(data)
        return int(cursor.rowcount)


def copy_in(
    conn: Connection, table: str, columns: Sequence[str], file: IO[bytes], progress: Progress
) -> int:
    """Fill a table with what `copy_out` wrote; how many rows came."""
    held: Any = conn.connection.driver_connection
    target = f"{_quote(table)} ({_quoted(columns)})"
    with _named_errors(), held.cursor() as cursor:
        progress.show(table, 0)
        with cursor.copy(f"COPY {target} FROM STDIN (FORMAT binary)") as copy:
            while data := file.read(_CHUNK_BYTES):
                copy.write(data)
        return int(cursor.rowcount)


def sequences_of(conn: Connection, tables: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The last number given out by each table's sequence of ids, by table."""
    found = {}
    for table, columns in tables.items():
        name = _sequence(conn, table) if "id" in columns else None
        if name is not None:
            row = conn.exec_driver_sql(f"SELECT last_value, is_called FROM {name}").one()  # noqa: S608
            if row.is_called:
                found[table] = int(row.last_value)
    return found


def set_sequences(conn: Connection, numbers: Mapping[str, int]) -> None:
    """Go on numbering after these, by table."""
    for table, number in numbers.items():
        conn.execute(
            text("SELECT setval(:name, :number)"),
            {"name": _sequence(conn, table), "number": number},
        )


@contextmanager
def _named_errors() -> Iterator[None]:
    """A cursor of the driver's own raises the driver's own errors."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(f"store: {error}") from error
    except psycopg.Error as error:
        raise Rejected(f"store refuses: {error}") from error


def _sequence(conn: Connection, table: str) -> str | None:
    query = text("SELECT pg_get_serial_sequence(:name, 'id')")
    found: str | None = conn.execute(query, {"name": _quote(table)}).scalar()
    return found


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(_quote(name) for name in names)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
