"""Fence features as areas and routes; what a terminal cannot keep is refused, never left out."""

from collections.abc import Mapping
from typing import Any

from greenhaul_cloud.fences.rules import NIGHT_HOURS
from greenhaul_cloud.terminal_areas.features import (
    ENTER_BITS,
    LEAVE_BITS,
    SOUTH_BIT,
    WEST_BIT,
    Area,
    Feature,
    position_of,
)
from greenhaul_cloud.terminal_areas.periods import (
    digits_of_hours,
    digits_of_validity,
    hours_of,
    validity_of,
)
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808.messages_areas import (
    Circle,
    PolygonSetting,
    Rectangle,
    RoutePoint,
    RouteSetting,
    Vertex,
)
from greenhaul_protocols.times import parse_time

_TIMED_BIT, _LIMITED_BIT = 1 << 0, 1 << 1
_WIDTH_M_MAX = 255
_KEPT_RULES = frozenset({"no_entry", "must_stay", "speed_limit", "transit_time"})

Limits = Mapping[str, Any]


def area_of(feature: Feature, area_id: int | None = None) -> Area:
    """The area or route that asks of a terminal what a fence says.

    area_id: for a fence that never was one. Raises EncodeError for what no terminal keeps.
    """
    properties = feature["properties"]
    if properties.get("datum", "wgs84") != "wgs84":
        raise EncodeError(f"datum: a terminal reads WGS-84, not {properties['datum']}")
    kept: Limits = properties.get("jt808") or {}
    number = kept.get("area_id", area_id)
    if number is None:
        raise EncodeError("an area needs a number")
    rules = {rule["rule"]: rule for rule in properties.get("rules") or ()}
    if strange := sorted(rules.keys() - _KEPT_RULES):
        raise EncodeError(f"{strange[0]}: no terminal knows this rule")
    geometry = feature["geometry"]
    start, end = _times(properties, kept, rules)
    name = properties.get("name") if kept.get("has_name") or not kept else None
    bits = _told_bits(kept, rules) | (_TIMED_BIT if start is not None else 0)
    if geometry["type"] == "LineString":
        points = _points(geometry["coordinates"], properties, kept, rules)
        return RouteSetting(number, bits, start, end, points, name)
    if "transit_time" in rules:
        raise EncodeError("transit_time: only a route has it")
    limit_kmh, for_s, night_kmh = _speed(rules.get("speed_limit"))
    if limit_kmh is not None:
        bits |= _LIMITED_BIT
    # in the order of Circle and Rectangle; a polygon has its vertices in between
    rest = start, end, limit_kmh, for_s, night_kmh, name
    if geometry["type"] == "Point":
        at, sign_bits = _unsigned([geometry["coordinates"]], kept)
        radius_m = _whole(properties["radius_m"], "radius_m", 2**32 - 1)
        [(longitude_deg, latitude_deg)] = at
        return Circle(number, bits | sign_bits, latitude_deg, longitude_deg, radius_m, *rest)
    if geometry["type"] != "Polygon" or len(geometry["coordinates"]) != 1:
        raise EncodeError("a terminal keeps a polygon in one part and without holes")
    ring, sign_bits = _unsigned(geometry["coordinates"][0][:-1], kept)
    bits |= sign_bits
    if kept.get("shape") == "rectangle" and len(ring) == 4:
        (left_deg, bottom_deg), (right_deg, top_deg) = ring[0], ring[2]
        if ring[1] == (right_deg, bottom_deg) and ring[3] == (left_deg, top_deg):
            return Rectangle(number, bits, top_deg, left_deg, bottom_deg, right_deg, *rest)
    vertices = tuple(Vertex(latitude_deg, longitude_deg) for longitude_deg, latitude_deg in ring)
    return PolygonSetting(number, bits, start, end, limit_kmh, for_s, vertices, night_kmh, name)


def _told_bits(kept: Limits, rules: Mapping[str, Limits]) -> int:
    """Bits no other field decides: as they were, unless the rules ask for something else."""
    own = _TIMED_BIT | _LIMITED_BIT | SOUTH_BIT | WEST_BIT
    bits = int(kept.get("attributes", 0))
    bits &= ~own if kept.get("shape") != "route" else ~_TIMED_BIT
    is_entry, is_leaving = "no_entry" in rules, "must_stay" in rules
    was_entry, was_leaving = bool(bits & ENTER_BITS), bool(bits & LEAVE_BITS)
    said = (was_entry and not was_leaving, was_leaving and not was_entry)
    if said == (is_entry, is_leaving):
        return bits
    bits &= ~(ENTER_BITS | LEAVE_BITS)
    return bits | (ENTER_BITS if is_entry else 0) | (LEAVE_BITS if is_leaving else 0)


