"""The `rules` of a fence feature; a limit that cannot be honoured is refused, never ignored."""

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.fences.rules import (
    NIGHT_HOURS,
    AllowedHours,
    MaxDwell,
    MinDwell,
    MustStay,
    MustVisitBy,
    NoEntry,
    Rule,
    SpeedLimit,
    TransitTime,
)
from greenhaul_cloud.hours.expression import HoursError, check_hours

SPEED_KMH_MAX = 1_000.0
RULES_MAX = 50  # far more than there are rules; a bound for hostile input

# A stay of more than a year is a garage, not a rule.
DWELL_S_MAX = 366 * 86_400.0
SPEEDING_S_MAX = 86_400.0

Limits = Mapping[str, Any]


def parse_rules(rules: Any) -> tuple[Rule, ...]:
    """The rules of a feature's properties. Raises FeatureError that names rule and limit."""
    if not isinstance(rules, list) or len(rules) > RULES_MAX:
        raise FeatureError(f"rules: expected a list of at most {RULES_MAX}")
    parsed = tuple(_rule(rule) for rule in rules)
    names = [rule.name for rule in parsed]
    for name in names:
        if names.count(name) > 1:
            raise FeatureError(f"rules: {name} stands twice; give it its own fence")
    return parsed


def _rule(rule: Any) -> Rule:
    name = rule.get("rule") if isinstance(rule, Mapping) else None
    if not isinstance(name, str):
        raise FeatureError('rules: each is an object with a name, like {"rule": "no_entry"}')
    if name not in RULES:
        near = difflib.get_close_matches(name, RULES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(RULES)}"
        raise FeatureError(f"rules: {name!r} is no rule{hint}")
    known, read = RULES[name]
    limits = {key: value for key, value in rule.items() if value is not None}
    try:
        _only(limits, {"rule", *known})
        return read(limits)
    except FeatureError as error:
        raise FeatureError(f"rules: {name}: {error}") from error


def _no_entry(limits: Limits) -> Rule:
    return NoEntry(_hours(limits))


def _allowed_hours(limits: Limits) -> Rule:
    return AllowedHours(_wanted_hours(limits))


def _must_stay(limits: Limits) -> Rule:
    return MustStay(_hours(limits))


def _max_dwell(limits: Limits) -> Rule:
    return MaxDwell(_wanted(limits, "limit_s", DWELL_S_MAX), _hours(limits))


def _min_dwell(limits: Limits) -> Rule:
    return MinDwell(_wanted(limits, "limit_s", DWELL_S_MAX), _hours(limits))


def _must_visit_by(limits: Limits) -> Rule:
    return MustVisitBy(_wanted_hours(limits))


def _speed_limit(limits: Limits) -> Rule:
    limit_kmh = _wanted(limits, "limit_kmh", SPEED_KMH_MAX)
    for_s = _number(limits, "for_s", SPEEDING_S_MAX) if "for_s" in limits else 10.0
    if "night_limit_kmh" not in limits:
        if "night_hours" in limits:
            raise FeatureError("night_hours without night_limit_kmh says nothing")
        return SpeedLimit(limit_kmh, for_s)
    night_hours = _hours(limits, "night_hours") or NIGHT_HOURS
    return SpeedLimit(
        limit_kmh, for_s, _number(limits, "night_limit_kmh", SPEED_KMH_MAX), night_hours
    )


def _transit_time(limits: Limits) -> Rule:
    least, most = (
        _number(limits, name, DWELL_S_MAX) if name in limits else None
        for name in ("min_s", "max_s")
    )
    if least is None and most is None:
        raise FeatureError("give min_s, max_s or both")
    if least is not None and most is not None and least > most:
        raise FeatureError("min_s is more than max_s")
    return TransitTime(least, most)


RULES: dict[str, tuple[tuple[str, ...], Callable[[Limits], Rule]]] = {
    "no_entry": (("hours",), _no_entry),
    "allowed_hours": (("hours",), _allowed_hours),
    "must_stay": (("hours",), _must_stay),
    "max_dwell": (("limit_s", "hours"), _max_dwell),
    "min_dwell": (("limit_s", "hours"), _min_dwell),
    "must_visit_by": (("hours",), _must_visit_by),
    "speed_limit": (("limit_kmh", "night_limit_kmh", "night_hours", "for_s"), _speed_limit),
    "transit_time": (("min_s", "max_s"), _transit_time),
}


def _only(limits: Limits, known: set[str]) -> None:
    for name in limits:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise FeatureError(f"{name!r} is no limit of this rule{hint}")


def _wanted(limits: Limits, name: str, most: float) -> float:
    if name not in limits:
        raise FeatureError(f"{name} is missing")
    return _number(limits, name, most)


def _number(limits: Limits, name: str, most: float) -> float:
    value = limits[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FeatureError(f"{name}: {value!r} is not a number")
    if not 0 <= value <= most:
        raise FeatureError(f"{name}: {value:g} is not within 0 and {most:g}")
    return float(value)


def _wanted_hours(limits: Limits) -> str:
    hours = _hours(limits)
    if hours is None:
        raise FeatureError("hours are missing")
    return hours


def _hours(limits: Limits, name: str = "hours") -> str | None:
    value = limits.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise FeatureError(f"{name}: {value!r} is not a text like 'Mo-Fr 07:00-22:00'")
    try:
        return check_hours(value)
    except HoursError as error:
        raise FeatureError(f"{name}: {error}") from error
