"""What could not be understood, in one list: blocks and readings in quarantine, and bytes of a
source that its standard does not allow (`undecodable` readings), each with its reason."""

import re
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    RowMapping,
    Select,
    SmallInteger,
    Text,
    literal,
    null,
    select,
    type_coerce,
    union_all,
)

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.scope import Scope
from greenhaul_cloud.store.tables import Instant
from greenhaul_protocols.catalogue import KIND_OF, Undecodable

_quarantine = tables.quarantine.c
_undecodable = tables.readings[KIND_OF[Undecodable].number].c
_source = tables.source.c

# An undecodable reading is known by its identity: `r{source}-{device time in ms}-{digest}`.
_READING_ID = re.compile(r"r([0-9]{1,18})-(-?[0-9]{1,18})-(-?[0-9]{1,19})")
_ROW_ID = re.compile(r"[0-9]{1,18}")
_BIGINT_MAX = 2**63 - 1


def list_refused(
    connection: Connection, scope: Scope, page: PageSpec, *, gateway_id: str | None = None
) -> Page:
    """Newest first, without bytes. Key of a page: stored time, number, digest, device time."""
    parts = [_blocks(), _readings()]
    if gateway_id is not None:
        parts = [part.where(part.selected_columns.gateway_id == gateway_id) for part in parts]
    both = union_all(*parts).subquery()
    key = [both.c.stored_time, both.c.number, both.c.digest, both.c.device_time]
    return read_page(connection, scope.narrow_whole(select(both)), key, page, is_descending=True)


def id_of(row: RowMapping) -> str:
    """The id of a row of the list."""
    if row["number"] > 0:
        return str(row["number"])
    return f"r{-row['number']}-{row['device_time']}-{row['digest']}"


def find_refused(connection: Connection, scope: Scope, entry_id: str) -> RowMapping | None:
    """One entry with its bytes, if there is one and the caller may see it."""
    if _ROW_ID.fullmatch(entry_id):
        query = _blocks(_quarantine.raw).where(_quarantine.id == int(entry_id))
    elif match := _READING_ID.fullmatch(entry_id):
        source_id, device_time, digest = map(int, match.groups())
        if abs(digest) > _BIGINT_MAX:
            return None
        query = _readings(_undecodable.raw).where(
            _undecodable.source_id == source_id,
            _undecodable.device_time == device_time,
            _undecodable.digest == digest,
        )
    else:
        return None
    return connection.execute(scope.narrow_whole(query)).mappings().one_or_none()


def _blocks(*more: Any) -> Select[Any]:
    return select(
        _quarantine.id.label("number"),
        _quarantine.digest,
        _quarantine.stored_time.label("device_time"),
        _quarantine.stored_time,
        _quarantine.gateway_id,
        _quarantine.epoch,
        _quarantine.lane,
        _quarantine.first,
        _quarantine.last,
        _quarantine.count,
        _quarantine.source,
        _quarantine.reason,
        _quarantine.released_at,
        *more,
    )


def _readings(*more: Any) -> Select[Any]:
    return select(
        type_coerce(literal(0) - _undecodable.source_id, BigInteger).label("number"),
        _undecodable.digest,
        _undecodable.device_time,
        _undecodable.stored_time,
        _source.gateway_id,
        null().cast(BigInteger).label("epoch"),
        null().cast(SmallInteger).label("lane"),
        null().cast(BigInteger).label("first"),
        null().cast(BigInteger).label("last"),
        type_coerce(literal(1), BigInteger).label("count"),
        _source.name.label("source"),
        type_coerce(_undecodable.reason, Text).label("reason"),
        null().cast(Instant).label("released_at"),
        *more,
    ).join_from(
        tables.readings[KIND_OF[Undecodable].number],
        tables.source,
        _source.id == _undecodable.source_id,
    )
