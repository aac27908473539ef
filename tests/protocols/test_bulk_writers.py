"""What the vectorised reader writes for a gateway is what border and conversation say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numpy")

from greenhaul_protocols.bulk_jt808 import read_reports, write_answers, write_readings
from greenhaul_protocols.catalogue import Position, Reading
from greenhaul_protocols.fleet_body import WrittenReading, encode_readings
from greenhaul_protocols.jt808 import Conversation, Item, LocationReport, Received, border
from greenhaul_protocols.series import decode_body

RECEIVED_MS = 1_795_158_245_123

ITEMS = st.one_of(
    st.builds(lambda n: Item(0x01, n.to_bytes(4, "big")), st.integers(0, 2**32 - 1)),
    st.builds(lambda n: Item(0x03, n.to_bytes(2, "big")), st.integers(0, 2**16 - 1)),
    st.builds(lambda n: Item(0x30, bytes((n,))), st.integers(0, 255)),
    st.builds(lambda n: Item(0xE4, bytes((1, n))), st.integers(0, 255)),
    st.builds(lambda n: Item(0x51, n.to_bytes(2, "big")), st.integers(0, 2**16 - 1)),
    st.builds(lambda raw: Item(0x51, raw), st.binary(min_size=16, max_size=16)),
    st.builds(Item, st.integers(0xE5, 0xFF), st.binary(max_size=200)),
)
REPORTS = st.builds(
    LocationReport,
    alarms=st.integers(0, 2**32 - 1) | st.sampled_from([0, 0x7D7E7D7E]),
    status=st.integers(0, 2**32 - 1),
    latitude_deg=st.integers(0, 90_000_000).map(lambda n: n / 1e6),
    longitude_deg=st.integers(0, 180_000_000).map(lambda n: n / 1e6),
    altitude_m=st.integers(0, 65_535),
    speed_kmh=st.integers(0, 3000).map(lambda n: n / 10),
    heading_deg=st.integers(0, 359),
    device_time=st.integers(0, 59).map(lambda n: f"2611201504{n:02d}"),
    items=st.lists(ITEMS, max_size=4, unique_by=lambda one: one.id).map(tuple),
)
PHONES = st.sampled_from(["013912345678", "707100000001"])


@given(
    st.lists(st.tuples(REPORTS, PHONES, st.sampled_from([2013, 2019])), min_size=1, max_size=30),
    st.integers(0, 0xFFFF),
)
def test_positions_and_answers_are_those_of_border_and_conversation(
    sent: list[tuple[LocationReport, str, int]], serial: int
) -> None:
    platform = Conversation()
    platform.next_serial = serial
    frames, answers, readings = [], [], list[Reading]()
    for number, (report, phone, revision) in enumerate(sent):
        terminal = Conversation(phone=phone, revision=revision)
        terminal.next_serial = 0x7D00 + number
        frames.append(terminal.send(report))
        (event,) = platform.receive(frames[-1])
        assert isinstance(event, Received)
        answers.append(platform.answer(event))
        source = border.source_name(event.header.phone)
        readings += border.readings_of(event.message, source=source, received_time_ms=RECEIVED_MS)
    reports = read_reports(b"".join(frames), received_time_ms=RECEIVED_MS)
    assert len(reports) == len(sent)
    serials = [(serial + n) % 65_536 for n in range(len(sent))]
    assert write_answers(reports, range(len(sent)), serials) == answers
    written = [
        WrittenReading(source=source, device_time_ms=0, received_time_ms=0, series=one)
        for source, series in zip(
            reports.sources(), write_readings(reports, RECEIVED_MS), strict=True
        )
        for one in series
    ]
    # The one has batteries and cargo in the order of items, the other in the order of kinds.
    found, meant = by_number(encode_readings(written)), by_number(encode_readings(readings))
    assert sorted(map(repr, found)) == sorted(map(repr, meant))
    positions = [one for one in meant if isinstance(one, Position)]
    assert [one for one in found if isinstance(one, Position)] == positions


def by_number(body: bytes) -> list[Reading]:
    """The readings of a body in order of their numbers."""
    found = [
        pair
        for series in decode_body(body)
        for pair in zip(series.numbers, series.readings(), strict=True)
    ]
    return [replace(reading) for _, reading in sorted(found, key=lambda pair: pair[0])]
