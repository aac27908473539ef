"""What the folds of some vehicles begin from, read in a few statements for all of them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from greenhaul_cloud.derive.frozen import clamped, frozen_before, since
from greenhaul_cloud.derive.inputs import FenceSet, VehicleWindows, attributes_of_many
from greenhaul_cloud.fold.readings import REACH_MS
from greenhaul_cloud.fold.windows import Interval
from greenhaul_cloud.store.fleet_tracks import Part, first_of, last_of, newest_of
from greenhaul_cloud.store.tables import dirty, fold_state
from greenhaul_cloud.store.tracks import Bound, sources_of
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time

log = logging.getLogger(__name__)

# Tracks held in memory at a time, in seconds of device time: nearly as many readings at most, some
# 70 bytes each. What one vehicle has to fold anew beyond its share is read bit by bit; and so is a
# change long ago, rather than all that came since.
HELD_S_MAX = 500_000
VEHICLE_S_MAX = 50_000
UNCHANGED_S_MAX = 7_200
# Vehicles read bit by bit that are folded in one go: each may take seconds, and all of them share
# what it takes to open a group.
UNHELD_MAX = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A span of device time in which something changed, and the revision that it was seen at."""

    mark_id: int
    from_ms: int
    to_ms: int
    revision: int


@dataclass(frozen=True, slots=True)
class Case:
    """A vehicle to fold.

    changes: closed spans to fold anew, what time alone has uncovered among them. before_ms: its
    last reading before them, if there is one. size_s: how long a track that is, of all sources.
    """

    vehicle_id: str
    marks: Sequence[Mark]
    last_as_of_ms: int | None
    as_of_ms: int
    bounds: Sequence[Bound]
    windows: VehicleWindows
    frozen_before_ms: int
    changes: Sequence[Interval]
    before_ms: int | None = None
    size_s: float = 0.0

    @property
    def first_ms(self) -> int:
        """Where the changes begin."""
        return min((first_ms for first_ms, _ in self.changes), default=self.as_of_ms)

    @property
    def is_held(self) -> bool:
        """Whether its track is held from the changes on, in one with those of others."""
        changed_s = sum(last_ms - first_ms for first_ms, last_ms in self.changes) / 1000
        return self.size_s <= min(VEHICLE_S_MAX, changed_s + UNCHANGED_S_MAX)

    def part_from(self, from_ms: int) -> Part:
        """The vehicle's track from an instant on."""
        return Part(self.bounds, max(from_ms, TIME_MS_MIN), TIME_MS_MAX)


def open_cases(
    conn: Connection, vehicle_ids: Sequence[str], fences: FenceSet, now_ms: int
) -> list[Case]:
    """Cases of those vehicles that nobody has folded up to now already."""
    marks = _marks_of(conn, vehicle_ids)
    states = as_of_states(conn, vehicle_ids)
    sources = sources_of(conn, vehicle_ids)
    attributes = attributes_of_many(conn, vehicle_ids)
    frozen_before_ms = frozen_before(conn)
    cases = []
    for vehicle_id in vehicle_ids:
        seen, last_as_of_ms = marks.get(vehicle_id, []), states.get(vehicle_id)
        if not seen and last_as_of_ms is not None and last_as_of_ms >= now_ms:
            continue
        # time does not go back for a fold, whatever the clock does
        as_of_ms = max(now_ms, last_as_of_ms or now_ms)
        for mark in seen:
            if mark.from_ms < frozen_before_ms:
                log.info("event=mark_clamped vehicle=%s from=%s kept_from=%s", vehicle_id,
                         format_time(mark.from_ms), format_time(frozen_before_ms))  # fmt: skip
        cases.append(
            Case(
                vehicle_id,
                seen,
                last_as_of_ms,
                as_of_ms,
                since(sources[vehicle_id], frozen_before_ms),
                VehicleWindows(fences, sources[vehicle_id], attributes[vehicle_id]),
                frozen_before_ms,
                clamped(_changes(seen, last_as_of_ms, as_of_ms), frozen_before_ms),
            )
        )
    return _measured(conn, cases)


def in_groups(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Cases whose tracks can be held at a time, the small ones first; then, a few at a time, those
    whose tracks are not held."""
    group: list[Case] = []
    size_s = 0.0
    for case in sorted(cases, key=lambda case: (not case.is_held, case.size_s)):
        held_s = case.size_s if case.is_held else HELD_S_MAX / UNHELD_MAX
        if group and size_s + held_s > HELD_S_MAX:
            yield group
            group, size_s = [], 0.0
        group.append(case)
        size_s += held_s
    if group:
        yield group


def as_of_states(conn: Connection, vehicle_ids: Sequence[str]) -> dict[str, int]:
    """Up to when each vehicle was folded; one that never was is left out."""
    query = select(fold_state.c.vehicle_id, fold_state.c.as_of)
    rows = conn.execute(query.where(fold_state.c.vehicle_id.in_(vehicle_ids)))
    return {row.vehicle_id: row.as_of for row in rows}


def _marks_of(conn: Connection, vehicle_ids: Sequence[str]) -> dict[str, list[Mark]]:
    columns = dirty.c
    query = select(
        columns.vehicle_id, columns.id, columns.from_time, columns.to_time, columns.revision
    ).where(columns.vehicle_id.in_(vehicle_ids))
    found: dict[str, list[Mark]] = {}
    for vehicle_id, *mark in conn.execute(query.order_by(columns.vehicle_id, columns.from_time)):
        found.setdefault(vehicle_id, []).append(Mark(*mark))
    return found


def _changes(marks: Sequence[Mark], last_as_of_ms: int | None, as_of_ms: int) -> list[Interval]:
    """Closed spans to fold anew: what was marked, and what time itself has uncovered since."""
    changes = [
        (mark.from_ms, min(mark.to_ms, as_of_ms)) for mark in marks if mark.from_ms <= as_of_ms
    ]
    if last_as_of_ms is not None and last_as_of_ms < as_of_ms:
        changes.append((last_as_of_ms + 1, as_of_ms))
    return changes


def _measured(conn: Connection, cases: Sequence[Case]) -> list[Case]:
    """The cases with what they say of their tracks."""
    before = last_of(conn, [Part(case.bounds, TIME_MS_MIN, case.first_ms) for case in cases])
    newest = newest_of(conn, sorted({one.source_id for case in cases for one in case.bounds}))
    # between a truck's last reading before the changes and these, a night maybe, there are none
    low = [case.first_ms for case in cases]
    # a mark may begin long before the first reading
    early = [n for n, case in enumerate(cases) if _size_s(case, low[n], newest) > VEHICLE_S_MAX]
    first = first_of(conn, [cases[n].part_from(low[n]) for n in early])
    for n, first_ms in zip(early, first, strict=True):
        low[n] = TIME_MS_MAX if first_ms is None else first_ms
    return [
        replace(case, before_ms=before_ms, size_s=_size_s(case, low_ms, newest))
        for case, before_ms, low_ms in zip(cases, before, low, strict=True)
    ]


def _size_s(case: Case, low_ms: int, newest: Mapping[int, int]) -> float:
    ends = (newest.get(bound.source_id, low_ms) for bound in case.bounds)
    return sum(max(end_ms - low_ms + REACH_MS, 0) / 1000 for end_ms in ends)
