"""The vectorised reader of location reports says what the declared one says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenhaul_protocols.bulk import NumberColumn
from greenhaul_protocols.bulk_jt808 import ReportColumns, read_reports
from greenhaul_protocols.catalogue import KIND_OF, BatteryReading, CargoReading, Position, Reading
from greenhaul_protocols.jt808 import (
    BadBytes,
    Conversation,
    Header,
    Heartbeat,
    Item,
    LocationReport,
    PartNumber,
    Received,
    wrap,
)
from greenhaul_protocols.jt808.border import battery_item, readings_of, source_name
from greenhaul_protocols.jt808.declaration import encode
from greenhaul_protocols.times import parse_time

RECEIVED_MS = parse_time("2026-11-20T07:04:05Z")
Told = dict[str, Any]


def told(reading: Reading) -> Told:
    """A reading in the catalogue's steps."""
    spec = KIND_OF[type(reading)]
    values = {f.name: getattr(reading, f.name) for f in spec.fields}
    return {
        "kind": spec.name,
        "source": reading.source,
        "device_time_ms": reading.device_time_ms,
        "time_quality": int(reading.time_quality),
    } | {
        f.name: values[f.name] if f.is_bytes else f.quantise(values[f.name])
        for f in spec.fields
        if values[f.name] is not None
    }


def read_by(conversation: Conversation, data: bytes) -> list[Told]:
    found: list[Reading] = []
    for event in conversation.receive(data):
        body = event.message if isinstance(event, Received) else event
        phone = event.header.phone if event.header else "0"
        if isinstance(event, Received | BadBytes):
            source = source_name(phone)
            found += readings_of(body, source=source, received_time_ms=RECEIVED_MS)
    return [told(reading) for reading in found]


def read_in_bulk(data: bytes) -> list[Told]:
    columns = read_reports(data, received_time_ms=RECEIVED_MS)
    found = [(int(columns.spans[row, 0]), tolds) for row, tolds in enumerate(rows_of(columns))]
    conversation = Conversation()
    for start, end in columns.others.tolist():
        found.append((start, read_by(conversation, data[start:end])))
    found.append((columns.rest, read_by(conversation, data[columns.rest :])))
    return [one for _, tolds in sorted(found, key=lambda pair: pair[0]) for one in tolds]


def rows_of(columns: ReportColumns) -> list[list[Told]]:
    sources, blobs = columns.sources(), columns.item_blobs()
    rows = []
    for row in range(len(columns)):
        how = {
            "source": sources[row],
            "device_time_ms": int(columns.device_time_ms[row]),
            "time_quality": int(columns.time_quality[row]),
        }
        position = {"kind": "position"} | how
        position |= {
            name: int(column.values[row])
            for name, column in columns.numbers.items()
            if column.present[row]
        }
        if blobs[row] is not None:
            position["items"] = blobs[row]
        others = [
            {"kind": KIND_OF[cls].name} | how | {name: int(column.values[row])}
            for cls, name, column in other_columns(columns)
            if column.present[row]
        ]
        rows.append([position, *others])
    return rows


def other_columns(columns: ReportColumns) -> list[tuple[type[Reading], str, NumberColumn]]:
    cargo = columns.compartment_temperature_1_c
    return [
        (BatteryReading, "soc_percent", columns.soc_percent),
        (CargoReading, "compartment_temperature_1_c", cargo),
    ]


def in_order(readings: list[Told]) -> tuple[list[Told], list[str]]:
    """Positions and what is bad in the order of the stream. A battery and a cargo reading of one
    report come in the order of its items from one reader, in ours from the other."""
    others = [r for r in readings if r["kind"] in ("battery", "cargo")]
    return [r for r in readings if r not in others], sorted(repr(sorted(r.items())) for r in others)


