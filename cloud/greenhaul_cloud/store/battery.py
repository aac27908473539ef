"""Battery readings of a vehicle: those of its sources while they were bound to it."""

from sqlalchemy import Connection, and_, or_, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page

_battery = tables.battery.c
_binding = tables.binding.c
_source = tables.source.c


def list_battery(
    connection: Connection,
    vehicle_id: str,
    page: PageSpec,
    *,
    from_ms: int | None,
    to_ms: int | None,
) -> Page:
    """Readings with from ≤ device time < to, newest first. The caller may see the vehicle."""
    at = _battery.device_time
    query = (
        select(tables.battery, _source.name.label("source"))
        .join(tables.source, _source.id == _battery.source_id)
        .join(
            tables.binding,
            and_(
                _binding.source_id == _battery.source_id,
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
    key = [at, _battery.source_id, _battery.digest]
    return read_page(connection, query, key, page, is_descending=True)
