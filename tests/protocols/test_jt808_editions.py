"""Messages byte by byte, and what the editions of 2011, 2013 and 2019 do differently."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.message_values import messages

from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import clock
from greenhaul_protocols.jt808.bodies import read_body
from greenhaul_protocols.jt808.declaration import (
    REVISIONS,
    Record,
    decode,
    encode,
)
from greenhaul_protocols.jt808.describe import body_json
from greenhaul_protocols.jt808.explain import explain
from greenhaul_protocols.jt808.items import Item
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    Byte_,
    ByVersion,
    Counted,
    Degrees,
    Dword,
    Undecodable,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.messages import (
    Authentication,
    ParameterAnswer,
    ParameterSetting,
    PlatformAnswer,
    PlatformResendRequest,
    Registration,
    RegistrationAnswer,
    TextMessage,
)
from greenhaul_protocols.jt808.messages_location import (
    BatchReport,
    LocationAnswer,
    LocationReport,
    TrackingRequest,
)
from greenhaul_protocols.jt808.notes import When
from greenhaul_protocols.jt808.texts import Text

TIMED = When("attributes", lambda value: bool(value & 1), "bit 0 of attributes")
LIMITED = When("attributes", lambda value: bool(value & 2), "bit 1 of attributes")


def test_the_platforms_answer() -> None:
    body = encode(PlatformAnswer(answer_serial=1, answer_id=0x0102, result=0), 2013)
    assert body == bytes.fromhex("0001 0102 00")


REGISTRATION = Registration(31, 115, "GHAUL", "M1", "T000001", 2, "豫R12345")
PLATE = "d4a5 52 31 32 33 34 35"


@pytest.mark.parametrize(
    ("revision", "body"),
    [
        (
            2011,
            "001f 0073 474841554c" + "4d31" + "20" * 6 + "54303030303031" + "02" + PLATE + "00",
        ),
        (2013, "001f 0073 474841554c" + "4d31" + "00" * 18 + "54303030303031" + "02" + PLATE),
        (
            2019,
            "001f 0073 474841554c"
            + "00" * 6
            + "00" * 28
            + "4d31"
            + "00" * 23
            + "54303030303031"
            + "02"
            + PLATE,
        ),
    ],
)
def test_registration_in_its_three_layouts(revision: int, body: str) -> None:
    wire = bytes.fromhex(body)
    assert encode(REGISTRATION, revision) == wire
    assert decode(Registration, wire, revision) == (REGISTRATION, b"")
    assert read_body(0x0100, wire, 2013 if revision < 2019 else 2019) == (
        REGISTRATION,
        b"",
        revision,
    )


def test_a_refused_registration_has_no_code() -> None:
    assert encode(RegistrationAnswer(5, 4), 2013) == bytes.fromhex("0005 04")
    assert encode(RegistrationAnswer(5, 0, "ab"), 2013) == bytes.fromhex("0005 00 6162")
    assert encode(RegistrationAnswer(5, 0, "ab"), 2011) == bytes.fromhex("0005 00 6162 00")
    with pytest.raises(EncodeError, match="auth_code"):
        encode(RegistrationAnswer(5, 4, "ab"), 2013)
    with pytest.raises(EncodeError, match="auth_code: is missing"):
        encode(RegistrationAnswer(5, 0), 2013)


def test_authentication_of_2019_carries_imei_and_version() -> None:
    message = Authentication("abc", "123456789012345", "1.0")
    body = bytes.fromhex("03 616263 313233343536373839303132333435 312e30" + "00" * 17)
    assert encode(message, 2019) == body
    assert decode(Authentication, body, 2019) == (message, b"")
    with pytest.raises(EncodeError, match="imei"):
        encode(message, 2013)
    assert encode(Authentication("abc"), 2013) == b"abc"


REPORT_BODY = bytes.fromhex(
    "00000001 00000003 01f76330 06b4eb40 0082 016d 005a 261120150405 01 04 00018fc9 30 01 1f"
)
REPORT = LocationReport(
    alarms=1,
    status=3,
    latitude_deg=32.99,
    longitude_deg=112.52,
    altitude_m=130,
    speed_kmh=36.5,
    heading_deg=90,
    device_time="261120150405",
    items=(Item(0x01, bytes.fromhex("00018fc9")), Item(0x30, b"\x1f")),
)


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_location_report(revision: int) -> None:
    assert encode(REPORT, revision) == REPORT_BODY
    assert decode(LocationReport, REPORT_BODY, revision) == (REPORT, b"")


def test_an_item_that_runs_past_the_end_keeps_what_came_before() -> None:
    body = REPORT_BODY + bytes.fromhex("f6 04 14 50")
    report, rest = decode(LocationReport, body, 2013)
    assert report.items == REPORT.items
    assert (report.cut, rest) == (bytes.fromhex("f6041450"), b"")
    assert encode(report, 2013) == body


def test_repeated_and_unknown_items_keep_bytes_and_order() -> None:
    items = bytes.fromhex("01 04 00000001 e7 00 01 04 00000002 e7 01 ff")
    report, _ = decode(LocationReport, REPORT_BODY[:28] + items, 2013)
    assert [i.id for i in report.items] == [0x01, 0xE7, 0x01, 0xE7]
    assert encode(report, 2013) == REPORT_BODY[:28] + items


def test_digits_that_are_no_time_do_not_spoil_the_fix() -> None:
    body = REPORT_BODY[:22] + bytes.fromhex("2613ff996161")
    report, _ = decode(LocationReport, body, 2013)
    assert report.latitude_deg == 32.99
    assert clock.time_ms_of(report.device_time) is None
    described = body_json(report, 2013)
    assert described["device_time"] is None
    assert described["device_time_raw"] == "2613ff996161"


def test_one_bad_report_does_not_lose_the_others() -> None:
    good = len(REPORT_BODY).to_bytes(2, "big") + REPORT_BODY
    bad = bytes.fromhex("0003 010203")
    cut = bytes.fromhex("0028 0102")
    batch, rest = decode(BatchReport, b"\0\4\1" + good + bad + good + cut, 2013)
    assert batch.reports[0] == batch.reports[2] == REPORT
    assert [r.raw for r in batch.reports if isinstance(r, Undecodable)] == [b"\1\2\3", b"\1\2"]
    assert (batch.report_count, batch.batch_type, rest) == (4, 1, b"")


def test_a_batch_says_how_many_there_are() -> None:
    body = encode(BatchReport.of((REPORT, REPORT), 1), 2013)
    assert body[:5] == bytes.fromhex("0002 01") + len(REPORT_BODY).to_bytes(2, "big")
    with pytest.raises(EncodeError, match="report_count"):
        encode(BatchReport(3, 1, (REPORT,)), 2013)


def test_the_location_answer_of_2011_echoes_no_serial() -> None:
    assert encode(LocationAnswer(None, REPORT), 2011) == REPORT_BODY
    assert encode(LocationAnswer(7, REPORT), 2013) == b"\0\7" + REPORT_BODY


def test_the_count_of_a_resend_request_grew_in_2019() -> None:
    request = PlatformResendRequest(0x1099, (1, 2))
    assert encode(request, 2013) == bytes.fromhex("1099 02 0001 0002")
    assert encode(request, 2019) == bytes.fromhex("1099 0002 0001 0002")


def test_the_2011_parameter_lists_count_twice() -> None:
    setting = ParameterSetting((Item(1, bytes(4)), Item(1, b"\0\0\0\x1e")))
    items = "00000001 04 00000000 00000001 04 0000001e"
    assert encode(setting, 2013) == bytes.fromhex("02" + items)
    assert encode(setting, 2011) == bytes.fromhex("02 02" + items)
    answer = ParameterAnswer(9, setting.parameters)
    assert encode(answer, 2019) == bytes.fromhex("0009 02" + items)


def test_the_text_type_came_in_2019() -> None:
    assert encode(TextMessage(flags=4, text="停车"), 2013) == bytes.fromhex("04 cda3b3b5")
    assert encode(TextMessage(4, 1, "停车"), 2019) == bytes.fromhex("04 01 cda3b3b5")
    assert encode(TextMessage(flags=4, text="停车"), 2011) == bytes.fromhex("04 cda3b3b5 00")
    with pytest.raises(EncodeError, match="1024 fit"):
        encode(TextMessage(flags=4, text="停" * 513), 2013)


def test_stopping_to_track_has_no_duration() -> None:
    assert encode(TrackingRequest(0), 2013) == b"\0\0"
    assert encode(TrackingRequest(5, 600), 2013) == bytes.fromhex("0005 00000258")


@pytest.mark.parametrize(
    "message",
    [
        PlatformAnswer(0x10000, 0, 0),
        PlatformAnswer(-1, 0, 0),
        RegistrationAnswer(0, 0, "padded "),
        RegistrationAnswer(0, 0, "🚚"),
        Registration(0, 0, "TOO LONG", "", "", 0, ""),
    ],
)
def test_what_the_standard_cannot_carry_is_our_mistake(message: Any) -> None:
    with pytest.raises(EncodeError):
        encode(message, 2013)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ("d4a5523100000000", "豫R1"),
        ("0000d4a55231", "豫R1"),
        ("d4a552312020", "豫R1"),
        ("d4a5ff5231", "豫\ufffdR1"),
        ("d4", "\ufffd"),
    ],
)
def test_text_is_read_whatever_fills_it_up(wire: str, text: str) -> None:
    assert Text().read(bytes.fromhex(wire), 0)[0] == text


@dataclass(frozen=True, slots=True)
class Vertex:
    latitude_deg: Degrees
    longitude_deg: Degrees


@dataclass(frozen=True, slots=True)
class Polygon:
    """Shaped as 0x8604: optional fields by bits, a list of records, fields that came in 2019."""

    area_id: Dword
    attributes: Word
    start_time: Annotated[str | None, Bcd(6, is_time=True), TIMED] = None
    speed_max_kmh: Annotated[int | None, Word_, LIMITED] = None
    overspeed_s: Annotated[int | None, Byte_, LIMITED] = None
    vertices: Annotated[
        tuple[Vertex, ...],
        ByVersion(
            {
                2011: Counted(Word_, Record(Vertex), packet_count=Byte_),
                2013: Counted(Word_, Record(Vertex)),
            }
        ),
    ] = ()
    night_speed_max_kmh: Annotated[int | None, ByVersion({2019: Word_}), LIMITED] = None
    name: Annotated[str | None, ByVersion({2019: Text(Word_)})] = None


@pytest.mark.parametrize(
    ("revision", "tail"),
    [
        (2011, "0001 01 01f76330 06b4eb40"),
        (2013, "0001 01f76330 06b4eb40"),
        (2019, "0001 01f76330 06b4eb40 001e 0004 d6d0d0c4"),
    ],
)
def test_conditions_records_and_editions_go_together(revision: int, tail: str) -> None:
    is_new = revision == 2019
    polygon = Polygon(
        area_id=7,
        attributes=2,
        speed_max_kmh=60,
        overspeed_s=10,
        vertices=(Vertex(32.99, 112.52),),
        night_speed_max_kmh=30 if is_new else None,
        name="中心" if is_new else None,
    )
    body = bytes.fromhex("00000007 0002 003c 0a" + tail)
    assert encode(polygon, revision) == body
    assert decode(Polygon, body, revision) == (polygon, b"")
    assert [line.field for line in explain(Polygon, body, revision)][:3] == [
        "area_id",
        "attributes",
        "speed_max_kmh",
    ]


@settings(max_examples=30)
@given(st.sampled_from(REVISIONS).flatmap(lambda r: st.tuples(st.just(r), messages(Polygon, r))))
def test_such_a_message_comes_back(case: tuple[int, Polygon]) -> None:
    revision, polygon = case
    assert decode(Polygon, encode(polygon, revision), revision) == (polygon, b"")
