"""Arrays in PostgreSQL's binary format, made by numpy a column at a time.

An array of n elements is five int32 (dimensions; whether nulls may come; the elements' type; n;
the first index), then of each element its length (int32; -1 for null, without bytes) and its bytes.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Date,
    Dialect,
    Double,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine, to_instance

from greenhaul_cloud.store.postgres_copy import DTYPES, EPOCH_MS, sized
from greenhaul_cloud.store.schema import Instant

# Numbers of types in every PostgreSQL.
_OIDS: dict[type[TypeEngine[Any]], int] = {
    Boolean: 16, LargeBinary: 17, BigInteger: 20, SmallInteger: 21, Integer: 23, Text: 25,
    REAL: 700, Double: 701, Date: 1082, Instant: 1184,
}  # fmt: skip
_EPOCH_DAY = np.datetime64("2000-01-01", "D")


@dataclass(frozen=True, slots=True)
class ArrayData:
    """A parameter whose cast in the statement says of what type the array is."""

    data: bytes


class _AsItIs(Dumper):
    format = Format.BINARY

    def dump(self, obj: ArrayData) -> bytes:
        return obj.data


def take_arrays(connection: "Connection[Any]") -> None:
    """Let statements of a connection have parameters of this kind."""
    connection.adapters.register_dumper(ArrayData, _AsItIs)


def array_data(column_type: TypeEngine[Any], values: Sequence[Any]) -> ArrayData:
    """Values of a column, None for null; instants in ms, dates in ISO 8601."""
    kind = type(column_type)
    if not values:
        return ArrayData(struct.pack(">3i", 0, 0, _OIDS[kind]))
    head = struct.pack(">5i", 1, 1, _OIDS[kind], len(values), 1)
    if kind not in DTYPES and kind is not Date:
        return ArrayData(head + b"".join(map(sized, values)))
    if None in values:
        present = np.array([value is not None for value in values], np.bool_)
        return ArrayData(head + _cells(kind, [value or 0 for value in values], present))
    return ArrayData(head + _cells(kind, values, None))


class Array(TypeDecorator[Sequence[Any]]):
    """Values of a column's type as one parameter of a statement."""

    impl = postgresql.ARRAY
    cache_ok = True

    def __init__(self, item_type: TypeEngine[Any] | type[TypeEngine[Any]]) -> None:
        super().__init__(item_type)
        self.item_type = to_instance(item_type)  # by this name SQLAlchemy tells arrays apart

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002
        """All of them at once, not value by value."""
        return partial(array_data, self.item_type)


def _cells(
    kind: type[TypeEngine[Any]], values: Sequence[Any], present: NDArray[np.bool_] | None
) -> bytes:
    dtype = np.dtype([("length", ">i4"), ("value", DTYPES.get(kind, ">i4"))])
    width = dtype.itemsize - 4
    cells = np.empty(len(values), dtype)
    if kind is Instant:
        cells["value"] = (np.array(values, np.int64) - EPOCH_MS) * 1000
    elif kind is Date:
        cells["value"] = (np.array(values, "datetime64[D]") - _EPOCH_DAY).astype(np.int32)
    else:
        cells["value"] = values
    if present is None:
        cells["length"] = width
        return cells.tobytes()
    cells["length"] = np.where(present, width, -1)
    is_there = np.ones((len(values), dtype.itemsize), np.bool_)
    is_there[:, 4:] = present[:, None]
    return cells.view(np.uint8).reshape(is_there.shape)[is_there].tobytes()
