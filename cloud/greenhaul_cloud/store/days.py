"""Counters by day as they are read: one gateway's, one source's."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.scope import Scope

_gateway = tables.gateway_day.c
_source = tables.source_day.c


def days_of_gateway(connection: Connection, scope: Scope, gateway_id: str, page: PageSpec) -> Page:
    """A gateway's days, the newest first; for callers who see everything."""
    query = select(tables.gateway_day).where(_gateway.gateway_id == gateway_id)
    return _newest_first(connection, scope.narrow_whole(query), _gateway.day, page)


def days_of_source(connection: Connection, scope: Scope, source_id: int, page: PageSpec) -> Page:
    """A source's days, the newest first; for callers who see everything."""
    query = select(tables.source_day).where(_source.source_id == source_id)
    return _newest_first(connection, scope.narrow_whole(query), _source.day, page)


def _newest_first(
    connection: Connection, query: Select[Any], day: ColumnElement[Any], page: PageSpec
) -> Page:
    """Key of a page: the day as text, which sorts as days do."""
    return read_page(connection, query, [cast(day, Text)], page, is_descending=True)
