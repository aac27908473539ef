"""Where everybody is, as GeoJSON."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import Instant, Shape
from greenhaul_cloud.store.positions import Whereabouts, where_everybody
from greenhaul_protocols.catalogue import TimeQuality

router = APIRouter(prefix="/positions", tags=["positions"])

# West, south, east, north in degrees.
Box = tuple[float, float, float, float]


class PositionProperties(Shape):
    """A vehicle, or an unclaimed source (`vehicle_id` null), and how it is doing.

    state: `offline` when nothing was heard of it for five minutes.
    """

    vehicle_id: str | None
    source: str
    plate: str | None
    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None
    speed_kmh: float | None
    heading_deg: float | None
    odometer_km: float | None
    device_time: Instant
    received_time: Instant
    time_quality: str
    state: Literal["moving", "stopped", "offline"]
    is_violating: bool


class PointShape(Shape):
    """GeoJSON: longitude, latitude in degrees."""

    type: Literal["Point"] = "Point"
    coordinates: tuple[float, float]


class PositionFeature(Shape):
    """A position as GeoJSON."""

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: PointShape
    properties: PositionProperties


class PositionCollection(Shape):
    """Everybody."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[PositionFeature] = Field(description="Vehicles by id, then unclaimed sources.")


def read_box(
    bbox: Annotated[
        str | None, Query(max_length=200, description="west,south,east,north in degrees")
    ] = None,
) -> Box | None:
    """The box of ?bbox=; east below west spans the antimeridian."""
    if bbox is None:
        return None
    try:
        west, south, east, north = (float(part) for part in bbox.split(","))
    except ValueError:
        west = south = east = north = float("nan")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "bbox: write west,south,east,north in degrees"
        )
    return west, south, east, north


BoxQuery = Annotated[Box | None, Depends(read_box)]


def is_inside(one: Whereabouts, box: Box | None) -> bool:
    """Whether a position lies in the box."""
    if box is None:
        return True
    west, south, east, north = box
    longitude, latitude = one.reading["longitude_deg"], one.reading["latitude_deg"]
    is_between = (
        west <= longitude <= east if west <= east else longitude >= west or longitude <= east
    )
    return bool(is_between and south <= latitude <= north)


def show_position(one: Whereabouts) -> dict[str, Any]:
    """The properties of a position."""
    return {
        **one.reading,
        "time_quality": TimeQuality(one.reading["time_quality"]).name.lower(),
        "state": one.state,
        "is_violating": one.is_violating,
    }


@router.get("/latest", response_model=PositionCollection)
def latest(context: Context, caller: Caller, box: BoxQuery) -> object:
    """The newest position of every vehicle, and of sources nobody has claimed."""
    with context.store.read() as connection:
        everybody = where_everybody(connection, caller.scope, context.now_ms())
    return {
        "features": [
            {
                "id": one.key,
                "geometry": {
                    "coordinates": (one.reading["longitude_deg"], one.reading["latitude_deg"])
                },
                "properties": show_position(one),
            }
            for one in everybody
            if is_inside(one, box)
        ]
    }
