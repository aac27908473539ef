"""A vehicle's track: positions of its bound sources, by the track rule, as columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
)

from greenhaul_cloud.store.asking import among
from greenhaul_cloud.store.leading import leading
from greenhaul_cloud.store.marks import LEAD_GAP_MS
from greenhaul_cloud.store.newest import FOLDABLE
from greenhaul_cloud.store.scope import Scope
from greenhaul_cloud.store.statements import time_ms_of
from greenhaul_cloud.store.tables import binding, position, source
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Readings of one chunk of a streamed track: some 10 MB of columns.
CHUNK_READINGS = 50_000
# Rows on their way into columns: some 20 MB of Python's objects.
ROWS_MAX = 20_000
EXPORT_FIELDS = (
    "latitude_deg", "longitude_deg", "altitude_m", "speed_kmh", "heading_deg", "satellites",
    "odometer_km", "accuracy_m", "alarms", "status",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrackColumns:
    """Positions of one vehicle, columns of shape (n,), ordered by (device_time_ms, digest).

    source: index into `sources`. values: by field name, in the unit of the name, NaN where the
    source did not say.
    """

    device_time_ms: Int64s
    digest: Int64s
    received_time_ms: Int64s
    source: Int64s
    sources: tuple[str, ...]
    values: dict[str, Float64s]

    def __len__(self) -> int:
        return len(self.device_time_ms)


@dataclass(frozen=True, slots=True)
class Bound:
    """A source while it was a vehicle's, in [from_ms, to_ms)."""

    source_id: int
    source: str
    from_ms: int
    to_ms: int
    priority: int


def bound_sources(
    conn: Connection, vehicle_id: str, from_ms: int = TIME_MS_MIN, to_ms: int = TIME_MS_MAX
) -> list[Bound]:
    """Sources of a vehicle between two instants, those that lead first."""
    return sources_of(conn, [vehicle_id], from_ms, to_ms)[vehicle_id]


def sources_of(
    conn: Connection,
    vehicle_ids: Sequence[str],
    from_ms: int = TIME_MS_MIN,
    to_ms: int = TIME_MS_MAX,
) -> dict[str, list[Bound]]:
    """The same of each of these vehicles."""
    query = (
        select(binding, source.c.name)
        .join(source, source.c.id == binding.c.source_id)
        .where(
            among(conn, binding.c.vehicle_id, vehicle_ids),
            binding.c.valid_from < to_ms,
            or_(binding.c.valid_to.is_(None), binding.c.valid_to > from_ms),
        )
        # by name, not by number: numbers depend on who came first
        .order_by(binding.c.priority.desc(), source.c.name, binding.c.valid_from)
    )
    found: dict[str, list[Bound]] = {vehicle_id: [] for vehicle_id in vehicle_ids}
    for row in conn.execute(query):
        to = TIME_MS_MAX if row.valid_to is None else row.valid_to
        bound = Bound(row.source_id, row.name, row.valid_from, to, row.priority)
        found[row.vehicle_id].append(bound)
    return found


def vehicles_between(
    conn: Connection, scope: Scope, from_ms: int, to_ms: int, vehicle_id: str | None = None
) -> list[str]:
    """Vehicles in scope that had a source between two instants, by id."""
    query = (
        select(binding.c.vehicle_id)
        .where(
            binding.c.valid_from < to_ms,
            or_(binding.c.valid_to.is_(None), binding.c.valid_to > from_ms),
        )
        .distinct()
        .order_by(binding.c.vehicle_id)
    )
    if vehicle_id is not None:
        query = query.where(binding.c.vehicle_id == vehicle_id)
    return list(conn.execute(scope.narrow(query, binding.c.vehicle_id)).scalars())


