"""Areas and routes as fence features."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from greenhaul_cloud.terminal_areas.periods import hours_of, validity_of
from greenhaul_protocols.jt808.messages_areas import (
    Circle,
    CircleSetting,
    PolygonSetting,
    Rectangle,
    RectangleSetting,
    RoutePoint,
    RouteSetting,
)

Area = Circle | Rectangle | PolygonSetting | RouteSetting
Feature = dict[str, Any]
Setting = CircleSetting | RectangleSetting | PolygonSetting | RouteSetting

ENTER_BITS, LEAVE_BITS = 0b1100, 0b110000
SOUTH_BIT, WEST_BIT = 1 << 6, 1 << 7
_SEGMENT_SOUTH, _SEGMENT_WEST = 1 << 2, 1 << 3

# A route drawn without width is watched as wide as the narrowest lane.
WIDTH_M_MIN = 2


def features_of(message: Setting) -> Iterator[Feature]:
    """Fence features of 0x8600, 0x8602, 0x8604 or 0x8606. Raises FeatureError."""
    if not isinstance(message, CircleSetting | RectangleSetting):
        yield feature_of(message)
        return
    for feature in map(feature_of, message.areas):
        feature["properties"]["jt808"]["action"] = message.action
        yield feature


def feature_of(area: Area) -> Feature:
    """The fence feature of one area or route. Raises FeatureError."""
    if isinstance(area, RouteSetting):
        return _route(area)
    bits = area.attributes
    signs = (-1 if bits & WEST_BIT else 1), (-1 if bits & SOUTH_BIT else 1)
    shape = _SHAPES[type(area)]
    properties: dict[str, Any] = {
        "id": f"jt808-{shape}-{area.area_id}",  # numbers are unique among areas of one shape
        "jt808": {"shape": shape, "area_id": area.area_id, "attributes": bits},
    }
    if isinstance(area, Circle):
        at = _signed(area.longitude_deg, area.latitude_deg, signs)
        geometry = {"type": "Point", "coordinates": at}
        properties["radius_m"] = area.radius_m
    elif isinstance(area, Rectangle):
        west, south = _signed(area.left_longitude_deg, area.bottom_latitude_deg, signs)
        east, north = _signed(area.right_longitude_deg, area.top_latitude_deg, signs)
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
    else:
        ring = [_signed(v.longitude_deg, v.latitude_deg, signs) for v in area.vertices]
        geometry = {"type": "Polygon", "coordinates": [[*ring, *ring[:1]]]}
    hours = _note_times(area, properties)
    rules = _told(bits, hours)
    if area.speed_max_kmh is not None:
        rules.append(_speed(area.speed_max_kmh, area.overspeed_s, area.night_speed_max_kmh))
    _note_name(area.name, properties)
    return {"type": "Feature", "geometry": geometry, "properties": {**properties, "rules": rules}}


_SHAPES = {Circle: "circle", Rectangle: "rectangle", PolygonSetting: "polygon"}


def _route(route: RouteSetting) -> Feature:
    properties: dict[str, Any] = {
        "id": f"jt808-route-{route.route_id}",
        "half_width_m": max([WIDTH_M_MIN, *(point.width_m for point in route.points)]) / 2,
        "jt808": {
            "shape": "route",
            "area_id": route.route_id,
            "attributes": route.attributes,
            "points": [asdict(point) for point in route.points],
        },
    }
    line = [position_of(point) for point in route.points]
    hours = _note_times(route, properties)
    rules = _told(route.attributes, hours)
    # the last point leads nowhere, so its segment has no say
    segments = route.points[:-1] or route.points
    limits = {(p.speed_max_kmh, p.overspeed_s, p.night_speed_max_kmh) for p in segments}
    if len(limits) == 1:
        [(speed_kmh, overspeed_s, night_kmh)] = limits
        if speed_kmh is not None:
            rules.append(_speed(speed_kmh, overspeed_s, night_kmh))
    rules += _transit(segments)
    _note_name(route.name, properties)
    geometry = {"type": "LineString", "coordinates": line}
    return {"type": "Feature", "geometry": geometry, "properties": {**properties, "rules": rules}}


def position_of(point: RoutePoint) -> list[float]:
    """[longitude, latitude] of a turning point."""
    west, south = point.attributes & _SEGMENT_WEST, point.attributes & _SEGMENT_SOUTH
    return _signed(point.longitude_deg, point.latitude_deg, (-1 if west else 1, -1 if south else 1))


def _signed(longitude_deg: float, latitude_deg: float, signs: tuple[int, int]) -> list[float]:
    return [longitude_deg * signs[0], latitude_deg * signs[1]]


def _note_times(area: Area, properties: dict[str, Any]) -> str | None:
    """Hours of the rules, if the times repeat; dates become validity."""
    if area.start_time is None or area.end_time is None:
        return None
    properties["jt808"] |= {"start_time": area.start_time, "end_time": area.end_time}
    hours = hours_of(area.start_time, area.end_time)
    if hours is None:
        valid_from, valid_to = validity_of(area.start_time, area.end_time)
        properties |= {"valid_from": valid_from, "valid_to": valid_to}
    return hours


def _note_name(name: str | None, properties: dict[str, Any]) -> None:
    if name is not None:
        properties["jt808"]["has_name"] = True
        properties["name"] = name


def _told(bits: int, hours: str | None) -> list[dict[str, Any]]:
    is_entry, is_leaving = bool(bits & ENTER_BITS), bool(bits & LEAVE_BITS)
    if is_entry == is_leaving:
        return []
    rule: dict[str, Any] = {"rule": "no_entry" if is_entry else "must_stay"}
    return [rule if hours is None else {**rule, "hours": hours}]


def _speed(limit_kmh: int, overspeed_s: int | None, night_kmh: int | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"rule": "speed_limit", "limit_kmh": limit_kmh}
    if overspeed_s is not None:
        rule["for_s"] = overspeed_s
    return rule if night_kmh is None else {**rule, "night_limit_kmh": night_kmh}


def _transit(segments: Sequence[RoutePoint]) -> list[dict[str, Any]]:
    most = [point.time_max_s for point in segments]
    least = [point.time_min_s for point in segments]
    limits: dict[str, Any] = {}
    if least and None not in least:
        limits["min_s"] = sum(s for s in least if s is not None)
    if most and None not in most:
        limits["max_s"] = sum(s for s in most if s is not None)
    if not limits or limits.get("min_s", 0) > limits.get("max_s", float("inf")):
        return []
    return [{"rule": "transit_time", **limits}]
