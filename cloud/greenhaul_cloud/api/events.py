"""What happened to a vehicle: what its sources reported, and what its track tells."""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.motion import REACH_MS, Span
from greenhaul_cloud.api.shapes import (
    Instant,
    Listing,
    PageByReading,
    Shape,
    listing_of,
    reading_values,
)
from greenhaul_cloud.api.vehicles import find_vehicle
from greenhaul_cloud.store.bound_readings import list_bound
from greenhaul_cloud.store.pages import Key, Page, PageSpec
from greenhaul_cloud.store.tracks import read_track
from greenhaul_cloud.trips.edges import EdgeReader
from greenhaul_protocols.catalogue import KIND_OF, Event

router = APIRouter(prefix="/vehicles/{vehicle_id}", tags=["vehicles"])

_EVENT = KIND_OF[Event]
# In place of a source's id in the keys of edges, which are no readings: none has it.
_OF_TRACK = 0
_TOLD_BY = ("latitude_deg", "longitude_deg", "alarms", "status")


class EventShape(Shape):
    """Something that happened. A null: it was not said, or does not apply."""

    device_time: Instant
    source: str
    code: str | None = Field(
        description="Of the track: `ignition`, or an alarm as `alarm.overspeed`; as reported: "
        "`plug_in`, `fault_level`, `fix_lost`, `driver`, …"
    )
    is_derived: bool = Field(description="Told from the track, not reported by the source.")
    is_on: bool | None = Field(None, description="Whether it began; of the track's only.")
    position: tuple[float, float] | None = Field(None, description="[longitude, latitude]")
    detail: Any = Field(None, description="As the source said it: usually an object.")
    raw: str | None = Field(None, description="Bytes in lower-case hex.")
    received_time: Instant | None = None
    stored_time: Instant | None = None
    time_quality: str | None = None
    is_backlog: bool | None = None


@router.get("/events", response_model=Listing[EventShape])
def list_events(
    vehicle_id: str, context: Context, caller: Caller, span: Span, page: PageByReading
) -> object:
    """Events as reported, and alarms and ignition going on and off as the track tells.

    In device time (default: the last day), oldest first: backlogs are put in order before.
    """
    with context.store.read() as connection:
        find_vehicle(connection, caller.scope, vehicle_id, context.now_ms())
        reported = list_bound(
            connection,
            _EVENT.number,
            vehicle_id,
            page,
            from_ms=span[0],
            to_ms=span[1],
            is_newest_first=False,
        )
        told = list(islice(_edges(connection, vehicle_id, span, page.after), page.limit + 1))
    return _merged(reported, told, page)


def _merged(reported: Page, told: list[tuple[Key, dict[str, Any]]], page: PageSpec) -> object:
    """A page of both, in order of their keys."""
    keyed = [
        ((row["device_time"], row["source_id"], row["digest"]), _reported(row))
        for row in reported.rows
    ]
    items = sorted([*keyed, *told], key=itemgetter(0))
    has_more = len(items) > page.limit or reported.next_key is not None
    items = items[: page.limit]
    rows = [values for _, values in items]
    next_key = items[-1][0] if has_more else None
    return listing_of(Page(rows, next_key), lambda values: values)  # type: ignore[arg-type]


def _edges(
    connection: Connection, vehicle_id: str, span: tuple[int, int], after: Key | None
) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Of the track, with keys that nothing reported has, in their order."""
    reader, ordinal, of_ms = EdgeReader(), 0, None
    for chunk in read_track(connection, vehicle_id, span[0] - REACH_MS, span[1], _TOLD_BY):
        edges = reader.read(chunk.device_time_ms, chunk.source, chunk.sources, chunk.values)
        longitudes, latitudes = chunk.values["longitude_deg"], chunk.values["latitude_deg"]
        for edge in edges:
            ordinal = ordinal + 1 if edge.device_time_ms == of_ms else 0
            of_ms = edge.device_time_ms
            key: Key = (of_ms, _OF_TRACK, ordinal)
            if of_ms < span[0] or (after is not None and key <= after):
                continue
            values = {
                "device_time": of_ms,
                "source": chunk.sources[edge.source],
                "code": edge.code,
                "is_derived": True,
                "is_on": edge.is_on,
                "position": (float(longitudes[edge.reading]), float(latitudes[edge.reading])),
            }
            yield key, values


def _reported(row: Any) -> dict[str, Any]:
    values = reading_values(row, _EVENT.fields)
    detail = values["detail"]
    if isinstance(detail, str):
        with suppress(ValueError):  # a text, then
            values["detail"] = json.loads(detail)
    return {**values, "is_derived": False}
