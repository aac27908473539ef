"""The vectorised reader of location reports says what the declared one says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.reports import BENT, FRAMES, NOISE, RECEIVED_MS, Told, told

from greenhaul_protocols.bulk import NumberColumn
from greenhaul_protocols.bulk_jt808 import ReportColumns, read_reports
from greenhaul_protocols.catalogue import KIND_OF, BatteryReading, CargoReading, Position, Reading
from greenhaul_protocols.jt808 import (
    BadBytes,
    Conversation,
    Heartbeat,
    Item,
    LocationReport,
    Received,
)
from greenhaul_protocols.jt808.border import readings_of, source_name


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
        position |= values_of(columns.numbers, row)
        if blobs[row] is not None:
            position["items"] = blobs[row]
        others = []
        for cls, told_columns in ((BatteryReading, columns.battery), (CargoReading, columns.cargo)):
            said = values_of(told_columns, row)
            if said:
                others.append({"kind": KIND_OF[cls].name} | how | said)
        rows.append([position, *others])
    return rows


def values_of(columns: dict[str, NumberColumn], row: int) -> Told:
    return {name: int(one.values[row]) for name, one in columns.items() if one.present[row]}


def in_order(readings: list[Told]) -> tuple[list[Told], list[str]]:
    """Positions and what is bad in the order of the stream. A battery and a cargo reading of one
    report come in the order of its items from one reader, in ours from the other."""
    others = [r for r in readings if r["kind"] in ("battery", "cargo")]
    return [r for r in readings if r not in others], sorted(repr(sorted(r.items())) for r in others)


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
