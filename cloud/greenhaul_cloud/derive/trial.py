"""A change of the past, tried before it is made: what it would say differently."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import Connection, select

from greenhaul_cloud.derive.frozen import clamped, frozen_before, since
from greenhaul_cloud.derive.inputs import FenceSet, windows_for
from greenhaul_cloud.derive.readings import StoredReadings
from greenhaul_cloud.derive.results import readable
from greenhaul_cloud.derive.stored import load_all
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence, FenceVersion
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.matching import Matching
from greenhaul_cloud.fold.refold import StoredFold, refold
from greenhaul_cloud.store.calendars import load_calendar
from greenhaul_cloud.store.fences import load_fences, vehicles_concerned
from greenhaul_cloud.store.tables import fold_state
from greenhaul_cloud.store.tracks import bound_sources

# Differences listed; a change that makes more is better tried on fewer days first.
DIFFERENCES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One visit or violation that would be new, other, or withdrawn; values as the API has them."""

    vehicle_id: str
    what: Literal["visit", "violation"]
    change: Literal["added", "amended", "withdrawn"]
    id: int | None
    was: dict[str, Any] | None
    now: dict[str, Any] | None


def try_version(
    conn: Connection, version: FenceVersion, now_ms: int, calendar: str
) -> Iterator[Difference]:
    """What a version would change, vehicle by vehicle; nothing is written."""
    fence_id, from_ms = version.fence_id, version.valid_from_ms
    held = load_fences(conn, [fence_id]).get(fence_id)
    fence = Fence.of([*(held.versions if held else ()), version])
    tried = FenceSet({fence_id: fence}, FenceIndex(fence.versions), load_calendar(conn, calendar))
    frozen_before_ms = frozen_before(conn)
    for vehicle_id in vehicles_concerned(conn, fence_id, from_ms):
        bounds = bound_sources(conn, vehicle_id)
        query = select(fold_state.c.as_of).where(fold_state.c.vehicle_id == vehicle_id)
        as_of_ms = max(conn.execute(query).scalar() or now_ms, now_ms)
        result = refold(
            StoredReadings(conn, since(bounds, frozen_before_ms)),
            windows_for(conn, vehicle_id, tried, bounds),
            {fence_id: load_all(conn, vehicle_id).get(fence_id, StoredFold())},
            clamped([(min(from_ms, as_of_ms), as_of_ms)], frozen_before_ms),
            as_of_ms=as_of_ms,
            index=tried.index,
            why="tried",
            frozen_before_ms=frozen_before_ms,
        )
        for told in result.fences.values():
            yield from _differences(vehicle_id, "visit", told.visits)
            yield from _differences(vehicle_id, "violation", told.violations)


def _differences(
    vehicle_id: str, what: Literal["visit", "violation"], matching: Matching[int, Any]
) -> Iterator[Difference]:
    for now in matching.added:
        yield Difference(vehicle_id, what, "added", None, None, _shown(now))
    for change in matching.amended:
        was, now = _shown(change.was), _shown(change.now)
        yield Difference(vehicle_id, what, "amended", change.id, was, now)
    for row_id, was in matching.withdrawn:
        yield Difference(vehicle_id, what, "withdrawn", row_id, _shown(was), None)


def _shown(interval: Visit | Violation) -> dict[str, Any]:
    seen = (field.name for field in fields(interval) if field.name not in interval.UNSEEN)
    return readable((name, getattr(interval, name)) for name in seen)
