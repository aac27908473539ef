"""Who was in an area: the fold asked about a polygon that is no fence."""

from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Caller
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import Id, InstantIn, Shape, Wish
from greenhaul_cloud.derive.inputs import FenceSet, windows_for
from greenhaul_cloud.derive.readings import StoredReadings
from greenhaul_cloud.evaluate import line_of
from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence
from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.fold.fold import fold_path
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.store.calendars import load_calendar
from greenhaul_cloud.store.tracks import bound_sources, vehicles_between

router = APIRouter(tags=["findings"])

# A quarter; a fleet's tracks of longer are a report to be made at night, not a question.
SPAN_MS_MAX = 92 * 86_400_000
VISITS_MAX = 10_000


class PresenceWish(Wish):
    """An area and a time. `feature` is one as for a fence; its rules, if any, are judged too."""

    feature: dict[str, Any]
    from_: Annotated[InstantIn, Field(alias="from")]
    to: InstantIn
    vehicle_id: Id | None = None


class PresenceAnswer(Shape):
    """Visits by vehicle and time; `is_complete`: there are no more than these."""

    items: list[dict[str, Any]]
    is_complete: bool


@router.post("/visits/query", response_model=PresenceAnswer)
def query_visits(wish: PresenceWish, context: Context, caller: Caller) -> object:
    """Who was in an area between two instants, without a stored fence, by the same engine.

    A vehicle there at the first reading of the time asked about is known by `first_reading`.
    """
    from_ms, to_ms = wish.from_, wish.to
    if not 0 < to_ms - from_ms <= SPAN_MS_MAX:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "to: after from, by 92 days at most")
    try:
        version = parse_feature({**wish.feature, "type": "Feature"}, default_id="asked")
    except FeatureError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    fence = Fence.of([version])
    with context.store.read() as connection:
        calendar = load_calendar(connection, context.config.derive.calendar)
        asked = FenceSet({fence.fence_id: fence}, FenceIndex(fence.versions), calendar)
        vehicles = vehicles_between(connection, caller.scope, from_ms, to_ms, wish.vehicle_id)
        as_of_ms = min(to_ms, context.now_ms())
        lines = _visits(connection, vehicles, asked, from_ms, as_of_ms)
        items = list(islice(lines, VISITS_MAX + 1))
    return {"items": items[:VISITS_MAX], "is_complete": len(items) <= VISITS_MAX}


def _visits(
    connection: Connection, vehicles: list[str], asked: FenceSet, from_ms: int, to_ms: int
) -> Iterator[dict[str, Any]]:
    [fence_id] = asked.fences
    for vehicle_id in vehicles:
        bounds = bound_sources(connection, vehicle_id, from_ms, to_ms)
        track = StoredReadings(connection, bounds).load(from_ms, to_ms + 1).ordered()
        windows = windows_for(connection, vehicle_id, asked, bounds)[fence_id]
        found = fold_path(Path(track, asked.index), windows, to_ms)
        for visit in found.visits:
            broken = [v for v in found.violations if v.visit_entered_ms == visit.entered_ms]
            yield {"vehicle_id": vehicle_id, **line_of(visit, broken)}
