"""A GeoJSON feature read as a fence version; what cannot be honoured is refused, never ignored."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args
from zoneinfo import ZoneInfo

from greenhaul_cloud.fences.geometry import parse_geometry
from greenhaul_cloud.fences.model import (
    ALWAYS_MS,
    NEVER_MS,
    Attributes,
    FenceVersion,
    PathKind,
    Scope,
    Settings,
    Severity,
)
from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.fences.rule_parsing import parse_rules
from greenhaul_protocols.times import parse_time

__all__ = ["FeatureError", "attributes_of", "parse_feature"]

PROPERTIES = (
    "id", "name", "severity", "datum", "valid_from", "valid_to", "confirm_s", "hysteresis_m",
    "gap_s", "gap_m", "path", "timezone", "applies_to", "rules", "radius_m", "half_width_m", "ends",
)  # fmt: skip

# A confirmation or a gap of a day is not meant; neither is a hysteresis as wide as a city.
SECONDS_MAX = 86_400.0
HYSTERESIS_M_MAX = 10_000.0
GAP_M_MAX = 1_000_000.0

ID_LENGTH_MAX = 200

# Foreign properties are kept out of the way, but one this similar to ours is a slip of the pen.
_SLIP_CUTOFF = 0.85


def parse_feature(
    feature: Any,
    *,
    version: int = 1,
    default_valid_from_ms: int = ALWAYS_MS,
    default_id: str | None = None,
) -> FenceVersion:
    """The fence version a GeoJSON feature describes (interfaces, *Fence feature*).

    default_valid_from_ms: for a feature that does not say; the moment of the request, or always.
    default_id: for a feature without an id; None refuses it.
    Raises FeatureError that names the fence, the key and what to write instead.
    """
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise FeatureError('expected a GeoJSON object with "type": "Feature"')
    properties = feature.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise FeatureError("properties: expected an object")
    fence_id = _fence_id(properties.get("id", feature.get("id", default_id)))
    try:
        _refuse_slips(properties)
        return _version_of(fence_id, version, feature, properties, default_valid_from_ms)
    except FeatureError as error:
        raise FeatureError(f"fence {fence_id!r}: {error}") from error


def attributes_of(energy: str | None, vehicle_class: str | None, tags: Iterable[str]) -> Attributes:
    """Attributes in the spelling scopes compare: trimmed, lower case, empty means not known."""
    return Attributes(
        _spelt(energy or "") or None,
        _spelt(vehicle_class or "") or None,
        frozenset(_spelt(tag) for tag in tags if tag.strip()),
    )


def _version_of(
    fence_id: str,
    version: int,
    feature: Mapping[str, Any],
    properties: Mapping[str, Any],
    default_valid_from_ms: int,
) -> FenceVersion:
    severity = properties.get("severity", "serious")
    if severity not in get_args(Severity):
        raise FeatureError(f"severity: {severity!r} is not one of {', '.join(get_args(Severity))}")
    valid_from_ms = _instant(properties, "valid_from", default_valid_from_ms)
    valid_to_ms = _instant(properties, "valid_to", NEVER_MS)
    if valid_to_ms <= valid_from_ms:
        raise FeatureError("valid_to must be later than valid_from")
    geometry = parse_geometry(feature, properties)
    return FenceVersion(
        fence_id=fence_id,
        version=version,
        area=geometry.area,
        circle=geometry.circle,
        rules=parse_rules(properties.get("rules") or []),
        settings=_settings(properties),
        applies_to=_scope(properties.get("applies_to") or {}),
        name=str(properties.get("name") or fence_id),
        severity=severity,
        timezone=_timezone(properties.get("timezone", "Asia/Shanghai")),
        valid_from_ms=valid_from_ms,
        valid_to_ms=valid_to_ms,
    )


def _fence_id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise FeatureError("properties.id: a fence needs an id (text)")
    if len(str(value)) > ID_LENGTH_MAX:
        raise FeatureError(f"properties.id: longer than {ID_LENGTH_MAX} characters")
    return str(value)


def _refuse_slips(properties: Mapping[str, Any]) -> None:
    for name in properties:
        if name in PROPERTIES:
            continue
        near = difflib.get_close_matches(str(name), PROPERTIES, n=1, cutoff=_SLIP_CUTOFF)
        if near:
            raise FeatureError(f"properties.{name}: did you mean {near[0]!r}?")


def _settings(properties: Mapping[str, Any]) -> Settings:
    default = Settings()
    path = properties.get("path", default.path)
    if path not in get_args(PathKind):
        raise FeatureError(f"path: {path!r} is not one of {', '.join(get_args(PathKind))}")
    return Settings(
        path=path,
        confirm_s=_number(properties, "confirm_s", default.confirm_s, 0, SECONDS_MAX),
        hysteresis_m=_number(properties, "hysteresis_m", default.hysteresis_m, 0, HYSTERESIS_M_MAX),
        gap_s=_number(properties, "gap_s", default.gap_s, 0.001, SECONDS_MAX),
        gap_m=_number(properties, "gap_m", default.gap_m, 1, GAP_M_MAX),
    )


def _scope(applies_to: Any) -> Scope:
    if not isinstance(applies_to, Mapping):
        raise FeatureError("applies_to: expected an object")
    lists: dict[str, frozenset[str]] = {}
    for name, values in applies_to.items():
        if name not in ("energy", "class", "tags_any", "tags_none"):
            raise FeatureError(
                f"applies_to.{name}: is not one of energy, class, tags_any, tags_none"
            )
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise FeatureError(f"applies_to.{name}: expected a list of texts")
        lists["vehicle_class" if name == "class" else name] = frozenset(map(_spelt, values))
    return Scope(**lists)


def _number(
    where: Mapping[str, Any], name: str, default: float, least: float, most: float
) -> float:
    value = where.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FeatureError(f"{name}: {value!r} is not a number")
    if not least <= value <= most:
        raise FeatureError(f"{name}: {value:g} is not within {least:g} and {most:g}")
    return float(value)


def _instant(properties: Mapping[str, Any], name: str, default_ms: int) -> int:
    value = properties.get(name)
    if value is None:
        return default_ms
    try:
        return parse_time(value)
    except (ValueError, AttributeError) as error:
        raise FeatureError(
            f"{name}: {value!r} is not a time like 2026-11-20T08:00:00+08:00"
        ) from error


def _timezone(name: Any) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise FeatureError(f"timezone: {name!r} is not a zone like Asia/Shanghai") from error


def _spelt(text: str) -> str:
    return text.strip().lower()
