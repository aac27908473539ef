"""Tracks of many vehicles at once: what a fold of a fleet reads, in a statement for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    REAL,
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Integer,
    LargeBinary,
    Select,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.types import TypeEngine

from greenhaul_cloud.store.asking import Asked, among
from greenhaul_cloud.store.leading import leading
from greenhaul_cloud.store.marks import LEAD_GAP_MS
from greenhaul_cloud.store.schema import Instant
from greenhaul_cloud.store.statements import time_ms_of
from greenhaul_cloud.store.tables import latest, position
from greenhaul_cloud.store.tracks import Bound, is_on_track, span_of
from greenhaul_protocols.catalogue import KIND_OF, Position

Columns = list[NDArray[Any]]

_SPECS = {spec.name: spec for spec in KIND_OF[Position].fields}

# Rows turned into columns in one go: as Python objects one takes ten times as much.
_ROWS_MAX = 20_000
# Asked number, device time and digest, which order a track; then the fields asked for.
_KEYS = 3

_ASKED = Asked("asked", {"n": Integer, "source": Integer, "low": Instant, "high": Instant})


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a vehicle's track with from_ms ≤ device time < to_ms.

    bounds: all the vehicle's sources, those that lead first.
    """

    bounds: Sequence[Bound]
    from_ms: int
    to_ms: int

    def spans(self) -> list[tuple[int, int, int]]:
        """(source, low, high) of each bound, with what decides who leads at the ends."""
        margin_ms = LEAD_GAP_MS if len(self.bounds) > 1 else 0
        low, high = self.from_ms - margin_ms, self.to_ms + margin_ms + bool(margin_ms)
        return [span_of(bound, low, high) for bound in self.bounds]


def load_parts(conn: Connection, parts: Sequence[Part], fields: Sequence[str]) -> list[Columns]:
    """Of each part its columns: device_time_ms, digest, then the fields, float64 with NaN for
    null; ordered by (time, digest)."""
    spans = [span for part in parts for span in part.spans()]
    loaded = _load(conn, spans, fields)
    found, at = [], 0
    for part in parts:
        tables = loaded[at : at + len(part.bounds)]
        at += len(part.bounds)
        found.append(tables[0] if len(tables) == 1 else _of_leading(part, tables, len(fields)))
    return found


def _of_leading(part: Part, tables: Sequence[Columns], fields: int) -> Columns:
    """Readings of the sources that lead, in order, without what lies outside the part."""
    if not tables:
        return _columns([], fields)[1:]
    masks = leading([table[0] for table in tables])
    kept = [[column[mask] for column in table] for table, mask in zip(tables, masks, strict=True)]
    columns = [np.concatenate(column) for column in zip(*kept, strict=True)]
    time_ms, digest = columns[:2]
    order = np.lexsort((digest, time_ms))
    order = order[(time_ms[order] >= part.from_ms) & (time_ms[order] < part.to_ms)]
    return [column[order] for column in columns]


def first_of(conn: Connection, parts: Sequence[Part]) -> list[int | None]:
    """Of each part the device time of its first reading, be it one that does not lead."""
    return [min(edges, default=None) for edges in _edges(conn, parts, "first")]


def last_of(conn: Connection, parts: Sequence[Part]) -> list[int | None]:
    """Of each part the device time of its last reading, be it one that does not lead."""
    return [max(edges, default=None) for edges in _edges(conn, parts, "last")]


def how_many(conn: Connection, parts: Sequence[Part], at_most: int) -> list[int]:
    """Of each part how many positions its sources hold, those among them that are not on the track;
    of each source no more are counted than told."""
    found = [0 for _ in parts]
    if parts:
        query = _count_query(conn.dialect.name)
        for number, count in conn.execute(query, {**_asked(conn, parts), "at_most": at_most}):
            found[number] += count
    return found


def newest_of(conn: Connection, source_ids: Sequence[int]) -> dict[int, int]:
    """Device time of each source's newest position; a source without one is left out."""
    query = select(latest.c.source_id, latest.c.device_time)
    rows = conn.execute(query.where(among(conn, latest.c.source_id, source_ids)))
    return {row.source_id: row.device_time for row in rows}


def _load(
    conn: Connection, spans: Sequence[tuple[int, int, int]], fields: Sequence[str]
) -> list[Columns]:
    """Of each (source, low, high) its columns: device time, digest, fields."""
    query = _rows_query(conn.dialect.name, tuple(fields))
    rows = [(number, *span) for number, span in enumerate(spans)]
    result = conn.execute(query, _ASKED.values(conn, rows))
    if conn.dialect.name == "postgresql":
        columns = _unpacked(result.one(), fields)
    else:
        chunks = [_columns(some, len(fields)) for some in ([], *result.partitions(_ROWS_MAX))]
        columns = [np.concatenate(column) for column in zip(*chunks, strict=True)]
    number, time_ms, digest = columns[:_KEYS]
    order = np.lexsort((digest, time_ms, number))
    columns = [column[order] for column in columns[1:]]
    borders = np.searchsorted(number[order], np.arange(len(spans) + 1)).tolist()
    return [[column[low:high] for column in columns] for low, high in pairwise(borders)]