def load_track(
    conn: Connection,
    bounds: Sequence[Bound],
    from_ms: int,
    to_ms: int,
    fields: Sequence[str] = EXPORT_FIELDS,
) -> TrackColumns:
    """The track of these (all the vehicle's) sources with from ≤ device time < to, whole."""
    names = tuple(dict.fromkeys(bound.source for bound in bounds))
    # a reading up to 30 s outside decides who leads at the borders
    margin_ms = LEAD_GAP_MS if len(bounds) > 1 else 0
    tables = [
        _load(conn, bound, from_ms - margin_ms, to_ms + margin_ms + bool(margin_ms), fields)
        for bound in bounds
    ]
    if len(tables) > 1:
        masks = leading([table[0] for table in tables])
        tables = [
            [column[mask] for column in table] for table, mask in zip(tables, masks, strict=True)
        ]
    if not tables:
        tables = [_columns([], fields)]
    numbers = [names.index(bound.source) for bound in bounds] or [0]
    of_source = np.repeat(np.array(numbers, np.int64), [len(table[0]) for table in tables])
    columns = [np.concatenate(parts) for parts in zip(*tables, strict=True)]
    time_ms, digest = columns[0], columns[1]
    order = np.lexsort((digest, time_ms))
    order = order[(time_ms[order] >= from_ms) & (time_ms[order] < to_ms)]
    return TrackColumns(
        time_ms[order],
        digest[order],
        columns[2][order],
        of_source[order],
        names,
        {name: column[order] for name, column in zip(fields, columns[3:], strict=True)},
    )


def read_track(
    conn: Connection,
    vehicle_id: str,
    from_ms: int,
    to_ms: int,
    fields: Sequence[str] = EXPORT_FIELDS,
) -> Iterator[TrackColumns]:
    """The same in chunks of about CHUNK_READINGS, in order of time, for export of any length."""
    at_ms = from_ms
    while at_ms < to_ms:
        chunk, at_ms = read_chunk(conn, vehicle_id, at_ms, to_ms, fields, CHUNK_READINGS)
        if len(chunk):
            yield chunk


def read_chunk(
    conn: Connection,
    vehicle_id: str,
    from_ms: int,
    to_ms: int,
    fields: Sequence[str],
    readings_max: int,
) -> tuple[TrackColumns, int]:
    """The first of them, of about readings_max, perhaps none; and from when on the next is."""
    bounds = bound_sources(conn, vehicle_id, from_ms, to_ms)
    next_ms = _chunk_end(conn, bounds, from_ms, to_ms, readings_max)
    within = _within(bounds, from_ms, next_ms)
    return load_track(conn, within, from_ms, next_ms, fields), next_ms


def last_before(conn: Connection, bounds: Sequence[Bound], time_ms: int) -> int | None:
    """Device time of the sources' last reading before an instant."""
    found = [_edge(conn, bound, _LAST, bound.from_ms, time_ms) for bound in bounds]
    return max((at for at in found if at is not None), default=None)


def first_from(conn: Connection, bounds: Sequence[Bound], time_ms: int) -> int | None:
    """Device time of the sources' first reading at or after an instant."""
    found = [_edge(conn, bound, _FIRST, time_ms, bound.to_ms) for bound in bounds]
    return min((at for at in found if at is not None), default=None)


def _within(bounds: Sequence[Bound], from_ms: int, to_ms: int) -> list[Bound]:
    reach_from, reach_to = from_ms - LEAD_GAP_MS, to_ms + LEAD_GAP_MS
    return [one for one in bounds if one.from_ms <= reach_to and one.to_ms > reach_from]


def is_on_track(
    source_id: ColumnElement[int], low: ColumnElement[int], high: ColumnElement[int]
) -> ColumnElement[bool]:
    """Positions of a source in [low, high) that tracks are made of."""
    columns = position.c
    return and_(
        columns.source_id == source_id,
        columns.device_time >= low,
        columns.device_time < high,
        columns.is_located == true(),
        columns.time_quality.in_(FOLDABLE),
        columns.latitude_deg.is_not(None),
        columns.longitude_deg.is_not(None),
    )


