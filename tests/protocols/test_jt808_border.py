"""The border: what a report says becomes readings, and back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.catalogue import (
    BatteryReading,
    CargoReading,
    Flags,
    Position,
    Reading,
    TimeQuality,
    Undecodable,
)
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import (
    BadBytes,
    BatchReport,
    Header,
    Heartbeat,
    Item,
    LocationAnswer,
    LocationReport,
    UnknownMessage,
)
from greenhaul_protocols.jt808 import Undecodable as UndecodableReport
from greenhaul_protocols.jt808.border import (
    battery_item,
    location_report_of,
    readings_of,
    resend_key,
    source_name,
)
from greenhaul_protocols.jt808.declaration import decode, encode
from greenhaul_protocols.times import parse_time

SOURCE = "808:13912345678"
TIME_MS = parse_time("2026-11-20T07:04:05Z")
RECEIVED_MS = TIME_MS + 2000

REPORT = LocationReport(
    alarms=1,
    status=3,
    latitude_deg=32.99,
    longitude_deg=112.52,
    altitude_m=130,
    speed_kmh=36.5,
    heading_deg=90,
    device_time="261120150405",
    items=(
        Item(0x01, bytes.fromhex("00018fc9")),
        Item(0xE7, b"\1\2"),
        Item(0x31, b"\x0c"),
        Item(0x25, bytes(4)),
    ),
)


def readings(body: object) -> list[Reading]:
    return readings_of(body, source=SOURCE, received_time_ms=RECEIVED_MS)


def position(report: LocationReport) -> Position:
    found = readings(report)[0]
    assert isinstance(found, Position)
    return found


def test_a_report_is_a_position() -> None:
    assert readings(REPORT) == [
        Position(
            source=SOURCE,
            device_time_ms=TIME_MS,
            received_time_ms=RECEIVED_MS,
            latitude_deg=32.99,
            longitude_deg=112.52,
            altitude_m=130,
            speed_kmh=36.5,
            heading_deg=90,
            satellites=12,
            is_located=True,
            odometer_km=10234.5,
            alarms=1,
            status=3,
            items=bytes.fromhex("e7020102 250400000000"),
        )
    ]


@pytest.mark.parametrize(
    ("status", "signs"),
    [(0b0010, (1, 1)), (0b0110, (-1, 1)), (0b1010, (1, -1)), (0b1110, (-1, -1))],
)
def test_status_bits_are_the_signs(status: int, signs: tuple[int, int]) -> None:
    found = position(replace(REPORT, status=status))
    assert (found.latitude_deg, found.longitude_deg) == (32.99 * signs[0], 112.52 * signs[1])
    assert found.is_located


def test_twos_complement_is_a_negative_coordinate() -> None:
    body = bytearray(encode(REPORT, 2013))
    body[8:12] = (-33_000_000).to_bytes(4, "big", signed=True)
    report, _ = decode(LocationReport, bytes(body), 2013)
    assert position(report).latitude_deg == pytest.approx(-33.0)


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "status"),
    [
        (0.0, 0.0, 2),
        (0.000001, 0.000001, 2),
        (90.000001, 112.0, 2),
        (32.0, 180.000001, 2),
        (116.307629, 40.058359, 2),
        (32.99, 112.52, 0),
    ],
)
def test_what_is_not_located(latitude_deg: float, longitude_deg: float, status: int) -> None:
    report = replace(REPORT, latitude_deg=latitude_deg, longitude_deg=longitude_deg, status=status)
    found = position(report)
    assert found.is_located is False
    assert (found.latitude_deg, found.longitude_deg) == (latitude_deg, longitude_deg)


def test_on_the_equator_one_is_located() -> None:
    assert position(replace(REPORT, latitude_deg=0.0)).is_located


def test_below_the_sea_the_altitude_is_negative() -> None:
    assert position(replace(REPORT, altitude_m=0xFFFE)).altitude_m == -2


@pytest.mark.parametrize(
    "digits",
    [
        "000000000000",
        "2611201504ff",
        "261320150405",
        "000101075959",
        "261120150908",
        "991120150405",
    ],
)
def test_unusable_times_are_the_received_time(digits: str) -> None:
    found = position(replace(REPORT, device_time=digits))
    assert found.time_quality is TimeQuality.UNUSABLE
    assert found.device_time_ms == RECEIVED_MS
    assert found.is_located


@pytest.mark.parametrize("digits", ["000101080000", "100101000000", "261120150907"])
def test_age_or_five_minutes_never_make_a_time_unusable(digits: str) -> None:
    assert position(replace(REPORT, device_time=digits)).time_quality is TimeQuality.SOURCE


def test_repeated_items_keep_the_first_as_field_and_the_others_as_bytes() -> None:
    items = (Item(0x31, b"\x05"), Item(0x31, b"\x06"), Item(0x01, b"\x01"))
    found = position(replace(REPORT, items=items, cut=b"\xf6\x09"))
    assert found.satellites == 5
    assert found.items == bytes.fromhex("310106 010101 f609")


def test_fuel_in_percent_is_not_litres() -> None:
    found = position(replace(REPORT, items=(Item(0x02, b"\x80\x32"),)))
    assert (found.fuel_l, found.items) == (None, bytes.fromhex("02028032"))


def test_compartment_temperature_is_a_cargo_reading() -> None:
    _, cargo = readings(replace(REPORT, items=(Item(0x06, b"\x80\x12"),)))
    assert isinstance(cargo, CargoReading)
    assert (cargo.compartment_temperature_1_c, cargo.device_time_ms) == (-18, TIME_MS)


@pytest.mark.parametrize(
    ("item", "soc_percent"),
    [
        (battery_item(55), 55),
        (Item(0xE4, b"\1\x37"), 55),
        (Item(0xD4, b"\xff"), None),
        (Item(0xE4, b"\0\0\1\1"), None),
        (Item(0xE4, b"\0\xff"), None),
    ],
)
def test_battery_items_are_battery_readings(item: Item, soc_percent: float | None) -> None:
    found = [r for r in readings(replace(REPORT, items=(item,))) if isinstance(r, BatteryReading)]
    assert [r.soc_percent for r in found] == ([] if soc_percent is None else [soc_percent])


def test_the_blind_area_of_a_batch_is_backlog() -> None:
    kept = [r.flags for r in readings(BatchReport.of((REPORT, REPORT), 1))]
    normal = [r.flags for r in readings(BatchReport.of((REPORT,), 0))]
    assert (kept, normal) == ([Flags.BACKLOG] * 2, [Flags(0)])


def test_a_bad_report_in_a_batch_is_undecodable_and_the_others_are_positions() -> None:
    bad = UndecodableReport("status: wants 4 bytes at 4, has 0", b"\1\2\3")
    first, second, third = readings(BatchReport(3, 0, (REPORT, bad, REPORT)))
    assert (type(first), type(third)) == (Position, Position)
    assert isinstance(second, Undecodable)
    assert (second.protocol, second.raw) == ("jt808", b"\1\2\3")
    assert second.reason == "0x0704 report: status: wants 4 bytes at 4, has 0"
    assert second.time_quality is TimeQuality.UNUSABLE


def test_an_answer_to_a_query_is_a_position_and_a_heartbeat_is_nothing() -> None:
    assert readings(LocationAnswer(7, REPORT)) == readings(REPORT)
    assert readings(Heartbeat()) == []


def test_bad_bytes_and_unknown_messages_are_kept() -> None:
    header = Header(0x0F01, "1", 0, is_2019=False)
    (bad,) = readings(BadBytes("rubbish", b"x"))
    (unknown,) = readings(UnknownMessage(header, b"body", b"~frame~"))
    assert isinstance(bad, Undecodable)
    assert isinstance(unknown, Undecodable)
    assert (bad.reason, bad.raw) == ("rubbish", b"x")
    assert (unknown.reason, unknown.raw) == ("unknown message 0x0F01", b"~frame~")


@pytest.mark.parametrize(
    ("phone", "name"),
    [
        ("013912345678", "808:13912345678"),
        ("0" * 20, "808:0"),
        ("123456789012", "808:123456789012"),
    ],
)
def test_a_source_is_named_without_zeros_in_front(phone: str, name: str) -> None:
    assert source_name(phone) == name


def test_a_resend_has_the_same_key_and_anything_else_another() -> None:
    header = Header(0x0200, "013912345678", 7, is_2019=False)
    key = resend_key(header, b"body")
    assert key == resend_key(header, b"body")
    others = [
        resend_key(header, b"bodz"),
        resend_key(header._replace(serial=8), b"body"),
        resend_key(header._replace(message_id=0x0201), b"body"),
        resend_key(header._replace(phone="013912345679"), b"body"),
    ]
    assert key not in others


@given(
    latitude_deg=st.integers(-90_000_000, 90_000_000),
    longitude_deg=st.integers(-180_000_000, 180_000_000),
    altitude_m=st.integers(-500, 9000),
    speed_kmh=st.integers(0, 2200),
    heading_deg=st.integers(0, 359),
    odometer_km=st.none() | st.integers(0, 0xFFFF_FFFF),
    fuel_l=st.none() | st.integers(0, 0x7FFF),
    satellites=st.none() | st.integers(0, 255),
    alarms=st.integers(0, 0xFFFF_FFFF),
    acc=st.booleans(),
)
def test_a_position_comes_back_from_its_report(
    latitude_deg: int,
    longitude_deg: int,
    altitude_m: int,
    speed_kmh: int,
    heading_deg: int,
    odometer_km: int | None,
    fuel_l: int | None,
    satellites: int | None,
    alarms: int,
    acc: bool,
) -> None:
    is_null = abs(latitude_deg) < 10_000 and abs(longitude_deg) < 10_000
    status = int(acc) | (latitude_deg < 0) << 2 | (longitude_deg < 0) << 3 | (not is_null) << 1
    meant = Position(
        source=SOURCE,
        device_time_ms=TIME_MS,
        received_time_ms=RECEIVED_MS,
        latitude_deg=latitude_deg / 1e6,
        longitude_deg=longitude_deg / 1e6,
        altitude_m=altitude_m,
        speed_kmh=speed_kmh / 10,
        heading_deg=heading_deg,
        satellites=satellites,
        is_located=not is_null,
        odometer_km=None if odometer_km is None else odometer_km / 10,
        fuel_l=None if fuel_l is None else fuel_l / 10,
        alarms=alarms,
        status=status,
        items=bytes.fromhex("e7020102"),
    )
    body = encode(location_report_of(meant), 2013)
    report, _ = decode(LocationReport, body, 2013)
    assert position(report) == meant


def test_a_state_of_charge_beyond_100_is_our_mistake() -> None:
    with pytest.raises(EncodeError, match="soc_percent"):
        battery_item(101)


@pytest.mark.parametrize(
    ("raw", "temperatures_c"),
    [
        ("80c8", (-20.0, None, None, None)),
        ("80c8002dffff0000" + 4 * "ffff", (-20.0, 4.5, None, 0.0)),
        ("ffff", None),
    ],
)
def test_temperatures_of_refrigerated_bodies_are_cargo(
    raw: str, temperatures_c: tuple[float | None, ...] | None
) -> None:
    items = (Item(0x51, bytes.fromhex(raw)),)
    report = LocationReport(0, 3, 32.9, 112.5, 130, 36.0, 90, "261120150405", items)
    readings = readings_of(report, source="808:1", received_time_ms=1_795_158_300_000)
    cargo = [one for one in readings if isinstance(one, CargoReading)]
    if temperatures_c is None:
        assert not cargo
        return
    (reading,) = cargo
    numbered = (f"compartment_temperature_{number}_c" for number in range(1, 5))
    assert tuple(getattr(reading, name) for name in numbered) == temperatures_c