SIZES = {0x01: 4, 0x02: 2, 0x03: 2, 0x06: 2, 0x30: 1, 0x31: 1, 0xD4: 1, 0xE4: 2}
ITEMS = st.one_of(
    st.sampled_from(sorted(SIZES)).flatmap(
        lambda i: st.builds(Item, st.just(i), st.binary(min_size=SIZES[i], max_size=SIZES[i]))
    ),
    st.builds(Item, st.integers(0, 255), st.binary(max_size=5)),
    st.just(Item(0x02, b"\x80\x32")),
    st.just(battery_item(55)),
)
REPORTS = st.builds(
    LocationReport,
    alarms=st.integers(0, 0xFFFF_FFFF),
    status=st.integers(0, 0xFFFF_FFFF),
    latitude_deg=st.integers(0, 0xFFFF_FFFF).map(lambda n: n / 1e6)
    | st.floats(0, 90).map(lambda d: round(d, 6)),
    longitude_deg=st.integers(0, 0xFFFF_FFFF).map(lambda n: n / 1e6)
    | st.floats(0, 180).map(lambda d: round(d, 6)),
    altitude_m=st.integers(0, 0xFFFF),
    speed_kmh=st.integers(0, 0xFFFF).map(lambda n: n / 10),
    heading_deg=st.integers(0, 0xFFFF),
    device_time=st.text("0123456789abcdef", min_size=12, max_size=12)
    | st.from_regex(r"\A(00|24|26)(0[0-9]|1[0-3])([0-2][0-9]|3[0-2])[0-2][0-9][0-6]0[0-6]0\Z"),
    items=st.lists(ITEMS, max_size=6).map(tuple),
    cut=st.sampled_from([b"", b"\x01", b"\x30\x05\x01"]),
)
HEADERS = st.sampled_from(
    [
        Header(0x0200, "013912345678", 7, is_2019=False),
        Header(0x0200, "7d7e", 0x7D7E, is_2019=False),
        Header(0x0200, "12345678901234567890", 9, is_2019=True),
        Header(0x0200, "013912345678", 8, is_2019=False, encryption=1),
        Header(0x0200, "013912345678", 8, is_2019=False, part=PartNumber(1, 2)),
        Header(0x0201, "013912345678", 8, is_2019=False),
    ]
)
FRAMES = st.builds(lambda h, report: wrap(h, encode(report, 2013)), HEADERS, REPORTS)
NOISE = st.binary(max_size=60) | st.just(b"\x7e\x7e") | st.just(b"\x7d")
BENT = st.builds(
    lambda frame, at, value: bytes(
        (*frame[: at % len(frame)], value, *frame[at % len(frame) + 1 :])
    ),
    FRAMES,
    st.integers(0, 200),
    st.integers(0, 255),
)
STREAMS = st.lists(FRAMES | FRAMES | NOISE | BENT, max_size=12).map(b"".join)


@settings(max_examples=250)
@given(STREAMS)
def test_both_readers_say_the_same_of_any_stream(data: bytes) -> None:
    assert in_order(read_in_bulk(data)) == in_order(read_by(Conversation(), data))


def test_reports_are_rows_and_the_rest_is_named() -> None:
    terminal = Conversation(phone="13912345678")
    report = LocationReport(
        1, 3, 32.99, 112.52, 130, 36.5, 90, "261120150405", (Item(1, bytes.fromhex("00018fc9")),)
    )
    one, beat, two = (terminal.send(m) for m in (report, Heartbeat(), report))
    data = b"rubbish" + one + beat + two + two[:20]
    columns = read_reports(data, received_time_ms=RECEIVED_MS)
    assert [data[a:b] for a, b in columns.spans.tolist()] == [one, two]
    assert [data[a:b] for a, b in columns.others.tolist()] == [b"rubbish\x7e", beat]
    assert data[columns.rest :] == two[:20]
    assert columns.serials.tolist() == [0, 2]
    assert columns.sources() == ["808:13912345678"] * 2
    assert columns.device_time_ms.tolist() == [RECEIVED_MS] * 2
    assert columns.numbers["odometer_km"].values.tolist() == [102_345] * 2
    assert set(columns.numbers) <= {spec.name for spec in KIND_OF[Position].fields}
    assert not columns.is_2019.any()


@pytest.mark.parametrize("data", [b"", b"\x7e", b"\x7d", b"rubbish", b"\x7e\x7d\x7e", b"\x7e" * 9])
def test_streams_without_reports_have_no_rows(data: bytes) -> None:
    columns = read_reports(data, received_time_ms=RECEIVED_MS)
    assert (len(columns), columns.sources(), columns.item_blobs()) == (0, [], [])
    stretches = [data[a:b] for a, b in columns.others.tolist()] + [data[columns.rest :]]
    assert b"".join(stretches).strip(b"\x7e") == data.strip(b"\x7e")
