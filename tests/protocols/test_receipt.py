"""Receipts, range sets, topics, instants."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.block import FORMAT
from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import (
    RANGES_MAX,
    LaneState,
    Receipt,
    decode_receipt,
    encode_receipt,
)
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time
from greenhaul_protocols.topics import parse_up_topic, shard_of, up_topic
from greenhaul_protocols.uplink_pb2 import Receipt as WireReceipt

LANE = LaneState(
    lane=1,
    settled=((1, 300), (305, 400)),
    through=400,
    stored=390,
    duplicate=4,
    quarantined=2,
    dropped=0,
    refused=(((17, 18), "kind 9 is not in the catalogue"),),
)
RECEIPT = Receipt(
    gateway="gw-1",
    epoch=1,
    store_id=2,
    revision=3,
    server_time_ms=1_795_000_000_000,
    hello_ms=86_400_123,
    lanes=(LANE,),
)


def test_a_receipt_survives_the_wire() -> None:
    assert decode_receipt(encode_receipt(RECEIPT)) == RECEIPT


def test_a_collector_that_names_no_format_reads_the_first() -> None:
    wire = WireReceipt.FromString(encode_receipt(RECEIPT))
    wire.ClearField("block_format")
    assert decode_receipt(wire.SerializeToString()).block_format == FORMAT


def test_a_list_cut_short_only_claims_less() -> None:
    settled = tuple((n, n) for n in range(1, 3 * RANGES_MAX, 2))
    lane = LaneState(lane=1, settled=settled, through=settled[-1][1])
    receipt = Receipt(gateway="g", epoch=1, store_id=1, revision=1, server_time_ms=0, lanes=(lane,))
    (cut,) = decode_receipt(encode_receipt(receipt)).lanes
    assert cut.settled == settled[:RANGES_MAX]
    assert cut.through < settled[RANGES_MAX][0]


@pytest.mark.parametrize("pair", [(0, 3), (5, 4)])
def test_a_senseless_range_is_refused(pair: tuple[int, int]) -> None:
    wire = WireReceipt()
    wire.lanes.add(lane=1).settled.add(first=pair[0], last=pair[1])
    with pytest.raises(DecodeError):
        decode_receipt(wire.SerializeToString())


OPERATIONS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 30), st.integers(-1, 12)), max_size=15
)


@given(OPERATIONS)
def test_a_range_set_is_a_set(operations: list[tuple[bool, int, int]]) -> None:
    ranges, plain = RangeSet(), set[int]()
    for is_add, first, length in operations:
        last = first + length
        numbers = set(range(first, last + 1))
        if is_add:
            assert ranges.add(first, last) == len(numbers - plain)
            plain |= numbers
        else:
            assert ranges.remove(first, last) == len(numbers & plain)
            plain -= numbers
        pairs = list(ranges)
        assert {n for a, b in pairs for n in range(a, b + 1)} == plain
        assert all(b + 1 < c for (_, b), (c, _) in pairwise(pairs))
        assert ranges.total == len(plain)
        assert ranges.last == max(plain, default=0)
        assert {n for a, b in ranges.missing(1, 45) for n in range(a, b + 1)} == set(
            range(1, 46)
        ) - plain
        assert all(n in ranges for n in plain)
        assert ranges == ranges.copy() == RangeSet(ranges)


def test_topics_say_gateway_and_lane() -> None:
    assert up_topic("gw-17", 1) == f"gh/v1/up/{shard_of('gw-17', 1)}/gw-17/1"
    assert parse_up_topic(up_topic("gw-17", 0)) == ("gw-17", 0)


@pytest.mark.parametrize(
    "topic",
    [
        "gh/v1/up/00/gw 1/1",
        "gh/v1/up/00/gw-17/1",
        "gh/v1/up/00/gw-17/01",
        "x",
        f"{up_topic('g', 1)}/2",
        up_topic("g", 1).replace("/1", "/999"),
    ],
)
def test_a_foreign_topic_is_refused(topic: str) -> None:
    with pytest.raises(DecodeError):
        parse_up_topic(topic)


@pytest.mark.parametrize("gateway", ["", "a/b", "+", "#", "x" * 65, "绿配"])
def test_a_gateway_id_cannot_reach_other_topics(gateway: str) -> None:
    with pytest.raises(EncodeError):
        up_topic(gateway, 1)


@given(st.integers(TIME_MS_MIN, TIME_MS_MAX))
def test_instants_survive_text(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


def test_instants_read_as_rfc_3339() -> None:
    assert format_time(1_795_158_245_300) == "2026-11-20T07:04:05.300Z"
    assert format_time(1_795_158_245_000) == "2026-11-20T07:04:05Z"
    assert parse_time("2026-11-20T15:04:05+08:00") == 1_795_158_245_000
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-11-20T15:04:05")
