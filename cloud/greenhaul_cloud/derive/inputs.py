"""Everything a vehicle's fold looks at, read from one snapshot of the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from greenhaul_cloud.fences.feature import attributes_of
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS, Attributes, Fence, FenceVersion
from greenhaul_cloud.fences.rules import hours_of
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.windows import Interval, Window, joined, scope_of, windows_of
from greenhaul_cloud.hours.calendar import CHINA, Calendar
from greenhaul_cloud.hours.expression import depends_on_weekdays
from greenhaul_cloud.store.calendars import calendar_state, load_calendar
from greenhaul_cloud.store.fences import fence_changes, fences_state, load_fences
from greenhaul_cloud.store.tables import vehicle_attributes
from greenhaul_cloud.store.tracks import Bound, first_from, last_before, load_track
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

_FIELDS = ("latitude_deg", "longitude_deg", "speed_kmh", "heading_deg", "odometer_km", "status")
_STATUS_IGNITION = 1  # JT/T 808 status bit 0: ACC on


@dataclass(frozen=True, slots=True)
class FenceSet:
    """All fences, one index over all their versions, and the calendar their hours ask.

    asks_calendar: whether any rule's hours look at weekdays or days off.
    """

    fences: Mapping[str, Fence]
    index: FenceIndex
    calendar: Calendar = CHINA
    asks_calendar: bool = False

    def version(self, fence_id: str, number: int) -> FenceVersion:
        """One version of a fence."""
        return self.index.versions[self.index.slot_of[fence_id, number]]


class FenceShelf:
    """The fence set as it is now; built anew only when a fence changed, of what did not change."""

    def __init__(self, calendar: str = "CN") -> None:
        self._calendar = calendar
        self._state: tuple[tuple[int, int], ...] | None = None
        self._changed_ms: dict[str, int] = {}
        self._held = FenceSet({}, FenceIndex([]))

    def take(self, conn: Connection) -> FenceSet:
        """The fences of this snapshot."""
        state = fences_state(conn), calendar_state(conn)
        if state != self._state:
            changed_ms = fence_changes(conn)
            fences = self._fences(conn, changed_ms)
            versions = [version for fence in fences.values() for version in fence.versions]
            calendar = load_calendar(conn, self._calendar)
            hours = (hours_of(rule) for version in versions for rule in version.rules)
            asks = any(depends_on_weekdays(text) for text in hours if text is not None)
            self._held = FenceSet(fences, FenceIndex(versions), calendar, asks)
            self._state, self._changed_ms = state, changed_ms
        return self._held

    def _fences(self, conn: Connection, changed_ms: Mapping[str, int]) -> dict[str, Fence]:
        """All fences, by id, in order; those that have not changed are taken over."""
        stale = [key for key, at_ms in changed_ms.items() if self._changed_ms.get(key) != at_ms]
        known = {**self._held.fences, **load_fences(conn, stale)}
        return {key: known[key] for key in sorted(changed_ms)}


class StoredReadings:
    """A vehicle's stored track as the fold's reading window."""

    def __init__(self, conn: Connection, bounds: Sequence[Bound]) -> None:
        self._conn, self._bounds = conn, bounds

    def load(self, from_ms: int, to_ms: int) -> Track:
        """Readings with from_ms ≤ device time < to_ms."""
        columns = load_track(self._conn, self._bounds, from_ms, to_ms, _FIELDS)
        status = columns.values["status"]
        is_on = (np.nan_to_num(status).astype(np.int64) & _STATUS_IGNITION).astype(np.int8)
        return Track(
            columns.device_time_ms,
            columns.values["latitude_deg"],
            columns.values["longitude_deg"],
            columns.values["speed_kmh"],
            columns.values["heading_deg"],
            columns.values["odometer_km"],
            np.where(np.isnan(status), np.int8(-1), is_on),
            columns.digest,
        )

    def last_before(self, time_ms: int) -> int | None:
        """Device time of the last reading before an instant."""
        return last_before(self._conn, self._bounds, time_ms)

    def first_from(self, time_ms: int) -> int | None:
        """Device time of the first reading at or after an instant."""
        return first_from(self._conn, self._bounds, time_ms)


def windows_for(
    conn: Connection, vehicle_id: str, fences: FenceSet, bounds: Sequence[Bound]
) -> dict[str, tuple[Window, ...]]:
    """When each fence binds a vehicle: its versions, while it is bound and in scope."""
    bound = joined((_open(one.from_ms), _open(one.to_ms)) for one in bounds)
    held = _attributes(conn, vehicle_id)
    return {
        fence_id: windows_of(fence, _common(scope_of(fence, held), bound), fences.calendar)
        for fence_id, fence in fences.fences.items()
    }


def _open(time_ms: int) -> int:
    if time_ms <= TIME_MS_MIN:
        return ALWAYS_MS
    return NEVER_MS if time_ms >= TIME_MS_MAX else time_ms


def _attributes(conn: Connection, vehicle_id: str) -> list[tuple[int, int, Attributes]]:
    """(from, to, attributes) without a break; before the first entry nothing is known."""
    columns = vehicle_attributes.c
    query = select(vehicle_attributes).where(columns.vehicle_id == vehicle_id)
    rows: Sequence[Any] = conn.execute(query.order_by(columns.valid_from)).mappings().all()
    starts = [ALWAYS_MS, *(row["valid_from"] for row in rows)]
    ends = [*starts[1:], NEVER_MS]
    held = [
        Attributes(),
        *(attributes_of(row["energy"], row["class"], row["tags"]) for row in rows),
    ]
    return list(zip(starts, ends, held, strict=True))


def _common(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """What two disjoint, ordered lists of [from, to) share."""
    pieces = [
        (max(a_from, b_from), min(a_to, b_to)) for a_from, a_to in one for b_from, b_to in other
    ]
    return joined(piece for piece in pieces if piece[0] < piece[1])
