"""A track laid over a fence index: the few moments at which its relation to a fence changes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import FenceVersion, Settings
from greenhaul_cloud.fences.survey import IN_NEAR, Survey
from greenhaul_cloud.fold.glimpses import glimpsed
from greenhaul_cloud.fold.presence import Presence
from greenhaul_cloud.fold.segments import GAP, PATH, STILL, Segments
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.way import Way
from greenhaul_cloud.fold.windows import Window

Int64s = NDArray[np.int64]
Uint8s = NDArray[np.uint8]

# In which order things stand that happen in one segment, between its first reading and its last.
_AT_START, _ALONG, _AT_END = 0, 1, 2

# Fences are folded one after the other, each asking for its few windows several times. One kept
# costs some ten bytes a reading.
WINDOWS_KEPT_MAX = 4


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to presence, in path order."""

    segment: int
    order: int
    time_ms: int
    place: int  # class after
    kind: int = PATH  # PATH: the path goes on there; STILL: seen there parked; GAP: reappears there
    from_place: int = 0  # GAP: class before
    to_time_ms: int = 0  # GAP: when it reappears
    confirm_ms: int | None = None  # the hold from now on, where another version's begins
    is_glimpse: bool = False  # in a pass that no reading saw, too short to be sure of

    def apply(self, presence: Presence) -> None:
        """Tell the state machine."""
        if self.confirm_ms is not None:
            presence.require(self.time_ms, self.confirm_ms)
        if self.kind == GAP:
            presence.jump(self.time_ms, self.from_place, self.to_time_ms, self.place)
        elif self.kind == STILL:
            presence.stand(self.time_ms, self.place)
        elif self.is_glimpse:
            presence.glimpse(self.time_ms, self.place)
        else:
            presence.occupy(self.time_ms, self.place)


class Path:
    """A track, its segments, and a survey of both against an index; shared by all its fences."""

    def __init__(
        self,
        track: Track,
        index: FenceIndex,
        surveyed: tuple[Segments, Way, Survey] | None = None,
    ) -> None:
        """surveyed: what is known of it, from a survey of many."""
        self.track = track
        self.index = index
        self._way: Way | None = None
        self._survey: Survey | None = None
        if surveyed is None:
            self.segments = Segments.of(track)
        else:
            self.segments, self._way, self._survey = surveyed
        self._kinds: dict[Settings, Uint8s] = {}
        self._windows: dict[int, WindowPath] = {}  # by identity; each keeps its window alive

    @cached_property
    def survey(self) -> Survey:
        """Classes of readings and cuts of segments, found once for all versions."""
        if self._survey is not None:
            return self._survey
        at = self.track.longitude_deg, self.track.latitude_deg
        return self.index.survey(*at, self._drawn, self.way.curves)

    @cached_property
    def way(self) -> Way:
        """Where the path is drawn along curves."""
        return self._way or Way.of(self.track, self.segments, self.index, self._drawn)

    @cached_property
    def _drawn(self) -> NDArray[np.bool_]:
        return self.segments.drawn(self.index.settings)

    def slot(self, version: FenceVersion) -> int:
        """The version's place in the index."""
        return self.index.slot_of[version.fence_id, version.version]

    def is_touched(self, window: Window) -> bool:
        """Whether any version of the window is entered or come near to."""
        return any(self.slot(version) in self._slots for _, version in window.phases)

    def touched_fences(self) -> set[str]:
        """Ids of the fences entered or come near to."""
        return {self.index.versions[slot].fence_id for slot in self._slots}

    @cached_property
    def _slots(self) -> frozenset[int]:
        return self.survey.slots

    def kinds(self, settings: Settings) -> Uint8s:
        """Kinds of all segments under these settings."""
        if settings not in self._kinds:
            self._kinds[settings] = self.segments.kinds(settings)
        return self._kinds[settings]

    def in_window(self, window: Window) -> "WindowPath":
        """The path as the versions of one window see it; the last few are kept."""
        made = self._windows.get(id(window))
        if made is None:
            if len(self._windows) == WINDOWS_KEPT_MAX:
                self._windows.pop(next(iter(self._windows)))
            made = self._windows[id(window)] = WindowPath(self, window)
        return made


