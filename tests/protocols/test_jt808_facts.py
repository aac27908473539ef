"""Bodies written by hand from the text of the standard, in the edition they are of.

Generated values show that reader and writer agree with each other; these show that they agree with
the standard: order, offsets, scales, and what 2011, 2013 and 2019 do differently.
"""

from dataclasses import replace
from typing import Any

import pytest

from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import Conversation, Item, LocationReport, Received, Registration
from greenhaul_protocols.jt808.bodies import read_body
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS, decode, encode
from greenhaul_protocols.jt808.describe import body_json
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.messages_areas import (
    AreaAnswer,
    AreaQuery,
    Circle,
    CircleDeletion,
    CircleSetting,
    PolygonSetting,
    Rectangle,
    RectangleSetting,
    RoutePoint,
    RouteSetting,
    Vertex,
)
from greenhaul_protocols.jt808.messages_control import (
    TerminalAttributes,
    TerminalAttributesLongMaker,
    TerminalControl,
    UpgradePackage,
    UpgradeResult,
    VehicleCommand,
    VehicleControl,
    VehicleControlAnswer,
)
from greenhaul_protocols.jt808.messages_information import (
    AnswerChoice,
    CallBack,
    Contact,
    EventChoice,
    EventDeletion,
    EventReport,
    EventSetting,
    Information,
    InformationDemand,
    InformationMenu,
    MenuEntry,
    PhoneBook,
    Question,
    QuestionAnswer,
)
from greenhaul_protocols.jt808.messages_location import Location
from greenhaul_protocols.jt808.messages_media import (
    MediaAnswer,
    MediaData,
    MediaEvent,
    MediaSearch,
    MediaSearchAnswer,
    MediaUpload,
    PhotoCommand,
    PhotoResult,
    SingleMediaUpload,
    SoundCommand,
    StoredMedia,
)
from greenhaul_protocols.jt808.messages_records import (
    DECOMPRESSED_SIZE_MAX,
    CanFrame,
    CanId,
    CanReport,
    CompressedReport,
    DriverIdentity,
    DriverIdentity2011,
    PassThroughDown,
    PassThroughUp,
    PlatformKey,
    RecorderData,
    RecorderQuery,
    RecorderSetting,
    Waybill,
)
from greenhaul_protocols.jt808.tables import find
from greenhaul_protocols.jt808.texts import WireText
from greenhaul_protocols.jt808.vendor_items_table import TRACKER_ITEMS

ALL = (2011, 2013, 2019)
NEW = (2013, 2019)

LAT, LON = "01f76330", "06b4eb40"  # 32.99 and 112.52 degrees
PLACE = f"00000001 00000003 {LAT} {LON} 0082 016d 005a 261120150405"
LOCATION = Location(1, 3, 32.99, 112.52, 130, 36.5, 90, "261120150405")
REPORT = LocationReport(1, 3, 32.99, 112.52, 130, 36.5, 90, "261120150405")
TIMES = "000000083000 000000180000"
START, END = "000000083000", "000000180000"


def circle(**more: Any) -> Circle:
    return Circle(7, 3, 32.99, 112.52, 500, START, END, 60, 10, **more)


CIRCLE = f"00000007 0003 {LAT} {LON} 000001f4 {TIMES} 003c 0a"


def rectangle(**more: Any) -> Rectangle:
    return Rectangle(7, 2, 32.99, 112.52, 32.99, 112.52, None, None, 60, 10, **more)


RECTANGLE = f"00000007 0002 {LAT} {LON} {LAT} {LON} 003c 0a"

