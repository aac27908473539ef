"""The direct reader of location reports says what the declared one says, or nothing."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.protocols.reports import BENT, FRAMES, NOISE, RECEIVED_MS, told

from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.direct_jt808 import read_report
from greenhaul_protocols.fleet_body import WrittenReading, encode_readings
from greenhaul_protocols.jt808 import Conversation, Item, LocationReport, Received
from greenhaul_protocols.jt808.border import readings_of, source_name
from greenhaul_protocols.series import decode_body

TIME = "261120150405"
ITEMS = (
    Item(0x51, bytes.fromhex("0105")),
    Item(0x51, bytes.fromhex("80b4ffff00000001000200030004ffff")),
    Item(0x51, b"\xff\xff"),
    Item(0x06, bytes.fromhex("8012")),
    Item(0xD4, b"\x37"),
    Item(0xE4, b"\x01\x38"),
    Item(0xE4, b"\x01\xff"),
)
CHARGED = Conversation(phone="13912345678").send(
    LocationReport(1, 3, 32.99, 112.52, 130, 36.5, 90, TIME, ITEMS)
)


def plain_report(frame: bytes) -> tuple[Received, list[Reading]] | None:
    """The event and readings of a frame that is a whole report of usable time."""
    match Conversation().receive(frame):
        case [Received(message=LocationReport()) as event] if not event.header.encryption:
            source = source_name(event.header.phone)
            readings = readings_of(event.message, source=source, received_time_ms=RECEIVED_MS)
            return (event, readings) if readings[0].time_quality is TimeQuality.SOURCE else None
    return None


@settings(max_examples=400)
@example(CHARGED)
@given(FRAMES | BENT | NOISE | st.binary(max_size=90))
def test_both_readers_say_the_same_of_any_piece(data: bytes) -> None:
    for piece in filter(None, data.split(b"\x7e")):
        declared = plain_report(b"\x7e" + piece + b"\x7e")
        report = read_report(piece, RECEIVED_MS)
        if declared is None:
            assert report is None
            continue
        event, readings = declared
        assert report is not None
        header = event.header
        assert (report.phone.hex(), report.serial) == (header.phone, header.serial)
        assert len(report.phone) == (10 if header.is_2019 else 6)
        assert report.alarms == event.message.alarms
        assert report.device_time_ms == readings[0].device_time_ms
        written = [
            WrittenReading(
                source=source_name(header.phone),
                device_time_ms=0,
                received_time_ms=0,
                series=series,
            )
            for series in report.series
        ]
        found = {
            number: reading
            for one in decode_body(encode_readings(written))
            for number, reading in zip(one.numbers, one.readings(), strict=True)
        }
        assert [told(found[n]) for n in range(len(found))] == [told(one) for one in readings]
        assert {one.received_time_ms for one in found.values()} == {RECEIVED_MS}


def test_batteries_and_compartments_are_readings_of_their_own() -> None:
    report = read_report(CHARGED[1:-1], RECEIVED_MS)
    assert report is not None
    # One item of cargo says that no sensor is there, one of the battery no level.
    assert [one[1] for one in report.series] == [1, 4, 4, 4, 2, 2]


@pytest.mark.parametrize("size", range(60))
def test_no_beginning_of_a_report_is_one(size: int) -> None:
    assert read_report(CHARGED[1:-1][:size], RECEIVED_MS) is None
