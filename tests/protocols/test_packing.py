"""Packed bodies: what goes in comes out, smaller; nothing a peer sends does harm."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.block import (
    BODY_SIZE_MAX,
    FORMAT_MAX,
    BlockHeader,
    unwrap_block,
    wrap_block,
)
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.packing import pack_body, unpack_body
from greenhaul_protocols.series import Series, Value, decode_body, encode_body
from greenhaul_protocols.uplink_pb2 import Body

INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(INT64, st.integers(-50, 50), st.integers(0, 1), st.just(7))
HEADER = BlockHeader(gateway="gw-1", epoch=5, lane=1, first=1, count=60)


@st.composite
def many(draw: st.DrawFn) -> Series:
    """A series long enough to be packed."""
    count = draw(st.integers(4, 30))

    def column(values: st.SearchStrategy[Value]) -> list[Value]:
        return draw(st.lists(values, min_size=count, max_size=count))

    steps = draw(st.lists(st.integers(1, 3) | st.just(1), min_size=count, max_size=count))
    numbers = [sum(steps[: place + 1]) for place in range(count)]
    times = st.one_of(INT64, st.integers(1_700_000_000_000, 1_700_000_100_000))
    even = [1_760_000_000_000 + 1000 * number for number in numbers]
    fields = draw(st.lists(st.integers(1, 2**32 - 1) | st.integers(1, 20), unique=True, max_size=6))
    kinds = [NUMBERS, st.none() | NUMBERS, st.binary(max_size=9), st.none() | st.binary(max_size=9)]
    return Series(
        source=draw(st.sampled_from(["808:13912345678", "gw-1/电池"])),
        kind=draw(st.integers(0, 2**32 - 1) | st.integers(1, 7)),
        flags=draw(st.integers(0, 1)),
        numbers=numbers,
        device_time_ms=draw(st.just(even) | st.lists(times, min_size=count, max_size=count)),
        received_time_ms=draw(st.just(even) | st.lists(times, min_size=count, max_size=count)),
        time_quality=draw(
            st.just([2] * count) | st.lists(st.integers(0, 3), min_size=count, max_size=count)
        ),
        columns={number: column(draw(st.sampled_from(kinds))) for number in sorted(fields)},
    )


@given(st.lists(many(), min_size=1, max_size=4))
def test_what_goes_in_comes_out(series: list[Series]) -> None:
    body = encode_body(series)
    packed = pack_body(body)
    assert packed is not None
    assert decode_body(unpack_body(packed, BODY_SIZE_MAX)) == decode_body(body)


@given(st.lists(many(), min_size=1, max_size=2), st.data())
def test_damage_is_a_decode_error_or_another_body(
    series: list[Series], data: st.DataObject
) -> None:
    packed = bytearray(pack_body(encode_body(series)) or b"")
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    for piece in (bytes(packed), bytes(packed[:place]), bytes(packed) + b"\0"):
        try:
            decode_body(unpack_body(piece, BODY_SIZE_MAX))
        except DecodeError:
            continue


@given(st.binary(max_size=80))
def test_rubbish_is_a_decode_error_or_a_body(data: bytes) -> None:
    try:
        unpack_body(data, 1000)
    except DecodeError:
        return


def walk(count: int) -> list[Series]:
    random, value = Random(1), 0
    column: list[Value] = []
    for _ in range(count):
        value += round(random.gauss(0, 9))
        column.append(value)
    numbers = list(range(count))
    times = [1_760_000_000_000 + 1000 * number for number in numbers]
    return [
        Series("gw-1/can", 2, 0, numbers, times, times, [0] * count, {1: column, 2: [7] * count})
    ]


def test_a_block_takes_the_smaller_form_if_the_other_end_reads_it() -> None:
    body = encode_body(walk(60))
    plain, packed = wrap_block(HEADER, body), wrap_block(HEADER, body, format_max=FORMAT_MAX)
    assert len(packed) < len(plain)
    for block in (unwrap_block(plain), unwrap_block(packed)):
        assert decode_body(block.inflate()) == walk(60)
    (one,) = walk(1)
    single = encode_body([one])
    assert wrap_block(HEADER, single, format_max=FORMAT_MAX) == wrap_block(HEADER, single)


def test_the_layout_is_as_described() -> None:
    series = Series("s", 2, 0, [0, 2, 4, 6], [1000, 2000, 3000, 4000], [1000, 2000, 3000, 4000],
                    [0] * 4, {5: [300, 301, 299, 305], 6: [9] * 4})  # fmt: skip
    packed = pack_body(encode_body([series]))
    assert packed is not None
    described = [
        "19",  # bytes that follow
        "01 01 73",  # one source
        "01",  # one series
        "00 02 00 04",  # of four readings
        "1c 00 04",  # numbers: 0, steps of 2
        "1c d0 0f d0 0f",  # times: 1000 ms, steps of 1000
        "0c 00",  # received when they were made
        "00",  # time quality 0
        "02",  # two columns
        "52 d8 04",  # field 5, k = 2, from 300
        "1c 12",  # field 6, 9 throughout
        # +1, -2, +6 in zigzag 2, 3, 12: low bits 10 11 00, the rest 1 1 0001
        "b3 10",
    ]
    assert packed == bytes.fromhex("".join(described))


def test_a_short_packet_does_not_become_a_long_list() -> None:
    # One series of 2^33 readings, numbers all the same step.
    bomb = bytes.fromhex("14 01 01 73 01 00 02 00 8080808020 1c 00 02 1c 00 02 0c 00 00 00")
    with pytest.raises(DecodeError, match="too many"):
        unpack_body(bomb, BODY_SIZE_MAX)


def test_a_source_that_is_no_text_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        unpack_body(bytes.fromhex("04 01 01 ff 00"), BODY_SIZE_MAX)
    assert (
        unpack_body(bytes.fromhex("04 01 01 73 00"), 9) == Body(sources=["s"]).SerializeToString()
    )
