"""Lists a page at a time, by key: rows that come or go meanwhile shift nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, literal, tuple_

Key = tuple[int | str, ...]

# A key has four columns at most.
_KEY_NAMES = ("page_key_0", "page_key_1", "page_key_2", "page_key_3")


@dataclass(frozen=True, slots=True)
class PageSpec:
    """Which page is wanted: at most `limit` rows after the key `after` (None: from the start)."""

    limit: int
    after: Key | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the key of the last one when more follow."""

    rows: Sequence[RowMapping]
    next_key: Key | None


def read_page(
    connection: Connection,
    query: Select[Any],
    key: Sequence[ColumnElement[Any]],
    spec: PageSpec,
    *,
    is_descending: bool = False,
) -> Page:
    """One page of a query, ordered by `key`, whose columns must together be unique."""
    if spec.after is not None:
        at = tuple_(*key)
        last = tuple_(
            *(literal(value, column.type) for value, column in zip(spec.after, key, strict=True))
        )
        query = query.where(at < last if is_descending else at > last)
    query = query.order_by(*(column.desc() if is_descending else column for column in key))
    # under names of their own: the query may show a key's column by another one, or not at all
    named = zip(_KEY_NAMES[: len(key)], key, strict=True)
    query = query.add_columns(*(column.label(name) for name, column in named))
    rows = connection.execute(query.limit(spec.limit + 1)).mappings().all()
    if len(rows) <= spec.limit:
        return Page(rows, None)
    rows = rows[: spec.limit]
    return Page(rows, key_of(rows[-1]))


def key_of(row: RowMapping) -> Key:
    """The key of a row that `read_page` read."""
    return tuple(row[name] for name in _KEY_NAMES if name in row)
