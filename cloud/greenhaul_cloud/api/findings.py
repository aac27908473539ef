"""Visits and violations, and how violations are handled."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from sqlalchemy import RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    FromQuery,
    Instant,
    Listing,
    Note,
    PageByTime,
    RowId,
    Shape,
    TextQuery,
    ToQuery,
    Wish,
    listing_of,
)
from greenhaul_cloud.store import accounts
from greenhaul_cloud.store import findings as kept
from greenhaul_cloud.store.findings import FindingFilter
from greenhaul_protocols.times import format_time

router = APIRouter(tags=["findings"])

Certainty = Literal["certain", "possible"]
ViolationState = Literal["open", "handled", "withdrawn"]


class Window(Shape):
    """When a visit was wanted."""

    began_at: Instant | None
    ended_at: Instant | None


class Handling(Shape):
    """What was done about a violation."""

    note: str
    by: str
    at: str


class ViolationShape(Shape):
    """A rule broken. `evidence` is GeoJSON; `amended`: later readings changed it."""

    id: int
    visit_id: int | None
    vehicle_id: str
    plate: str | None
    fence_id: str
    fence_name: str | None
    fence_version: int
    rule: str
    severity: str
    began_at: Instant
    ended_at: Instant | None
    window: Window | None
    certainty: Certainty
    detail: dict[str, Any]
    state: ViolationState
    evidence: dict[str, Any] | None
    amended: bool
    handling: Handling | None


class VisitShape(Shape):
    """One stay of one vehicle in one fence."""

    id: int
    vehicle_id: str
    fence_id: str
    fence_version: int
    entered_at: Instant
    entered_by: str
    left_at: Instant | None
    left_by: str
    entered_certainty: Certainty
    left_certainty: Certainty | None
    certainty: Certainty
    state: str
    amended: bool
    violations: list[ViolationShape]


class HandlingWish(Wish):
    """What was done about a violation."""

    note: Note = ""


def _wanted(
    vehicle_id: TextQuery = None,
    fence_id: TextQuery = None,
    from_ms: FromQuery = None,
    to_ms: ToQuery = None,
) -> FindingFilter:
    return FindingFilter(vehicle_id, fence_id, from_ms=from_ms, to_ms=to_ms)


Wanted = Annotated[FindingFilter, Depends(_wanted)]


def show_violation(row: RowMapping) -> dict[str, Any]:
    """A row of the violations as their shape wants it."""
    has_window = row["window_began_at"] is not None or row["window_ended_at"] is not None
    return {
        **row,
        "window": {"began_at": row["window_began_at"], "ended_at": row["window_ended_at"]}
        if has_window
        else None,
    }


@router.get("/violations", response_model=Listing[ViolationShape])
def list_violations(
    context: Context,
    caller: Caller,
    page: PageByTime,
    wanted: Wanted,
    rule: TextQuery = None,
    state: Annotated[ViolationState | None, Query()] = None,
) -> object:
    """Violations, the one that began last first; `from`, `to`: any part of them between."""
    wanted = FindingFilter(
        wanted.vehicle_id, wanted.fence_id, rule, state, wanted.from_ms, wanted.to_ms
    )
    with context.store.read() as connection:
        found = kept.list_violations(connection, caller.scope, page, wanted)
    return listing_of(found, show_violation)


@router.get("/violations/{violation_id}", response_model=ViolationShape)
def one_violation(violation_id: RowId, context: Context, caller: Caller) -> object:
    """A violation."""
    with context.store.read() as connection:
        row = kept.find_violation(connection, caller.scope, violation_id)
    if row is None:
        raise not_found("violation", violation_id)
    return show_violation(row)


@router.post("/violations/{violation_id}/handling", response_model=ViolationShape)
def handle(violation_id: RowId, wish: HandlingWish, context: Context, caller: Caller) -> object:
    """Notes what was done about a violation; it is handled then."""
    now_ms = context.now_ms()
    handling = {"note": wish.note, "by": caller.name, "at": format_time(now_ms)}
    with context.store.write() as connection:
        row = kept.find_violation(connection, caller.scope, violation_id)
        if row is None:
            raise not_found("violation", violation_id)
        if row["state"] == "withdrawn":
            raise Problem(HTTPStatus.CONFLICT, "it was withdrawn: later readings disproved it")
        context.store.driver.lock_feed(connection)
        kept.handle_violation(connection, violation_id, handling, now_ms)
        accounts.record(
            connection, now_ms, caller.name, "violation.handle", str(violation_id), handling
        )
        changed = kept.find_violation(connection, caller.scope, violation_id)
        assert changed is not None, "it was there a moment ago, in this transaction"
        return show_violation(changed)


@router.get("/visits", response_model=Listing[VisitShape])
def list_visits(
    context: Context,
    caller: Caller,
    page: PageByTime,
    wanted: Wanted,
    state: Annotated[Literal["standing", "withdrawn"] | None, Query()] = None,
) -> object:
    """Visits, the one entered last first; `from`, `to`: any part of them between."""
    wanted = FindingFilter(
        wanted.vehicle_id,
        wanted.fence_id,
        state=state,
        from_ms=wanted.from_ms,
        to_ms=wanted.to_ms,
    )
    with context.store.read() as connection:
        found = kept.list_visits(connection, caller.scope, page, wanted)
        broken = kept.violations_of_visits(connection, [row["id"] for row in found.rows])
    return listing_of(
        found,
        lambda row: {
            **row,
            "violations": [show_violation(one) for one in broken.get(row["id"], [])],
        },
    )