class WindowPath:
    """Classes (n,), kinds (n - 1,) and cuts of a path, each by the version in force there."""

    def __init__(self, path: Path, window: Window) -> None:
        self.time_ms = path.track.device_time_ms
        self.window = window
        size = len(self.time_ms)
        starts_ms = np.array([from_ms for from_ms, _ in window.phases[1:]], dtype=np.int64)
        self._phase = np.searchsorted(starts_ms, self.time_ms, side="right")
        self.places = np.zeros(size, np.uint8)
        self.is_on_edge = np.zeros(size, bool)
        self.kinds = np.zeros(max(size - 1, 0), np.uint8)
        self._way = path.way
        cuts = []
        for phase, (_, version) in enumerate(window.phases):
            here = self._phase == phase
            if not here.any():
                continue
            slot = path.slot(version)
            self.places[here] = path.survey.classes(slot)[here]
            self.is_on_edge[here] = path.survey.on_edge(slot)[here]
            self.kinds[here[:-1]] = path.kinds(version.settings)[here[:-1]]
            segment, part, place = path.survey.cuts(slot)
            kept = here[segment] & ((part > 0) | (place != self.places[segment]))
            cuts.append((segment[kept], part[kept], place[kept]))
        segment, part, place = (np.concatenate(column) for column in zip(*cuts, strict=True))
        self._keep_cuts(segment, part, place)

    def _keep_cuts(
        self, segment: NDArray[np.intp], part: NDArray[np.float64], place: Uint8s
    ) -> None:
        """Give cuts their instants; of several in one millisecond the last stands."""
        kept = self.kinds[segment] == PATH
        segment, part, place = segment[kept], part[kept], place[kept]
        order = np.lexsort((part, segment))
        segment, part, place = segment[order], part[order], place[order]
        is_straight = np.array([v.settings.path == "straight" for _, v in self.window.phases])
        self._cut_is_glimpse = glimpsed(
            self._way, segment, segment, part, place,
            self.places[segment] >= IN_NEAR, is_straight[self._phase[segment]],
        )  # fmt: skip
        start_ms = self.time_ms[segment]
        duration_ms = self.time_ms[segment + 1] - start_ms
        self._cut_ms = cut_instants_ms(start_ms, duration_ms, part, self.is_on_edge[segment])
        self._cut_segment, self._cut_place = segment, place

    def place_at(self, segment: int, time_ms: int) -> tuple[int, bool]:
        """Class of the path at an instant within a segment that is no gap; whether in a glimpse."""
        here = np.flatnonzero((self._cut_segment == segment) & (self._cut_ms <= time_ms))
        if len(here) == 0:
            return int(self.places[segment]), False
        return int(self._cut_place[here[-1]]), bool(self._cut_is_glimpse[here[-1]])

    def steps(self, low: int, high: int) -> list[Step]:
        """What happens from reading `low` to reading `high`, beginning in the class of `low`."""
        if high <= low:
            return []
        steps = [
            *self._cut_steps(low, high),
            *self._end_steps(low, high),
            *self._hold_steps(low, high),
        ]
        steps.sort(key=lambda step: (step.segment, step.order, step.time_ms))
        return steps

    def _cut_steps(self, low: int, high: int) -> list[Step]:
        first, last = np.searchsorted(self._cut_segment, (low, high))
        segment, time_ms = self._cut_segment[first:last], self._cut_ms[first:last]
        is_last = np.ones(len(segment), bool)
        is_last[:-1] = (np.diff(segment) != 0) | (np.diff(time_ms) != 0)
        rows = zip(
            segment[is_last].tolist(), time_ms[is_last].tolist(),
            self._cut_place[first:last][is_last].tolist(),
            self._cut_is_glimpse[first:last][is_last].tolist(), strict=True,
        )  # fmt: skip
        return [
            Step(i, _ALONG, at_ms, place, is_glimpse=is_glimpse)
            for i, at_ms, place, is_glimpse in rows
        ]

    def _end_steps(self, low: int, high: int) -> list[Step]:
        """What the reading at the end of each segment adds to the path that led to it."""
        before = self.places[low:high].copy()
        first, last = np.searchsorted(self._cut_segment, (low, high))
        before[self._cut_segment[first:last] - low] = self._cut_place[first:last]
        kinds, after = self.kinds[low:high], self.places[low + 1 : high + 1]
        chosen = np.flatnonzero((kinds == GAP) | (before != after))
        steps = []
        for i in (chosen + low).tolist():
            kind, end_ms, place = (
                int(self.kinds[i]),
                int(self.time_ms[i + 1]),
                int(self.places[i + 1]),
            )
            if kind == GAP:
                begin_ms, from_place = int(self.time_ms[i]), int(self.places[i])
                steps.append(Step(i, _AT_END, begin_ms, place, GAP, from_place, end_ms))
            else:
                steps.append(Step(i, _AT_END, end_ms, place, kind))
        return steps

    def _hold_steps(self, low: int, high: int) -> list[Step]:
        """Parked trucks that move again, and versions that ask for another hold."""
        chosen = np.zeros(high - low, bool)
        kinds = self.kinds[low:high]
        chosen[1:] = (kinds[:-1] == STILL) & (kinds[1:] != STILL)
        steps = [
            Step(i, _AT_START, int(self.time_ms[i]), int(self.places[i]))
            for i in (np.flatnonzero(chosen) + low).tolist()
        ]
        changes = np.flatnonzero(np.diff(self._phase[low : high + 1])) + low + 1
        for i in changes.tolist():
            confirm_ms = self.window.phases[int(self._phase[i])][1].settings.confirm_ms
            at_ms, place = int(self.time_ms[i]), int(self.places[i])
            steps.append(Step(i - 1, _AT_END, at_ms, place, STILL, confirm_ms=confirm_ms))
        return steps

    def strictly(self, is_inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,) whether each reading is strictly on the side of the true edge named for it."""
        on_side: NDArray[np.bool_] = ((self.places >= IN_NEAR) == is_inside) & ~self.is_on_edge
        return on_side


def cut_instants_ms(
    start_ms: Int64s, duration_ms: Int64s, part: NDArray[np.float64], is_on_edge: NDArray[np.bool_]
) -> Int64s:
    """Instants of cuts at parts of segments that begin at `start_ms` and last `duration_ms`.

    A cut that rounds to its segment's first reading is put a millisecond later unless it lies there
    exactly, or that reading on the edge: so nothing about the segment after a reading strictly on a
    side is confirmed at the reading's own instant.
    """
    least_ms = np.where((part == 0) | is_on_edge, 0, 1)
    offset_ms = np.rint(part * duration_ms).astype(np.int64)
    instants_ms: Int64s = start_ms + np.clip(offset_ms, least_ms, duration_ms)
    return instants_ms
