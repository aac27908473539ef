"""Where a vehicle was: its track; and a source's own words."""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from greenhaul_cloud.api.context import ApiContext, Context
from greenhaul_cloud.api.exports import (
    RAW_FIELDS,
    VERTEX_FIELDS,
    csv_lines,
    geojson_parts,
    raw_csv_lines,
)
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem, not_found
from greenhaul_cloud.api.shapes import (
    FromQuery,
    ToQuery,
)
from greenhaul_cloud.api.track_formats import (
    MOVING_FIELDS,
    POINT_FIELDS,
    gpx_parts,
    kml_parts,
    mfjson_parts,
    parquet_parts,
)
from greenhaul_cloud.api.vehicles import find_vehicle
from greenhaul_cloud.arrow import load_arrow
from greenhaul_cloud.store import tracks
from greenhaul_cloud.store.spoken import find_source, read_positions
from greenhaul_cloud.store.tracks import EXPORT_FIELDS, TrackColumns
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

router = APIRouter()

FORMATS = {
    "geojson": "application/geo+json",
    "csv": "text/csv; charset=utf-8",
    "gpx": "application/gpx+xml",
    "kml": "application/vnd.google-earth.kml+xml",
    "mfjson": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
# A row stands alone: the first ones go out at once. Of other formats a chunk's end parts a line.
_OPENING_READINGS = {"csv": 1_000}


class _Writer(NamedTuple):
    """Writes a track in one format, of these fields."""

    write: Callable[[str, Iterator[TrackColumns]], Iterator[str] | Iterator[bytes]]
    fields: tuple[str, ...]


_WRITERS = {
    "geojson": _Writer(geojson_parts, VERTEX_FIELDS),
    "csv": _Writer(csv_lines, EXPORT_FIELDS),
    "gpx": _Writer(gpx_parts, POINT_FIELDS),
    "kml": _Writer(kml_parts, POINT_FIELDS),
    "mfjson": _Writer(mfjson_parts, MOVING_FIELDS),
    "parquet": _Writer(parquet_parts, EXPORT_FIELDS),
}


def _format(
    format_: Annotated[
        str | None,
        Query(
            alias="format", description="geojson (default; csv by Accept), csv, gpx, kml, mfjson"
        ),
    ] = None,
    accept: Annotated[str, Header()] = "",
) -> str:
    if format_ is None:
        return "csv" if "text/csv" in accept and "json" not in accept else "geojson"
    if format_ not in FORMATS:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"format: {format_[:40]!r} is not one of {', '.join(FORMATS)}",
        )
    if format_ == "parquet":
        try:
            load_arrow()
        except ConfigError as error:
            raise Problem(HTTPStatus.NOT_IMPLEMENTED, f"format: {error}") from None
    return format_


Format = Annotated[str, Depends(_format)]


@router.get(
    "/vehicles/{vehicle_id}/track",
    response_class=StreamingResponse,
    responses={200: {"content": {media: {} for media in FORMATS.values()}}},
    tags=["vehicles"],
)
def track(
    vehicle_id: str,
    context: Context,
    caller: Caller,
    wanted: Format,
    from_ms: FromQuery = None,
    to_ms: ToQuery = None,
) -> StreamingResponse:
    """Where a vehicle was, from ≤ device_time < to, whole however long.

    GeoJSON: a feature for each uninterrupted run of one source, with one value per vertex in the
    lists `device_time`, `speed_kmh`, …; a single reading is a Point.
    """
    with context.store.read() as connection:
        find_vehicle(connection, caller.scope, vehicle_id, context.now_ms())
    chunks = _chunks(context, vehicle_id, _begin(from_ms), _end(to_ms), wanted)
    parts = _WRITERS[wanted].write(vehicle_id, chunks)
    return StreamingResponse(parts, media_type=FORMATS[wanted])


@router.get(
    "/sources/{source:path}/track",
    response_class=StreamingResponse,
    responses={200: {"content": {FORMATS["csv"]: {}}}},
    tags=["sources"],
)
def source_track(
    source: str,
    context: Context,
    caller: Caller,
    _format: Annotated[Literal["csv"], Query(alias="format")] = "csv",
    from_ms: FromQuery = None,
    to_ms: ToQuery = None,
) -> StreamingResponse:
    """Every stored position of a source, claimed or not, usable or not, in order of its time."""
    with context.store.read() as connection:
        source_id = find_source(connection, caller.scope, source)
    if source_id is None:
        raise not_found("source", source)
    rows = _raw_chunks(context, source_id, _begin(from_ms), _end(to_ms))
    return StreamingResponse(raw_csv_lines(source, rows), media_type=FORMATS["csv"])


def _chunks(
    context: ApiContext, vehicle_id: str, from_ms: int, to_ms: int, format_: str
) -> Iterator[TrackColumns]:
    """A connection for each chunk: a slow reader holds none."""
    fields = _WRITERS[format_].fields
    readings_max = _OPENING_READINGS.get(format_, tracks.CHUNK_READINGS)
    at_ms = from_ms
    while at_ms < to_ms:
        with context.store.read() as connection:
            chunk, at_ms = tracks.read_chunk(
                connection, vehicle_id, at_ms, to_ms, fields, readings_max
            )
        if len(chunk):
            yield chunk
        readings_max = tracks.CHUNK_READINGS


def _raw_chunks(
    context: ApiContext, source_id: int, from_ms: int, to_ms: int
) -> Iterator[list[tuple[Any, ...]]]:
    after: tuple[int, int] | None = None
    while True:
        with context.store.read() as connection:
            rows, after = read_positions(connection, source_id, from_ms, to_ms, RAW_FIELDS, after)
        if after is None:
            return
        yield rows


def _begin(from_ms: int | None) -> int:
    return TIME_MS_MIN if from_ms is None else from_ms


def _end(to_ms: int | None) -> int:
    return TIME_MS_MAX if to_ms is None else to_ms
