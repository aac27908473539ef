"""Vehicles, and what they are in time (energy, class, tags): what fences look at."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection, RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller, FleetKeeper
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Id,
    Instant,
    InstantIn,
    Listing,
    PageByText,
    Shape,
    TextQuery,
    Wish,
    Word,
    listing_of,
)
from greenhaul_cloud.auth.principal import Principal
from greenhaul_cloud.store import accounts, registry
from greenhaul_cloud.store.attributes import Attributes, set_attributes
from greenhaul_cloud.store.fleets import find_fleet
from greenhaul_cloud.store.scope import EVERYTHING, Scope

router = APIRouter(prefix="/vehicles", tags=["vehicles"])

# Tags are a handful of words ("cold-chain", "demo-2026"); more is a table somebody should have.
TAGS_MAX = 50
_ATTRIBUTES = ("energy", "class_", "tags")


class VehicleChange(Wish):
    """What to change; what is left out stays.

    Energy, class and tags hold from `valid_from` on (default: now; for a new vehicle: always).
    """

    plate: Word | None = None
    vin: Word | None = None
    enterprise_id: Id | None = None
    fleet_id: Id | None = None
    energy: Word | None = None
    class_: Annotated[Word | None, Field(alias="class")] = None
    tags: Annotated[list[Word], Field(max_length=TAGS_MAX, default_factory=list)]
    valid_from: InstantIn | None = None


class VehicleWish(VehicleChange):
    """A vehicle to be. Of a manager it joins the manager's enterprise."""

    id: Id


class AttributesShape(Shape):
    """What a vehicle was from an instant until the next."""

    valid_from: Instant
    energy: str | None
    class_: str | None = Field(alias="class")
    tags: list[str]


class VehicleShape(Shape):
    """A vehicle, with what it is now."""

    id: str
    plate: str | None
    vin: str | None
    enterprise_id: str | None
    fleet_id: str | None
    energy: str | None
    class_: str | None = Field(alias="class")
    tags: list[str]
    created_at: Instant


class VehicleDetail(VehicleShape):
    """A vehicle, with what it was."""

    attributes: list[AttributesShape]


@router.get("", response_model=Listing[VehicleShape])
def list_vehicles(
    context: Context,
    caller: Caller,
    page: PageByText,
    q: Annotated[TextQuery, Query(description="Part of id, plate or VIN.")] = None,
    enterprise_id: TextQuery = None,
    fleet_id: TextQuery = None,
) -> object:
    """Vehicles by id."""
    with context.store.read() as connection:
        found = registry.list_vehicles(
            connection,
            caller.scope,
            page,
            now_ms=context.now_ms(),
            text=q,
            enterprise_id=enterprise_id,
            fleet_id=fleet_id,
        )
    return listing_of(found, _shown)


@router.post("", response_model=VehicleDetail, status_code=HTTPStatus.CREATED)
def add_vehicle(wish: VehicleWish, context: Context, keeper: FleetKeeper) -> object:
    """Enters a vehicle."""
    now_ms = context.now_ms()
    values = wish.model_dump(include={"id", "plate", "vin", "enterprise_id", "fleet_id"})
    if keeper.scope.enterprise_id is not None:
        values["enterprise_id"] = wish.enterprise_id or keeper.scope.enterprise_id
    with context.store.write() as connection:
        if registry.find_vehicle(connection, Scope(None), wish.id, now_ms):
            raise Problem(HTTPStatus.CONFLICT, f"the id {wish.id!r} is taken")
        _check_enterprise(connection, keeper, values["enterprise_id"])
        _check_fleet(connection, values["fleet_id"], values["enterprise_id"])
        registry.add_vehicle(connection, values, now_ms)
        if wish.model_fields_set & {*_ATTRIBUTES, "valid_from"}:
            set_attributes(connection, wish.id, wish.valid_from, _attributes(wish), now_ms)
        accounts.record(connection, now_ms, keeper.name, "vehicle.add", wish.id, values)
        return _detail(connection, keeper.scope, wish.id, now_ms)


@router.get("/{vehicle_id}", response_model=VehicleDetail)
def show_vehicle(vehicle_id: str, context: Context, caller: Caller) -> object:
    """A vehicle, with what it was."""
    with context.store.read() as connection:
        return _detail(connection, caller.scope, vehicle_id, context.now_ms())