def span_of(bound: Bound, from_ms: int, to_ms: int) -> tuple[int, int, int]:
    """Source, low, high: what of [from, to) the binding covers."""
    return bound.source_id, _clamped(max(from_ms, bound.from_ms)), _clamped(min(to_ms, bound.to_ms))


# Statements are made once: a fold asks a dozen times, and making one costs more than running it.
def _on_track() -> ColumnElement[bool]:
    """What `_span` gives values to."""
    source_type, time_type = position.c.source_id.type, position.c.device_time.type
    return is_on_track(
        bindparam("source", type_=source_type),
        bindparam("low", type_=time_type),
        bindparam("high", type_=time_type),
    )


def _span(bound: Bound, from_ms: int, to_ms: int) -> dict[str, int]:
    return dict(zip(("source", "low", "high"), span_of(bound, from_ms, to_ms), strict=True))


def _clamped(time_ms: int) -> int:
    return min(max(time_ms, TIME_MS_MIN), TIME_MS_MAX)


def _load(
    conn: Connection, bound: Bound, from_ms: int, to_ms: int, fields: Sequence[str]
) -> list[NDArray[Any]]:
    """A source's columns. Rows take ten times the room of columns: so many at a time are read."""
    query = _rows_query(conn.dialect.name, tuple(fields))
    span, count = _span(bound, from_ms, to_ms), ROWS_MAX
    parts: list[list[NDArray[Any]]] = []
    while True:
        rows = conn.execute(query, {**span, "count": count}).all()
        columns = _columns(rows, fields)
        if len(rows) < count:
            parts.append(columns)
            return [np.concatenate(found) for found in zip(*parts, strict=True)]
        last_ms = int(columns[0][-1])
        is_before = columns[0] < last_ms
        if is_before.any():
            parts.append([column[is_before] for column in columns])
            span["low"] = last_ms
        else:  # so many readings of one instant are never parted
            count *= 2


@lru_cache(maxsize=16)
def _rows_query(dialect: str, fields: tuple[str, ...]) -> Select[Any]:
    return (
        select(
            time_ms_of(dialect, position.c.device_time),
            position.c.digest,
            time_ms_of(dialect, position.c.received_time),
            *(position.c[name] for name in fields),
        )
        .where(_on_track())
        .order_by(position.c.device_time, position.c.digest)
        .limit(bindparam("count", type_=BigInteger))
    )


def _columns(rows: Sequence[Any], fields: Sequence[str]) -> list[NDArray[Any]]:
    """Columns of rows: three of integers, the rest as float64 with NaN for null."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * (3 + len(fields))
    return [np.array(column, np.int64 if i < 3 else np.float64) for i, column in enumerate(columns)]


_FIRST = select(func.min(position.c.device_time)).where(_on_track())
_LAST = select(func.max(position.c.device_time)).where(_on_track())


def _edge(
    conn: Connection, bound: Bound, edge: Select[Any], from_ms: int, to_ms: int
) -> int | None:
    found = conn.execute(edge, _span(bound, from_ms, to_ms)).scalar()
    return None if found is None else int(found)


# All positions, not those on the track alone: the key tells how many there are.
_KEYS = select(position.c.device_time).where(
    position.c.source_id == bindparam("source", type_=position.c.source_id.type),
    position.c.device_time >= bindparam("low", type_=position.c.device_time.type),
    position.c.device_time < bindparam("high", type_=position.c.device_time.type),
)
_NTH = _KEYS.order_by(position.c.device_time).offset(bindparam("count")).limit(1)


def _chunk_end(
    conn: Connection, bounds: Sequence[Bound], from_ms: int, to_ms: int, readings_max: int
) -> int:
    """An instant with at most about readings_max of each source before it."""
    ends = []
    for bound in bounds:
        span = _span(bound, from_ms, to_ms)
        found = conn.execute(_NTH, {**span, "count": readings_max}).scalar()
        if found is not None:
            # readings of one instant stay together
            ends.append(max(int(found), from_ms + 1))
    return min(ends, default=to_ms)
