"""Bodies read by what fits: the edition unknown, the text padded otherwise, more than the rule."""

from dataclasses import replace

import pytest

from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import Conversation, Item, LocationReport, Received, Registration
from greenhaul_protocols.jt808.bodies import read_body
from greenhaul_protocols.jt808.declaration import decode, encode
from greenhaul_protocols.jt808.describe import body_json
from greenhaul_protocols.jt808.messages_areas import Circle, CircleSetting
from greenhaul_protocols.jt808.messages_control import (
    TerminalAttributesLongMaker,
    TerminalControl,
)
from greenhaul_protocols.jt808.messages_information import (
    EventChoice,
    EventSetting,
)
from greenhaul_protocols.jt808.messages_records import (
    DECOMPRESSED_SIZE_MAX,
    CompressedReport,
    DriverIdentity,
)
from greenhaul_protocols.jt808.texts import WireText


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
    report = bytes.fromhex("00000000 00000006 fe08 9cd0 06b4eb40 0000 0000 0000 261120150405")
    body = body_json(decode(LocationReport, report, 2013)[0], 2013)
    assert (body["latitude_deg"], body["longitude_deg"]) == (-32.99, 112.52)


def test_a_body_of_2011_is_found_without_being_told() -> None:
    body = bytes.fromhex("01 01 01 00000007 0000 01f76330 06b4eb40 000001f4")
    circle = Circle(7, 0, 32.99, 112.52, 500)
    assert read_body(0x8600, body, 2013) == (CircleSetting(1, (circle,)), b"", 2011)


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
