"""Bodies and blocks: what goes in comes out, plain and vectorised; damage never passes."""

import zlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols import bulk, identity
from greenhaul_protocols.block import (
    BODY_SIZE_MAX,
    BlockHeader,
    DamagedBlock,
    unwrap_block,
    wrap_block,
)
from greenhaul_protocols.catalogue import KINDS, Flags, Position, Reading, TimeQuality
from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.series import (
    Series,
    cut_series,
    decode_body,
    encode_body,
    merge_series,
    to_series,
)
from greenhaul_protocols.uplink_pb2 import Block, Body

INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.one_of(INT64, st.integers(1_700_000_000_000, 1_700_000_100_000))
HEADER = BlockHeader(gateway="gw-1", epoch=2**63 + 5, lane=1, first=7, count=2)


def _values(kind: int) -> st.SearchStrategy[dict[str, Any]]:
    choices: dict[str, st.SearchStrategy[Any]] = {}
    for spec in KINDS[kind].fields:
        if spec.value_type == "flag":
            choices[spec.name] = st.booleans()
        elif spec.value_type == "blob":
            choices[spec.name] = st.binary(max_size=20)
        elif spec.is_bytes:
            choices[spec.name] = st.text(max_size=20)
        else:
            choices[spec.name] = st.integers(-(2**40), 2**40).map(spec.scale)
    return st.fixed_dictionaries({}, optional=choices)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    kind = draw(st.sampled_from(sorted(KINDS)))
    return KINDS[kind].reading_class(
        source=draw(st.sampled_from(["808:13912345678", "gw-1/gnss", "gw-1/电池"])),
        device_time_ms=draw(TIMES),
        received_time_ms=draw(TIMES),
        time_quality=draw(st.sampled_from(TimeQuality)),
        flags=draw(st.sampled_from([Flags(0), Flags.BACKLOG])),
        **draw(_values(kind)),
    )


BATCHES = st.lists(readings(), max_size=12)


def _by_number(series: list[Series]) -> dict[int, Reading]:
    return {
        number: reading
        for one in series
        for number, reading in zip(one.numbers, one.readings(), strict=True)
    }


def _sorted(series: list[Series]) -> list[Series]:
    """In one order, and without columns in which no reading has a value: they say nothing."""
    for one in series:
        one.columns = {n: c for n, c in one.columns.items() if any(v is not None for v in c)}
    return sorted(series, key=lambda one: (one.source, one.kind, one.flags))


@given(BATCHES)
def test_readings_survive_the_body(batch: list[Reading]) -> None:
    decoded = _by_number(decode_body(encode_body(to_series(batch))))
    assert decoded == dict(enumerate(batch))


@given(BATCHES, st.data())
def test_cutting_and_merging_change_nothing(batch: list[Reading], data: st.DataObject) -> None:
    whole = to_series(batch)
    at = data.draw(st.integers(0, len(batch)))
    parts = [(0, cut_series(whole, 0, at - 1)), (at, cut_series(whole, at, len(batch)))]
    assert _sorted(merge_series(parts)) == _sorted(whole)


@given(BATCHES, st.randoms())
def test_series_whose_numbers_lie_between_each_others_become_one(
    batch: list[Reading], chance: Random
) -> None:
    whole = to_series(batch)
    each = [cut_series(whole, at, at)[0] for at in range(len(batch))]
    for at, one in enumerate(each):
        one.numbers = [at]
    chance.shuffle(each)
    merged = merge_series([(0, each)])
    assert _sorted(merged) == _sorted(whole)
    assert _sorted(decode_body(encode_body(merged))) == _sorted(whole)


@given(BATCHES)
def test_the_vectorised_reader_agrees(batch: list[Reading]) -> None:
    body = encode_body(to_series(batch))
    for plain, columns in zip(decode_body(body), bulk.decode_columns(body), strict=True):
        assert columns.source == plain.source
        assert (columns.kind, columns.flags) == (plain.kind, plain.flags)
        assert columns.numbers.tolist() == plain.numbers
        assert columns.device_time_ms.tolist() == plain.device_time_ms
        assert columns.received_time_ms.tolist() == plain.received_time_ms
        assert columns.time_quality.tolist() == plain.time_quality
        assert columns.digests().tolist() == identity.digests(plain)
        for number, column in columns.columns.items():
            if isinstance(column, bulk.BytesColumn):
                assert column.values == plain.columns[number]
            else:
                kept = zip(column.values.tolist(), column.present.tolist(), strict=True)
                assert [v if is_there else None for v, is_there in kept] == plain.columns[number]


