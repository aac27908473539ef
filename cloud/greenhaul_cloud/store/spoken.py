"""What one source said, reading by reading, as it lies in the store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, literal, select, tuple_

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.reading_tables import INSTANT_COLUMNS
from greenhaul_cloud.store.scope import Scope
from greenhaul_cloud.store.statements import time_ms_of

# Rows of one step of an export: some 5 MB of Python objects.
ROWS_MAX = 10_000

_position = tables.position.c
_source = tables.source.c


def find_source(connection: Connection, scope: Scope, name: str) -> int | None:
    """Id of a source, for callers who see everything: a source may have served several owners."""
    query = scope.narrow_whole(select(_source.id)).where(_source.name == name)
    return connection.execute(query).scalar_one_or_none()


def read_positions(
    connection: Connection,
    source_id: int,
    from_ms: int,
    to_ms: int,
    fields: Sequence[str],
    after: tuple[int, int] | None = None,
) -> tuple[list[tuple[Any, ...]], tuple[int, int] | None]:
    """Positions with from ≤ device time < to, in order, and the key of the last one.

    A row is (device_time, received_time, stored_time, time_quality, *fields). after: the key the
    step before ended with.
    """
    time, digest = _position.device_time, _position.digest
    query = (
        select(
            digest,
            *(time_ms_of(connection.dialect.name, _position[name]) for name in INSTANT_COLUMNS),
            _position.time_quality,
            *(_position[name] for name in fields),
        )
        .where(_position.source_id == source_id, time >= from_ms, time < to_ms)
        .order_by(time, digest)
        .limit(ROWS_MAX)
    )
    if after is not None:
        last = tuple_(literal(after[0], time.type), literal(after[1], digest.type))
        query = query.where(tuple_(time, digest) > last)
    rows = connection.execute(query).all()
    if not rows:
        return [], None
    return [tuple(row[1:]) for row in rows], (rows[-1][1], rows[-1][0])
