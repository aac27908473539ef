"""Rows in PostgreSQL's binary COPY format, made by numpy a column at a time.

A row is its count of fields (int16) and for each field its length (int32; -1 for null, without
bytes) and its bytes, all big-endian. The stream has a signature, two zero words, and ends in -1.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import REAL, BigInteger, Boolean, Double, Integer, SmallInteger, Table
from sqlalchemy.types import TypeEngine

from greenhaul_cloud.store.batch import ValueColumn
from greenhaul_cloud.store.schema import Instant

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"
_NULL = (-1).to_bytes(4, "big", signed=True)
# PostgreSQL counts microseconds from 2000-01-01.
EPOCH_MS = 946_684_800_000

DTYPES: dict[type[TypeEngine[Any]], str] = {
    Instant: ">i8", BigInteger: ">i8", Double: ">f8", Integer: ">i4", REAL: ">f4",
    SmallInteger: ">i2", Boolean: "u1",
}  # fmt: skip


def fixed_first(table: Table, columns: Iterable[ValueColumn]) -> list[ValueColumn]:
    """Columns of fixed width, then texts and bytes: the order `copy_data` writes."""
    return sorted(columns, key=lambda one: type(table.c[one.name].type) not in DTYPES)


def copy_data(table: Table, columns: Sequence[ValueColumn]) -> bytes:
    """A whole COPY stream of these columns of a table, as `fixed_first` orders them."""
    kinds = [type(table.c[one.name].type) for one in columns]
    fixed = [(kind, one) for kind, one in zip(kinds, columns, strict=True) if kind in DTYPES]
    others = columns[len(fixed) :]
    rows, ends = _fixed_rows(fixed, len(columns))
    if not others:
        return _HEAD + rows + _TAIL
    pieces: list[Iterator[bytes]] = [(rows[a:b] for a, b in pairwise(ends))]
    pieces += [map(sized, one.values) for one in others]
    return _HEAD + b"".join(part for row in zip(*pieces, strict=True) for part in row) + _TAIL


def _fixed_rows(
    columns: Sequence[tuple[type[TypeEngine[Any]], ValueColumn]], fields: int
) -> tuple[bytes, list[int]]:
    """The fixed part of all rows, and where each begins and ends."""
    count = len(columns[0][1].values)
    names = [("fields", ">i2")]
    for i, (kind, _) in enumerate(columns):
        names += [(f"length{i}", ">i4"), (f"value{i}", DTYPES[kind])]
    table = np.empty(count, np.dtype(names))
    table["fields"] = fields
    # which bytes of a row are there; made only when some are not
    is_there: NDArray[np.bool_] | None = None
    for i, (kind, one) in enumerate(columns):
        width = np.dtype(DTYPES[kind]).itemsize
        values = np.asarray(one.values)
        table[f"value{i}"] = (values - EPOCH_MS) * 1000 if kind is Instant else values
        table[f"length{i}"] = width if one.present is None else np.where(one.present, width, -1)
        if one.present is not None:
            if is_there is None:
                is_there = np.ones((count, table.itemsize), np.bool_)
            at = table.dtype.fields[f"value{i}"][1]  # type: ignore[index]  # it has fields
            is_there[:, at : at + width] = one.present[:, None]
    if is_there is None:
        return table.tobytes(), [i * table.itemsize for i in range(count + 1)]
    flat = table.view(np.uint8).reshape(count, table.itemsize)[is_there]
    return flat.tobytes(), [0, *accumulate(is_there.sum(axis=1).tolist())]


def sized(value: str | bytes | None) -> bytes:
    """A text or bytes behind its length, as PostgreSQL sends and takes them."""
    if value is None:
        return _NULL
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(4, "big") + data
