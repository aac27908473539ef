"""Sources, and whose they were: bindings."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints
from sqlalchemy import Connection, RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller, FleetKeeper
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Id,
    Instant,
    InstantIn,
    Listing,
    PageByNumber,
    PageByText,
    RowId,
    Shape,
    TextQuery,
    Wish,
    listing_of,
)
from greenhaul_cloud.api.vehicles import find_vehicle
from greenhaul_cloud.store import accounts, registry
from greenhaul_cloud.store.attributes import ALWAYS_FROM_MS
from greenhaul_cloud.store.bindings import PRIORITY_DEFAULT, bind, end_binding
from greenhaul_cloud.store.scope import Scope
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.series import SOURCE_LENGTH_MAX

router = APIRouter()

PRIORITY_MAX = 1000

SourceName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=SOURCE_LENGTH_MAX, pattern=r"^[^\x00-\x20\x7f]*$"),
]


class SourceShape(Shape):
    """Where readings come from; `vehicle_id` null means unclaimed."""

    source: str
    gateway_id: str | None
    first_stored_time: Instant | None
    last_received_time: Instant | None
    vehicle_id: str | None
    plate: str | None


class BindingWish(Wish):
    """Says that a source is a vehicle's, in [valid_from, valid_to).

    Without `valid_from`: since ever for a source never bound before, else from now on.
    Of several sources of a vehicle the one of the highest priority leads its track.
    """

    source: SourceName
    vehicle_id: Id
    valid_from: InstantIn | None = None
    valid_to: InstantIn | None = None
    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = PRIORITY_DEFAULT


class BindingEnd(Wish):
    """When a binding ends."""

    valid_to: InstantIn


class BindingShape(Shape):
    """Whose a source was, when."""

    id: int
    source: str
    vehicle_id: str
    valid_from: Instant
    valid_to: Instant | None
    priority: int
    created_at: Instant


@router.get("/sources", response_model=Listing[SourceShape], tags=["sources"])
def list_sources(
    context: Context,
    caller: Caller,
    page: PageByText,
    unclaimed: bool | None = None,
    q: Annotated[TextQuery, Query(description="Part of the name.")] = None,
    gateway_id: TextQuery = None,
) -> object:
    """Sources by name; unclaimed ones are seen by regulators and administrators."""
    with context.store.read() as connection:
        found = registry.list_sources(
            connection,
            caller.scope,
            page,
            now_ms=context.now_ms(),
            is_unclaimed=unclaimed,
            text=q,
            gateway_id=gateway_id,
        )
    return listing_of(found, dict)


@router.get("/bindings", response_model=Listing[BindingShape], tags=["bindings"])
def list_bindings(
    context: Context,
    caller: Caller,
    page: PageByNumber,
    vehicle_id: TextQuery = None,
    source: TextQuery = None,
) -> object:
    """Bindings, the one made last first."""
    with context.store.read() as connection:
        found = registry.list_bindings(
            connection, caller.scope, page, vehicle_id=vehicle_id, source=source
        )
    return listing_of(found, dict)


@router.post(
    "/bindings", response_model=BindingShape, status_code=HTTPStatus.CREATED, tags=["bindings"]
)
def add_binding(wish: BindingWish, context: Context, keeper: FleetKeeper) -> object:
    """Binds a source to a vehicle; an open binding of it ends there. Touches no reading."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        find_vehicle(connection, keeper.scope, wish.vehicle_id, now_ms)
        if registry.bound_elsewhere(connection, keeper.scope, wish.source):
            raise not_found("source", wish.source)
        from_ms = wish.valid_from
        if from_ms is None:  # what a source sent before anybody claimed it is the first claimer's
            from_ms = now_ms if registry.was_bound(connection, wish.source) else ALWAYS_FROM_MS
        try:
            binding_id = bind(
                connection,
                wish.source,
                wish.vehicle_id,
                valid_from_ms=from_ms,
                valid_to_ms=wish.valid_to,
                priority=wish.priority,
                now_ms=now_ms,
            )
        except Rejected as error:
            raise Problem(HTTPStatus.CONFLICT, str(error)) from None
        detail = {"vehicle_id": wish.vehicle_id, "binding_id": binding_id}
        accounts.record(connection, now_ms, keeper.name, "binding.add", wish.source, detail)
        return dict(_found(connection, keeper.scope, binding_id))


@router.get("/bindings/{binding_id}", response_model=BindingShape, tags=["bindings"])
def show_binding(binding_id: RowId, context: Context, caller: Caller) -> object:
    """A binding."""
    with context.store.read() as connection:
        return dict(_found(connection, caller.scope, binding_id))


@router.patch("/bindings/{binding_id}", response_model=BindingShape, tags=["bindings"])
def change_binding(
    binding_id: RowId, wish: BindingEnd, context: Context, keeper: FleetKeeper
) -> object:
    """Sets when a binding ends, earlier or later than it did."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        _found(connection, keeper.scope, binding_id)
        _end(connection, binding_id, wish.valid_to, keeper.name, now_ms)
        return dict(_found(connection, keeper.scope, binding_id))


@router.delete("/bindings/{binding_id}", status_code=HTTPStatus.NO_CONTENT, tags=["bindings"])
def remove_binding(binding_id: RowId, context: Context, keeper: FleetKeeper) -> None:
    """Ends a binding now; what was the vehicle's until then stays the vehicle's."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        held = _found(connection, keeper.scope, binding_id)
        if held["valid_to"] is None or held["valid_to"] > now_ms:
            _end(connection, binding_id, now_ms, keeper.name, now_ms)


def _found(connection: Connection, scope: Scope, binding_id: int) -> RowMapping:
    row = registry.find_binding(connection, scope, binding_id)
    if row is None:
        raise not_found("binding", binding_id)
    return row


def _end(connection: Connection, binding_id: int, at_ms: int, user: str, now_ms: int) -> None:
    try:
        end_binding(connection, binding_id, at_ms, now_ms)
    except Rejected as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    accounts.record(connection, now_ms, user, "binding.end", str(binding_id))
