"""Fleets: vehicles of one enterprise that are looked at together."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Connection, RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller, FleetKeeper
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Id,
    Instant,
    Listing,
    Name,
    PageByText,
    Shape,
    TextQuery,
    Wish,
    listing_of,
)
from greenhaul_cloud.store import accounts, registry
from greenhaul_cloud.store import fleets as kept
from greenhaul_cloud.store.scope import EVERYTHING, Scope

router = APIRouter(prefix="/fleets", tags=["fleets"])


class FleetName(Wish):
    """What a fleet is called."""

    name: Name


class FleetWish(FleetName):
    """A fleet to be; of a manager it is the manager's enterprise's."""

    id: Id
    enterprise_id: Id | None = None


class FleetShape(Shape):
    """A fleet."""

    id: str
    name: str
    enterprise_id: str
    created_at: Instant


@router.get("", response_model=Listing[FleetShape])
def list_fleets(
    context: Context,
    caller: Caller,
    page: PageByText,
    enterprise_id: Annotated[TextQuery, Query(description="Fleets of this enterprise.")] = None,
) -> object:
    """Fleets the caller may see, by id. `/vehicles?fleet_id=` lists what is in one."""
    with context.store.read() as connection:
        found = kept.list_fleets(connection, caller.scope, page, enterprise_id=enterprise_id)
    return listing_of(found, dict)


@router.post("", response_model=FleetShape, status_code=HTTPStatus.CREATED)
def add_fleet(wish: FleetWish, context: Context, keeper: FleetKeeper) -> object:
    """Enters a fleet."""
    now_ms = context.now_ms()
    owner = wish.enterprise_id or keeper.scope.enterprise_id
    with context.store.write() as connection:
        if kept.find_fleet(connection, EVERYTHING, wish.id):
            raise Problem(HTTPStatus.CONFLICT, f"the id {wish.id!r} is taken")
        if owner is None or not registry.find_enterprise(connection, keeper.scope, owner):
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"enterprise_id: no enterprise {owner!r}"
            )
        kept.add_fleet(connection, wish.id, wish.name, owner, now_ms)
        detail = {"name": wish.name, "enterprise_id": owner}
        accounts.record(connection, now_ms, keeper.name, "fleet.add", wish.id, detail)
        return dict(_found(connection, keeper.scope, wish.id))


@router.get("/{fleet_id}", response_model=FleetShape)
def show_fleet(fleet_id: str, context: Context, caller: Caller) -> object:
    """A fleet."""
    with context.store.read() as connection:
        return dict(_found(connection, caller.scope, fleet_id))


@router.put("/{fleet_id}", response_model=FleetShape)
def rename_fleet(fleet_id: str, wish: FleetName, context: Context, keeper: FleetKeeper) -> object:
    """Gives a fleet another name."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        _found(connection, keeper.scope, fleet_id)
        kept.rename_fleet(connection, fleet_id, wish.name)
        detail = {"name": wish.name}
        accounts.record(connection, now_ms, keeper.name, "fleet.rename", fleet_id, detail)
        return dict(_found(connection, keeper.scope, fleet_id))


@router.delete("/{fleet_id}", status_code=HTTPStatus.NO_CONTENT)
def remove_fleet(fleet_id: str, context: Context, keeper: FleetKeeper) -> None:
    """Takes out a fleet; its vehicles stay, in none."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        _found(connection, keeper.scope, fleet_id)
        kept.remove_fleet(connection, fleet_id)
        accounts.record(connection, now_ms, keeper.name, "fleet.remove", fleet_id)


def _found(connection: Connection, scope: Scope, key: str) -> RowMapping:
    row = kept.find_fleet(connection, scope, key)
    if row is None:
        raise not_found("fleet", key)
    return row
