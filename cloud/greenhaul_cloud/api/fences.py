"""Fences as GeoJSON features, and their versions."""

from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Authority, Caller
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Instant,
    Listing,
    PageByNumber,
    PageByText,
    Shape,
    listing_of,
)
from greenhaul_cloud.derive.trial import DIFFERENCES_MAX, try_version
from greenhaul_cloud.fences.model import ALWAYS_MS
from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.store import accounts
from greenhaul_cloud.store import fences as kept
from greenhaul_protocols.errors import Rejected

router = APIRouter(prefix="/fences", tags=["fences"])

_ID_LENGTH_MAX = 200


class FenceProperties(BaseModel):
    """What a fence says of itself; see the README for every property and rule."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    severity: Literal["info", "warning", "serious"]
    rules: list[dict[str, Any]]
    version: int


class FenceShape(BaseModel):
    """A fence, as its newest version has it."""

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: dict[str, Any]
    properties: FenceProperties


class FenceVersionShape(Shape):
    """One version of a fence; it was judged by between the two instants."""

    version: int
    valid_from: Instant
    valid_to: Instant | None
    created_at: Instant
    created_by: str
    feature: FenceShape


class DifferenceShape(Shape):
    """One visit or violation that would be new, other or withdrawn."""

    vehicle_id: str
    what: Literal["visit", "violation"]
    change: Literal["added", "amended", "withdrawn"]
    id: int | None
    was: dict[str, Any] | None
    now: dict[str, Any] | None


class TrialShape(Shape):
    """What applying would do; no version: it would do nothing."""

    version: int | None
    valid_from: Instant | None
    differences: list[DifferenceShape]
    is_complete: bool


FeatureBody = Annotated[dict[str, Any], Body(description="A GeoJSON feature; see the README.")]


@router.get("", response_model=Listing[FenceShape])
def list_fences(context: Context, _caller: Caller, page: PageByText) -> object:
    """Fences by id. They are the city's, so everybody sees them all."""
    with context.store.read() as connection:
        return listing_of(kept.list_fences(connection, page), _shown)


@router.post("", response_model=FenceShape, status_code=HTTPStatus.CREATED)
def add_fence(feature: FeatureBody, context: Context, author: Authority) -> object:
    """Draws a fence; its id must be new."""
    fence_id = _id_of(feature)
    with context.store.write() as connection:
        if kept.find_fence(connection, fence_id) is not None:
            raise Problem(
                HTTPStatus.CONFLICT, f"there is a fence {fence_id!r}: PUT makes a new version"
            )
        _put(connection, feature, context.now_ms(), author.name)
        return _shown(_found(connection, fence_id))


@router.get("/{fence_id}", response_model=FenceShape)
def show_fence(fence_id: str, context: Context, _caller: Caller) -> object:
    """A fence, as its newest version has it."""
    with context.store.read() as connection:
        return _shown(_found(connection, fence_id))


@router.put(
    "/{fence_id}",
    response_model=FenceShape,
    responses={201: {"model": FenceShape, "description": "It is a new fence."}},
)
def put_fence(
    fence_id: str, feature: FeatureBody, response: Response, context: Context, author: Authority
) -> object:
    """Says what a fence is from now on (or `valid_from`).

    Other geometry, rules, hours or applies_to make a version; what was judged stays as it was.
    """
    whole = _named(fence_id, feature)
    with context.store.write() as connection:
        if _put(connection, whole, context.now_ms(), author.name):
            response.status_code = HTTPStatus.CREATED
        return _shown(_found(connection, fence_id))


@router.delete("/{fence_id}", status_code=HTTPStatus.NO_CONTENT)
def end_fence(fence_id: str, context: Context, author: Authority) -> None:
    """Lets a fence end now; its past stays."""
    now_ms = context.now_ms()
    with context.store.write() as connection:
        if not kept.end_fence(connection, fence_id, now_ms, now_ms):
            raise not_found("fence", fence_id)
        accounts.record(connection, now_ms, author.name, "fence.end", fence_id)