@router.patch("/{vehicle_id}", response_model=VehicleDetail)
def change_vehicle(
    vehicle_id: str, wish: VehicleChange, context: Context, keeper: FleetKeeper
) -> object:
    """Changes a vehicle; energy, class and tags from an instant on."""
    now_ms = context.now_ms()
    told = wish.model_fields_set
    changes = wish.model_dump(include=told & {"plate", "vin", "enterprise_id", "fleet_id"})
    with context.store.write() as connection:
        before = find_vehicle(connection, keeper.scope, vehicle_id, now_ms)
        if "enterprise_id" in changes:
            _check_enterprise(connection, keeper, changes["enterprise_id"])
            if changes["enterprise_id"] != before["enterprise_id"]:
                changes.setdefault("fleet_id", None)  # its fleet is the former owner's
        owner = changes.get("enterprise_id", before["enterprise_id"])
        _check_fleet(connection, changes.get("fleet_id"), owner)
        registry.change_vehicle(connection, vehicle_id, changes)
        if told & set(_ATTRIBUTES):
            kept = {"energy": before["energy"], "class_": before["class"], "tags": before["tags"]}
            merged = wish.model_copy(update={k: v for k, v in kept.items() if k not in told})
            from_ms = now_ms if wish.valid_from is None else wish.valid_from
            set_attributes(connection, vehicle_id, from_ms, _attributes(merged), now_ms)
        detail = wish.model_dump(mode="json", include=told, by_alias=True)
        accounts.record(connection, now_ms, keeper.name, "vehicle.change", vehicle_id, detail)
        return _detail(connection, keeper.scope, vehicle_id, now_ms)


@router.delete("/{vehicle_id}", status_code=HTTPStatus.NO_CONTENT)
def remove_vehicle(vehicle_id: str, context: Context, keeper: FleetKeeper) -> None:
    """Takes out a vehicle entered by mistake; one with a history stays."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        find_vehicle(connection, keeper.scope, vehicle_id, now_ms)
        if registry.is_vehicle_used(connection, vehicle_id):
            raise Problem(HTTPStatus.CONFLICT, "it has had sources, visits or violations")
        registry.remove_vehicle(connection, vehicle_id)
        accounts.record(connection, now_ms, keeper.name, "vehicle.remove", vehicle_id)


def find_vehicle(connection: Connection, scope: Scope, vehicle_id: str, now_ms: int) -> RowMapping:
    """A vehicle the caller may see; else 404."""
    row = registry.find_vehicle(connection, scope, vehicle_id, now_ms)
    if row is None:
        raise not_found("vehicle", vehicle_id)
    return row


def _check_enterprise(connection: Connection, keeper: Principal, enterprise_id: str | None) -> None:
    """Nobody gives a vehicle to an enterprise they cannot see, nor to one that is not there."""
    is_seen = enterprise_id is not None and registry.find_enterprise(
        connection, keeper.scope, enterprise_id
    )
    if not is_seen and not (enterprise_id is None and keeper.scope.is_whole):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"enterprise_id: no enterprise {enterprise_id!r}"
        )


def _check_fleet(connection: Connection, fleet_id: str | None, owner: str | None) -> None:
    """A vehicle joins fleets of its own enterprise only; another's is as good as none."""
    if fleet_id is None:
        return
    fleet = find_fleet(connection, EVERYTHING, fleet_id)
    if fleet is None or fleet["enterprise_id"] != owner:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"fleet_id: its enterprise has no fleet {fleet_id!r}"
        )


def _attributes(wish: VehicleChange) -> Attributes:
    return Attributes(wish.energy, wish.class_, tuple(dict.fromkeys(wish.tags)))


def _shown(row: RowMapping) -> dict[str, Any]:
    return {**row, "tags": row["tags"] or []}


def _detail(connection: Connection, scope: Scope, vehicle_id: str, now_ms: int) -> dict[str, Any]:
    row = find_vehicle(connection, scope, vehicle_id, now_ms)
    history = registry.attribute_history(connection, vehicle_id)
    return {**_shown(row), "attributes": [dict(entry) for entry in history]}
