"""A fence feature is taken whole or refused with a message that says what to change."""

from typing import Any

import pytest

from greenhaul_cloud.fences.feature import FeatureError, attributes_of, parse_feature
from greenhaul_cloud.fences.model import (
    ALWAYS_MS,
    NEVER_MS,
    Scope,
    Settings,
)
from greenhaul_cloud.fences.rules import NoEntry, SpeedLimit
from greenhaul_protocols.times import parse_time

RING = [[112.5, 33.0], [112.6, 33.0], [112.6, 33.1], [112.5, 33.1], [112.5, 33.0]]


def polygon(*rings: Any, **properties: Any) -> dict[str, Any]:
    """A feature with defaults."""
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": list(rings or (RING,))},
        "properties": {"id": "centre", **properties},
    }


def test_defaults_are_those_of_the_interface() -> None:
    version = parse_feature(polygon())
    assert version.settings == Settings(confirm_s=30, hysteresis_m=20, gap_s=120, gap_m=2000)
    assert (version.severity, version.timezone, version.name) == (
        "serious",
        "Asia/Shanghai",
        "centre",
    )
    assert (version.valid_from_ms, version.valid_to_ms) == (ALWAYS_MS, NEVER_MS)
    assert version.rules == ()
    assert version.applies_to == Scope()


def test_everything_that_is_said_is_kept() -> None:
    version = parse_feature(
        polygon(
            name="老城区",
            severity="warning",
            confirm_s=0,
            hysteresis_m=5.5,
            gap_s=60,
            gap_m=500,
            timezone="Europe/Berlin",
            valid_from="2026-11-20T08:00:00+08:00",
            valid_to="2026-12-20T00:00:00Z",
            applies_to={
                "energy": ["Diesel"],
                "class": [],
                "tags_any": ["N1"],
                "tags_none": ["vip"],
            },
            rules=[{"rule": "no_entry"}, {"rule": "speed_limit", "limit_kmh": 30, "for_s": 5}],
        ),
        version=4,
    )
    assert version.version == 4
    assert version.rules == (NoEntry(), SpeedLimit(30, 5))
    assert version.settings == Settings(0, 5.5, 60, 500)
    assert version.valid_from_ms == parse_time("2026-11-20T00:00:00Z")
    assert version.applies_to == Scope(
        energy=frozenset({"diesel"}), tags_any=frozenset({"n1"}), tags_none=frozenset({"vip"})
    )


def test_an_id_may_stand_where_geojson_puts_it() -> None:
    feature = {**polygon(), "id": 7, "properties": {}}
    assert parse_feature(feature).fence_id == "7"


def test_an_open_ring_is_closed_and_a_hole_is_kept() -> None:
    hole = [[112.52, 33.02], [112.54, 33.02], [112.54, 33.04], [112.52, 33.04]]
    area = parse_feature(polygon(RING[:-1], hole)).area
    assert area.area == pytest.approx(0.01 - 0.0004)


def test_parts_that_overlap_are_one_area() -> None:
    other = [[x + 0.05, y] for x, y in RING]
    geometry = {"type": "MultiPolygon", "coordinates": [[RING], [other]]}
    assert parse_feature({**polygon(), "geometry": geometry}).area.area == pytest.approx(0.015)


