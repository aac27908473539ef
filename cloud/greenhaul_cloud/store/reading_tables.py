"""Tables of readings: one a kind, its columns derived from the catalogue.

Widths follow the declared ranges, since a city's positions are most of a store. A value that its
column cannot hold is no error: it lies in `extra`, as fields of a newer catalogue do.

In PostgreSQL a kind's name is a view over two tables: `{kind}_main`, and `{kind}_odd` for dates far
from today, so that one bad clock makes no chunks and widens no BRIN range (`postgres.py`).
"""

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from greenhaul_cloud.store.schema import Instant, metadata
from greenhaul_protocols.catalogue import KINDS, FieldSpec, KindSpec

IDENTITY_COLUMNS = ("source_id", "device_time", "digest")
INSTANT_COLUMNS = ("device_time", "received_time", "stored_time")

# The highest number of steps, either way, that a column keeps exactly. A REAL keeps any six
# decimal digits.
_STEPS_MAX: dict[type[TypeEngine[Any]], int] = {
    SmallInteger: 2**15 - 1,
    Integer: 2**31 - 1,
    BigInteger: 2**63 - 1,
    REAL: 999_999,
    Double: 2**53,
}
# PostgreSQL aligns values to their width: wide ones first leave no gaps.
_BYTES: dict[type[TypeEngine[Any]], int] = {
    Instant: 8, BigInteger: 8, Double: 8, Integer: 4, REAL: 4, SmallInteger: 2, Boolean: 1,
}  # fmt: skip
_OF_BYTES: dict[str, type[TypeEngine[Any]]] = {
    "text": Text, "json": Text, "blob": LargeBinary, "flag": Boolean,
}  # fmt: skip


def column_type(spec: FieldSpec) -> type[TypeEngine[Any]]:
    """The narrowest type that holds the declared range."""
    if spec.value_type != "number":
        return _OF_BYTES[spec.value_type]
    widths = (REAL, Double) if spec.per_unit > 1 else (SmallInteger, Integer, BigInteger)
    if spec.minimum is not None and spec.maximum is not None:
        steps = max(abs(spec.minimum), abs(spec.maximum)) * spec.per_unit
        for width in widths:
            if steps <= _STEPS_MAX[width]:
                return width
    return widths[-1]


def steps_max(spec: FieldSpec) -> int:
    """The highest number of steps, either way, that the field's column keeps exactly."""
    return _STEPS_MAX.get(column_type(spec), 2**63 - 1)


def value_column(spec: FieldSpec) -> Column[Any]:
    """The field's column."""
    return Column(spec.name, column_type(spec)())


def _reading_table(kind: KindSpec) -> Table:
    columns: list[Column[Any]] = [
        Column("source_id", Integer, nullable=False),  # of `source`; checking each would cost
        Column("device_time", Instant, nullable=False),
        Column("digest", BigInteger, nullable=False),
        Column("received_time", Instant, nullable=False),
        Column("stored_time", Instant, nullable=False),
        Column("time_quality", SmallInteger, nullable=False),
        Column("flags", SmallInteger, nullable=False),
        *map(value_column, kind.fields),
        # What no column holds: {"field number": stored integer or hex bytes}.
        Column("extra", Text),
    ]
    columns.sort(key=lambda column: -_BYTES.get(type(column.type), 0))  # stable
    return Table(kind.name, metadata, *columns, PrimaryKeyConstraint(*IDENTITY_COLUMNS))


readings: dict[int, Table] = {number: _reading_table(kind) for number, kind in KINDS.items()}
