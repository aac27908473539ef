"""Readings of a vehicle, of any kind: those of its sources while they were bound to it."""

from sqlalchemy import Connection, and_, or_, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page

_binding = tables.binding.c
_source = tables.source.c


def list_bound(
    connection: Connection,
    kind: int,
    vehicle_id: str,
    page: PageSpec,
    *,
    from_ms: int | None,
    to_ms: int | None,
    is_newest_first: bool = True,
) -> Page:
    """Readings with from ≤ device time < to. The caller may see the vehicle.

    Keys are (device time, source id, digest).
    """
    table = tables.readings[kind]
    at = table.c.device_time
    query = (
        select(table, _source.name.label("source"))
        .join(tables.source, _source.id == table.c.source_id)
        .join(
            tables.binding,
            and_(
                _binding.source_id == table.c.source_id,
                _binding.valid_from <= at,
                or_(_binding.valid_to.is_(None), _binding.valid_to > at),
            ),
        )
        .where(_binding.vehicle_id == vehicle_id)
    )
    if from_ms is not None:
        query = query.where(at >= from_ms)
    if to_ms is not None:
        query = query.where(at < to_ms)
    key = [at, table.c.source_id, table.c.digest]
    return read_page(connection, query, key, page, is_descending=is_newest_first)
