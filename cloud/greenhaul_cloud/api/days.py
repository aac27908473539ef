"""What gateways and sources brought, day by day."""

from datetime import date

from fastapi import APIRouter
from pydantic import Field

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Authority
from greenhaul_cloud.api.problems import not_found
from greenhaul_cloud.api.shapes import Listing, PageByText, Shape, listing_of
from greenhaul_cloud.store import days as kept
from greenhaul_cloud.store.gateways import find_gateway
from greenhaul_cloud.store.spoken import find_source

router = APIRouter()


class SourceDay(Shape):
    """Readings of one day by the clock of `[derive] timezone`, each counted once, by what first
    settled it: stored, duplicate (known already), quarantined or dropped (given up by the gateway).
    """

    day: date = Field(description="When they came, not when they were made.")
    stored: int
    duplicate: int
    late: int = Field(description="Stored more than five minutes after their device time.")
    unusable_time: int = Field(description="Stored, but their own time made no sense.")
    quarantined: int
    dropped: int


class GatewayDay(SourceDay):
    """The same of a gateway. `damaged`: blocks that settled nothing, each time they came."""

    damaged: int


@router.get("/gateways/{gateway_id}/days", response_model=Listing[GatewayDay], tags=["gateways"])
def list_gateway_days(
    gateway_id: str, context: Context, caller: Authority, page: PageByText
) -> object:
    """What a gateway brought, the newest day first."""
    with context.store.read() as connection:
        if find_gateway(connection, caller.scope, gateway_id) is None:
            raise not_found("gateway", gateway_id)
        return listing_of(kept.days_of_gateway(connection, caller.scope, gateway_id, page), dict)


@router.get("/sources/{source:path}/days", response_model=Listing[SourceDay], tags=["sources"])
def list_source_days(source: str, context: Context, caller: Authority, page: PageByText) -> object:
    """What a source brought, whoever carried it and whosever it was, the newest day first."""
    with context.store.read() as connection:
        source_id = find_source(connection, caller.scope, source)
        if source_id is None:
            raise not_found("source", source)
        return listing_of(kept.days_of_source(connection, caller.scope, source_id, page), dict)
