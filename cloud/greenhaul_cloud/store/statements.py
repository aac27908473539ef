"""What every reader or writer needs and SQLAlchemy spells per engine."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    cast,
    func,
    insert,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(conn: Connection, table: Table) -> Any:
    """`INSERT` of the engine in use, for its ON CONFLICT clauses (the two spell them alike)."""
    return (postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert)(table)


def insert_row(conn: Connection, table: Table, values: dict[str, Any]) -> int:
    """Insert one row; the number it was given."""
    key = conn.execute(insert(table).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def time_ms_of(conn: Connection, column: ColumnElement[Any]) -> ColumnElement[int]:
    """An instant's milliseconds as the database gives them: no Python per row, no datetime."""
    if conn.dialect.name == "postgresql":
        return cast(func.extract("epoch", column) * 1000, BigInteger)
    return type_coerce(column, BigInteger)