@given(st.binary(max_size=200))
def test_garbage_is_an_error_never_a_crash(data: bytes) -> None:
    for read in (decode_body, bulk.decode_columns, unwrap_block):
        try:
            read(data)
        except DecodeError:
            continue


def test_digest_is_frozen() -> None:
    """Identity of everything ever stored hangs on these figures."""
    assert (
        identity.digest([(1, 329_900_000), (2, 1_125_200_000), (4, 365)])
        == -6_201_650_790_767_241_550
    )
    assert identity.digest([(1, b"ignition_on")]) == -6809355874235708880
    assert identity.digest([(1, None)]) == identity.digest([])


def test_how_a_reading_came_is_not_its_identity() -> None:
    def position(**how: Any) -> Position:
        return Position(
            source="808:1", device_time_ms=1000, latitude_deg=33.0, **{"received_time_ms": 1} | how
        )

    twin = position(received_time_ms=9, flags=Flags.BACKLOG, time_quality=TimeQuality.UNUSABLE)
    assert _digests(position()) == _digests(twin)
    assert _digests(position()) != _digests(position(speed_kmh=0.0))


def _digests(reading: Reading) -> list[int]:
    return identity.digests(to_series([reading])[0])


def test_unknown_kinds_and_fields_pass_through() -> None:
    future = Series("gw-1/x", 99, 0, [0], [1], [2], [0], {1: [5], 300: [b"new"]})
    (decoded,) = decode_body(encode_body([future]))
    assert decoded == future
    with pytest.raises(DecodeError, match="kind 99"):
        decoded.readings()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.device_time_ms.append(1), "count of times"),
        (lambda s: s.time_quality.extend([0, 0]), "time qualities"),
        (lambda s: s.time_quality.append(7), "not in the catalogue"),
        (lambda s: s.columns.add(field=1, values=[1, 2]), "2 values of 1|2 values, 1 marked"),
        (lambda s: s.columns.add(field=1, present=b"\0\0\0", values=[1]), "bitmap"),
        (lambda s: s.columns.add(field=1, values=[1], blobs=[b"x"]), "numbers and bytes"),
        (lambda s: setattr(s, "source", 9), "source 9 of 1"),
        (
            lambda s: (
                s.number.append(0),
                s.device_time_ms.append(0),
                s.received_time_ms.append(0),
            ),
            "twice",
        ),
    ],
)
def test_a_body_that_contradicts_itself_says_where(change: Any, reason: str) -> None:
    body = Body(sources=["gw-1/x"])
    series = body.series.add(kind=1, number=[0], device_time_ms=[1], received_time_ms=[1])
    change(series)
    for read in (decode_body, bulk.decode_columns):
        with pytest.raises(DecodeError, match=reason):
            read(body.SerializeToString())


def test_a_source_name_is_bounded() -> None:
    with pytest.raises(DecodeError, match="longer than"):
        decode_body(Body(sources=["x" * 1000]).SerializeToString())


def test_block_keeps_header_and_body() -> None:
    block = unwrap_block(wrap_block(HEADER, b"body"))
    assert block.header == HEADER
    assert block.header.last == 8
    assert block.inflate() == b"body"


def test_one_flipped_bit_never_passes() -> None:
    good = wrap_block(HEADER, b"some readings")
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit >> 3] ^= 1 << (bit & 7)
        try:
            block = unwrap_block(bytes(bad))
        except DecodeError:
            continue
        # protobuf ignores unknown fields: then nothing that is read has changed
        assert block == unwrap_block(good)


def test_a_hello_is_empty() -> None:
    hello = BlockHeader(gateway="gw-1", epoch=1, lane=1, first=1, count=0, asks_receipt=True)
    assert unwrap_block(wrap_block(hello)).inflate() == b""
    with pytest.raises(EncodeError):
        wrap_block(hello, b"body")


def test_an_unknown_format_is_whole_but_unreadable() -> None:
    wire = Block.FromString(wrap_block(HEADER, b"body"))
    wire.format = 2
    with pytest.raises(DamagedBlock):
        unwrap_block(wire.SerializeToString())


@pytest.mark.parametrize(
    "body",
    [
        zlib.compress(bytes(BODY_SIZE_MAX + 1)),
        zlib.compress(b"x")[:-3],
        b"not zlib",
        zlib.compress(b"x") + b"more",
    ],
    ids=["bomb", "cut", "garbage", "trailing"],
)
def test_a_body_that_does_not_inflate_is_refused(body: bytes) -> None:
    good = unwrap_block(wrap_block(HEADER, b"body"))
    with pytest.raises(DecodeError, match=r"inflate|cut"):
        type(good)(good.header, body).inflate()
