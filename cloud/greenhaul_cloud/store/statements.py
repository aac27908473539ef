"""What every reader or writer needs and SQLAlchemy spells per engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    bindparam,
    cast,
    func,
    insert,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from greenhaul_cloud.store.postgres_arrays import array_data


def insert_into(conn: Connection, table: Table) -> Any:
    """`INSERT` of the engine in use, for its ON CONFLICT clauses (the two spell them alike)."""
    return (postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert)(table)


def insert_row(conn: Connection, table: Table, values: dict[str, Any]) -> int:
    """Insert one row; the number it was given."""
    key = conn.execute(insert(table).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def time_ms_of(dialect: str, column: ColumnElement[Any]) -> ColumnElement[int]:
    """An instant's milliseconds as the database gives them: no Python per row, no datetime."""
    if dialect == "postgresql":
        # a double, exact to the millisecond in every year there is; `extract` counts in numerics
        return cast(func.date_part("epoch", column) * 1000, BigInteger)
    return type_coerce(column, BigInteger)


class Upsert:
    """`INSERT … ON CONFLICT DO UPDATE` of thousands of rows at once, declared once.

    PostgreSQL gets each column as one array, SQLite the rows without SQLAlchemy between: either is
    many times faster than a statement a row. Columns are numbers, texts, bytes, instants, and dates
    in ISO 8601.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        keys: Sequence[str],
        changes: Callable[[Any], Mapping[str, Any]],
        where: Callable[[Any], ColumnElement[bool]] | None = None,
    ) -> None:
        """changes, where: of the row that is there, given the one that came (`excluded`)."""
        self._columns = tuple(columns)
        self._types = [table.c[name].type for name in columns]
        arrays = (
            func.unnest(bindparam(name, type_=postgresql.ARRAY(table.c[name].type)))
            for name in columns
        )
        from_arrays = postgresql.insert(table).from_select(list(columns), select(*arrays))
        of_row = sqlite.insert(table).values({name: bindparam(name) for name in columns})
        on_postgres, on_sqlite = (
            statement.on_conflict_do_update(
                index_elements=list(keys),
                set_=dict(changes(statement.excluded)),
                where=where(statement.excluded) if where else None,
            )
            for statement in (from_arrays, of_row)
        )
        dialect = psycopg_dialect()  # type: ignore[no-untyped-call]
        self._of_arrays = str(on_postgres.compile(dialect=dialect))
        compiled = on_sqlite.compile(dialect=sqlite.dialect())
        self._of_row = str(compiled)
        # a constant would be a parameter of its own: write literal_column("1")
        self._order = [columns.index(name) for name in compiled.positiontup or ()]

    def run(self, conn: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Rows as the declared columns, in the order they are to be locked; none is fine."""
        if not rows:
            return
        if conn.dialect.name == "postgresql":
            arrays = map(array_data, self._types, zip(*rows, strict=True))
            conn.exec_driver_sql(self._of_arrays, dict(zip(self._columns, arrays, strict=True)))
        else:
            order = self._order
            conn.exec_driver_sql(self._of_row, [tuple(row[i] for i in order) for row in rows])
