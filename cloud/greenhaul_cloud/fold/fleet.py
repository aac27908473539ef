"""Many vehicles folded from scratch at once: the visits of the plain fold, found in columns.

What most vehicles do most of the time (drive, stand, enter, leave) is solved for all vehicles and
fences together. What is rare (a silence while inside, a parked truck seen on both sides of a
border, a fence that begins or ends meanwhile) is left to the plain fold, pair by pair.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import NEVER_MS, Settings
from greenhaul_cloud.fold.courses import Course, Courses
from greenhaul_cloud.fold.fold import presence_of
from greenhaul_cloud.fold.intervals import Certainty, How, Visit
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.stays import Stays, stays_of
from greenhaul_cloud.fold.track import Fleet
from greenhaul_cloud.fold.visits import visits_of
from greenhaul_cloud.fold.windows import Window, begun, version_at

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class StayColumns:
    """Visits of one vehicle and one fence version each, as columns (m,).

    Certain, but for those that begin or go on by a glimpse.
    """

    vehicle: Indices
    slot: Indices
    stays: Stays


class FleetVisits:
    """The visits of a fleet: most in columns, the rest as they are."""

    def __init__(
        self,
        index: FenceIndex,
        columns: Sequence[StayColumns],
        plain: Mapping[tuple[int, str], Sequence[Visit]],
    ) -> None:
        self._index = index
        self.columns = columns
        self.plain = plain

    def __len__(self) -> int:
        """How many visits."""
        return sum(len(c.vehicle) for c in self.columns) + sum(map(len, self.plain.values()))

    def by_vehicle(self) -> dict[int, dict[str, list[Visit]]]:
        """Visits as the plain fold gives them, by number of the vehicle and fence id, in order."""
        found: dict[int, dict[str, list[Visit]]] = defaultdict(dict)
        for (vehicle, fence_id), visits in self.plain.items():
            if visits:
                found[vehicle][fence_id] = list(visits)
        for columns in self.columns:
            for vehicle, slot, visit in _objects(columns, self._index):
                fence_id = self._index.versions[slot].fence_id
                found[vehicle].setdefault(fence_id, []).append(visit)
        return dict(found)


def fold_fleet(
    fleet: Fleet,
    windows: Mapping[str, Sequence[Window]],
    *,
    as_of_ms: int,
    index: FenceIndex,
) -> FleetVisits:
    """Visits of every vehicle in every fence; readings after `as_of_ms` do not exist yet.

    windows: by fence id, the same for all the vehicles; a fence not named is not asked. index:
    holds every version in the windows.
    """
    fleet = fleet.until(as_of_ms)
    if len(fleet) == 0:
        return FleetVisits(index, [], {})
    windows = {fence_id: _begun(held, as_of_ms) for fence_id, held in windows.items()}
    courses = Courses(fleet, index)
    first_ms = fleet.track.device_time_ms[fleet.first[:-1]]
    last_ms = fleet.track.device_time_ms[fleet.first[1:] - 1]
    steady = _steady(windows, index, as_of_ms)
    begins_ms, confirm_ms = np.zeros((2, len(index.versions)), np.int64)
    for slot, from_ms in steady.items():
        begins_ms[slot], confirm_ms[slot] = from_ms, index.versions[slot].settings.confirm_ms
    columns: list[StayColumns] = []
    hard: set[tuple[int, str]] = set()
    for settings, slots in _by_gaps(steady, index):
        course = courses.course(settings, slots)
        stays = stays_of(course.events, confirm_ms[course.slot], last_ms[course.vehicle])
        is_hard = course.is_hard | (begins_ms[course.slot] > first_ms[course.vehicle])
        is_hard |= _are_gapped(fleet, course, stays)
        for stream in np.flatnonzero(is_hard).tolist():
            version = index.versions[int(course.slot[stream])]
            hard.add((int(course.vehicle[stream]), version.fence_id))
        stays = stays.take(~is_hard[stays.stream])
        numbers = fleet.number[course.vehicle[stays.stream]]
        columns.append(StayColumns(numbers, course.slot[stays.stream], stays))
    unsteady = windows.keys() - {index.versions[slot].fence_id for slot in steady}
    return FleetVisits(index, columns, _plain(fleet, windows, hard, unsteady, index, as_of_ms))


def _begun(windows: Sequence[Window], as_of_ms: int) -> Sequence[Window]:
    """As `begun`; most windows have begun in all their phases, and are as they were."""
    if all(window.phases[-1][0] <= as_of_ms for window in windows):
        return windows
    return begun(windows, as_of_ms)


def _steady(
    windows: Mapping[str, Sequence[Window]], index: FenceIndex, as_of_ms: int
) -> dict[int, int]:
    """By slot, the beginning of each version that is all its fence has, and still in force."""
    return {
        index.slot_of[version.fence_id, version.version]: window.from_ms
        for held in windows.values()
        if len(held) == 1
        for window in held
        if len(window.phases) == 1 and window.to_ms > as_of_ms
        for _, version in window.phases
    }


def _by_gaps(slots: Mapping[int, int], index: FenceIndex) -> Iterator[tuple[Settings, Indices]]:
    """Slots whose versions call the same silences gaps, with settings of one of them."""
    groups: dict[tuple[float, float], list[int]] = defaultdict(list)
    for slot in slots:
        settings = index.versions[slot].settings
        groups[settings.gap_s, settings.gap_m].append(slot)
    for members in groups.values():
        yield index.versions[members[0]].settings, np.array(members)


def _are_gapped(fleet: Fleet, course: Course, stays: Stays) -> Bools:
    """(streams,) whether a gap begins during one of its stays, or before its end is confirmed."""
    gapped = np.zeros(len(course.slot), bool)
    if not course.is_gap.any():
        return gapped
    gaps_before = np.append(np.append(0, np.cumsum(course.is_gap)), course.is_gap.sum())
    vehicle = course.vehicle[stays.stream]
    low = _readings_before(fleet, vehicle, stays.entered_ms)
    high = _readings_before(fleet, vehicle, stays.left_confirmed_ms)
    gapped[stays.stream[gaps_before[high] > gaps_before[low]]] = True
    return gapped


def _readings_before(fleet: Fleet, vehicle: Indices, time_ms: Int64s) -> Indices:
    """Index of the first reading of each vehicle at or after an instant; one past its last."""
    origin_ms = int(fleet.track.device_time_ms.min())
    span = int(fleet.track.device_time_ms.max()) - origin_ms + 2
    keys = fleet.vehicle * span + (fleet.track.device_time_ms - origin_ms)
    asked = vehicle * span + np.clip(time_ms - origin_ms, 0, span - 1)
    readings: Indices = np.searchsorted(keys, asked)
    return readings


def _plain(
    fleet: Fleet,
    windows: Mapping[str, Sequence[Window]],
    hard: set[tuple[int, str]],
    unsteady: set[str],
    index: FenceIndex,
    as_of_ms: int,
) -> dict[tuple[int, str], list[Visit]]:
    """The plain fold, of the pairs that need it."""
    by_vehicle: dict[int, set[str]] = defaultdict(set)
    for vehicle, fence_id in hard:
        by_vehicle[vehicle].add(fence_id)
    asked = range(len(fleet)) if unsteady else sorted(by_vehicle)
    found = {}
    for vehicle in asked:
        path = Path(fleet.track_of(vehicle), index)
        for fence_id in by_vehicle[vehicle] | (unsteady & path.touched_fences()):
            held = windows[fence_id]
            transitions = presence_of(path, held, as_of_ms).transitions
            found[int(fleet.number[vehicle]), fence_id] = visits_of(transitions, version_at(held))
    return found


def _objects(columns: StayColumns, index: FenceIndex) -> Iterator[tuple[int, int, Visit]]:
    """(vehicle, slot, visit) of each stay."""
    stays = columns.stays
    rows = zip(
        columns.vehicle.tolist(), columns.slot.tolist(), stays.entered_ms.tolist(),
        stays.entered_confirmed_ms.tolist(), stays.is_first_reading.tolist(),
        stays.left_ms.tolist(), stays.left_confirmed_ms.tolist(), stays.is_glimpsed.tolist(),
        _gaps_ms(stays), strict=True,
    )  # fmt: skip
    for (
        vehicle,
        slot,
        entered_ms,
        confirmed_ms,
        is_first,
        left_ms,
        left_known_ms,
        doubt,
        gaps,
    ) in rows:
        has_left = left_ms != NEVER_MS
        over_gaps = Certainty.POSSIBLE if gaps else Certainty.CERTAIN
        yield (
            vehicle,
            slot,
            Visit(
                fence_version=index.versions[slot].version,
                entered_ms=entered_ms,
                entered_by=How.FIRST_READING if is_first else How.CROSSING,
                entered_certainty=Certainty.POSSIBLE if doubt else Certainty.CERTAIN,
                left_ms=left_ms if has_left else None,
                left_by=How.CROSSING if has_left else How.OPEN,
                left_certainty=over_gaps if has_left else None,
                certainty=over_gaps,
                entered_confirmed_ms=confirmed_ms,
                left_confirmed_ms=left_known_ms if has_left else None,
                gaps_ms=gaps,
            ),
        )


def _gaps_ms(stays: Stays) -> Iterator[tuple[tuple[int, int], ...]]:
    """What each visit has gone on over, as the plain fold says it.

    A glimpse is known when it ends a pending exit, or when the entry it begins is confirmed.
    """
    rows = zip(
        stays.entered_ms.tolist(), stays.entered_confirmed_ms.tolist(),
        stays.first_glimpse.tolist(), stays.past_glimpse.tolist(), strict=True,
    )  # fmt: skip
    for entered_ms, confirmed_ms, first, past in rows:
        yield tuple(
            (at_ms, confirmed_ms if at_ms == entered_ms else at_ms)
            for at_ms in stays.glimpse_ms[first:past].tolist()
        )
