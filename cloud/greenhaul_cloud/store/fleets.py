"""Fleets: vehicles of one enterprise that are looked at together."""

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.scope import Scope

_fleet = tables.fleet.c
_vehicle = tables.vehicle.c


def list_fleets(
    connection: Connection, scope: Scope, page: PageSpec, *, enterprise_id: str | None = None
) -> Page:
    """Fleets by id."""
    query = scope.narrow_enterprises(select(tables.fleet), _fleet.enterprise_id)
    if enterprise_id is not None:
        query = query.where(_fleet.enterprise_id == enterprise_id)
    return read_page(connection, query, [_fleet.id], page)


def find_fleet(connection: Connection, scope: Scope, key: str) -> RowMapping | None:
    """A fleet, if the caller may see it."""
    query = scope.narrow_enterprises(select(tables.fleet), _fleet.enterprise_id)
    return connection.execute(query.where(_fleet.id == key)).mappings().one_or_none()


def add_fleet(connection: Connection, key: str, name: str, enterprise_id: str, now_ms: int) -> None:
    """Enters a fleet. The id must be free and the enterprise known (IntegrityError)."""
    row = {"id": key, "name": name, "enterprise_id": enterprise_id, "created_at": now_ms}
    connection.execute(insert(tables.fleet).values(row))


def rename_fleet(connection: Connection, key: str, name: str) -> None:
    """Gives a fleet another name."""
    connection.execute(update(tables.fleet).where(_fleet.id == key).values(name=name))


def remove_fleet(connection: Connection, key: str) -> None:
    """Takes out a fleet; its vehicles stay, in none."""
    leave = update(tables.vehicle).where(_vehicle.fleet_id == key).values(fleet_id=None)
    connection.execute(leave)
    connection.execute(delete(tables.fleet).where(_fleet.id == key))
