"""Who is who: enterprises, vehicles and their attributes in time, sources, gateways."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.scope import Scope

_enterprise = tables.enterprise.c
_vehicle = tables.vehicle.c
_attributes = tables.vehicle_attributes.c
_source = tables.source.c
_binding = tables.binding.c

# What a vehicle is when nobody said otherwise.
NO_ATTRIBUTES: dict[str, Any] = {"energy": None, "class": None, "tags": []}


def contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether a text column contains the text, any case; % and _ mean themselves."""
    return column.icontains(text, autoescape=True)


# -- enterprises ---------------------------------------------------------------------------------


def list_enterprises(connection: Connection, scope: Scope, page: PageSpec) -> Page:
    """Enterprises by id."""
    query = scope.narrow_enterprises(select(tables.enterprise), _enterprise.id)
    return read_page(connection, query, [_enterprise.id], page)


def find_enterprise(connection: Connection, scope: Scope, key: str) -> RowMapping | None:
    """An enterprise, if the caller may see it."""
    query = scope.narrow_enterprises(select(tables.enterprise), _enterprise.id)
    return connection.execute(query.where(_enterprise.id == key)).mappings().one_or_none()


def add_enterprise(connection: Connection, key: str, name: str, now_ms: int) -> None:
    """Enters an enterprise. The id must be free (IntegrityError)."""
    connection.execute(insert(tables.enterprise).values(id=key, name=name, created_at=now_ms))


def rename_enterprise(connection: Connection, key: str, name: str) -> None:
    """Gives an enterprise another name."""
    connection.execute(update(tables.enterprise).where(_enterprise.id == key).values(name=name))


def is_enterprise_used(connection: Connection, key: str) -> bool:
    """Whether vehicles, fleets or users belong to an enterprise."""
    vehicles = select(_vehicle.id).where(_vehicle.enterprise_id == key).limit(1)
    fleets = select(tables.fleet.c.id).where(tables.fleet.c.enterprise_id == key).limit(1)
    users = select(tables.user.c.id).where(tables.user.c.enterprise_id == key).limit(1)
    return any(connection.execute(query).first() for query in (vehicles, fleets, users))


def remove_enterprise(connection: Connection, key: str) -> None:
    """Takes out an enterprise nothing belongs to."""
    connection.execute(delete(tables.enterprise).where(_enterprise.id == key))


# -- vehicles ------------------------------------------------------------------------------------


def _vehicles(scope: Scope, now_ms: int) -> Select[Any]:
    """Vehicles the caller may see, with the attributes they have now."""
    begun = tables.vehicle_attributes.alias("begun")
    since = (
        select(func.max(begun.c.valid_from))
        .where(begun.c.vehicle_id == _vehicle.id, begun.c.valid_from <= now_ms)
        .scalar_subquery()
    )
    current = and_(_attributes.vehicle_id == _vehicle.id, _attributes.valid_from == since)
    query = select(
        tables.vehicle, _attributes.energy, _attributes["class"], _attributes.tags
    ).select_from(tables.vehicle.outerjoin(tables.vehicle_attributes, current))
    return scope.narrow(query, _vehicle.id)


def list_vehicles(
    connection: Connection,
    scope: Scope,
    page: PageSpec,
    *,
    now_ms: int,
    text: str | None = None,
    enterprise_id: str | None = None,
    fleet_id: str | None = None,
) -> Page:
    """Vehicles by id; `text` looks into id, plate and VIN."""
    query = _vehicles(scope, now_ms)
    if text:
        query = query.where(or_(*(contains(_vehicle[n], text) for n in ("id", "plate", "vin"))))
    if enterprise_id is not None:
        query = query.where(_vehicle.enterprise_id == enterprise_id)
    if fleet_id is not None:
        query = query.where(_vehicle.fleet_id == fleet_id)
    return read_page(connection, query, [_vehicle.id], page)


def find_vehicle(
    connection: Connection, scope: Scope, vehicle_id: str, now_ms: int
) -> RowMapping | None:
    """A vehicle with its present attributes, if the caller may see it."""
    query = _vehicles(scope, now_ms).where(_vehicle.id == vehicle_id)
    return connection.execute(query).mappings().one_or_none()


def attribute_history(connection: Connection, vehicle_id: str) -> list[RowMapping]:
    """What a vehicle was, oldest first; each entry holds until the next."""
    query = select(tables.vehicle_attributes).where(_attributes.vehicle_id == vehicle_id)
    return list(connection.execute(query.order_by(_attributes.valid_from)).mappings())


def add_vehicle(connection: Connection, values: dict[str, Any], now_ms: int) -> None:
    """Enters a vehicle. The id must be free and the enterprise known (IntegrityError)."""
    connection.execute(insert(tables.vehicle).values(created_at=now_ms, **values))


