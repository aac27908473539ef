"""Where everybody is, as GeoJSON."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from greenhaul_cloud.api.columns import number_texts, string_texts, time_texts
from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import Instant, Shape, TextQuery
from greenhaul_cloud.fences.datum import Bd09, DatumName, Gcj02, Wgs84, bd09_of, gcj02_of
from greenhaul_cloud.store.positions import Whereabouts, where_everybody
from greenhaul_cloud.store.reading_tables import INSTANT_COLUMNS
from greenhaul_protocols.catalogue import TimeQuality

router = APIRouter(prefix="/positions", tags=["positions"])

# West, south, east, north in degrees.
Box = tuple[float, float, float, float]
# Longitude and latitude in degrees.
Place = tuple[float, float]

_SHOWN_IN: dict[DatumName, Callable[[Wgs84], Wgs84 | Gcj02 | Bd09]] = {
    "wgs84": lambda at: at,
    "gcj02": gcj02_of,
    "bd09": bd09_of,
}
# A centimetre: what a position's own resolution is.
_DECIMALS = 7
_QUALITIES = {quality.value: quality.name.lower() for quality in TimeQuality}


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
    stored_time: Instant
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
    """Everybody. `datum`: of all coordinates in it."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    datum: DatumName
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


def is_inside(place: Place, box: Box | None) -> bool:
    """Whether a place lies in the box."""
    if box is None:
        return True
    west, south, east, north = box
    longitude, latitude = place
    is_between = (
        west <= longitude <= east if west <= east else longitude >= west or longitude <= east
    )
    return bool(is_between and south <= latitude <= north)


def place_of(one: Whereabouts) -> Place:
    """Where somebody is, in WGS-84."""
    return one.longitude_deg, one.latitude_deg


def write_positions(everybody: Sequence[Whereabouts]) -> list[str]:
    """`PositionProperties` of each as JSON."""
    places = [place_of(one) for one in everybody]
    return list(map(_PROPERTIES.__mod__, zip(*_columns(everybody, places), strict=True)))


def _columns(everybody: Sequence[Whereabouts], places: Sequence[Place]) -> list[list[str]]:
    """Every field of everybody as JSON, in the order of `PositionProperties`.

    Written a column at a time: to check and write two thousand of our own rows one by one takes
    three times as long as to find them. places: in the datum of the answer.
    """
    if not everybody:
        return []
    columns = dict(zip(Whereabouts._fields, zip(*everybody, strict=True), strict=True))
    columns["longitude_deg"], columns["latitude_deg"] = zip(*places, strict=True)
    return [_WRITE.get(name, number_texts)(columns[name]) for name in _WRITTEN]


def _write_times(times_ms: Sequence[int]) -> list[str]:
    return [f'"{text}"' for text in time_texts(times_ms)]


def _write_qualities(qualities: Sequence[int]) -> list[str]:
    return [f'"{_QUALITIES[quality]}"' for quality in qualities]


# Fields that are no numbers; true and false are written as numbers are.
_WRITE: dict[str, Callable[[Any], list[str]]] = {
    **dict.fromkeys(("vehicle_id", "source", "plate", "state"), string_texts),
    **dict.fromkeys(INSTANT_COLUMNS, _write_times),
    "time_quality": _write_qualities,
}
_WRITTEN = tuple(PositionProperties.model_fields)
_PROPERTIES = "{" + ",".join(f'"{name}":%s' for name in _WRITTEN) + "}"
_FEATURE = (
    '{"type":"Feature","id":%s,"geometry":{"type":"Point","coordinates":[%s,%s]},'
    f'"properties":{_PROPERTIES}}}'
)


@router.get("/latest", response_model=PositionCollection)
def latest(
    context: Context,
    caller: Caller,
    box: BoxQuery,
    fleet: Annotated[TextQuery, Query(description="Vehicles of this fleet only.")] = None,
    datum: Annotated[DatumName, Query(description="Of the answer, and of bbox.")] = "wgs84",
) -> Response:
    """The newest position of every vehicle, and of sources nobody has claimed."""
    with context.store.read() as connection:
        everybody = where_everybody(connection, caller.scope, context.now_ms(), fleet_id=fleet)
    placed = zip(everybody, _places(everybody, datum), strict=True)
    seen = [(one, place) for one, place in placed if is_inside(place, box)]
    features = _write_features(*zip(*seen, strict=True)) if seen else ""
    answer = f'{{"type":"FeatureCollection","datum":"{datum}","features":[{features}]}}'
    return Response(answer, media_type="application/json")


def _write_features(everybody: Sequence[Whereabouts], places: Sequence[Place]) -> str:
    """`PositionFeature` of each as JSON."""
    columns = _columns(everybody, places)
    keys = string_texts([one.key for one in everybody])
    at = (columns[_WRITTEN.index(name)] for name in ("longitude_deg", "latitude_deg"))
    return ",".join(map(_FEATURE.__mod__, zip(keys, *at, *columns, strict=True)))


def _places(everybody: Sequence[Whereabouts], datum: DatumName) -> list[Place]:
    """Where each is, in a datum."""
    places = [place_of(one) for one in everybody]
    if datum == "wgs84" or not places:
        return places
    at = _SHOWN_IN[datum](Wgs84(*np.array(places, np.float64).T))
    columns = (at.longitude_deg, at.latitude_deg)
    return list(zip(*(column.round(_DECIMALS).tolist() for column in columns), strict=True))
