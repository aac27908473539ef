"""Many bodies made columns at once say what each says alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.bulk import BytesColumn
from greenhaul_protocols.bulk_bodies import KindColumns, gather
from greenhaul_protocols.catalogue import KINDS
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.identity import digests
from greenhaul_protocols.series import Series, encode_body, parse_body
from greenhaul_protocols.uplink_pb2 import Body

_NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-100, 100))
_BLOBS = st.one_of(st.none(), st.binary(max_size=4))
# Fields nobody knows yet: one of numbers, one of bytes, one that series differ in.
_UNKNOWN = (200, 201, 202)


@st.composite
def _series(draw: st.DrawFn) -> Series:
    """Any readings of one source, in number order; some fields here and there, some unknown."""
    kind = draw(st.sampled_from([*KINDS, 99]))
    count = draw(st.integers(1, 4))
    series = Series(draw(st.sampled_from(["a", "b"])), kind, draw(st.integers(0, 1)))
    series.numbers = list(range(count))
    series.device_time_ms = [draw(st.integers(-(2**40), 2**42)) for _ in range(count)]
    series.received_time_ms = [draw(st.integers(-(2**40), 2**42)) for _ in range(count)]
    series.time_quality = [draw(st.integers(0, 3)) for _ in range(count)]
    fields = dict(KINDS[kind].by_number) if kind in KINDS else {}
    for number in draw(st.sets(st.sampled_from([*fields, *_UNKNOWN]))):
        is_bytes = fields[number].is_bytes if number in fields else number == 201
        if number == 202:
            is_bytes = draw(st.booleans())
        series.columns[number] = [draw(_BLOBS if is_bytes else _NUMBERS) for _ in range(count)]
    return series


@given(st.lists(_series(), min_size=1, max_size=6))
def test_what_is_gathered_is_what_was_said(found: list[Series]) -> None:
    parsed = [one for series in found for one in parse_body(encode_body([series]))]
    kinds, mistyped = gather(parsed)
    assert not mistyped
    assert sum(len(kind) for kind in kinds) == sum(len(series) for series in found)
    for kind in kinds:
        for row in range(len(kind)):
            series = found[int(kind.place[row])]
            i = int(kind.numbers[row])
            assert (kind.kind, kind.flags[row]) == (series.kind, series.flags)
            assert kind.device_time_ms[row] == series.device_time_ms[i]
            assert kind.received_time_ms[row] == series.received_time_ms[i]
            assert kind.time_quality[row] == series.time_quality[i]
            said = {n: column[i] for n, column in series.columns.items() if column[i] is not None}
            assert _values(kind, row) == said
            assert kind.digests()[row] == digests(series)[i]


@given(st.lists(_series(), min_size=1, max_size=4), st.data())
def test_some_rows_are_the_same_rows(found: list[Series], data: st.DataObject) -> None:
    kinds, _ = gather([one for series in found for one in parse_body(encode_body([series]))])
    for kind in kinds:
        rows = data.draw(st.lists(st.integers(0, len(kind) - 1), unique=True))
        taken = kind.take(np.array(rows, np.int64))
        assert [_values(taken, i) for i in range(len(rows))] == [_values(kind, r) for r in rows]
        assert taken.digests().tolist() == kind.digests()[rows].tolist()


def _values(kind: KindColumns, row: int) -> dict[int, int | bytes]:
    found: dict[int, int | bytes] = {}
    for number, column in kind.columns.items():
        if isinstance(column, BytesColumn):
            value = column.values[row]
            if value is not None:
                found[number] = value
        elif column.present[row]:
            found[number] = int(column.values[row])
    return found


def _position(**more: object) -> Body:
    body = Body(sources=["a"])
    series = body.series.add(source=0, kind=1, number=[0], device_time_ms=[1], received_time_ms=[1])
    series.columns.add(**more)
    return body


def test_a_field_of_another_type_is_named_and_left_out() -> None:
    (kind,), mistyped = gather(parse_body(_position(field=4, blobs=[b"x"]).SerializeToString()))
    assert (mistyped, kind.columns) == ({0}, {})
    (kind,), mistyped = gather(parse_body(_position(field=17, values=[3]).SerializeToString()))
    assert (mistyped, kind.columns) == ({0}, {})


@pytest.mark.parametrize(
    "column",
    [
        {"field": 4, "values": [1, 2]},
        {"field": 4, "values": [1], "blobs": [b"x"]},
        {"field": 4, "values": [1], "present": b"\0"},
        {"field": 4, "values": [1], "present": b"\1\0"},
        {"field": 17, "blobs": [b"x", b"y"]},
    ],
)
def test_a_column_that_contradicts_itself_is_refused(column: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        gather(parse_body(_position(**column).SerializeToString()))
