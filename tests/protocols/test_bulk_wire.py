"""Bodies read all at once say what they say to the plain reader, or are left to it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.bulk import BytesColumn, NumberColumn
from greenhaul_protocols.bulk_bodies import gather
from greenhaul_protocols.bulk_wire import ReadBodies, read_bodies
from greenhaul_protocols.catalogue import KINDS
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.series import READINGS_MAX, Series, encode_body, parse_body
from greenhaul_protocols.uplink_pb2 import Body, Column

_VALUES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-100, 100))
_TIMES = st.integers(-(2**40), 2**42)


@st.composite
def _series(draw: st.DrawFn) -> Series:
    """Readings as terminals send them: numbers, some not always there, and items unknown to us."""
    kind = draw(st.sampled_from([1, 2, 99]))
    count = draw(st.integers(1, 12))
    series = Series(draw(st.sampled_from(["a", "钱江", "c"])), kind, draw(st.integers(0, 300)))
    series.numbers = sorted(draw(st.sets(st.integers(0, 2**31), min_size=count, max_size=count)))
    series.device_time_ms = draw(st.lists(_TIMES, min_size=count, max_size=count))
    series.received_time_ms = draw(st.lists(_TIMES, min_size=count, max_size=count))
    quality = st.integers(0, 3)
    series.time_quality = draw(
        st.one_of(
            quality.map(lambda q: [q] * count), st.lists(quality, min_size=count, max_size=count)
        )
    )
    known = [spec.number for spec in KINDS[1].fields if not spec.is_bytes]
    for number in draw(st.sets(st.sampled_from([*known, 200, 70_000]))):
        values = _VALUES if draw(st.booleans()) else st.none() | _VALUES
        series.columns[number] = draw(st.lists(values, min_size=count, max_size=count))
    if kind == 1 and draw(st.booleans()):
        blob = st.binary(max_size=40)
        items = draw(st.lists(st.none() | blob, min_size=count - 1, max_size=count - 1))
        series.columns[17] = [draw(blob), *items]
    return series


_BODIES = st.lists(_series(), min_size=1, max_size=4).map(encode_body)


@given(st.lists(_BODIES, max_size=5))
def test_usual_bodies_are_read_as_the_plain_reader_does(bodies: list[bytes]) -> None:
    found = read_bodies(bodies)
    assert found.left == []
    agree(bodies, found)


@given(st.lists(st.tuples(_BODIES, st.data()), min_size=1, max_size=4))
def test_damaged_bodies_are_left_or_read_as_the_plain_reader_does(
    drawn: list[tuple[bytes, st.DataObject]],
) -> None:
    """A byte changed, cut out, put in or cut off behind: each may still be a body."""
    bodies = []
    for body, data in drawn:
        at = data.draw(st.integers(0, len(body) - 1))
        put = data.draw(st.binary(max_size=2))
        rest = body[at + data.draw(st.integers(0, 2)) :]
        bodies.append(body[:at] + put + (rest if data.draw(st.booleans()) else b""))
    agree(bodies, read_bodies(bodies))


def agree(bodies: list[bytes], found: ReadBodies) -> None:
    """What was read is what the plain reader finds in the bodies that were not left."""
    parsed = [
        (i, place, one)
        for i, body in enumerate(bodies)
        if i not in found.left
        for place, one in enumerate(parse_body(body))
    ]
    wires = [wire for _, _, (wire, _) in parsed]
    assert list(zip(found.body.tolist(), found.within.tolist(), found.source, strict=True)) == [
        (i, place, source) for i, place, (_, source) in parsed
    ]
    assert found.kind.tolist() == [wire.kind for wire in wires]
    assert found.flags.tolist() == [wire.flags for wire in wires]
    kinds, mistyped = gather([one for _, _, one in parsed])
    assert not mistyped
    for mine, plain in zip(found.kinds, kinds, strict=True):
        for name in plain.__slots__:
            said, wanted = getattr(mine, name), getattr(plain, name)
            if isinstance(wanted, np.ndarray):
                assert (said.dtype, said.tolist()) == (wanted.dtype, wanted.tolist()), name
        assert list(mine.columns) == list(plain.columns)
        for number, column in plain.columns.items():
            said = mine.columns[number]
            if isinstance(column, BytesColumn):
                assert said == column
                continue
            assert isinstance(said, NumberColumn)
            assert said.values.tolist() == column.values.tolist()
            assert said.present.tolist() == column.present.tolist()


def usual(**changes: Any) -> Body:
    """A body of one position, with changes to its series."""
    body = Body(sources=["a"])
    said = {"source": 0, "kind": 1, "number": [0], "device_time_ms": [1], "received_time_ms": [1]}
    body.series.add(**{**said, "columns": [Column(field=4, values=[5])], **changes})
    return body


WITH_ANOTHER_FIELD = usual().SerializeToString() + b"\x1a\x00"
TWICE = usual().series[0].SerializeToString() + b"\x10\x01"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        Body(sources=["a"]).SerializeToString(),
        Body(sources=[""], series=usual().series).SerializeToString(),
        Body(sources=["a" * 161], series=usual().series).SerializeToString(),
        b"\x0a\x01\xff" + usual().SerializeToString(),
        usual(source=1).SerializeToString(),
        usual(number=[]).SerializeToString(),
        usual(number=[0, 0], device_time_ms=[1, 1], received_time_ms=[1, 1]).SerializeToString(),
        usual(device_time_ms=[]).SerializeToString(),
        usual(time_quality=[0, 0]).SerializeToString(),
        usual(time_quality=[9]).SerializeToString(),
        usual(columns=[Column(field=4, values=[1, 2])]).SerializeToString(),
        usual(columns=[Column(field=4, values=[1], present=b"\0")]).SerializeToString(),
        usual(columns=[Column(field=4, values=[1], present=b"\1\0")]).SerializeToString(),
        usual(columns=[Column(field=4, values=[1])] * 2).SerializeToString(),
        usual(columns=[Column(field=4, blobs=[b"x"])]).SerializeToString(),
        usual(columns=[Column(field=17, values=[1])]).SerializeToString(),
        usual(columns=[Column(field=17)]).SerializeToString(),
        usual(columns=[Column(field=17, present=b"\0")]).SerializeToString(),
        usual(columns=[Column(field=17, blobs=[b"x"], values=[1])]).SerializeToString(),
        usual(columns=[Column(field=17, blobs=[b"x", b"y"])]).SerializeToString(),
        usual(columns=[Column(field=17, blobs=[b"x"], present=b"\0")]).SerializeToString(),
        usual(columns=[Column(field=200, blobs=[b"x"])]).SerializeToString(),
        usual(columns=[Column(field=n, values=[1]) for n in range(18, 99)]).SerializeToString(),
        WITH_ANOTHER_FIELD,
        b"\x0a\x01a\x12" + bytes([len(TWICE)]) + TWICE,
        b"\x0a\xff\xff\xff\xff\xff\xff",
        usual().SerializeToString()[:-1],
    ],
)
def test_what_is_out_of_the_ordinary_is_left(body: bytes) -> None:
    between = [usual().SerializeToString(), body, usual().SerializeToString()]
    assert read_bodies(between).left == [1]
    agree(between, read_bodies(between))


@pytest.mark.parametrize(
    ("varint", "is_one"),
    [
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", True),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", False),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", False),
        (b"\x80\x00", True),
        (b"\x80", False),
    ],
)
def test_varints_end_where_they_must(varint: bytes, is_one: bool) -> None:
    head = b"\x1a\x01\x00\x22\x01\x02\x42\x01\x02\x10\x01"
    column = b"\x08\x04\x1a" + bytes([len(varint)]) + varint
    series = head + b"\x32" + bytes([len(column)]) + column
    body = b"\x0a\x01a\x12" + bytes([len(series)]) + series
    found = read_bodies([body])
    assert (found.left == []) == is_one
    agree([body], found)


def test_more_readings_than_a_body_may_have_are_left() -> None:
    count = READINGS_MAX + 1
    many = {name: [1] * count for name in ("number", "device_time_ms", "received_time_ms")}
    body = usual(**many, columns=[]).SerializeToString()
    with pytest.raises(DecodeError):
        parse_body(body)
    assert read_bodies([body]).left == [0]


def test_the_order_of_bodies_is_kept() -> None:
    bodies = [usual(device_time_ms=[n]).SerializeToString() for n in range(40)]
    (kind,) = read_bodies(bodies).kinds
    assert all(b - a == 1 for a, b in pairwise(kind.device_time_ms.tolist()))