FACTS: list[tuple[tuple[int, ...], Any, str]] = [
    # control
    (NEW, TerminalControl(4), "04"),
    ((2011,), TerminalControl(4), "04 00"),
    (NEW, TerminalControl(2, "0;code"), "02 30 3b 636f6465"),
    ((2013,), VehicleControl(flags=1), "01"),
    ((2011,), VehicleControl(flags=0), "00"),
    # 2019 says the opposite of bit 0: a byte, 0 locks and 1 opens.
    ((2019,), VehicleControl(commands=(VehicleCommand(1, 0),)), "0001 0001 00"),
    (
        (2019,),
        VehicleControl(commands=(VehicleCommand(1, 1), VehicleCommand(0xF001, None, b"\7\7"))),
        "0002 0001 01 f001 0707",
    ),
    (ALL, VehicleControlAnswer(9, REPORT), f"0009 {PLACE}"),
    (
        (2013,),
        TerminalAttributes(4, "GHAUL", "M1", "T1", "8986012345678901234f", "h1", "f12", 3, 32),
        "0004 474841554c 4d31" + "00" * 18 + "5431 0000000000 8986012345678901234f"
        "02 6831 03 663132 03 20",
    ),
    (
        (2019,),
        TerminalAttributes(4, "GHAUL", "M1", "T1", "8986012345678901234f", "h1", "f12", 3, 32),
        "0004 474841554c 4d31" + "00" * 28 + "5431" + "00" * 28 + "8986012345678901234f"
        "02 6831 03 663132 03 20",
    ),
    ((2013,), UpgradePackage(52, "GHAUL", "1.0", b"\1\2"), "34 474841554c 03 312e30 00000002 0102"),
    (NEW, UpgradeResult(0, 2), "00 02"),
    # information
    ((2011,), EventSetting(1, (EventChoice(5, "ab"),)), "01 01 01 05 02 6162"),
    (NEW, EventSetting(1, (EventChoice(5, "ab"),)), "01 01 05 02 6162"),
    (ALL, EventSetting(0), "00"),
    (NEW, EventDeletion(4, (5, 6)), "04 02 05 06"),
    (ALL, EventReport(5), "05"),
    (ALL, Question(9, "ok", (AnswerChoice(1, "y"),)), "09 02 6f6b 01 0001 79"),
    (ALL, QuestionAnswer(7, 1), "0007 01"),
    ((2011,), InformationMenu(2, (MenuEntry(1, "ab"),)), "02 01 01 01 0002 6162"),
    (NEW, InformationMenu(2, (MenuEntry(1, "ab"),)), "02 01 01 0002 6162"),
    (ALL, InformationDemand(1, 0), "01 00"),
    ((2011,), Information(1, 9, "ab"), "01 0009 0002 6162"),
    (NEW, Information(1, None, "ab"), "01 0002 6162"),
    (NEW, CallBack(1, "10086"), "01 3130303836"),
    ((2011,), CallBack(1, "10086"), "01 3130303836 00"),
    ((2011,), PhoneBook(1, (Contact(3, "110", "ab"),)), "01 01 01 03 03 313130 02 6162"),
    (NEW, PhoneBook(1, (Contact(3, "110", "ab"),)), "01 01 03 03 313130 02 6162"),
    # areas
    ((2011,), CircleSetting(1, (circle(),)), f"01 01 01 {CIRCLE}"),
    ((2013,), CircleSetting(1, (circle(),)), f"01 01 {CIRCLE}"),
    (
        (2019,),
        CircleSetting(1, (circle(night_speed_max_kmh=40, name="中"),)),
        f"01 01 {CIRCLE} 0028 0002 d6d0",
    ),
    (ALL, CircleDeletion((1, 2)), "02 00000001 00000002"),
    (ALL, CircleDeletion(), "00"),
    ((2011,), RectangleSetting(0, (rectangle(),)), f"00 01 01 {RECTANGLE}"),
    ((2013,), RectangleSetting(0, (rectangle(),)), f"00 01 {RECTANGLE}"),
    (
        (2019,),
        RectangleSetting(0, (rectangle(night_speed_max_kmh=40, name=""),)),
        f"00 01 {RECTANGLE} 0028 0000",
    ),
    (
        (2011,),
        PolygonSetting(7, 3, START, END, 60, 10, (Vertex(32.99, 112.52),)),
        f"00000007 0003 {TIMES} 003c 0a 0001 01 {LAT} {LON}",
    ),
    (
        (2013,),
        PolygonSetting(7, 0, vertices=(Vertex(32.99, 112.52),)),
        f"00000007 0000 0001 {LAT} {LON}",
    ),
    (
        (2019,),
        PolygonSetting(7, 2, None, None, 60, 10, (), 40, "中"),
        "00000007 0002 003c 0a 0000 0028 0002 d6d0",
    ),
    (
        (2011,),
        RouteSetting(7, 0, points=(RoutePoint(None, 2, 32.99, 112.52, 9, 3, 99, None, 60, 10),)),
        f"00000007 0000 0001 01 00000002 {LAT} {LON} 09 03 0063 003c 0a",
    ),
    (
        (2013,),
        RouteSetting(7, 1, START, END, (RoutePoint(1, 2, 32.99, 112.52, 9, 3, 99, 11, 60, 10),)),
        f"00000007 0001 {TIMES} 0001 00000001 00000002 {LAT} {LON} 09 03 0063 000b 003c 0a",
    ),
    (
        (2019,),
        RouteSetting(
            7, 0, None, None, (RoutePoint(1, 2, 32.99, 112.52, 9, 2, None, None, 60, 10, 40),), "a"
        ),
        f"00000007 0000 0001 00000001 00000002 {LAT} {LON} 09 02 003c 0a 0028 0001 61",
    ),
    ((2019,), AreaQuery(4, (7,)), "04 00000001 00000007"),
    ((2019,), AreaAnswer(4, 1, b"\7"), "04 00000001 07"),
    # recorder, waybill, driver
    ((2011,), RecorderQuery(8), "08"),
    (NEW, RecorderQuery(8, b"\xaa\x75"), "08 aa75"),
    ((2011,), RecorderData(None, 8, 9, b"\xaa"), "08 0009 0001 aa"),
    (NEW, RecorderData(7, 8, None, b"\xaa"), "0007 08 aa"),
    (ALL, RecorderSetting(0x82, b"\xaa"), "82 aa"),
    (ALL, Waybill(b"ab"), "00000002 6162"),
    (
        (2011,),
        DriverIdentity2011("张", "41", "99", "局"),
        "02 d5c5 3431" + "00" * 18 + "3939" + "00" * 38 + "02 bed6",
    ),
    (NEW, DriverIdentity(2, "261120150405"), "02 261120150405"),
    (NEW, DriverIdentity(1, "261120150405", 3), "01 261120150405 03"),
    (
        (2013,),
        DriverIdentity(1, "261120150405", 0, "张", "99", "局", "20301231"),
        "01 261120150405 00 02 d5c5 3939" + "00" * 18 + "02 bed6 20301231",
    ),
    (
        (2019,),
        DriverIdentity(1, "261120150405", 0, "张", "99", "局", "20301231", "41"),
        "01 261120150405 00 02 d5c5 3939" + "00" * 18 + "02 bed6 20301231 3431" + "00" * 18,
    ),
    (
        NEW,
        CanReport.of("1504050250", (CanFrame(CanId(1, True, False, 0x18FF50E5), bytes(8)),)),
        "0001 1504050250 d8ff50e5 0000000000000000",
    ),
    # media
    (ALL, MediaEvent(7, 0, 0, 6, 2), "00000007 00 00 06 02"),
    (
        (2011,),
        MediaData(7, 0, 0, 1, 2, 9, 1, None, b"\xff"),
        "00000007 00000102 00000009 00000001 ff",
    ),
    (NEW, MediaData(7, 0, 0, 1, 2, None, None, LOCATION, b"\xff"), f"00000007 00000102 {PLACE} ff"),
    ((2011,), MediaAnswer(5, 7, (2, 3)), "0005 00000007 02 0002 0003"),
    (NEW, MediaAnswer(None, 7, (2, 3)), "00000007 02 0002 0003"),
    (NEW, MediaAnswer(None, 7), "00000007"),
    (
        ALL,
        PhotoCommand(1, 0xFFFF, 30, 1, 2, 5, 255, 127, 126, 254),
        "01 ffff 001e 01 02 05 ff 7f 7e fe",
    ),
    (NEW, PhotoResult(7, 0, (5, 6)), "0007 00 0002 00000005 00000006"),
    (NEW, PhotoResult(7, 2), "0007 02"),
    (ALL, MediaSearch(0, 1, 3, "0" * 12, "261120150405"), "00 01 03 000000000000 261120150405"),
    (
        (2011,),
        MediaSearchAnswer(7, (StoredMedia(None, 0, 1, 3, LOCATION),)),
        f"0007 0001 0001 00 01 03 {PLACE}",
    ),
    (
        NEW,
        MediaSearchAnswer(7, (StoredMedia(9, 0, 1, 3, LOCATION),)),
        f"0007 0001 00000009 00 01 03 {PLACE}",
    ),
    (ALL, MediaUpload(0, 1, 3, "0" * 12, "0" * 12, 1), "00 01 03" + "00" * 12 + "01"),
    (ALL, SoundCommand(1, 300, 0, 3), "01 012c 00 03"),
    (NEW, SingleMediaUpload(9, 1), "00000009 01"),
    # the rest
    ((2011,), PassThroughUp(0x41, 9, b"ab"), "41 00000009 0002 6162"),
    (NEW, PassThroughUp(0x41, None, b"ab"), "41 6162"),
    ((2011,), PassThroughDown(0x41, 9, b"ab"), "41 00000009 0002 6162"),
    (ALL, CompressedReport(b"\x1f\x8b"), "00000002 1f8b"),
    (ALL, PlatformKey(65537, bytes(127) + b"\1"), "00010001" + "00" * 127 + "01"),
]
EVERY = [
    pytest.param(revision, message, wire, id=f"{type(message).__name__}-{revision}-{number}")
    for number, (revisions, message, wire) in enumerate(FACTS)
    for revision in revisions
]


