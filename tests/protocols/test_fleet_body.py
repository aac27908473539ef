"""The direct writer of bodies says what the general one says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.catalogue import (
    BatteryReading,
    Event,
    Flags,
    Position,
    Reading,
    TimeQuality,
    Undecodable,
)
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.fleet_body import encode_readings
from greenhaul_protocols.series import decode_body, encode_body, to_series

TIMES = st.integers(-(2**62), 2**62) | st.integers(1_700_000_000_000, 1_800_000_000_000)
HOW = {
    "source": st.sampled_from(["808:1", "808:2", "808:13912345678", "gw/车"]),
    "device_time_ms": TIMES,
    "received_time_ms": TIMES,
    "time_quality": st.sampled_from(TimeQuality),
    "flags": st.sampled_from([Flags(0), Flags.BACKLOG]),
}
MAYBE = {
    "latitude_deg": st.floats(-90, 90),
    "longitude_deg": st.floats(-180, 180),
    "speed_kmh": st.floats(0, 300),
    "is_located": st.booleans(),
    "alarms": st.integers(0, 2**32 - 1),
    "altitude_m": st.integers(-(2**15), 2**15),
    "items": st.binary(max_size=200),
}
POSITIONS = st.builds(Position, **HOW, **{n: st.none() | s for n, s in MAYBE.items()})
OTHERS = st.one_of(
    st.builds(BatteryReading, **HOW, soc_percent=st.none() | st.floats(0, 100)),
    st.builds(Event, **HOW, code=st.text(max_size=10), raw=st.none() | st.binary(max_size=300)),
    st.builds(Undecodable, **HOW, protocol=st.just("jt808"), reason=st.text(max_size=200)),
)


@given(st.lists(POSITIONS | OTHERS, max_size=12))
def test_both_writers_say_the_same(readings: list[Reading]) -> None:
    assert decode_body(encode_readings(readings)) == decode_body(encode_body(to_series(readings)))


@given(st.lists(POSITIONS, max_size=300, unique_by=lambda one: one.device_time_ms))
def test_a_fleet_of_single_readings_says_the_same(positions: list[Position]) -> None:
    fleet: list[Reading] = [
        replace(one, source=f"808:{number}") for number, one in enumerate(positions)
    ]
    assert decode_body(encode_readings(fleet)) == decode_body(encode_body(to_series(fleet)))


def test_what_cannot_be_kept_is_refused() -> None:
    reading = Position(
        source="808:1", device_time_ms=1, received_time_ms=1, latitude_deg=float("nan")
    )
    with pytest.raises(EncodeError):
        encode_readings([reading])