def change_vehicle(connection: Connection, vehicle_id: str, changes: dict[str, Any]) -> None:
    """Sets plate, VIN, enterprise or fleet."""
    if changes:
        connection.execute(
            update(tables.vehicle).where(_vehicle.id == vehicle_id).values(**changes)
        )


def is_vehicle_used(connection: Connection, vehicle_id: str) -> bool:
    """Whether anything was ever known of a vehicle: then it is history and stays."""
    return any(
        connection.execute(
            select(table.c.id).where(table.c.vehicle_id == vehicle_id).limit(1)
        ).first()
        for table in (tables.binding, tables.visit, tables.violation)
    )


def remove_vehicle(connection: Connection, vehicle_id: str) -> None:
    """Takes out a vehicle nothing refers to, with its attributes."""
    derived = (tables.dirty, tables.fold_failure, tables.fold_state)
    for table in (tables.vehicle_attributes, *derived):
        connection.execute(delete(table).where(table.c.vehicle_id == vehicle_id))
    connection.execute(delete(tables.vehicle).where(_vehicle.id == vehicle_id))


# -- sources -------------------------------------------------------------------------------------


def _sources(scope: Scope, now_ms: int) -> Select[Any]:
    """Sources and the vehicle each belongs to now, as far as the caller may see the vehicle."""
    current = select(
        _binding.source_id,
        _binding.vehicle_id,
        func.row_number()
        .over(
            partition_by=_binding.source_id,
            order_by=(_binding.valid_from.desc(), _binding.id.desc()),
        )
        .label("place"),
    ).where(
        _binding.valid_from <= now_ms,
        or_(_binding.valid_to.is_(None), _binding.valid_to > now_ms),
    )
    bound = current.subquery("bound")
    query = (
        select(
            _source.name.label("source"),
            _source.gateway_id,
            _source.first_stored_time,
            _source.last_received_time,
            bound.c.vehicle_id,
            _vehicle.plate,
        )
        .select_from(tables.source)
        .outerjoin(bound, and_(bound.c.source_id == _source.id, bound.c.place == 1))
        .outerjoin(tables.vehicle, _vehicle.id == bound.c.vehicle_id)
    )
    return scope.narrow(query, bound.c.vehicle_id)


def list_sources(
    connection: Connection,
    scope: Scope,
    page: PageSpec,
    *,
    now_ms: int,
    is_unclaimed: bool | None = None,
    text: str | None = None,
    gateway_id: str | None = None,
) -> Page:
    """Sources by name. Unclaimed ones are for callers who see everything."""
    query = _sources(scope, now_ms)
    if is_unclaimed is not None:
        column = _vehicle.id
        query = query.where(column.is_(None) if is_unclaimed else column.is_not(None))
    if text:
        query = query.where(contains(_source.name, text))
    if gateway_id is not None:
        query = query.where(_source.gateway_id == gateway_id)
    return read_page(connection, query, [_source.name], page)


def was_bound(connection: Connection, source: str) -> bool:
    """Whether a source has ever been a vehicle's."""
    query = select(_binding.id).join(tables.source, _source.id == _binding.source_id)
    return connection.execute(query.where(_source.name == source).limit(1)).first() is not None


def bound_elsewhere(connection: Connection, scope: Scope, source: str) -> bool:
    """Whether a source is outside a caller's scope: unclaimed, or ever of a vehicle not seen.

    A manager who could bind such a source would take readings that are somebody else's.
    """
    if scope.is_whole:
        return False
    query = (
        select(_vehicle.enterprise_id)
        .join(tables.binding, _binding.vehicle_id == _vehicle.id)
        .join(tables.source, _source.id == _binding.source_id)
        .where(_source.name == source)
    )
    owners = connection.execute(query).scalars().all()
    return not owners or not all(scope.admits(owner) for owner in owners)


def list_bindings(
    connection: Connection,
    scope: Scope,
    page: PageSpec,
    *,
    vehicle_id: str | None = None,
    source: str | None = None,
) -> Page:
    """Whose the sources were, newest binding first."""
    query = _bindings(scope)
    if vehicle_id is not None:
        query = query.where(_binding.vehicle_id == vehicle_id)
    if source is not None:
        query = query.where(_source.name == source)
    return read_page(connection, query, [_binding.id], page, is_descending=True)


def find_binding(connection: Connection, scope: Scope, binding_id: int) -> RowMapping | None:
    """A binding, if the caller may see its vehicle."""
    query = _bindings(scope).where(_binding.id == binding_id)
    return connection.execute(query).mappings().one_or_none()


def _bindings(scope: Scope) -> Select[Any]:
    query = select(tables.binding, _source.name.label("source")).join(
        tables.source, _source.id == _binding.source_id
    )
    return scope.narrow(query, _binding.vehicle_id)