@pytest.mark.parametrize(("revision", "message", "wire"), EVERY)
def test_a_body_is_as_the_standard_has_it(revision: int, message: Any, wire: str) -> None:
    body = bytes.fromhex(wire)
    assert encode(message, revision) == body
    assert decode(type(message), body, revision) == (message, b"")
    # Whoever does not know the class finds it by the message id.
    assert read_body(MESSAGE_IDS[type(message)], body, revision) == (message, b"", revision)


def test_the_long_maker_of_2019_is_found_by_what_fits() -> None:
    attributes = TerminalAttributesLongMaker(4, "12345678901", "M", "T", "0" * 20, "h", "f", 1, 2)
    body = encode(attributes, 2019)
    assert read_body(0x0107, body, 2019) == (attributes, b"", 2019)


def test_compressed_bytes_are_unpacked_within_bounds() -> None:
    plain = b"position" * 100
    report = CompressedReport.of(plain)
    assert report.data[:2] == b"\x1f\x8b"
    assert decode(CompressedReport, encode(report, 2013), 2013)[0].decompressed() == plain
    assert CompressedReport(report.data[:-1]).decompressed() is None
    assert CompressedReport(b"no gzip").decompressed() is None
    assert CompressedReport.of(bytes(DECOMPRESSED_SIZE_MAX + 1)).decompressed() is None


