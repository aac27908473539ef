"""Records of readings that gateways gave up, as they were reported."""

from sqlalchemy import Connection, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.scope import Scope
from greenhaul_protocols.catalogue import KIND_OF, Dropped

_dropped = tables.readings[KIND_OF[Dropped].number].c
_source = tables.source.c


def list_drops(connection: Connection, scope: Scope, gateway_id: str, page: PageSpec) -> Page:
    """A gateway's records, oldest first. Key of a page: device time, source, digest."""
    query = (
        select(
            _dropped.device_time,
            _dropped.epoch,
            _dropped.lane,
            _dropped.first,
            _dropped.last,
            _dropped.from_time_ms,
            _dropped.to_time_ms,
            _dropped.reason,
        )
        .join_from(
            tables.readings[KIND_OF[Dropped].number],
            tables.source,
            _source.id == _dropped.source_id,
        )
        .where(_source.gateway_id == gateway_id)
    )
    key = [_dropped.device_time, _dropped.source_id, _dropped.digest]
    return read_page(connection, scope.narrow_whole(query), key, page)
