"""Rules of a fence: what each asks, with its limits. How they are judged stands in `rules/`."""

from dataclasses import dataclass
from enum import StrEnum

# "Night" where a fence does not say: the hours for which Chinese road transport law asks trucks to
# be slower.
NIGHT_HOURS = "22:00-06:00"


class RuleName(StrEnum):
    """Every rule there is."""

    NO_ENTRY = "no_entry"
    ALLOWED_HOURS = "allowed_hours"
    MUST_STAY = "must_stay"
    MAX_DWELL = "max_dwell"
    MIN_DWELL = "min_dwell"
    MUST_VISIT_BY = "must_visit_by"
    SPEED_LIMIT = "speed_limit"
    TRANSIT_TIME = "transit_time"


# `hours` is OSM opening_hours in the fence's zone; None: the rule always holds.


@dataclass(frozen=True, slots=True)
class NoEntry:
    """Being inside while the rule holds is the violation, from the first instant known."""

    hours: str | None = None
    name = RuleName.NO_ENTRY


@dataclass(frozen=True, slots=True)
class AllowedHours:
    """Being inside outside these hours is the violation."""

    hours: str
    name = RuleName.ALLOWED_HOURS


@dataclass(frozen=True, slots=True)
class MustStay:
    """Being outside while the rule holds is the violation."""

    hours: str | None = None
    name = RuleName.MUST_STAY


@dataclass(frozen=True, slots=True)
class MaxDwell:
    """A stay longer than the limit, counted from the later of entry and the rule's hours."""

    limit_s: float
    hours: str | None = None
    name = RuleName.MAX_DWELL


@dataclass(frozen=True, slots=True)
class MinDwell:
    """Leaving before the limit, judged at the instant of leaving."""

    limit_s: float
    hours: str | None = None
    name = RuleName.MIN_DWELL


@dataclass(frozen=True, slots=True)
class MustVisitBy:
    """Each window of the hours must see a visit; judged when it ends."""

    hours: str
    name = RuleName.MUST_VISIT_BY


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    """Reported speed, linear between readings, above the limit for at least `for_s` inside."""

    limit_kmh: float
    for_s: float = 10.0
    night_limit_kmh: float | None = None
    night_hours: str = NIGHT_HOURS
    name = RuleName.SPEED_LIMIT


@dataclass(frozen=True, slots=True)
class TransitTime:
    """A stay from entry to exit shorter than `min_s` or longer than `max_s`."""

    min_s: float | None = None
    max_s: float | None = None
    name = RuleName.TRANSIT_TIME


Rule = (
    NoEntry | AllowedHours | MustStay | MaxDwell | MinDwell | MustVisitBy | SpeedLimit | TransitTime
)

# Rules broken by absence: they are judged wherever the truck is.
WANTING = frozenset({RuleName.MUST_STAY, RuleName.MUST_VISIT_BY})


def hours_of(rule: Rule) -> str | None:
    """The hours that time alone opens and closes, None when the rule always holds."""
    return None if isinstance(rule, SpeedLimit | TransitTime) else rule.hours
