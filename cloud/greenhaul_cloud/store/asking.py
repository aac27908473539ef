"""What many subjects are asked, as one table: a statement for all instead of one for each."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, any_, bindparam, column, func, select
from sqlalchemy.types import String, TypeEngine

from greenhaul_cloud.store.postgres_arrays import Array


class Asked:
    """Rows of values to join with, declared once: arrays in PostgreSQL, JSON in SQLite.

    A statement made with `table` is run with `values`; whatever the number of rows it is the same
    statement, so that neither SQLAlchemy nor the database prepares it again.
    """

    def __init__(
        self, name: str, columns: Mapping[str, TypeEngine[Any] | type[TypeEngine[Any]]]
    ) -> None:
        """columns: their types by name."""
        self._name = name
        self._columns = tuple(columns)
        arrays = (bindparam(f"{name}_{key}", type_=Array(kind)) for key, kind in columns.items())
        typed = (column(key, kind) for key, kind in columns.items())
        unnested = func.unnest(*arrays).table_valued(*typed, name=name)
        self._postgres = unnested.render_derived(name=name)
        # json_each gives a row of several values as JSON text again
        each = func.json_each(bindparam(name, type_=String())).table_valued("value", name="each")
        values = (
            func.json_extract(each.c.value, f"$[{at}]", type_=kind).label(key)
            for at, (key, kind) in enumerate(columns.items())
        )
        self._sqlite = select(*values).subquery(name)

    def table(self, dialect: str) -> FromClause:
        """The rows as a table of the engine."""
        return self._postgres if dialect == "postgresql" else self._sqlite

    def values(self, conn: Connection, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """What to run a statement with, for these rows in the order of the columns."""
        if conn.dialect.name != "postgresql":
            return {self._name: json.dumps(rows)}
        arrays = map(list, zip(*rows, strict=True)) if rows else ([] for _ in self._columns)
        names = (f"{self._name}_{key}" for key in self._columns)
        return dict(zip(names, arrays, strict=True))


def among(conn: Connection, column: ColumnElement[Any], values: Collection[Any]) -> Any:
    """Whether a column is one of many values, as one parameter: one statement whatever their
    number, which neither SQLAlchemy nor the database prepares again."""
    if conn.dialect.name == "postgresql":
        return column == any_(bindparam(None, list(values), type_=Array(column.type)))
    each = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(each.c.value))
