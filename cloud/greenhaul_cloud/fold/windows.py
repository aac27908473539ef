"""When a fence binds a vehicle: fence versions × scope, as windows of unbroken presence rules."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS, Attributes, Fence, FenceVersion
from greenhaul_cloud.fold.intervals import How
from greenhaul_cloud.hours.calendar import CHINA, Calendar

Interval = tuple[int, int]  # [from_ms, to_ms)

ALWAYS: tuple[Interval, ...] = ((ALWAYS_MS, NEVER_MS),)


@dataclass(frozen=True, slots=True)
class Window:
    """[from_ms, to_ms) in which one area binds the vehicle without a break.

    Dwell runs on across versions of unchanged geometry, so a window may hold several versions;
    `phases` are their (from_ms, version) in time order, the first at or before `from_ms`.
    """

    from_ms: int
    to_ms: int
    began_by: How
    ended_by: How
    phases: tuple[tuple[int, FenceVersion], ...]
    calendar: Calendar = CHINA  # days off, for rules with hours

    def version_at(self, time_ms: int) -> FenceVersion:
        """The version in force; before the window, its first."""
        return self.phases[self.phase_at(time_ms)][1]

    def phase_at(self, time_ms: int) -> int:
        """Index into `phases` of the version in force."""
        return max(bisect_right(self.phases, time_ms, key=lambda phase: phase[0]) - 1, 0)


def begun(windows: Iterable[Window], as_of_ms: int) -> tuple[Window, ...]:
    """Windows without what begins only later; an end that lies ahead is known, but not reached."""
    return tuple(
        replace(w, phases=w.phases[: w.phase_at(as_of_ms) + 1])
        for w in windows
        if w.from_ms <= as_of_ms
    )


def windows_of(
    fence: Fence, scope: Sequence[Interval] = ALWAYS, calendar: Calendar = CHINA
) -> tuple[Window, ...]:
    """The fence's windows for a vehicle that `scope` (disjoint, in order) says it binds.

    A border is by `version` where the version changes there, else by `scope`.
    """
    validity = fence.validity()
    borders = {border for from_ms, to_ms, _ in validity for border in (from_ms, to_ms)}
    windows: list[Window] = []
    for from_ms, to_ms, version in validity:
        for scope_from_ms, scope_to_ms in scope:
            low, high = max(from_ms, scope_from_ms), min(to_ms, scope_to_ms)
            if low >= high:
                continue
            ended_by = How.VERSION if high in borders else How.SCOPE
            last = windows[-1] if windows else None
            if last and last.to_ms == low and last.phases[-1][1].has_area_of(version):
                phases = last.phases
                if phases[-1][1] is not version:
                    phases += ((low, version),)
                windows[-1] = replace(last, to_ms=high, ended_by=ended_by, phases=phases)
            else:
                began_by = How.VERSION if low in borders else How.SCOPE
                phase = ((low, version),)
                windows.append(Window(low, high, began_by, ended_by, phase, calendar))
    return tuple(windows)


def scope_of(fence: Fence, attributes: Iterable[tuple[int, int, Attributes]]) -> list[Interval]:
    """When the fence's scope matches a vehicle's attributes, given as (from_ms, to_ms, attributes).

    Attributes are disjoint and in order; the result is disjoint, in order, neighbours joined.
    """
    pieces = [
        (max(from_ms, valid_from_ms), min(to_ms, valid_to_ms))
        for valid_from_ms, valid_to_ms, version in fence.validity()
        for from_ms, to_ms, held in attributes
        if version.applies_to.matches(held)
    ]
    return joined(piece for piece in pieces if piece[0] < piece[1])


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of intervals, in order, as few as possible."""
    union: list[Interval] = []
    for low, high in sorted(intervals):
        if union and low <= union[-1][1]:
            union[-1] = (union[-1][0], max(high, union[-1][1]))
        else:
            union.append((low, high))
    return union


def window_at(windows: Sequence[Window], time_ms: int) -> Window | None:
    """The window that holds an instant, if any."""
    at = bisect_right(windows, time_ms, key=lambda window: window.from_ms) - 1
    return windows[at] if at >= 0 and time_ms < windows[at].to_ms else None


def version_at(windows: Sequence[Window]) -> Callable[[int], int]:
    """The number of the version in force at an instant at which the fence binds."""

    def version_in_force(time_ms: int) -> int:
        window = window_at(windows, time_ms)
        assert window is not None, "the fence binds then"
        return window.version_at(time_ms).version

    return version_in_force


def next_border_ms(windows: Sequence[Window], after_ms: int) -> int | None:
    """The next instant at which time alone changes what a fold says, if there is one."""
    instants = ((w.from_ms, w.to_ms, *(phase[0] for phase in w.phases)) for w in windows)
    borders = (border for borders in instants for border in borders if border > after_ms)
    border = min(borders, default=NEVER_MS)
    return border if border < NEVER_MS else None
