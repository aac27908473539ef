"""What a fold yields: transitions, visits, violations; and how and how certainly each is known."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import RuleName


class How(StrEnum):
    """How an end of a visit is known."""

    CROSSING = "crossing"
    FIRST_READING = "first_reading"
    GAP = "gap"
    VERSION = "version"
    SCOPE = "scope"
    OPEN = "open"


class Certainty(StrEnum):
    """How certainly an end of an interval is known."""

    CERTAIN = "certain"
    POSSIBLE = "possible"


class Side(IntEnum):
    """The confirmed side of a fence."""

    OUTSIDE = 0
    INSIDE = 1


@dataclass(frozen=True, slots=True)
class Transition:
    """A confirmed change of side, kept with the device time at which it was confirmed.

    `instant_ms` is where the last uninterrupted run crossed the true edge. INSIDE following INSIDE
    says that the visit went on over a gap or by a glimpse that began at `instant_ms`. In a list,
    transitions stand in order of `confirmed_ms`.
    """

    instant_ms: int
    confirmed_ms: int
    to: Side
    how: How
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class Visit:
    """One stay of one vehicle in one fence; `left_ms` None: still there as far as is known.

    The last three fields are for resuming a fold; with them the transitions can be told from the
    visits. gaps_ms: gaps and glimpses the visit began or went on by, as (instant_ms, confirmed_ms).
    """

    fence_version: int  # in force at entry
    entered_ms: int
    entered_by: How
    entered_certainty: Certainty
    left_ms: int | None
    left_by: How
    left_certainty: Certainty | None
    certainty: Certainty  # the weaker of the ends; an open visit is weakened by its gaps, too
    entered_confirmed_ms: int
    left_confirmed_ms: int | None
    gaps_ms: tuple[tuple[int, int], ...] = ()

    UNSEEN: ClassVar[frozenset[str]] = frozenset(
        {"entered_confirmed_ms", "left_confirmed_ms", "gaps_ms"}
    )

    @property
    def span(self) -> tuple[int, int]:
        """Begin and end, an open end far in the future."""
        return self.entered_ms, NEVER_MS if self.left_ms is None else self.left_ms


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule broken; `ended_ms` None: still broken as far as is known.

    It names its visit or, for want of one, the window in which a visit was wanted; that may be
    without begin or end (`ALWAYS_MS`, `NEVER_MS`).
    """

    rule: RuleName
    fence_version: int  # in force when it began
    began_ms: int
    ended_ms: int | None
    certainty: Certainty
    visit_entered_ms: int | None  # names the visit
    detail: dict[str, Any] = field(default_factory=dict)
    window: tuple[int, int] | None = None

    UNSEEN: ClassVar[frozenset[str]] = frozenset({"visit_entered_ms"})

    @property
    def span(self) -> tuple[int, int]:
        """Begin and end, an open end far in the future."""
        return self.began_ms, NEVER_MS if self.ended_ms is None else self.ended_ms


def weaker(*certainties: Certainty | None) -> Certainty:
    """`possible` if any is."""
    return Certainty.POSSIBLE if Certainty.POSSIBLE in certainties else Certainty.CERTAIN