def _edges(conn: Connection, parts: Sequence[Part], edge: str) -> list[list[int]]:
    """Of each part, by source, the device time of its first or last reading, if there is one."""
    found: list[list[int]] = [[] for _ in parts]
    query = _edge_query(conn.dialect.name, edge)
    for number, time_ms in conn.execute(query, _asked(conn, parts)):
        if time_ms is not None:
            found[number].append(int(time_ms))
    return found


def _asked(conn: Connection, parts: Sequence[Part]) -> dict[str, Any]:
    return _ASKED.values(
        conn,
        [
            (number, *span_of(bound, part.from_ms, part.to_ms))
            for number, part in enumerate(parts)
            for bound in part.bounds
        ],
    )


@lru_cache(maxsize=4)
def _rows_query(dialect: str, fields: tuple[str, ...]) -> Select[Any]:
    asked = _ASKED.table(dialect)
    columns = (
        time_ms_of(dialect, position.c.device_time).label("time_ms"),
        position.c.digest,
        *(position.c[name] for name in fields),
    )
    is_asked = is_on_track(asked.c.source, asked.c.low, asked.c.high)
    if dialect != "postgresql":
        return select(asked.c.n, *columns).join(position, is_asked)
    # span by span, through the index: PostgreSQL knows too little of an array of spans, and would
    # rather read the whole table; the OFFSET keeps it from making a join of this
    span = select(*columns).where(is_asked).offset(literal_column("0")).lateral("span")
    rows = select(asked.c.n, *span.c).join(span, true()).subquery("rows")
    kinds = [BigInteger] * _KEYS + [_sent_as(field) for field in fields]
    return select(*(_packed(column, kind) for column, kind in zip(rows.c, kinds, strict=True)))


@lru_cache(maxsize=4)
def _edge_query(dialect: str, edge: str) -> Select[Any]:
    asked = _ASKED.table(dialect)
    is_asked = is_on_track(asked.c.source, asked.c.low, asked.c.high)
    time = position.c.device_time
    found = select(func.min(time) if edge == "first" else func.max(time)).where(is_asked)
    return select(asked.c.n, time_ms_of(dialect, found.scalar_subquery()))


@lru_cache(maxsize=2)
def _count_query(dialect: str) -> Select[Any]:
    asked = _ASKED.table(dialect)
    time = position.c.device_time  # and nothing that the key does not hold
    some: Select[Any] = select(literal_column("1")).select_from(position).correlate(asked)
    some = some.where(position.c.source_id == asked.c.source)
    some = some.where(time >= asked.c.low, time < asked.c.high)
    some = some.limit(bindparam("at_most", type_=Integer))
    count = select(func.count()).select_from(some.subquery("some"))
    return select(asked.c.n, count.scalar_subquery()).select_from(asked)


def _sent_as(field: str) -> type[TypeEngine[Any]]:
    """A narrow number is sent as it is: cast to a wide one it is another number."""
    return REAL if type(position.c[field].type) is REAL else Double


def _packed(column: ColumnElement[Any], kind: type[TypeEngine[Any]]) -> ColumnElement[Any]:
    """All values of a column in one, as PostgreSQL sends numbers: a row has no cost of its own."""
    value: ColumnElement[Any] = cast(column, kind)
    if kind is BigInteger:
        sent = func.int8send(value)
    elif kind is REAL:
        sent = func.float4send(func.coalesce(value, literal_column("'NaN'::float4")))
    else:
        sent = func.float8send(func.coalesce(value, literal_column("'NaN'::float8")))
    return func.string_agg(sent, literal_column("''::bytea"), type_=LargeBinary)


def _unpacked(row: Sequence[bytes | None], fields: Sequence[str]) -> Columns:
    """Columns as `_packed` them; null stands for no row at all."""
    keys = [np.frombuffer(data or b"", ">i8").astype(np.int64) for data in row[:_KEYS]]
    return [*keys, *map(_numbers, row[_KEYS:], fields)]


def _numbers(data: bytes | None, field: str) -> NDArray[np.float64]:
    if _sent_as(field) is not REAL:
        return np.frombuffer(data or b"", ">f8").astype(np.float64)
    # it keeps its steps, but not their decimals
    per_unit = _SPECS[field].per_unit
    values = np.frombuffer(data or b"", ">f4").astype(np.float64)
    return np.rint(values * per_unit) / per_unit


def _columns(rows: Sequence[Any], fields: int) -> Columns:
    columns = list(zip(*rows, strict=True)) if rows else [()] * (_KEYS + fields)
    kinds = [np.int64] * _KEYS + [np.float64] * fields
    return [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
