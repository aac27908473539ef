"""Cases folded: most at one glance, for nothing can have happened to them, the rest one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from greenhaul_cloud.derive.cases import Case
from greenhaul_cloud.derive.inputs import FenceSet
from greenhaul_cloud.derive.readings import HeldReadings, StoredReadings, load_tracks
from greenhaul_cloud.derive.stored import Folds, has_older, load_all, load_folds
from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS
from greenhaul_cloud.fold.laid import paths_of
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.quiet import touched_fences
from greenhaul_cloud.fold.readings import REACH_MS, ReadingWindow
from greenhaul_cloud.fold.refold import VehicleRefold, refold, wanting_fences
from greenhaul_cloud.fold.track import Fleet, Track
from greenhaul_protocols.times import TIME_MS_MAX

# Readings surveyed at a time: their columns take half a kilobyte each.
SURVEYED = 50_000

# Minutes before a change mostly have an anchor (`fold/readings.py`), a day nearly always.
LOOK_BACK_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Folded:
    """A fold on its way to be written. due_ms: when time alone will change it; None: never."""

    case: Case
    result: VehicleRefold[int]
    due_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """A fold that raised."""

    case: Case
    error: Exception


def fold_cases(
    conn: Connection, cases: Sequence[Case], fences: FenceSet
) -> Iterator[Folded | Raised]:
    """Fold each of a group. One that raises does not hold up the others."""
    since_ms = {case.vehicle_id: case.first_ms - LOOK_BACK_MS for case in cases}
    stored = load_folds(conn, since_ms, wanting_fences(fences.index))
    quiet = _quiet_of(conn, cases, stored, fences)
    loud = []
    for case in cases:
        if case.vehicle_id in quiet:
            yield _told(case, VehicleRefold({}, quiet[case.vehicle_id]))
        else:
            loud.append(case)
    yield from _refold_all(conn, loud, stored, fences)


def _quiet_of(
    conn: Connection, cases: Sequence[Case], stored: Mapping[str, Folds], fences: FenceSet
) -> dict[str, int]:
    """Vehicles to which nothing can have happened, with how many readings say so: no stay was going
    on, and the truck keeps away from all that binds it."""
    asked = [case for case in cases if case.is_held and _was_away(case, stored[case.vehicle_id])]
    tracks = load_tracks(conn, [case.part_from(_quiet_from_ms(case)) for case in asked])
    wanting = wanting_fences(fences.index)
    found = {}
    for chunk in _chunks(tracks):
        touched = touched_fences(Fleet.of(tracks[chunk]), fences.index)
        some = zip(asked[chunk], tracks[chunk], strict=True)
        for number, (case, track) in enumerate(some):
            near = (touched.get(number, set()) | wanting) & case.windows.keys()
            if _begins_before(case, track) and not any(case.windows[key] for key in near):
                found[case.vehicle_id] = len(track)
    return found


def _low_ms(case: Case) -> int:
    return ALWAYS_MS if case.before_ms is None else case.before_ms


def _quiet_from_ms(case: Case) -> int:
    """The last reading before the changes; where several sources are bound that may be one that
    does not lead, and the one that does lies before it."""
    return _low_ms(case) - (REACH_MS if len(case.bounds) > 1 else 0)


def _begins_before(case: Case, track: Track) -> bool:
    """Whether a reading before the changes is among those of the track, if there is one at all."""
    return case.before_ms is None or bool((track.device_time_ms[:1] < case.first_ms).any())


def _was_away(case: Case, stored: Folds) -> bool:
    """Whether no stay was going on at the last reading before the changes, or later: if the truck
    keeps away from there on, that reading is an anchor outside, and so are all that follow."""
    from_ms = case.first_ms if case.before_ms is None else _quiet_from_ms(case)
    if from_ms < case.first_ms - LOOK_BACK_MS:
        return False  # what ended since then was not loaded
    for held in stored.values():
        if any(visit.visit_entered_ms is None for _, visit in held.violations):
            return False
        for _, visit in held.visits:
            if visit.left_confirmed_ms is None or visit.left_confirmed_ms >= from_ms:
                return False
    return True


def _refold_all(
    conn: Connection, cases: Sequence[Case], stored: dict[str, Folds], fences: FenceSet
) -> Iterator[Folded | Raised]:
    """Fold one by one, the tracks of those that are not too large at hand."""
    held = [case for case in cases if case.is_held]
    not_held = [case for case in cases if not case.is_held]
    tracks = load_tracks(conn, [case.part_from(_low_ms(case) - REACH_MS) for case in held])
    for case, path in chain(_surveyed(held, tracks, fences), ((c, None) for c in not_held)):
        readings: ReadingWindow = StoredReadings(conn, case.bounds)
        if path is not None:
            readings = HeldReadings(path.track, _low_ms(case) - REACH_MS, readings)
        try:
            result = _refold(conn, case, readings, path, stored[case.vehicle_id], fences)
            yield _told(case, result)
        except DBAPIError:
            raise  # the snapshot is gone, for all of them
        except Exception as error:  # noqa: BLE001  # the caller sets it aside, and logs it
            yield Raised(case, error)


def _surveyed(
    cases: Sequence[Case], tracks: Sequence[Track], fences: FenceSet
) -> Iterator[tuple[Case, Path]]:
    """Each with the path of its track."""
    for chunk in _chunks(tracks):
        yield from zip(cases[chunk], paths_of(tracks[chunk], fences.index), strict=True)


def _chunks(tracks: Sequence[Track]) -> Iterator[slice]:
    """As many tracks as are surveyed at a time, at least one."""
    ends = np.cumsum([len(track) for track in tracks])
    at = done = 0
    while at < len(tracks):
        past = max(int(np.searchsorted(ends, done + SURVEYED, side="right")), at + 1)
        yield slice(at, past)
        at, done = past, int(ends[past - 1])


def _refold(
    conn: Connection,
    case: Case,
    readings: ReadingWindow,
    path: Path | None,
    stored: Folds,
    fences: FenceSet,
) -> VehicleRefold[int]:
    """Nearly always the last day of what stands is enough; all of it grows without end."""

    def of(folds: Folds) -> VehicleRefold[int]:
        return refold(
            readings,
            case.windows,
            folds,
            case.changes,
            as_of_ms=case.as_of_ms,
            index=fences.index,
            why="refolded",
            frozen_before_ms=case.frozen_before_ms,
            surveyed=path,
        )

    result = of(stored)
    since_ms = case.first_ms - LOOK_BACK_MS
    if result.looked_back_ms >= since_ms or not has_older(conn, case.vehicle_id, since_ms):
        return result
    return of(load_all(conn, case.vehicle_id))


def _told(case: Case, result: VehicleRefold[int]) -> Folded:
    next_ms = NEVER_MS if case.next_ms is None else case.next_ms
    due_ms = min(next_ms, result.due_ms, case.windows.next_border_ms(case.as_of_ms))
    return Folded(case, result, due_ms if due_ms <= TIME_MS_MAX else None)