def test_parameter_ids_of_two_bytes_are_found_by_what_fits() -> None:
    body = bytes.fromhex("0007 02 0001 04 0000003c 0083 04 d4a55231")
    answer, rest, _ = read_body(0x0104, body, 2019)
    assert (answer.parameters, rest) == (
        (Item(1, bytes.fromhex("0000003c")), Item(0x83, bytes.fromhex("d4a55231"))),
        b"",
    )
    told = body_json(answer, 2019)["parameters"]
    assert [(p["id"], p["name"], p["value"], p["unit"]) for p in told] == [
        ("0x0001", "heartbeat_interval_s", 60, "s"),
        ("0x0083", "plate", "豫R1", None),
    ]


def test_coordinates_in_twos_complement_are_told_with_their_sign() -> None:
    report = bytes.fromhex(f"00000000 00000006 fe08 9cd0 {LON} 0000 0000 0000 261120150405")
    body = body_json(decode(LocationReport, report, 2013)[0], 2013)
    assert (body["latitude_deg"], body["longitude_deg"]) == (-32.99, 112.52)


def test_a_body_of_2011_is_found_without_being_told() -> None:
    body = bytes.fromhex(f"01 01 01 {CIRCLE}")
    assert read_body(0x8600, body, 2013) == (CircleSetting(1, (circle(),)), b"", 2011)


