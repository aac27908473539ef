"""Rows that were in a store before, back into one: by identity, with the values they had."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    or_,
    select,
    true,
)

from greenhaul_cloud.store.batch import ValueColumn
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.marks import mark_sources
from greenhaul_cloud.store.newest import FOLDABLE, LATEST_COLUMNS, put_forward, told
from greenhaul_cloud.store.reading_tables import IDENTITY_COLUMNS
from greenhaul_cloud.store.statements import Upsert, insert_into
from greenhaul_cloud.store.tables import position, quarantine, readings, source
from greenhaul_protocols.catalogue import KIND_OF, KindSpec, Position

_POSITION = KIND_OF[Position]


def _heard(new: Any) -> dict[str, ColumnElement[Any]]:
    """The last one to carry a source is whose reading was received last; stored first is first."""
    known = source.c
    is_later = or_(
        known.last_received_time.is_(None), known.last_received_time < new.last_received_time
    )
    is_earlier = or_(
        known.first_stored_time.is_(None), known.first_stored_time > new.first_stored_time
    )
    return {
        # of an archive that does not know, nothing is taken
        "gateway_id": case(
            (is_later, func.coalesce(new.gateway_id, known.gateway_id)), else_=known.gateway_id
        ),
        "last_received_time": case(
            (is_later, new.last_received_time), else_=known.last_received_time
        ),
        "first_stored_time": case(
            (is_earlier, new.first_stored_time), else_=known.first_stored_time
        ),
    }


# Rows of sources that are there: the name only fills a column that may not be empty.
_HEARD = Upsert(
    source,
    ["id", "name", "gateway_id", "last_received_time", "first_stored_time"],
    ["id"],
    _heard,
)


class RowBatch:
    """Rows of one kind as the drivers insert them (`store.batch.Rows`), no identity twice."""

    def __init__(self, kind: KindSpec, columns: Mapping[str, Sequence[Any]], now_ms: int) -> None:
        """columns: by name, all of one length; instants in milliseconds."""
        self.kind = kind
        # only for which dates are odd today; the rows bring their own
        self.stored_time_ms = now_ms
        table = readings[kind.number]
        ids, times, digests = (np.array(columns[name], np.int64) for name in IDENTITY_COLUMNS)
        order = np.lexsort((digests, times, ids)).tolist()
        self.columns = [
            _column(table, name, [columns[name][row] for row in order])
            for name in columns
            if name in IDENTITY_COLUMNS or any(value is not None for value in columns[name])
        ]

    def __len__(self) -> int:
        return len(self.device_time_ms)

    @cached_property
    def source_id(self) -> NDArray[np.int64]:
        """(rows,) ids."""
        return self._numbers("source_id")

    @cached_property
    def device_time_ms(self) -> NDArray[np.int64]:
        """(rows,) milliseconds."""
        return self._numbers("device_time")

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The same as rows."""
        return list(zip(*(column.tolist() for column in self.columns), strict=True))

    def which_are(self, identities: set[tuple[int, int, int]]) -> NDArray[np.bool_]:
        """(rows,) whether a row's (source_id, device_time, digest) is among these."""
        keys = zip(*(self._numbers(name).tolist() for name in IDENTITY_COLUMNS), strict=True)
        return np.fromiter((key in identities for key in keys), np.bool_, len(self))

    def _numbers(self, name: str) -> NDArray[np.int64]:
        column = next(column for column in self.columns if column.name == name)
        return np.asarray(column.values, np.int64)


def _column(table: Table, name: str, values: list[Any]) -> ValueColumn:
    column_type = table.c[name].type
    present = np.array([value is not None for value in values], np.bool_)
    if isinstance(column_type, (Text, LargeBinary)):
        return ValueColumn(name, values, present)
    filled: NDArray[Any] = np.array([0 if value is None else value for value in values])
    if isinstance(column_type, Boolean):
        filled = filled.astype(np.bool_)
    return ValueColumn(name, filled, None if present.all() else present)


def fill_readings(
    store: Store,
    conn: Connection,
    kind: KindSpec,
    columns: Mapping[str, Sequence[Any]],
    gateways: Mapping[int, str],
    now_ms: int,
) -> NDArray[np.int64]:
    """Insert rows of one kind; (new,) the source id of each that was new.

    New positions leave marks for the fold, and `latest` moves on; so do the sources, which know
    when they were heard, and by which of `gateways` (by source id, as far as somebody knows).
    """
    _note_sources(conn, columns, gateways)
    batch = RowBatch(kind, columns, now_ms)
    store.driver.prepare_insert(conn, [batch])
    is_new = store.driver.insert_new(conn, batch)
    ids, times = batch.source_id[is_new], batch.device_time_ms[is_new]
    if kind.number == _POSITION.number:
        spans = {
            int(one): [(int(times[ids == one].min()), int(times[ids == one].max()))]
            for one in np.unique(ids)
        }
        mark_sources(conn, spans, now_ms)
        _renew_latest(conn, spans)
    return ids


def fill_quarantine(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert entries that are not there yet, under numbers of their own; how many."""
    statement = insert_into(conn, quarantine).on_conflict_do_nothing().returning(quarantine.c.id)
    return sum(conn.execute(statement, row).first() is not None for row in rows)


def _note_sources(
    conn: Connection, columns: Mapping[str, Sequence[Any]], gateways: Mapping[int, str]
) -> None:
    """As the flush did that stored these rows."""
    ids, at = np.unique(np.array(columns["source_id"], np.int64), return_inverse=True)
    limits = np.iinfo(np.int64)
    received_ms, stored_ms = np.full(len(ids), limits.min), np.full(len(ids), limits.max)
    np.maximum.at(received_ms, at, np.array(columns["received_time"], np.int64))
    np.minimum.at(stored_ms, at, np.array(columns["stored_time"], np.int64))
    heard = zip(ids.tolist(), received_ms.tolist(), stored_ms.tolist(), strict=True)
    _HEARD.run(conn, [(one, str(one), gateways.get(one), *times) for one, *times in heard])


def _renew_latest(conn: Connection, source_ids: Iterable[int]) -> None:
    """Put forward the newest stored position of these sources."""
    found = (conn.execute(_newest_of(source_id)).one_or_none() for source_id in sorted(source_ids))
    put_forward(conn, [tuple(row) for row in found if row is not None])


def _newest_of(source_id: int) -> Select[Any]:
    """Of one source; looks only at what lies after the newest one whose clock was not ahead."""
    columns = position.c
    on_track = and_(
        columns.source_id == source_id,
        columns.is_located == true(),
        columns.time_quality.in_(FOLDABLE),
        columns.latitude_deg.is_not(None),
        columns.longitude_deg.is_not(None),
    )
    in_time = (
        select(columns.device_time)
        .where(on_track, columns.device_time <= columns.stored_time)
        .order_by(columns.device_time.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(*(columns[name] for name in LATEST_COLUMNS))
        .where(on_track, or_(in_time.is_(None), columns.device_time >= in_time))
        .order_by(told(columns).desc(), columns.device_time.desc(), columns.digest.desc())
        .limit(1)
    )
