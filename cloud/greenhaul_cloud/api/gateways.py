"""Gateways with the ledgers of their lanes, and the quarantine."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BeforeValidator, Field, StringConstraints
from sqlalchemy import RowMapping

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Admin, Authority
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    Id,
    Instant,
    Listing,
    Name,
    PageByIdentity,
    PageByReading,
    PageByText,
    Shape,
    TextQuery,
    Wish,
    listing_of,
)
from greenhaul_cloud.store import accounts, drops, refused
from greenhaul_cloud.store import gateways as kept
from greenhaul_cloud.store.releasing import release_quarantine
from greenhaul_cloud.store.settling import to_unsigned
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.topics import GATEWAY_ID

router = APIRouter()

# A gateway in front of more terminals than this is granted them by a pattern.
GRANTS_MAX = 1000


def show_epoch(epoch: int) -> str:
    """An epoch as 16 hex digits: 64 bits are more than a JSON number surely carries."""
    return f"{to_unsigned(epoch):016x}"


Epoch = Annotated[str, BeforeValidator(lambda value: show_epoch(value))]


class GatewayWish(Wish):
    """A gateway, and the sources it may carry beside its own inputs; a final * is any rest."""

    id: Annotated[str, StringConstraints(pattern=f"^{GATEWAY_ID.pattern}$")]
    sources: Annotated[list[Name], Field(max_length=GRANTS_MAX, default_factory=list)]


class LaneShape(Shape):
    """The ledger of a lane: each number of `settled` is counted once, in one of the counters."""

    lane: int
    settled: list[tuple[int, int]]
    through: int = Field(description="The highest number settled.")
    stored: int
    duplicate: int
    quarantined: int
    dropped: int


class EpochShape(Shape):
    """One life of a gateway's outbox."""

    epoch: Epoch
    revision: int
    first_block_at: Instant
    last_block_at: Instant
    lanes: list[LaneShape]


class GatewayShape(Shape):
    """A gateway."""

    id: str
    sources: list[str]
    suggested_vehicle_id: str | None
    created_at: Instant
    last_block_at: Instant | None
    is_online: bool | None
    epochs: list[EpochShape]


class GatewayFigures(Shape):
    """A gateway's counters over all epochs and lanes."""

    id: str
    is_online: bool | None
    last_block_at: Instant | None
    stored: int
    duplicate: int
    quarantined: int
    dropped: int


class DropShape(Shape):
    """Readings a gateway gave up: numbers `first` to `last` of a lane, or an unknown count (null).

    `from_time` and `to_time`: the earliest and latest device time among them, null if not known.
    """

    device_time: Instant = Field(description="When the gateway gave them up.")
    epoch: Epoch | None
    lane: int | None
    first: int | None
    last: int | None
    from_time: Instant | None
    to_time: Instant | None
    reason: str | None


class QuarantineShape(Shape):
    """What could not be understood. `source` null: a whole block. `first` and `last`: numbers of
    the lane; null for bytes of a source that its standard does not allow."""

    id: str
    gateway_id: str | None
    epoch: Epoch | None
    lane: int | None
    first: int | None
    last: int | None
    count: int = Field(description="Readings in it; 0 in a damaged block, which settles nothing.")
    source: str | None
    reason: str
    stored_time: Instant
    released_at: Instant | None


class QuarantineDetail(QuarantineShape):
    """With its bytes, in hex."""

    raw: str


class ReleaseShape(Shape):
    """How many readings of a released entry were new, and how many known already."""

    readings: int
    duplicates: int


@router.get("/gateways", response_model=Listing[GatewayShape], tags=["gateways"])
def list_gateways(context: Context, caller: Authority, page: PageByText) -> object:
    """Gateways by id."""
    with context.store.read() as connection:
        found = kept.list_gateways(connection, caller.scope, page)
        ledgers = kept.ledgers(connection, [row["id"] for row in found.rows])
    return listing_of(found, lambda row: _shown(row, ledgers.get(row["id"], {})))