def test_a_terminal_replaced_by_a_newer_one_is_read_as_that() -> None:
    conversation = Conversation(phone="13912345678")
    older = Registration(31, 115, "cd", "www.808.", "7654321", 1, "豫A1234")
    newer = replace(older, model="www.808.com")
    for revision, registration in ((2011, older), (2013, newer), (2011, older)):
        wire = Conversation(phone="13912345678", revision=revision).send(registration)
        (event,) = conversation.receive(wire)
        assert isinstance(event, Received)
        assert (event.revision, event.message) == (revision, registration)
        assert conversation.revision == revision


def test_a_location_is_not_taken_for_the_packet_numbers_of_2011() -> None:
    location = "00000400 00000800 06eeb6ad 02633df7 0138 0003 0063 200707192359"
    body = bytes.fromhex("0000007b 01 02 01 02" + location + "0d7b")
    message, _, revision = read_body(0x0801, body, 2011)
    assert (revision, message.data.hex()) == (2013, "0d7b")
    # Numbers that no packet can have, and too little for a location: what is left is 2011.
    message, _, revision = read_body(0x0801, body[:20], 2011)
    assert (revision, message.packet_total, message.packet_number) == (2011, 1024, 2048)


def test_the_driver_of_a_removed_card_may_be_there_all_the_same() -> None:
    wire = "02 261120150405 00 02 d5c5 3939" + "00" * 18 + "02 bed6 20301231"
    driver, rest = decode(DriverIdentity, bytes.fromhex(wire), 2013)
    assert (driver.status, driver.name, driver.valid_until, rest) == (2, "张", "20301231", b"")


def test_a_list_of_2011_that_goes_on_in_the_next_packet_keeps_its_total() -> None:
    body = bytes.fromhex("01 05 01 07 02 6162")
    setting, _ = decode(EventSetting, body, 2011)
    assert setting == EventSetting(1, (EventChoice(7, "ab"),))
    assert setting.events.total == 5
    assert encode(setting, 2011) == body


def test_nothing_follows_a_field_that_is_missing() -> None:
    with pytest.raises(EncodeError, match="nothing may follow where card_result is missing"):
        encode(DriverIdentity(1, "261120150405", None, "张"), 2013)


def test_text_that_was_padded_otherwise_is_written_as_it_came() -> None:
    wire = bytes.fromhex("01 02 05 04 20 61 00 00")
    setting, _ = decode(EventSetting, wire[:1] + b"\1" + wire[2:], 2013)
    text = setting.events[0].text
    assert (text, isinstance(text, WireText)) == (" a", True)
    assert encode(setting, 2013) == wire[:1] + b"\1" + wire[2:]


def test_bytes_that_are_no_text_stand_beside_it() -> None:
    control, _ = decode(TerminalControl, b"\1;\xff\x00;", 2013)
    assert body_json(control, 2013) == {
        "command": 1,
        "arguments": ";\ufffd\0;",
        "arguments_raw": "3bff003b",
    }


# -- additional items ------------------------------------------------------------------------------

TAIL = f"1e 0082 {LAT} {LON} 261120150405 0401 "
LABEL = "54303030303031 261120150405 01 02 00"
LONG_LABEL = "54" + "00" * 29 + "261120150405 01 02"
ADAS = "00000009 01 02 01 3c 0a 01 02 14"


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