@router.get("/{fence_id}/versions", response_model=Listing[FenceVersionShape])
def list_versions(
    fence_id: str,
    context: Context,
    _caller: Caller,
    page: PageByNumber,
) -> object:
    """Every version of a fence, newest first."""
    with context.store.read() as connection:
        _found(connection, fence_id)
        found = kept.list_versions(connection, fence_id, page)
    return listing_of(found, lambda row: {**row, "feature": _shown(row)})


@router.post("/{fence_id}/dry-run", response_model=TrialShape)
def try_fence(fence_id: str, feature: FeatureBody, context: Context, _author: Authority) -> object:
    """What a version would change of the past, `valid_from` on; nothing is changed.

    At most 1,000 differences are listed; `is_complete` says whether these are all.
    """
    whole = _named(fence_id, feature)
    now_ms = context.now_ms()
    with context.store.read() as connection:
        try:
            version = kept.planned_version(connection, whole, now_ms)
        except FeatureError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        if version is None:
            return {"version": None, "valid_from": None, "differences": [], "is_complete": True}
        calendar = context.config.derive.calendar
        told = try_version(connection, version, now_ms, calendar)
        differences = list(islice(told, DIFFERENCES_MAX + 1))
    return {
        "version": version.version,
        "valid_from": version.valid_from_ms if version.valid_from_ms > ALWAYS_MS else None,
        "differences": differences[:DIFFERENCES_MAX],
        "is_complete": len(differences) <= DIFFERENCES_MAX,
    }


@router.post("/{fence_id}/apply", response_model=FenceShape)
def apply_fence(fence_id: str, feature: FeatureBody, context: Context, author: Authority) -> object:
    """Makes a version that may begin in the past; what it changes is recorded as amendments.

    Applied twice it changes nothing.
    """
    whole = _named(fence_id, feature)
    with context.store.write() as connection:
        _put(connection, whole, context.now_ms(), author.name, is_applied=True)
        return _shown(_found(connection, fence_id))


def _put(
    connection: Connection,
    feature: dict[str, Any],
    now_ms: int,
    user: str,
    *,
    is_applied: bool = False,
) -> bool:
    """Whether the fence is new."""
    try:
        done = kept.put_fence(connection, feature, now_ms, user, is_applied=is_applied)
    except FeatureError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    except Rejected as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    detail = {"version": done.version}
    action = "fence.apply" if is_applied else "fence.put"
    accounts.record(connection, now_ms, user, action, done.fence_id, detail)
    return done.is_new_fence


def _named(fence_id: str, feature: dict[str, Any]) -> dict[str, Any]:
    """The feature with the id of the path; 422 if it says another."""
    properties = feature.get("properties")
    given = properties if isinstance(properties, dict) else {}
    if str(given.get("id", fence_id)) != fence_id:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"properties.id is not {fence_id!r}")
    whole = {**feature, "properties": {**given, "id": fence_id}}
    _id_of(whole)
    return whole


def _id_of(feature: dict[str, Any]) -> str:
    """The id a feature gives itself, if it can stand in a path."""
    properties = feature.get("properties")
    found = properties.get("id") if isinstance(properties, dict) else None
    fence_id = str(feature.get("id") if found is None else found)
    is_plain = fence_id.isprintable() and not set(fence_id) & set("/?#%\\ ")
    if not (is_plain and 0 < len(fence_id) <= _ID_LENGTH_MAX):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "properties.id: letters, digits and signs other than / ? # % \\ and blanks",
        )
    return fence_id


def _found(connection: Connection, fence_id: str) -> RowMapping:
    row = kept.find_fence(connection, fence_id)
    if row is None:
        raise not_found("fence", fence_id)
    return row


def _shown(row: RowMapping) -> dict[str, Any]:
    """A version's feature; the version says since when and by whom it holds."""
    feature = row["feature"]
    properties = {**feature["properties"], "version": row["version"]}
    return {**feature, "id": row["fence_id"], "properties": properties}