@router.post(
    "/gateways",
    response_model=GatewayShape,
    status_code=HTTPStatus.CREATED,
    tags=["gateways"],
    responses={200: {"model": GatewayShape, "description": "It was known; its grants are new."}},
)
def put_gateway(wish: GatewayWish, response: Response, context: Context, admin: Admin) -> object:
    """Enters a gateway, or changes what it may carry."""
    now_ms = context.now_ms()
    if not kept.put_gateway(context.store, wish.id, wish.sources, now_ms):
        response.status_code = HTTPStatus.OK
    with context.store.write() as connection:
        detail = {"sources": wish.sources}
        accounts.record(connection, now_ms, admin.name, "gateway.put", wish.id, detail)
        row = kept.find_gateway(connection, admin.scope, wish.id)
        assert row is not None, "gateways stay"
        return _shown(row, kept.ledgers(connection, [wish.id]).get(wish.id, {}))


@router.get("/gateways/{gateway_id}", response_model=GatewayShape, tags=["gateways"])
def show_gateway(gateway_id: str, context: Context, caller: Authority) -> object:
    """A gateway."""
    with context.store.read() as connection:
        row = kept.find_gateway(connection, caller.scope, gateway_id)
        if row is None:
            raise not_found("gateway", gateway_id)
        return _shown(row, kept.ledgers(connection, [gateway_id]).get(gateway_id, {}))


@router.get("/gateways/{gateway_id}/dropped", response_model=Listing[DropShape], tags=["gateways"])
def list_dropped(
    gateway_id: str, context: Context, caller: Authority, page: PageByReading
) -> object:
    """What a gateway reports as given up, oldest first."""
    with context.store.read() as connection:
        if kept.find_gateway(connection, caller.scope, gateway_id) is None:
            raise not_found("gateway", gateway_id)
        found = drops.list_drops(connection, caller.scope, gateway_id, page)
    return listing_of(
        found, lambda row: {**row, "from_time": row["from_time_ms"], "to_time": row["to_time_ms"]}
    )


@router.get("/quarantine", response_model=Listing[QuarantineShape], tags=["quarantine"])
def list_quarantine(
    context: Context, caller: Authority, page: PageByIdentity, gateway_id: TextQuery = None
) -> object:
    """What could not be stored or not be understood, newest first."""
    with context.store.read() as connection:
        found = refused.list_refused(connection, caller.scope, page, gateway_id=gateway_id)
    return listing_of(found, lambda row: {**row, "id": refused.id_of(row)})


@router.get("/quarantine/{quarantine_id}", response_model=QuarantineDetail, tags=["quarantine"])
def show_quarantined(quarantine_id: Id, context: Context, caller: Authority) -> object:
    """One entry, with its bytes."""
    with context.store.read() as connection:
        row = refused.find_refused(connection, caller.scope, quarantine_id)
    if row is None:
        raise not_found("quarantine entry", quarantine_id)
    return {**row, "id": quarantine_id, "raw": (row["raw"] or b"").hex()}


@router.post(
    "/quarantine/{quarantine_id}/release", response_model=ReleaseShape, tags=["quarantine"]
)
def release(quarantine_id: Id, context: Context, admin: Admin) -> object:
    """Stores what can be stored by now: its source was granted, its kind is known."""
    now_ms = context.now_ms()
    with context.store.read() as connection:
        row = refused.find_refused(connection, admin.scope, quarantine_id)
    if row is None:
        raise not_found("quarantine entry", quarantine_id)
    if row["first"] is None:
        raise Problem(HTTPStatus.CONFLICT, "is stored already, as bytes no standard allows")
    try:
        done = release_quarantine(context.store, row["number"], now_ms)
    except Rejected as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    with context.store.write() as connection:
        accounts.record(connection, now_ms, admin.name, "quarantine.release", quarantine_id)
    return done


def _shown(
    row: RowMapping, epochs: dict[int, tuple[RowMapping, list[RowMapping]]]
) -> dict[str, Any]:
    return {
        **row,
        "last_block_at": row["last_block_time"],
        "epochs": [
            {
                "epoch": epoch["epoch"],
                "revision": epoch["revision"],
                "first_block_at": epoch["first_block_time"],
                "last_block_at": epoch["last_block_time"],
                "lanes": [kept.lane_figures(lane) for lane in lanes],
            }
            for epoch, lanes in epochs.values()
        ],
    }
