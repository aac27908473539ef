"""The parts of a stay, or of the time a fence binds, in which one rule holds without change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import Rule, RuleName
from greenhaul_cloud.fold.intervals import Certainty, Violation, Visit
from greenhaul_cloud.fold.windows import Interval, Window, window_at
from greenhaul_cloud.hours.schedule import Schedule, schedule_of


@dataclass(frozen=True, slots=True)
class Stretch:
    """[from_ms, to_ms) of a window in which a rule stays the same; `to_ms` NEVER_MS: still open."""

    window: Window
    rule: Rule
    timezone: str
    from_ms: int
    to_ms: int

    def schedule(self, hours: str) -> Schedule:
        """Hours in the zone of the fence, after the calendar in force."""
        return schedule_of(hours, self.timezone, self.window.calendar)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a visit in which one rule holds without change."""

    visit: Visit
    stretch: Stretch

    @property
    def rule(self) -> Rule:
        """The rule that holds."""
        return self.stretch.rule

    @property
    def from_ms(self) -> int:
        """Where the part begins."""
        return self.stretch.from_ms

    @property
    def to_ms(self) -> int:
        """Where it ends; NEVER_MS: it has not ended yet."""
        return self.stretch.to_ms

    @property
    def has_left(self) -> bool:
        """Whether it ends with the visit."""
        return self.visit.left_ms is not None and self.visit.left_ms == self.to_ms

    def violation(
        self,
        began_ms: int,
        ended_ms: int | None,
        certainty: Certainty,
        detail: dict[str, Any],
    ) -> Violation:
        """A violation of the rule during the visit."""
        return Violation(
            rule=self.rule.name,
            fence_version=self.stretch.window.version_at(began_ms).version,
            began_ms=began_ms,
            ended_ms=ended_ms,
            certainty=certainty,
            visit_entered_ms=self.visit.entered_ms,
            detail=detail,
        )


def stretches_of(window: Window, name: RuleName) -> Iterator[Stretch]:
    """The stretches of a window in which a rule of this name holds, equal neighbours joined."""
    held: Stretch | None = None
    ends = [*(from_ms for from_ms, _ in window.phases[1:]), window.to_ms]
    for (from_ms, version), to_ms in zip(window.phases, ends, strict=True):
        rule = version.rule(name)
        if rule is None:
            continue
        low_ms = max(from_ms, window.from_ms)
        if held and (held.to_ms, held.rule, held.timezone) == (low_ms, rule, version.timezone):
            held = Stretch(window, rule, version.timezone, held.from_ms, to_ms)
            continue
        if held:
            yield held
        held = Stretch(window, rule, version.timezone, low_ms, to_ms)
    if held:
        yield held


def pieces_of(visit: Visit, windows: Sequence[Window], name: RuleName) -> Iterator[Piece]:
    """The parts of a visit in which a rule of this name holds, as far as is known."""
    window = window_at(windows, visit.entered_ms)
    assert window is not None, "a visit begins while its fence binds"
    for stretch in stretches_of(window, name):
        is_last = stretch.to_ms == window.to_ms
        from_ms = max(stretch.from_ms, visit.entered_ms)
        # a visit that is still open has not reached the window's end
        to_ms = visit.span[1] if is_last else min(stretch.to_ms, visit.span[1])
        if from_ms < to_ms or from_ms == to_ms == visit.entered_ms:
            yield Piece(visit, Stretch(window, stretch.rule, stretch.timezone, from_ms, to_ms))


def calendar_note(schedule: Schedule, span: Interval) -> dict[str, Any]:
    """For a violation's detail: years without a notice, though the hours ask the calendar."""
    begin_ms, end_ms = span
    years = schedule.unknown_years(begin_ms, begin_ms + 1 if end_ms == NEVER_MS else end_ms)
    return {"calendar_unknown": years} if years else {}