def test_a_ring_that_touches_itself_is_repaired() -> None:
    ring = [[0, 0], [2, 0], [2, 2], [1, 0], [0, 2]]
    assert parse_feature(polygon(ring)).area.is_valid


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ([], "Feature"),
        ({"type": "Polygon"}, "Feature"),
        ({**polygon(), "properties": {}}, "id"),
        ({**polygon(), "geometry": None}, "geometry"),
        (
            {**polygon(), "geometry": {"type": "Point", "coordinates": [1, 2]}},
            "radius_m is missing",
        ),
        ({**polygon(), "geometry": {"type": "LineString", "coordinates": []}}, "two different"),
        ({**polygon(), "geometry": {"type": "Ellipse"}}, "Ellipse.*Polygon, MultiPolygon"),
        (polygon([[112.5, 33.0], [112.6, 33.0], [112.5, 33.0]]), "2 different corners"),
        (polygon([[0, 0], [1, 0], [2, 0], [0, 0]]), "no area"),
        (polygon([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]), "crosses itself"),
        (polygon([[33.0, 112.5], [33.0, 112.6], [33.1, 112.6]]), "longitude comes first"),
        (polygon([[1, 2], ["a", 3], [4, 5]]), "longitude, latitude"),
        (polygon("abc"), "list of rings"),
        (polygon(datum="gcj-02"), "one of wgs84, gcj02, bd09"),
        (polygon(severity="mild"), "info, warning, serious"),
        (polygon(confirm_s=-1), "confirm_s: -1 is not within"),
        (polygon(gap_s="soon"), "gap_s: 'soon' is not a number"),
        (polygon(hysteresis_m=float("nan")), "not a number"),
        (polygon(hysteresis=20), "did you mean 'hysteresis_m'"),
        (polygon(timezone="Asia/Shanghay"), "timezone"),
        (polygon(valid_from="tomorrow"), "valid_from"),
        (polygon(valid_from="2026-01-02T00:00:00"), "valid_from"),
        (polygon(valid_from="2026-01-02T00:00:00Z", valid_to="2026-01-01T00:00:00Z"), "later"),
        (polygon(applies_to={"fuel": []}), "applies_to.fuel"),
        (polygon(applies_to={"energy": "diesel"}), "list of texts"),
        (polygon(rules={"rule": "no_entry"}), "list"),
        (polygon(rules=["no_entry"]), "object"),
        (polygon(rules=[{"rule": "no_enrty"}]), "did you mean 'no_entry'"),
        (polygon(rules=[{"rule": "max_dwell"}]), "max_dwell: limit_s is missing"),
        (polygon(rules=[{"rule": "must_visit_by"}]), "must_visit_by: hours are missing"),
        (polygon(rules=[{"rule": "no_entry", "hours": "weekdays"}]), "no_entry: hours: 'weekdays'"),
        (polygon(rules=[{"rule": "no_entry", "hours": "SH off"}]), "school holidays"),
        (polygon(rules=[{"rule": "no_entry", "hours": "sunset-sunrise"}]), "give them as hh:mm"),
        (polygon(rules=[{"rule": "transit_time"}]), "min_s, max_s or both"),
        (polygon(rules=[{"rule": "transit_time", "min_s": 9, "max_s": 8}]), "more than max_s"),
        (polygon(rules=[{"rule": "no_entry"}, {"rule": "no_entry"}]), "twice"),
        (polygon(rules=[{"rule": "speed_limit"}]), "limit_kmh is missing"),
        (
            polygon(rules=[{"rule": "speed_limit", "limit_kmh": 3, "night_hours": "Mo-Su"}]),
            "without night_limit_kmh",
        ),
        (polygon(rules=[{"rule": "speed_limit", "limit_kph": 30}]), "did you mean 'limit_kmh'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_says_why(feature: Any, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        parse_feature(feature)


def test_a_refusal_names_the_fence() -> None:
    with pytest.raises(FeatureError, match="fence 'centre'"):
        parse_feature(polygon(datum="bd-09"))


@pytest.mark.parametrize(
    ("scope", "energy", "vehicle_class", "tags", "matches"),
    [
        (Scope(), None, None, [], True),
        (Scope(energy=frozenset({"diesel"})), "Diesel ", None, [], True),
        (Scope(energy=frozenset({"diesel"})), "electric", None, [], False),
        (Scope(energy=frozenset({"diesel"})), None, None, [], False),
        (Scope(vehicle_class=frozenset({"n2"})), None, "N2", [], True),
        (Scope(tags_any=frozenset({"cold", "food"})), None, None, ["food"], True),
        (Scope(tags_any=frozenset({"cold"})), None, None, [], False),
        (Scope(tags_none=frozenset({"permit"})), None, None, ["Permit"], False),
        (Scope(tags_none=frozenset({"permit"})), None, None, ["food"], True),
    ],
)
def test_scope_asks_for_energy_class_and_tags(
    scope: Scope, energy: str | None, vehicle_class: str | None, tags: list[str], matches: bool
) -> None:
    assert scope.matches(attributes_of(energy, vehicle_class, tags)) is matches
