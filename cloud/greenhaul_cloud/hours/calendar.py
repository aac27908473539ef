"""Days off and make-up working days, year by year, as the government's notices name them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

# A notice moves a dozen days; a year has no more than this.
DAYS_MAX = 366


class CalendarError(ValueError):
    """A year's plan that cannot be read; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class YearPlan:
    """What a notice says of one year; `source` names the notice."""

    year: int
    days_off: frozenset[date]
    working_days: frozenset[date]
    source: str

    @classmethod
    def of(cls, year: int, plan: Mapping[str, Any]) -> "YearPlan":
        """A plan of its JSON: `days_off` as days or [first, last, name], `working_days`, `source`.

        Raises CalendarError.
        """
        off = frozenset(day for entry in plan.get("days_off", ()) for day in _days(entry))
        working = frozenset(day for entry in plan.get("working_days", ()) for day in _days(entry))
        for day in sorted(off | working):
            if day.year != year:
                raise CalendarError(f"{day} is not in {year}")
        if both := sorted(off & working):
            raise CalendarError(f"{both[0]} is both a day off and a working day")
        return cls(year, off, working, str(plan.get("source", "")))

    def as_json(self) -> dict[str, Any]:
        """The plan as `of` reads it, day by day."""
        return {
            "source": self.source,
            "days_off": [str(day) for day in sorted(self.days_off)],
            "working_days": [str(day) for day in sorted(self.working_days)],
        }


@dataclass(frozen=True, slots=True)
class Calendar:
    """All years known; a year without a plan has ordinary weeks, and users say so."""

    name: str
    days_off: frozenset[date]
    working_days: frozenset[date]
    years: frozenset[int]

    @classmethod
    def of(cls, name: str, plans: Iterable[YearPlan]) -> "Calendar":
        """A calendar of plans, one a year."""
        known = list(plans)
        return cls(
            name,
            frozenset(day for plan in known for day in plan.days_off),
            frozenset(day for plan in known for day in plan.working_days),
            frozenset(plan.year for plan in known),
        )

    def weekday(self, day: date) -> int:
        """0 Monday … 6 Sunday; a make-up working day counts as its week's Monday."""
        return 0 if day in self.working_days else day.weekday()

    def is_ordinary(self, day: date) -> bool:
        """Whether the day is neither off nor made up for."""
        return day not in self.days_off and day not in self.working_days


def _days(entry: Any) -> list[date]:
    first, last = (
        (entry[0], entry[1]) if isinstance(entry, list) and len(entry) > 1 else (entry,) * 2
    )
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
    except (TypeError, ValueError) as error:
        raise CalendarError(f"{entry!r} is not a day like 2025-10-01") from error
    if not 0 <= (end - begin).days < DAYS_MAX:
        raise CalendarError(f"{entry!r} does not end after it begins, within a year")
    return [begin + timedelta(n) for n in range((end - begin).days + 1)]


@cache
def packaged_plans(name: str = "CN") -> tuple[YearPlan, ...]:
    """The years this release knows of a calendar; none of one it does not know."""
    resource = files("greenhaul_cloud.hours") / f"calendar_{name.lower()}.json"
    if not resource.is_file():
        return ()
    years = json.loads(resource.read_text(encoding="utf-8"))["years"]
    return tuple(YearPlan.of(int(year), plan) for year, plan in sorted(years.items()))


CHINA = Calendar.of("CN", packaged_plans("CN"))
ORDINARY_WEEKS = Calendar.of("", ())
