"""Trips and stops of a vehicle, told from its track."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from greenhaul_cloud.api.context import ApiContext, Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import FromQuery, Instant, Listing, Shape, ToQuery
from greenhaul_cloud.api.vehicles import find_vehicle
from greenhaul_cloud.auth.principal import Principal
from greenhaul_cloud.derive.readings import StoredReadings
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.store.tracks import bound_sources
from greenhaul_cloud.trips.motion import stops_of, trips_of

router = APIRouter(prefix="/vehicles/{vehicle_id}", tags=["vehicles"])

MS_PER_DAY = 86_400_000
SPAN_MS_MAX = 92 * MS_PER_DAY

# Trips and stops that reach out of the time asked about are told whole as far as this.
REACH_MS = MS_PER_DAY


class TripShape(Shape):
    """From one stop to the next. Positions are [longitude, latitude]."""

    began_at: Instant = Field(validation_alias="began_ms")
    ended_at: Instant | None = Field(validation_alias="ended_ms")
    start: tuple[float, float]
    end: tuple[float, float]
    distance_km: float
    speed_max_kmh: float | None
    certainty: str


class StopShape(Shape):
    """Three minutes or more near one place, [longitude, latitude]."""

    began_at: Instant = Field(validation_alias="began_ms")
    ended_at: Instant | None = Field(validation_alias="ended_ms")
    position: tuple[float, float]
    is_ignition_off: bool | None


def _span(context: Context, from_ms: FromQuery = None, to_ms: ToQuery = None) -> tuple[int, int]:
    """The time asked about; by default the last day."""
    end_ms = context.now_ms() if to_ms is None else to_ms
    begin_ms = end_ms - MS_PER_DAY if from_ms is None else from_ms
    if not 0 <= end_ms - begin_ms <= SPAN_MS_MAX:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "to: after from, by 92 days at most")
    return begin_ms, end_ms


Span = Annotated[tuple[int, int], Depends(_span)]


@router.get("/trips", response_model=Listing[TripShape])
def list_trips(vehicle_id: str, context: Context, caller: Caller, span: Span) -> object:
    """Trips with any part between `from` and `to` (default: the last day), in order of time."""
    trips = trips_of(_track(context, caller, vehicle_id, span))
    return {"items": [t for t in trips if _meets(t.began_ms, t.ended_ms, span)], "next": None}


@router.get("/stops", response_model=Listing[StopShape])
def list_stops(vehicle_id: str, context: Context, caller: Caller, span: Span) -> object:
    """Stops with any part between `from` and `to` (default: the last day), in order of time."""
    stops = stops_of(_track(context, caller, vehicle_id, span))
    return {"items": [s for s in stops if _meets(s.began_ms, s.ended_ms, span)], "next": None}


def _track(context: ApiContext, caller: Principal, vehicle_id: str, span: tuple[int, int]) -> Track:
    with context.store.read() as connection:
        find_vehicle(connection, caller.scope, vehicle_id, context.now_ms())
        readings = StoredReadings(connection, bound_sources(connection, vehicle_id))
        return readings.load(span[0] - REACH_MS, span[1] + REACH_MS).ordered()


def _meets(began_ms: int, ended_ms: int | None, span: tuple[int, int]) -> bool:
    return began_ms < span[1] and (ended_ms is None or ended_ms >= span[0])