def _times(
    properties: Limits, kept: Limits, rules: Mapping[str, Limits]
) -> tuple[str, str] | tuple[None, None]:
    """Start and end, as they were if they still say the same."""
    hours = {rules[name].get("hours") for name in ("no_entry", "must_stay") if name in rules}
    if len(hours) > 1:
        raise EncodeError("rules with different hours: a terminal keeps one window")
    wanted = next(iter(hours), None)
    validity = properties.get("valid_from"), properties.get("valid_to")
    start, end = kept.get("start_time"), kept.get("end_time")
    if start is not None and end is not None:
        said = hours_of(start, end)
        is_same = said == wanted if said is not None else _is_same(validity, (start, end))
        # a window over visits alone stands in no rule
        if is_same or (said is not None and not hours):
            return start, end
    if wanted is not None:
        return digits_of_hours(wanted)
    if validity[0] is not None and validity[1] is not None:
        return digits_of_validity(validity[0], validity[1])
    return None, None


def _is_same(validity: tuple[Any, Any], digits: tuple[str, str]) -> bool:
    said = validity_of(*digits)
    return None not in validity and all(
        parse_time(one) == parse_time(other) for one, other in zip(validity, said, strict=True)
    )


def _speed(rule: Limits | None) -> tuple[int | None, int | None, int | None]:
    """Limit, seconds and limit at night."""
    if rule is None:
        return None, None, None
    night_kmh = rule.get("night_limit_kmh")
    if night_kmh is not None and (rule.get("night_hours") or NIGHT_HOURS) != NIGHT_HOURS:
        raise EncodeError(f"night_hours: a terminal's night is {NIGHT_HOURS}")
    return (
        _whole(rule["limit_kmh"], "limit_kmh", 65535),
        _whole(rule.get("for_s", 10), "for_s", 255),
        None if night_kmh is None else _whole(night_kmh, "night_limit_kmh", 65535),
    )


def _points(
    line: list[list[float]],
    properties: Limits,
    kept: Limits,
    rules: Mapping[str, Limits],
) -> tuple[RoutePoint, ...]:
    """The points as they were, if the line still is; else new ones, all alike."""
    before = tuple(RoutePoint(**point) for point in kept.get("points", ()))
    if before and [position_of(point) for point in before] == [list(at) for at in line]:
        return before
    if "transit_time" in rules:
        raise EncodeError("transit_time: a terminal times single segments of a route")
    width_m = _whole(2 * properties["half_width_m"], "half_width_m, twice", _WIDTH_M_MAX)
    speed = _speed(rules.get("speed_limit"))
    limited = 0 if speed[0] is None else 1 << 1
    return tuple(
        RoutePoint(
            number,
            number,
            abs(latitude_deg),
            abs(longitude_deg),
            width_m,
            limited | (4 if latitude_deg < 0 else 0) | (8 if longitude_deg < 0 else 0),
            None,
            None,
            *speed,
        )
        for number, (longitude_deg, latitude_deg, *_) in enumerate(line, 1)
    )


def _unsigned(positions: list[list[float]], kept: Limits) -> tuple[list[tuple[float, float]], int]:
    """Positions without signs, and the bits that say them; on the line itself as they were."""
    bits = 0
    for axis, bit in ((0, WEST_BIT), (1, SOUTH_BIT)):
        values = [at[axis] for at in positions]
        if any(v < 0 for v in values) and any(v > 0 for v in values):
            raise EncodeError("an area lies on one side of the equator and of Greenwich")
        was = bool(int(kept.get("attributes", 0)) & bit)
        if any(v < 0 for v in values) or (was and not any(values)):
            bits |= bit
    return [(abs(at[0]), abs(at[1])) for at in positions], bits


def _whole(value: float, name: str, most: int) -> int:
    if value != int(value) or not 0 <= value <= most:
        raise EncodeError(f"{name}: a terminal keeps whole numbers to {most}, not {value:g}")
    return int(value)
