"""What a vehicle's sources said of its battery, drive and cargo, as they said it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.shapes import (
    READING_SHAPES,
    FromQuery,
    Listing,
    PageByReading,
    ToQuery,
    listing_of,
    reading_values,
)
from greenhaul_cloud.api.vehicles import find_vehicle
from greenhaul_cloud.store.bound_readings import list_bound
from greenhaul_protocols.catalogue import (
    KIND_OF,
    BatteryReading,
    CargoReading,
    DriveReading,
    KindSpec,
)

router = APIRouter(prefix="/vehicles/{vehicle_id}", tags=["vehicles"])


def _listing(kind: KindSpec) -> Callable[..., Any]:
    def list_readings(
        vehicle_id: str,
        context: Context,
        caller: Caller,
        page: PageByReading,
        from_ms: FromQuery = None,
        to_ms: ToQuery = None,
    ) -> object:
        with context.store.read() as connection:
            find_vehicle(connection, caller.scope, vehicle_id, context.now_ms())
            found = list_bound(
                connection, kind.number, vehicle_id, page, from_ms=from_ms, to_ms=to_ms
            )
        return listing_of(found, lambda row: reading_values(row, kind.fields))

    return list_readings


for _kind in (KIND_OF[BatteryReading], KIND_OF[DriveReading], KIND_OF[CargoReading]):
    router.add_api_route(
        f"/{_kind.name}",
        _listing(_kind),
        name=_kind.name,
        description=f"{_kind.name.capitalize()} readings, newest first.",
        response_model=Listing.__class_getitem__(READING_SHAPES[_kind.number]),
    )
