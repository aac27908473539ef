"""Declared messages: what every declaration must hold, and facts written by hand from the text."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808 import clock, messages_control
from greenhaul_protocols.jt808.bits_table import ALARM_BITS, STATUS_BITS
from greenhaul_protocols.jt808.bodies import read_body
from greenhaul_protocols.jt808.declaration import (
    MESSAGE_IDS,
    MESSAGES,
    REVISIONS,
    Place,
    Record,
    decode,
    encode,
    places_of,
    revisions_of,
    spans_of,
)
from greenhaul_protocols.jt808.describe import body_json, unit_of
from greenhaul_protocols.jt808.explain import explain
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    BitFields,
    Byte_,
    Bytes,
    ByVersion,
    Counted,
    Degrees,
    Dword,
    Fixed,
    FixedBytes,
    Layout,
    Number,
    Scaled,
    SignMagnitude,
    Sized,
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
from greenhaul_protocols.jt808.notes import CountOf, When
from greenhaul_protocols.jt808.parameters_table import PARAMETERS
from greenhaul_protocols.jt808.tables import Entry, find, item_of
from greenhaul_protocols.jt808.texts import FixedText, Text

# -- values from declarations ----------------------------------------------------------------------

_UNSIGNED_MAX = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFF_FFFF}
_GBK = st.characters(codec="gbk")


def texts(size_max: int) -> st.SearchStrategy[str]:
    return st.text(_GBK, max_size=size_max).filter(
        lambda text: text == text.lstrip("\0").rstrip("\0 ") and len(text.encode("gbk")) <= size_max
    )


def values(layout: Layout) -> st.SearchStrategy[Any]:
    """Values a layout can carry, found from the layout alone."""
    match layout:
        case Number(code=code):
            return st.integers(0, _UNSIGNED_MAX[code])
        case BitFields(code=code):
            return st.integers(0, _UNSIGNED_MAX[code]).map(layout.from_wire)
        case Scaled(code=code, per_unit=per_unit):
            return st.integers(0, _UNSIGNED_MAX[code]).map(lambda n: n / per_unit)
        case SignMagnitude(per_unit=per_unit):
            return st.integers(-0x7FFF, 0x7FFF).map(lambda n: n if per_unit == 1 else n / per_unit)
        case Bcd(size=size):
            return st.text("0123456789abcdef", min_size=2 * size, max_size=2 * size)
        case FixedText(size=size):
            return texts(size)
        case FixedBytes(size=size):
            return st.binary(min_size=size, max_size=size)
        case Text(size_max=size_max):
            return texts(min(size_max or 40, 40))
        case Bytes():
            return st.binary(max_size=40)
        case Items(id_code=code):
            item = st.builds(Item, st.integers(0, _UNSIGNED_MAX[code]), st.binary(max_size=12))
            return st.lists(item, max_size=5).map(tuple)
        case Counted(of=Record(cls=messages_control.VehicleCommand)):
            # A vendor's argument runs to the end: only the last command may have one.
            command = messages_control.VehicleCommand
            doors = st.builds(command, st.just(messages_control.DOOR), st.integers(0, 255))
            vendors = st.builds(command, st.integers(2, 0xFFFF), st.none(), st.binary(max_size=9))
            return st.tuples(doors, st.one_of(doors, vendors))
        case Counted(of=of):
            return st.lists(values(of), max_size=4).map(tuple)
        case Sized(of=of):
            return values(of)
        case Record(cls=cls, revision=revision):
            assert revision is not None
            return messages(cls, revision)
    raise AssertionError(f"no values for {layout!r}")


@st.composite
def messages(draw: st.DrawFn, cls: Any, revision: int) -> Any:
    found: dict[str, Any] = {}
    has_ended = False
    for place in places_of(cls, revision):
        is_absent = place.layout is None or (
            place.when is not None and not place.when.holds(found[place.when.field])
        )
        if is_absent:
            found[place.name] = place.default
        elif place.name == "cut":
            # What reading stops before: half an item.
            found["cut"] = draw(st.sampled_from([b"", b"\xf6", b"\xf6\x04\x01", b"\x01\xff"]))
        elif place.is_optional and (has_ended or draw(st.booleans())):
            has_ended, found[place.name] = True, None
        else:
            assert place.layout is not None
            of_place = values(place.layout)
            found[place.name] = draw(of_place.filter(bool) if place.is_optional else of_place)
    for place in places_of(cls, revision):
        for note in place.notes:
            if isinstance(note, CountOf):
                found[place.name] = len(found[note.field])
    return cls(**found)


TIMED = When("attributes", lambda value: bool(value & 1), "bit 0 of attributes")
LIMITED = When("attributes", lambda value: bool(value & 2), "bit 1 of attributes")

EVERY = [
    pytest.param(cls, revision, id=f"{cls.__name__}-{revision}")
    for cls in MESSAGE_IDS
    for revision in revisions_of(cls)
]


@pytest.mark.parametrize(("cls", "revision"), EVERY)
def test_every_message_comes_back_in_every_revision(cls: Any, revision: int) -> None:
    @settings(max_examples=12)
    @given(messages(cls, revision))
    def comes_back(message: Any) -> None:
        body = encode(message, revision)
        assert decode(cls, body, revision) == (message, b"")
        spans = list(spans_of(cls, body, revision))
        assert [s.value for s in spans] == [getattr(message, s.place.name) for s in spans]
        assert "".join(body[s.start : s.end].hex() for s in spans) == body.hex()
        body_json(message, revision)
        lines = list(explain(cls, body, revision))
        assert b"".join(line.wire for line in lines) == body
        assert [line.offset for line in lines] == [
            sum(len(before.wire) for before in lines[:number]) for number in range(len(lines))
        ]

    comes_back()


@pytest.mark.parametrize(("cls", "revision"), EVERY)
def test_noise_is_a_message_or_a_decode_error(cls: Any, revision: int) -> None:
    @settings(max_examples=10)
    @given(st.binary(max_size=120))
    def is_answered(body: bytes) -> None:
        try:
            message, _ = decode(cls, body, revision)
        except DecodeError:
            return
        body_json(message, revision)
        assert b"".join(line.wire for line in explain(cls, body, revision)) == body

    is_answered()


@pytest.mark.parametrize(("cls", "revision"), EVERY)
def test_every_truncation_is_a_message_or_names_a_field(cls: Any, revision: int) -> None:
    names = [place.name for place in places_of(cls, revision)]

    @settings(max_examples=2)
    @given(messages(cls, revision))
    def is_answered(message: Any) -> None:
        body = encode(message, revision)
        for size in range(len(body)):
            reason = ""
            try:
                decode(cls, body[:size], revision)
                list(explain(cls, body[:size], revision))
            except DecodeError as error:
                reason = str(error)
            assert not reason or reason.split(":")[0] in names

    is_answered()


# -- the tables hold themselves --------------------------------------------------------------------


def every_place() -> list[tuple[Any, Place]]:
    classes: list[Any] = [*MESSAGE_IDS]
    return [(c, place) for c in classes for year in REVISIONS for place in places_of(c, year)]


def test_every_message_has_a_clause_and_a_meaning() -> None:
    for spec in MESSAGES.values():
        assert spec.clause.startswith("8.")
        assert spec.message_class.__doc__
        assert not spec.message_class.__doc__.startswith(spec.message_class.__name__ + "(")
        assert spec.revisions[-1] == 2019


def test_every_scaled_field_names_its_unit() -> None:
    entries = [
        e for table in (LOCATION_ITEMS, PARAMETERS) for of_id in table.values() for e in of_id
    ]
    named = [(place.name, place.layout) for _, place in every_place()]
    named += [(entry.name, entry.layout) for entry in entries]
    for name, layout in named:
        if isinstance(layout, Scaled | SignMagnitude):
            assert unit_of(name), f"{name} has no unit"


def test_every_field_is_annotated_and_absent_ones_have_a_default() -> None:
    for cls, place in every_place():
        if place.layout is None or place.when:
            assert place.default is None, f"{cls.__name__}.{place.name}"


@pytest.mark.parametrize("table", [LOCATION_ITEMS, PARAMETERS], ids=["items", "parameters"])
def test_a_table_says_one_thing_of_an_id_at_a_length(table: Any) -> None:
    for item_id, of_id in table.items():
        sizes = [size_of(entry) for entry in of_id]
        # Tyre alarms have no size of their own: six records of unequal lengths.
        assert item_id == 0x66 or len(sizes) == len(set(sizes)), f"0x{item_id:02X}"
        assert all(entry.id == item_id for entry in of_id)


def test_names_of_parameters_are_unique() -> None:
    names = [entry.name for of_id in PARAMETERS.values() for entry in of_id]
    assert len(names) == len(set(names))


# Clause 8 of 2013 in its order: 8.1 is the first.
IDS_OF_2013 = """
0001 8001 0002 8003 0100 8100 0003 0102 8103 8104 8106 0104 8105 8107 0107 8108 0108 0200 8201 0201
8202 8203 8300 8301 0301 8302 0302 8303 0303 8304 8400 8401 8500 0500 8600 8601 8602 8603 8604 8605
8606 8607 8700 0700 8701 0701 8702 0702 0704 0705 0800 0801 8800 8801 0805 8802 0802 8803 8804 8805
8900 0900 0901 8A00 0A00
"""


def test_messages_have_their_ids_and_clauses() -> None:
    clauses = {
        f"8.{number}": int(text, 16) for number, text in enumerate(IDS_OF_2013.split(), start=1)
    }
    in_2019 = {"8.4": 0x0004, "8.5": 0x8004, "8.7": 0x0005, "8.26": 0x8204}
    in_2019 |= {"8.40": 0x8608, "8.41": 0x0608}
    clauses |= {f"{clause} (2019)": message_id for clause, message_id in in_2019.items()}
    assert {spec.clause: spec.message_id for spec in MESSAGES.values()} == clauses


def test_every_parameter_of_the_standard_has_a_type() -> None:
    """2013 table 12, and what 2019 changed in it."""
    ranges = (
        (0x0001, 0x0007), (0x0010, 0x001D), (0x0020, 0x0029), (0x002C, 0x0032), (0x0040, 0x0049),
        (0x0050, 0x005E), (0x0064, 0x0065), (0x0070, 0x0074), (0x0080, 0x0084), (0x0090, 0x0095),
        (0x0100, 0x0103), (0x0110, 0x01FF),
    )  # fmt: skip
    ids = {number for first, last in ranges for number in range(first, last + 1)}
    assert ids <= set(PARAMETERS)


# Parameters that are counts, ports, codes, bits or texts.
UNITLESS = re.compile(
    r".*_(retransmissions|port|strategy|scheme|mask|quality|brightness|contrast|saturation|chroma"
    r"|colour|code|mode|systems|apn|user|password|server|phone|photo|alarm|window|setting|settings"
    r"|id|answering|channels|recording|up|analysis|\d+)|plate"
)


def test_every_parameter_has_a_unit_or_none_to_have() -> None:
    for of_id in PARAMETERS.values():
        for entry in of_id:
            has_unit = bool(unit_of(entry.name))
            assert has_unit != bool(UNITLESS.fullmatch(entry.name)), entry.name


def size_of(entry: Entry) -> int | None:
    layout = entry.layout.at(2019)
    return layout.size if isinstance(layout, Fixed) else entry.size


def test_every_alarm_bit_has_a_name_in_2013() -> None:
    assert [n for n in ALARM_BITS.of(0xFFFF_FFFF, 2013) if n.startswith("bit")] == [
        "bit 15",
        "bit 16",
        "bit 17",
    ]


# -- facts, written by hand from the standard ------------------------------------------------------


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


# -- what later messages need ----------------------------------------------------------------------


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


# -- items -----------------------------------------------------------------------------------------


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


def test_the_length_of_a_parameter_beats_its_type() -> None:
    assert find(PARAMETERS, Item(0x0001, b"\1\2"), 2013) is None
    found = find(PARAMETERS, Item(0x0084, bytes(4)), 2011)
    assert found is not None
    assert found[0].name == "plate_colour"


def test_bits_have_their_editions_names() -> None:
    assert ALARM_BITS.of(1 << 3, 2011) == ["early_warning"]
    assert ALARM_BITS.of(1 << 3, 2019) == ["dangerous_driving"]
    assert ALARM_BITS.of(1 << 31, 2019) == ["bit 31"]
    assert STATUS_BITS.of(0b11, 2013) == ["acc_on", "located"]


# -- times -----------------------------------------------------------------------------------------


def test_times_are_gmt_plus_8() -> None:
    assert clock.time_ms_of("700101080000") == 3_155_760_000_000  # 2070, not 1970
    assert clock.local_text_of("261120150405") == "2026-11-20T15:04:05+08:00"


@given(st.integers(946_656_000_000, 4_102_415_999_000).map(lambda ms: ms // 1000 * 1000))
def test_every_second_of_a_century_comes_back(time_ms: int) -> None:
    assert clock.time_ms_of(clock.digits_of(time_ms)) == time_ms


@pytest.mark.parametrize(
    "digits", ["000000000000", "260230000000", "261120240000", "261120006000", "2611200000ff", ""]
)
def test_digits_that_are_no_time(digits: str) -> None:
    assert clock.time_ms_of(digits) is None


def test_a_time_beyond_two_digits_of_year_is_our_mistake() -> None:
    with pytest.raises(EncodeError, match="two-digit year"):
        clock.digits_of(4_102_416_000_000)
