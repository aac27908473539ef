"""Additional items of a location report: the standard's, vendors' and trackers'."""

from typing import Any

import pytest

from greenhaul_protocols.jt808 import Item
from greenhaul_protocols.jt808.describe import body_json
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.tables import find, item_of
from greenhaul_protocols.jt808.vendor_items_table import TRACKER_ITEMS

LAT, LON = "01f76330", "06b4eb40"  # 32.99 and 112.52 degrees
TAIL = f"1e 0082 {LAT} {LON} 261120150405 0401 "
LABEL = "54303030303031 261120150405 01 02 00"
LONG_LABEL = "54" + "00" * 29 + "261120150405 01 02"
ADAS = "00000009 01 02 01 3c 0a 01 02 14"


@pytest.mark.parametrize(
    ("item", "name", "value"),
    [
        (Item(0x01, bytes.fromhex("00018fc9")), "odometer_km", 10234.5),
        (Item(0x02, bytes.fromhex("0016")), "fuel_l", 2.2),
        (Item(0x06, bytes.fromhex("8012")), "compartment_temperature_c", -18),
        (Item(0x06, bytes.fromhex("0012")), "compartment_temperature_c", 18),
        (Item(0x30, b"\x1f"), "signal_strength", 31),
    ],
)
def test_items_of_the_standard(item: Item, name: str, value: Any) -> None:
    found = find(LOCATION_ITEMS, item, 2013)
    assert found is not None
    assert (found[0].name, found[1]) == (name, value)
    assert item_of(LOCATION_ITEMS, name, value) == item


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("00", {"area_type": 0}),
        ("0100000007", {"area_type": 1, "area_id": 7}),
    ],
)
def test_the_overspeed_item_has_an_area_or_none(wire: str, expected: dict[str, int]) -> None:
    found = find(LOCATION_ITEMS, Item(0x11, bytes.fromhex(wire)), 2013)
    assert found is not None
    assert body_json(found[1], 2013) == expected


def test_an_item_of_another_length_is_somebody_elses() -> None:
    assert find(LOCATION_ITEMS, Item(0x01, b"\1"), 2013) is None
    assert find(LOCATION_ITEMS, Item(0x06, b"\1\2\3"), 2013) is None


@pytest.mark.parametrize(
    ("item_id", "wire", "name", "facts"),
    [
        (0x64, ADAS + TAIL + LABEL, "adas_alarm", {"alarm_type": 2, "front_speed_kmh": 60}),
        (0x64, ADAS + TAIL + LONG_LABEL + "00", "adas_alarm", {"front_distance_100ms": 10}),
        (0x64, ADAS + TAIL + LONG_LABEL + "0000", "adas_alarm", {"road_sign_data": 20}),
        (0x65, "00000009 01 01 02 07 00000000" + TAIL + LABEL, "driver_alarm", {"fatigue": 7}),
        (0x67, "00000009 01 03" + TAIL + LABEL, "blind_spot_alarm", {"alarm_type": 3}),
        (
            0x70,
            "00000009 01 02 000a 0001 0002" + TAIL + LABEL,
            "fierce_driving",
            {"time_limit_s": 10, "vehicle_status": 0x0401},
        ),
        (
            0x66,
            "00000009 00" + TAIL + LABEL + "01 03 0004 0320 ffec 0050",
            "tyre_alarm",
            {"tyres": [(3, 4, 800, -20, 80)]},
        ),
        (
            0x66,
            "00000009 00" + TAIL + LABEL + "01 03 00 0004 0320 ffec 0050",
            "tyre_alarm",
            {"tyres": [(3, 0, 4, 800, -20, 80)]},
        ),
        (0xE4, "01 32", "charge_state", {"soc_percent": 50}),
        (0x56, "0a cd", "battery_level", {"battery_tenths": 10}),
        (
            0x91,
            "0090 0708 3c 80 40 7d 0000 0320 0000000000000000 04d2",
            "engine_state",
            {"battery_v": 14.4, "engine_speed_rpm": 1800, "coolant_raw": 125, "fuel_used_l": 12.34},
        ),
        (0xE3, "ff 50 0190", "backup_battery", {"battery_percent": 80, "battery_v": 4.0}),
        (0xEE, "1f 2ee0 1068 09", "tracker_state", {"supply_mv": 12000, "battery_mv": 4200}),
        (0x12, "01 00000007 01", "area_crossing", {"area_id": 7, "direction": 1}),
        (0x13, "00000007 0063 01", "segment_time", {"duration_s": 99, "result": 1}),
        (0x18, "0005 40", "abnormal_driving", {"behaviours": 5, "fatigue_percent": 64}),
    ],
)
def test_items_have_the_fields_of_their_table(
    item_id: int, wire: str, name: str, facts: dict[str, Any]
) -> None:
    found = find(LOCATION_ITEMS, Item(item_id, bytes.fromhex(wire)), 2013)
    assert found is not None
    entry, value = found
    told = body_json(value, 2013)
    if "tyres" in facts:
        told["tyres"] = [tuple(tyre.values()) for tyre in told["tyres"]]
    assert entry.name == name
    assert {field: told[field] for field in facts} == facts


@pytest.mark.parametrize(
    ("item_id", "wire", "name", "value"),
    [
        (0x61, "1d74", "supply_v", 75.4),
        (0x51, "80c8", "temperature_c", -20.0),
        (0xF1, "00002ee0", "supply_mv", 12000),
        (0xD5, "01a4", "battery_v", 4.2),
        (0x06, "50", "battery_percent", 80),
        (0xE1, "0078", "supply_v", 12.0),
        (0xE1, "64", "battery_percent", 100),
        (0xEB, "5554432b30383a3030", "time_zone", "UTC+08:00"),
        (0xBC, "4c4920" + "00" * 13, "driver", "LI"),
        (0x06, "8005", "compartment_temperature_c", -5),
        (0xEB, "0004 00ce 06d6", "tracker_items", ((0x00CE, b"\x06\xd6"),)),
        (0xF3, "0002 02 0168", "obd_items", ((0x0002, b"\x01\x68"),)),
    ],
)
def test_items_of_vendors(item_id: int, wire: str, name: str, value: Any) -> None:
    found = find(LOCATION_ITEMS, Item(item_id, bytes.fromhex(wire)), 2013)
    assert found is not None
    assert (found[0].name, found[1]) == (name, value)


@pytest.mark.parametrize(
    ("item_id", "wire", "name", "facts"),
    [
        (0x00B9, "02" + b"AA:BB,-50".hex(), "wifi", {"count": 2, "access_points": "AA:BB,-50"}),
        (0x00D8, "01cc 00 2535 00001026", "cell", {"mcc": 460, "lac": 9525, "cell_id": 4134}),
    ],
)
def test_items_of_trackers(item_id: int, wire: str, name: str, facts: dict[str, Any]) -> None:
    found = find(TRACKER_ITEMS, Item(item_id, bytes.fromhex(wire)), 2013)
    assert found is not None
    told = body_json(found[1], 2013)
    assert (found[0].name, {field: told[field] for field in facts}) == (name, facts)


@pytest.mark.parametrize("item_id", [0x64, 0x65, 0x66, 0x67, 0x70])
def test_four_bytes_under_the_ids_of_active_safety_are_somebody_elses(item_id: int) -> None:
    assert find(LOCATION_ITEMS, Item(item_id, bytes(4)), 2013) is None
