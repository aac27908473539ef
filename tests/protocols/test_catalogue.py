"""The catalogue tests itself: numbers, units, ranges, and what the README says of it."""

import math

import pytest

from greenhaul_protocols.catalogue import KIND_OF, KINDS, UNITS, FieldSpec, Position
from greenhaul_protocols.errors import EncodeError

ALL_FIELDS = [
    pytest.param(spec, id=f"{kind.name}.{spec.name}")
    for kind in KINDS.values()
    for spec in kind.fields
]
# Numbers that carry no unit because they have none.
DIMENSIONLESS = {
    "satellites",
    "hdop",
    "fix_quality",
    "alarms",
    "status",
    "signal_strength",
    "charging_state",
    "fault_level",
    "gear",
    "epoch",
    "lane",
    "first",
    "last",
    "media_id",
    "part_number",
    "part_total",
    "media_type",
    "media_format",
    "event_code",
    "channel",
}


def test_kind_numbers_and_names_are_frozen() -> None:
    assert {number: kind.name for number, kind in KINDS.items()} == {
        1: "position",
        2: "battery",
        3: "drive",
        4: "cargo",
        5: "event",
        6: "undecodable",
        7: "dropped",
        9: "media_part",
    }


def test_position_fields_are_frozen() -> None:
    """The wire's numbers: a change here orphans what is on disk at every gateway."""
    frozen = [(spec.number, spec.name, spec.per_unit) for spec in KINDS[1].fields]
    assert frozen == [
        (1, "latitude_deg", 10_000_000),
        (2, "longitude_deg", 10_000_000),
        (3, "altitude_m", 10),
        (4, "speed_kmh", 10),
        (5, "heading_deg", 10),
        (6, "satellites", 1),
        (7, "hdop", 10),
        (8, "fix_quality", 1),
        (9, "is_located", 1),
        (10, "odometer_km", 10),
        (11, "recorder_speed_kmh", 10),
        (12, "alarms", 1),
        (13, "status", 1),
        (14, "fuel_l", 10),
        (15, "signal_strength", 1),
        (16, "accuracy_m", 10),
        (17, "items", 1),
    ]


@pytest.mark.parametrize("spec", ALL_FIELDS)
def test_every_number_has_a_unit_in_its_name_or_none_to_have(spec: FieldSpec) -> None:
    if spec.value_type == "number":
        assert (spec.unit is None) == (spec.name in DIMENSIONLESS)
    if spec.value_type == "flag":
        assert spec.name.startswith("is_")


@pytest.mark.parametrize("spec", ALL_FIELDS)
def test_ranges_are_ordered_and_representable(spec: FieldSpec) -> None:
    if spec.minimum is not None and spec.maximum is not None:
        assert spec.minimum < spec.maximum
        for bound in (spec.minimum, spec.maximum):
            assert spec.scale(spec.quantise(bound)) == pytest.approx(bound)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, "36.5"])
def test_what_no_integer_holds_is_our_bug(value: object) -> None:
    with pytest.raises(EncodeError, match="speed_kmh"):
        KINDS[1].by_number[4].quantise(value)


def test_scaling_gives_back_the_decimal_that_was_meant() -> None:
    latitude = KIND_OF[Position].by_number[1]
    assert latitude.scale(latitude.quantise(32.9912345)) == 32.9912345


def test_units_are_all_used() -> None:
    used = {spec.name.rpartition("_")[2] for kind in KINDS.values() for spec in kind.fields}
    assert set(UNITS) <= used
