"""What is no location becomes an event or a media part: nothing acknowledged is thrown away."""

import json
from typing import Any

import pytest

from greenhaul_protocols.catalogue import Event, MediaPart, Position, Reading, TimeQuality
from greenhaul_protocols.jt808 import Heartbeat, Item, LocationReport, ParameterAnswer
from greenhaul_protocols.jt808.border import readings_of
from greenhaul_protocols.jt808.border_events import (
    DETAIL_SIZE_MAX,
    EVENT_CODES,
    RAW_SIZE_MAX,
    time_of_day,
)
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS
from greenhaul_protocols.jt808.header import is_downlink
from greenhaul_protocols.jt808.messages_control import VehicleControlAnswer
from greenhaul_protocols.jt808.messages_location import Location
from greenhaul_protocols.jt808.messages_media import MediaData, MediaEvent
from greenhaul_protocols.jt808.messages_records import (
    CanFrame,
    CanId,
    CanReport,
    DriverIdentity,
    PassThroughUp,
    Waybill,
)
from greenhaul_protocols.times import parse_time

SOURCE = "808:13912345678"
TIME_MS = parse_time("2026-11-20T07:04:05Z")
RECEIVED_MS = TIME_MS + 2000
LOCATION = Location(0, 2, 32.99, 112.52, 130, 36.5, 90, "261120150405")


def readings(message: Any, received_time_ms: int = RECEIVED_MS) -> list[Reading]:
    return readings_of(message, source=SOURCE, received_time_ms=received_time_ms)


def event(message: Any) -> Event:
    (found,) = readings(message)
    assert isinstance(found, Event)
    return found


def test_every_uplink_message_is_a_reading_or_of_the_session() -> None:
    of_session = {0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0100, 0x0102}
    of_location = {0x0200, 0x0201, 0x0704, 0x0500, 0x0801}
    uplink = {cls: i for cls, i in MESSAGE_IDS.items() if not is_downlink(i)}
    missing = {
        f"0x{message_id:04X}"
        for cls, message_id in uplink.items()
        if message_id not in of_session | of_location
        and not any(base in EVENT_CODES for base in cls.__mro__)
    }
    assert not missing
    assert readings(Heartbeat()) == []


def test_a_driver_is_an_event_with_the_cards_time() -> None:
    found = event(DriverIdentity(1, "261120150405", 0, "张三", "1234", "交通局", "20301231"))
    assert (found.code, found.device_time_ms) == ("driver", TIME_MS)
    assert found.time_quality is TimeQuality.SOURCE
    detail = json.loads(found.detail or "")
    assert (detail["status"], detail["name"], detail["card_time"]) == (
        1,
        "张三",
        "2026-11-20T15:04:05+08:00",
    )
    assert found.raw is None


def test_a_message_without_a_time_has_that_of_its_first_copy() -> None:
    found = event(MediaEvent(7, 0, 0, 1, 2))
    assert (found.code, found.device_time_ms) == ("media_event", RECEIVED_MS)
    assert found.time_quality is TimeQuality.UNUSABLE
    assert json.loads(found.detail or "")["media_id"] == 7


def test_bytes_are_in_the_blob_and_not_in_the_detail() -> None:
    for message in (Waybill(b"\0waybill"), PassThroughUp(0x41, None, b"\0waybill")):
        found = event(message)
        assert found.raw == b"\0waybill"
        assert "data" not in json.loads(found.detail or "")


def test_what_is_too_large_for_one_reading_is_several() -> None:
    data = bytes(range(256)) * 300
    parts = readings(Waybill(data))
    assert b"".join(p.raw or b"" for p in parts if isinstance(p, Event)) == data
    details = [json.loads(p.detail or "") for p in parts if isinstance(p, Event)]
    assert [(d["part_number"], d["part_total"]) for d in details] == [(1, 3), (2, 3), (3, 3)]


def test_details_that_are_too_large_are_in_the_blob() -> None:
    answer = ParameterAnswer(9, (Item(0xF001, bytes(255)),) * 200)
    found = readings(answer)
    assert all(isinstance(e, Event) and len(e.detail or "") < DETAIL_SIZE_MAX for e in found)
    assert sum(len(e.raw or b"") for e in found if isinstance(e, Event)) == 3 + 200 * 260


def can_report(digits: str) -> CanReport:
    return CanReport.of(digits, (CanFrame(CanId(1, True, False, 0x18FF50E5), bytes(range(8))),))


def test_can_frames_keep_their_bytes_and_get_the_date_of_the_receipt() -> None:
    found = event(can_report("1504051234"[:6] + "0250"))
    assert found.code == "can_frames"
    assert found.raw == bytes.fromhex("d8ff50e5 0001020304050607")
    assert found.device_time_ms == TIME_MS + 250


@pytest.mark.parametrize(
    ("digits", "received", "expected"),
    [
        ("2359590000", "2026-11-19T16:00:10Z", "2026-11-19T15:59:59Z"),  # after midnight
        ("0000010000", "2026-11-19T15:59:50Z", "2026-11-19T16:00:01Z"),  # a clock a bit ahead
        ("1200000000", "2026-11-19T16:00:10Z", "2026-11-19T04:00:00Z"),
    ],
)
def test_a_time_of_day_is_the_last_before_the_receipt(
    digits: str, received: str, expected: str
) -> None:
    assert time_of_day(digits, parse_time(received)) == (parse_time(expected), TimeQuality.SOURCE)


@pytest.mark.parametrize("digits", ["2400000000", "00000a0000", "0060000000"])
def test_a_time_of_day_that_is_none(digits: str) -> None:
    assert time_of_day(digits, RECEIVED_MS) == (RECEIVED_MS, TimeQuality.UNUSABLE)


def test_a_photo_is_parts_in_order() -> None:
    photo = bytes(range(256)) * 300
    parts = readings(MediaData(7, 0, 0, 1, 2, None, None, LOCATION, photo))
    media = [part for part in parts if isinstance(part, MediaPart)]
    assert len(media) == len(parts) == 3
    assert b"".join(part.data or b"" for part in media) == photo
    assert [(p.part_number, p.part_total, p.size_bytes) for p in media] == [
        (n, 3, len(photo)) for n in (1, 2, 3)
    ]
    assert {(p.device_time_ms, p.media_id, p.channel) for p in media} == {(TIME_MS, 7, 2)}
    assert all(len(p.data or b"") <= RAW_SIZE_MAX for p in media)


def test_heads_repeated_in_every_packet_are_no_photo() -> None:
    head = bytes.fromhex("00000007 00 00 01 02 00000000 00000002") + bytes(20)
    empty = Location(0, 2, 0.0, 0.0, 0, 0.0, 0, "000000000000")
    (part,) = readings(MediaData(7, 0, 0, 1, 2, None, None, empty, b"abc" + head + b"def"))
    assert isinstance(part, MediaPart)
    assert part.data == b"abcdef"


def test_the_packets_of_2011_are_parts_by_their_own_numbers() -> None:
    (part,) = readings(MediaData(7, 0, 0, 1, 2, 9, 4, None, b"abc"))
    assert isinstance(part, MediaPart)
    assert (part.part_number, part.part_total, part.size_bytes) == (4, 9, None)


def test_the_answer_of_a_vehicle_says_where_it_is() -> None:
    report = LocationReport(0, 2, 32.99, 112.52, 130, 36.5, 90, "261120150405")
    (found,) = readings(VehicleControlAnswer(1, report))
    assert isinstance(found, Position)
