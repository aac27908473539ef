"""Fold one vehicle's track against one fence: from the beginning, or from an anchor on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import NEVER_MS, Fence
from greenhaul_cloud.fences.survey import IN_NEAR
from greenhaul_cloud.fold.intervals import Certainty, How, Side, Transition, Violation, Visit
from greenhaul_cloud.fold.path import Path, WindowPath
from greenhaul_cloud.fold.presence import Presence
from greenhaul_cloud.fold.segments import GAP
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.violations import violations_of
from greenhaul_cloud.fold.visits import visits_of
from greenhaul_cloud.fold.windows import ALWAYS, Interval, Window, begun, version_at, windows_of
from greenhaul_cloud.hours.calendar import CHINA, Calendar


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Everything one vehicle did in one fence, each list in time order."""

    transitions: tuple[Transition, ...]
    visits: tuple[Visit, ...]
    violations: tuple[Violation, ...]


def fold(
    track: Track,
    fence: Fence,
    scope: Sequence[Interval] = ALWAYS,
    *,
    as_of_ms: int,
    index: FenceIndex | None = None,
    calendar: Calendar = CHINA,
) -> FoldResult:
    """Fold a whole track from scratch. Readings later than `as_of_ms` do not exist yet.

    scope: disjoint [from_ms, to_ms) in order, when the fence binds the vehicle. index: holds the
    fence's versions, perhaps among others; built when absent.
    """
    path = Path(track.between(-NEVER_MS, as_of_ms + 1), index or FenceIndex(fence.versions))
    return fold_path(path, windows_of(fence, scope, calendar), as_of_ms)


def fold_path(path: Path, windows: Sequence[Window], as_of_ms: int) -> FoldResult:
    """The same over a path that several fences share; all its readings are at or before as_of."""
    windows = begun(windows, as_of_ms)
    found = presence_of(path, windows, as_of_ms)
    visits = visits_of(found.transitions, version_at(windows))
    violations = violations_of(visits, path, windows, as_of_ms, found.leaving_ms)
    return FoldResult(tuple(found.transitions), tuple(visits), tuple(violations))


@dataclass(frozen=True, slots=True)
class Anchor:
    """A reading at which nothing is pending: the state is the side alone."""

    reading: int  # position in the path's track
    side: Side


@dataclass(frozen=True, slots=True)
class Found:
    """Transitions of a path, and where a run out of the last visit began that none confirms yet.

    What lies past such a run is judged when it is confirmed or cancelled: neither is a deadline
    broken nor a limit of a fence that the truck has, as far as can be seen, left. NEVER_MS: none.
    """

    transitions: list[Transition]
    leaving_ms: int = NEVER_MS


def presence_of(
    path: Path, windows: Sequence[Window], as_of_ms: int, anchor: Anchor | None = None
) -> Found:
    """What a path does, from its beginning, or what is confirmed after an anchor."""
    time_ms = path.track.device_time_ms
    if len(time_ms) == 0:
        return Found([])
    transitions: list[Transition] = []
    leaving_ms = NEVER_MS
    from_ms = int(time_ms[anchor.reading if anchor else 0])
    for window in windows:
        if window.to_ms <= from_ms or window.from_ms > as_of_ms:
            continue
        resumed = anchor if anchor and window.from_ms <= from_ms else None
        if not path.is_touched(window) and not (resumed and resumed.side is Side.INSIDE):
            continue
        found = _fold_window(path.in_window(window), as_of_ms, resumed)
        transitions += found.transitions
        leaving_ms = found.leaving_ms
    return Found(transitions, leaving_ms)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a window's presence begins: at a reading, or within the segment that follows it."""

    reading: int
    time_ms: int
    is_within: bool = False
    is_inside: bool = False
    how: How = How.FIRST_READING
    certainty: Certainty = Certainty.CERTAIN
    is_glimpse: bool = False


def _start_of(path: WindowPath) -> _Start | None:
    """The first instant at which the window knows a side; None if no reading reaches into it."""
    window, time_ms = path.window, path.time_ms
    first = int(np.searchsorted(time_ms, window.from_ms))
    if first == len(time_ms):
        return None
    first_ms, is_inside = int(time_ms[first]), bool(path.places[first] >= IN_NEAR)
    if first > 0 and first_ms > window.from_ms and path.kinds[first - 1] != GAP:
        place, is_glimpse = path.place_at(first - 1, window.from_ms)
        certainty = Certainty.POSSIBLE if is_glimpse else Certainty.CERTAIN
        how = window.began_by, certainty, is_glimpse
        return _Start(first - 1, window.from_ms, True, place >= IN_NEAR, *how)
    if first_ms >= window.to_ms:
        return None
    if first == 0:
        return _Start(first, first_ms, False, is_inside)
    if first_ms == window.from_ms:
        return _Start(first, first_ms, False, is_inside, window.began_by)
    return _Start(first, first_ms, False, is_inside, How.GAP, Certainty.POSSIBLE)


def _fold_window(path: WindowPath, as_of_ms: int, anchor: Anchor | None) -> Found:
    window, time_ms = path.window, path.time_ms
    start = _Start(anchor.reading, int(time_ms[anchor.reading])) if anchor else _start_of(path)
    if start is None:
        return Found([])
    presence = Presence(
        anchor.side if anchor else Side.OUTSIDE,
        window.version_at(start.time_ms).settings.confirm_ms,
    )
    if start.is_inside:
        presence.begin(start.time_ms, start.how, start.certainty, is_glimpse=start.is_glimpse)
    past = int(np.searchsorted(time_ms, window.to_ms))  # the first reading past the window
    is_over = window.to_ms <= as_of_ms
    is_seen_to_end = is_over and past < len(time_ms) and path.kinds[past - 1] != GAP
    for step in path.steps(start.reading, past if is_seen_to_end else past - 1):
        if step.time_ms >= window.to_ms:
            break
        if start.is_within and step.segment == start.reading and step.time_ms <= start.time_ms:
            continue
        step.apply(presence)
    last_ms = int(time_ms[past - 1])
    presence.pass_time(window.to_ms if is_seen_to_end else last_ms)
    if is_over:
        silence_ms = 0 if is_seen_to_end else window.to_ms - last_ms
        _close(presence, window, last_ms, silence_ms, past < len(time_ms) and not is_seen_to_end)
    return Found(presence.transitions, presence.leaving_ms)


def _close(
    presence: Presence, window: Window, last_ms: int, silence_ms: int, is_in_gap: bool
) -> None:
    """A window that ends in silence longer than a gap ends its visit at the last reading."""
    gap_ms = window.version_at(last_ms).settings.gap_s * 1000
    if is_in_gap or silence_ms > gap_ms:
        presence.end(last_ms, window.to_ms, How.GAP, Certainty.POSSIBLE)
    else:
        presence.end(window.to_ms, window.to_ms, window.ended_by, Certainty.CERTAIN)
