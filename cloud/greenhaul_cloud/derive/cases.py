"""What the folds of some vehicles begin from, read in a few statements for all of them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from greenhaul_cloud.derive.frozen import clamped, frozen_before, since
from greenhaul_cloud.derive.inputs import FenceSet, VehicleWindows, attributes_of_many
from greenhaul_cloud.fold.readings import REACH_MS
from greenhaul_cloud.fold.windows import Interval, joined
from greenhaul_cloud.store.asking import among
from greenhaul_cloud.store.fleet_tracks import Part, first_of, how_many, last_of, newest_of
from greenhaul_cloud.store.tables import dirty, fold_state
from greenhaul_cloud.store.tracks import Bound, sources_of
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time

log = logging.getLogger(__name__)

# Readings held in memory at a time, some 70 bytes each. What one vehicle has to fold anew beyond
# its share is read bit by bit; and so is a change long ago, rather than all that came since.
HELD_MAX = 500_000
VEHICLE_MAX = 50_000
UNCHANGED_MAX = 7_200
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
class State:
    """Up to when a vehicle was folded, and when time alone will change that; None: never."""

    as_of_ms: int
    due_ms: int | None

    def is_due(self, now_ms: int) -> bool:
        """Whether that time has come."""
        return self.due_ms is not None and self.due_ms <= now_ms


@dataclass(frozen=True, slots=True)
class Case:
    """A vehicle to fold.

    changes: closed spans to fold anew, what time alone has uncovered among them. before_ms: its
    last reading before them, next_ms: the first after as_of, if there are such. readings: how many
    are to be expected from the changes on, of all sources; changed: how many of them in the
    changes. Of more than a vehicle's share it is only known that they are more.
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
    next_ms: int | None = None
    readings: int = 0
    changed: int = 0

    @property
    def first_ms(self) -> int:
        """Where the changes begin."""
        return min((first_ms for first_ms, _ in self.changes), default=self.as_of_ms)

    @property
    def is_held(self) -> bool:
        """Whether its track is held from the changes on, in one with those of others."""
        return self.readings <= min(VEHICLE_MAX, self.changed + UNCHANGED_MAX)

    def part_from(self, from_ms: int) -> Part:
        """The vehicle's track from an instant on; what is later than as_of does not exist yet."""
        return Part(self.bounds, max(from_ms, TIME_MS_MIN), self.as_of_ms + 1)


def open_cases(
    conn: Connection, vehicle_ids: Sequence[str], fences: FenceSet, now_ms: int
) -> list[Case]:
    """Cases of those vehicles that have a mark, or for which it is time: others have been folded
    since they were found."""
    marks = _marks_of(conn, vehicle_ids)
    states = states_of(conn, vehicle_ids)
    sources = sources_of(conn, vehicle_ids)
    attributes = attributes_of_many(conn, vehicle_ids)
    frozen_before_ms = frozen_before(conn)
    cases = []
    for vehicle_id in vehicle_ids:
        seen, state = marks.get(vehicle_id, []), states.get(vehicle_id)
        if not seen and state is not None and not state.is_due(now_ms):
            continue
        last_as_of_ms = None if state is None else state.as_of_ms
        # time goes on from fold to fold, whatever the clock does: so they tell each other apart
        as_of_ms = now_ms if last_as_of_ms is None else max(now_ms, last_as_of_ms + 1)
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
    size = 0
    for case in sorted(cases, key=lambda case: (not case.is_held, case.readings)):
        held = case.readings if case.is_held else HELD_MAX // UNHELD_MAX
        if group and size + held > HELD_MAX:
            yield group
            group, size = [], 0
        group.append(case)
        size += held
    if group:
        yield group


def states_of(conn: Connection, vehicle_ids: Sequence[str]) -> dict[str, State]:
    """How each vehicle was folded last; one that never was is left out."""
    query = select(fold_state).where(among(conn, fold_state.c.vehicle_id, vehicle_ids))
    return {row.vehicle_id: State(row.as_of, row.due_at) for row in conn.execute(query)}


def _marks_of(conn: Connection, vehicle_ids: Sequence[str]) -> dict[str, list[Mark]]:
    columns = dirty.c
    query = select(
        columns.vehicle_id, columns.id, columns.from_time, columns.to_time, columns.revision
    ).where(among(conn, columns.vehicle_id, vehicle_ids))
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
    """The cases with what they say of their tracks: of long ones the readings are counted, for a
    mark may begin before the first of them, and a truck may be silent for a night or send every
    half minute."""
    before = last_of(conn, [Part(case.bounds, TIME_MS_MIN, case.first_ms) for case in cases])
    after = first_of(conn, [Part(case.bounds, case.as_of_ms + 1, TIME_MS_MAX) for case in cases])
    newest = newest_of(conn, sorted({one.source_id for case in cases for one in case.bounds}))
    short = [_seconds(case, newest) for case in cases]
    measured = [
        replace(case, before_ms=before_ms, next_ms=next_ms, readings=seconds, changed=seconds)
        for case, before_ms, next_ms, seconds in zip(cases, before, after, short, strict=True)
    ]
    long = [n for n, seconds in enumerate(short) if seconds > UNCHANGED_MAX]
    parts = [cases[n].part_from(cases[n].first_ms) for n in long]
    readings = how_many(conn, parts, VEHICLE_MAX + 1)
    spans = [
        (n, *span)
        for n in long
        for span in joined((first_ms, last_ms + 1) for first_ms, last_ms in cases[n].changes)
    ]
    parts = [Part(cases[n].bounds, max(low, TIME_MS_MIN), high) for n, low, high in spans]
    changed = dict.fromkeys(long, 0)
    for (n, _, _), count in zip(spans, how_many(conn, parts, VEHICLE_MAX + 1), strict=True):
        changed[n] += count
    for n, count in zip(long, readings, strict=True):
        measured[n] = replace(measured[n], readings=count, changed=changed[n])
    return measured


def _seconds(case: Case, newest: Mapping[int, int]) -> int:
    """How long a track that is, of all sources: nearly as many readings at most."""
    low_ms = case.first_ms
    ends = (newest.get(bound.source_id, low_ms) for bound in case.bounds)
    return sum(max(min(end_ms, case.as_of_ms) - low_ms + REACH_MS, 0) // 1000 for end_ms in ends)
