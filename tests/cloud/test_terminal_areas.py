"""Areas and routes of terminals become fences and come back bit for bit."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.fences.rings import FeatureError
from greenhaul_cloud.terminal_areas.areas import area_of
from greenhaul_cloud.terminal_areas.features import Area, feature_of, features_of
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808.messages_areas import (
    Circle,
    CircleSetting,
    PolygonSetting,
    Rectangle,
    RoutePoint,
    RouteSetting,
    Vertex,
)

TIMED, LIMITED = 1, 2
micro = st.integers(1, 80_000_000).map(lambda n: n / 1_000_000)
words, seconds = st.integers(0, 65535), st.integers(0, 255)
clock = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)).map(
    lambda t: f"{t[0]:02}{t[1]:02}{t[2]:02}"
)
daily = st.tuples(clock, clock).map(lambda t: ("000000" + t[0], "000000" + t[1]))
dates = st.tuples(clock, clock).map(lambda t: ("251001" + t[0], "261008" + t[1]))
yearly = st.tuples(clock, clock).map(lambda t: ("001001" + t[0], "001007" + t[1]))


@st.composite
def more_of(draw: st.DrawFn, bits: int) -> dict[str, Any]:
    """The fields that bits 0 and 1 call for, and the name of 2019."""
    fields: dict[str, Any] = {}
    if bits & TIMED:
        fields["start_time"], fields["end_time"] = draw(st.one_of(daily, dates, yearly))
    if bits & LIMITED:
        fields["speed_max_kmh"], fields["overspeed_s"] = draw(words), draw(seconds)
        fields["night_speed_max_kmh"] = draw(st.none() | words)
    fields["name"] = draw(st.none() | st.text("绿配区ab1", max_size=8))
    return fields


@st.composite
def areas(draw: st.DrawFn) -> Area:
    """Any area, with any bits, reserved ones among them."""
    bits, area_id = draw(words), draw(st.integers(0, 2**32 - 1))
    more = draw(more_of(bits))
    kind = draw(st.sampled_from((Circle, Rectangle, PolygonSetting)))
    if kind is Circle:
        radius_m = draw(st.integers(1, 100_000))
        return Circle(area_id, bits, draw(micro), draw(micro), radius_m, **more)
    if kind is Rectangle:
        corners = draw(micro), draw(micro), draw(micro), draw(micro)
        return Rectangle(area_id, bits, *corners, **more)
    vertices = draw(st.lists(st.builds(Vertex, micro, micro), min_size=1, max_size=6))
    return PolygonSetting(area_id, bits, vertices=tuple(vertices), **more)


@st.composite
def points(draw: st.DrawFn) -> RoutePoint:
    """Any turning point."""
    bits = draw(st.integers(0, 255))
    timed = (draw(words), draw(st.none() | words)) if bits & TIMED else (None, None)
    limits = (draw(words), draw(seconds), draw(st.none() | words)) if bits & LIMITED else ()
    ids = draw(st.none() | words), draw(words)
    return RoutePoint(*ids, draw(micro), draw(micro), draw(seconds), bits, *timed, *limits)


@st.composite
def routes(draw: st.DrawFn) -> RouteSetting:
    """Any route."""
    bits = draw(words)
    more = draw(more_of(bits & TIMED))
    way = tuple(draw(st.lists(points(), min_size=1, max_size=5)))
    return RouteSetting(draw(words), bits, points=way, **more)


@settings(max_examples=300, deadline=None)
@given(st.one_of(areas(), routes()))
def test_there_and_back_every_bit_is_kept(area: Area) -> None:
    assert area_of(feature_of(area)) == area


def test_a_daily_window_with_limits_is_a_fence_that_says_so() -> None:
    bits = TIMED | LIMITED | 1 << 3 | 1 << 14
    circle = Circle(7, bits, 32.99, 112.53, 500, "000000083000", "000000180000", 40, 15, 30, "老城")
    [feature] = features_of(CircleSetting(0, (circle,)))
    version = parse_feature(feature)
    assert version.name == "老城"
    assert feature["properties"]["rules"] == [
        {"rule": "no_entry", "hours": "08:30-18:00"},
        {"rule": "speed_limit", "limit_kmh": 40, "for_s": 15, "night_limit_kmh": 30},
    ]
    assert version.circle is not None
    assert version.circle.radius_m == 500
    edited = {**feature["properties"], "rules": [{"rule": "must_stay", "hours": "07:00-24:00"}]}
    back = area_of({**feature, "properties": edited})
    assert isinstance(back, Circle)
    assert (back.start_time, back.end_time) == ("000000070000", "000000235959")
    assert back.attributes == TIMED | 0b110000 | 1 << 14
    assert back.speed_max_kmh is None


def test_a_route_is_a_corridor_with_transit_times() -> None:
    way = tuple(
        RoutePoint(n, n, 32.99, 112.5 + n / 100, 20, TIMED | LIMITED, 300, 60, 50, 10)
        for n in range(3)
    )
    feature = feature_of(RouteSetting(9, 1 << 5, points=way))
    parse_feature(feature)
    assert feature["properties"]["half_width_m"] == 10
    assert feature["properties"]["rules"] == [
        {"rule": "must_stay"},
        {"rule": "speed_limit", "limit_kmh": 50, "for_s": 10},
        {"rule": "transit_time", "min_s": 120, "max_s": 600},
    ]


def test_dates_are_validity() -> None:
    area = Rectangle(1, TIMED, 33.0, 112.5, 32.9, 112.6, "251001080000", "251008180000")
    properties = feature_of(area)["properties"]
    assert properties["valid_from"] == "2025-10-01T00:00:00Z"
    assert properties["valid_to"] == "2025-10-08T10:00:00Z"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": [{"rule": "max_dwell", "limit_s": 5}]}, "max_dwell"),
        ({"rules": [{"rule": "no_entry", "hours": "Mo-Fr 07:00-22:00"}]}, "one window a day"),
        ({"rules": [{"rule": "speed_limit", "limit_kmh": 30.5}]}, "whole numbers"),
        (
            {"rules": [{"rule": "speed_limit", "limit_kmh": 30, "night_limit_kmh": 20,
                        "night_hours": "20:00-05:00"}]},
            "night",
        ),
    ],
)  # fmt: skip
def test_what_no_terminal_keeps_is_refused(change: dict[str, Any], message: str) -> None:
    feature = feature_of(Circle(7, 0, 32.99, 112.53, 500))
    with pytest.raises(EncodeError, match=message):
        area_of({**feature, "properties": {**feature["properties"], **change}})


def test_times_that_repeat_otherwise_are_refused() -> None:
    monthly = Circle(7, TIMED, 32.99, 112.53, 500, "000001083000", "000002180000")
    with pytest.raises(FeatureError, match="repeat"):
        feature_of(monthly)
