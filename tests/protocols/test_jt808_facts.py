"""Bodies written by hand from the text of the standard, in the edition they are of.

Generated values show that reader and writer agree with each other; these show that they agree with
the standard: order, offsets, scales, and what 2011, 2013 and 2019 do differently.
"""

from typing import Any

import pytest

from greenhaul_protocols.jt808 import LocationReport
from greenhaul_protocols.jt808.bodies import read_body
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS, decode, encode
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
