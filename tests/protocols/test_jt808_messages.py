"""Declared messages: what every declaration, table and time must hold."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.message_values import messages

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808 import clock
from greenhaul_protocols.jt808.bits_table import ALARM_BITS, STATUS_BITS
from greenhaul_protocols.jt808.declaration import (
    MESSAGE_IDS,
    MESSAGES,
    REVISIONS,
    Place,
    decode,
    encode,
    places_of,
    revisions_of,
    spans_of,
)
from greenhaul_protocols.jt808.describe import body_json, unit_of
from greenhaul_protocols.jt808.explain import explain
from greenhaul_protocols.jt808.items import Item
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.layouts import (
    Fixed,
    Scaled,
    SignMagnitude,
)
from greenhaul_protocols.jt808.parameters_table import PARAMETERS
from greenhaul_protocols.jt808.tables import Entry, find

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
    named += [(entry.name, entry.layout.at(2019)) for entry in entries]
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
