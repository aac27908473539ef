"""What a vehicle's sources said over time: the battery."""

from typing import Annotated

from fastapi import APIRouter, Depends

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.shapes import (
    READING_SHAPES,
    FromQuery,
    Listing,
    ToQuery,
    listing_of,
    paging,
    reading_values,
)
from greenhaul_cloud.api.vehicles import find_vehicle
from greenhaul_cloud.store.battery import list_battery
from greenhaul_cloud.store.pages import PageSpec
from greenhaul_protocols.catalogue import KIND_OF, BatteryReading

router = APIRouter(prefix="/vehicles", tags=["vehicles"])

_BATTERY = KIND_OF[BatteryReading]
_BatteryShape = READING_SHAPES[_BATTERY.number]


@router.get("/{vehicle_id}/battery", response_model=Listing[_BatteryShape])  # type: ignore[valid-type]
def battery(
    vehicle_id: str,
    context: Context,
    caller: Caller,
    page: Annotated[PageSpec, Depends(paging(int, int, int))],
    from_ms: FromQuery = None,
    to_ms: ToQuery = None,
) -> object:
    """Battery readings, newest first."""
    with context.store.read() as connection:
        find_vehicle(connection, caller.scope, vehicle_id, context.now_ms())
        found = list_battery(connection, vehicle_id, page, from_ms=from_ms, to_ms=to_ms)
    return listing_of(found, lambda row: reading_values(row, _BATTERY.fields))
