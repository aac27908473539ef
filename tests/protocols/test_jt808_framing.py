"""Frames: the standard's escape example, resynchronisation, and what noise may do."""

import struct
from collections.abc import Callable
from functools import reduce
from operator import xor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.framing import (
    FRAME_SIZE_MAX,
    Frame,
    FrameReader,
    Malformed,
    checksum,
    content_of,
    escape,
    frame_of,
    unescape,
)
from greenhaul_protocols.jt808.header import (
    BODY_SIZE_MAX,
    Header,
    PartNumber,
    imei_of,
    split_header,
    unwrap,
    wrap,
)

CONTENT = st.binary(min_size=12, max_size=1044) | st.binary(min_size=12, max_size=60).map(
    lambda data: bytes(0x7D + (byte & 1) for byte in data)
)


def frames_in(data: bytes, *, step: int | None = None) -> list[Frame | Malformed]:
    reader = FrameReader()
    step = step or max(len(data), 1)
    found = [f for at in range(0, len(data), step) for f in reader.feed(data[at : at + step])]
    return [*found, *reader.close()]


def test_the_standards_example_of_escaping() -> None:
    content = bytes.fromhex("30 7e 08 7d 55")
    assert escape(content) == bytes.fromhex("30 7d 02 08 7d 01 55")
    assert unescape(escape(content)) == content


def test_7d_02_is_unescaped_before_7d_01() -> None:
    assert unescape(b"\x7d\x01\x02") == b"\x7d\x02"


@pytest.mark.parametrize("wire", [b"\x7d", b"\x7d\x03", b"\x7d\x7d\x01", b"a\x7d"])
def test_7d_before_anything_else_is_malformed(wire: bytes) -> None:
    with pytest.raises(DecodeError, match="7D is followed by neither 01 nor 02"):
        unescape(wire)


@given(st.binary(max_size=1100))
def test_the_folded_checksum_is_the_xor_of_all_bytes(data: bytes) -> None:
    assert checksum(data) == reduce(xor, data, 0)


@given(CONTENT)
def test_a_frame_gives_its_content_back(content: bytes) -> None:
    frame = frame_of(content)
    assert frame.count(b"\x7e") == 2
    assert content_of(frame[1:-1]) == content


def test_a_checksum_that_is_a_delimiter_is_escaped() -> None:
    content = bytes(12) + b"\x7e"
    assert frame_of(content).endswith(b"\x7d\x02\x7e")
    assert content_of(frame_of(content)[1:-1]) == content


@given(CONTENT, st.data())
def test_one_flipped_bit_never_passes(content: bytes, data: st.DataObject) -> None:
    frame = bytearray(frame_of(content))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    passed = [f for f in frames_in(bytes(frame)) if isinstance(f, Frame)]
    # A flip may turn one escape into the other, or 7D 01 into 7C 01: then the length differs.
    assert all(f.content != content for f in passed)
    assert all(len(f.content) != len(content) for f in passed)


@given(st.lists(CONTENT, max_size=4), st.binary(max_size=40), st.integers(1, 50))
@example([bytes(12)], b"\x7e", 1)
def test_chopping_changes_nothing(contents: list[bytes], noise: bytes, step: int) -> None:
    stream = noise + b"".join(map(frame_of, contents)) + noise
    assert frames_in(stream, step=step) == frames_in(stream)


@given(st.lists(CONTENT, max_size=4), st.binary(max_size=40))
def test_rubbish_costs_no_frame_that_follows(contents: list[bytes], noise: bytes) -> None:
    stream = noise + b"\x7e" + b"".join(map(frame_of, contents))
    found = [f.content for f in frames_in(stream) if isinstance(f, Frame)]
    assert found[len(found) - len(contents) :] == contents


def test_one_delimiter_between_two_frames_is_enough() -> None:
    one, two = frame_of(bytes(12)), frame_of(bytes(13))
    found = frames_in(one + two[1:])
    assert [f.content for f in found if isinstance(f, Frame)] == [bytes(12), bytes(13)]
    assert len(found) == 2


def test_adjacent_delimiters_are_no_frame() -> None:
    assert frames_in(b"\x7e" * 100) == []


@pytest.mark.parametrize("step", [1, 1000, 10_000_000])
def test_ten_megabytes_without_an_end_are_counted_not_kept(step: int) -> None:
    size = 10_000_000 if step > 1 else 10_000
    reader = FrameReader()
    found = []
    data = b"\x7e" + b"x" * size
    for at in range(0, len(data), step):
        found += reader.feed(data[at : at + step])
        assert reader.held_bytes <= FRAME_SIZE_MAX
    assert [type(f) for f in found] == [Malformed]
    assert reader.skipped_bytes == size - FRAME_SIZE_MAX
    good = frame_of(bytes(12))
    assert reader.feed(good) == [Frame(good, bytes(12))]


def test_the_largest_frame_passes() -> None:
    part = PartNumber(1, 2)
    header = Header(0x7E7E, "7e" * 10, 0x7E7E, is_2019=True, part=part, protocol_version=0x7E)
    frame = wrap(header, b"\x7e" * BODY_SIZE_MAX)
    assert 2000 < len(frame) <= FRAME_SIZE_MAX
    assert unwrap(frame).header == header


def test_a_wrong_checksum_says_both() -> None:
    frame = bytearray(frame_of(bytes(12)))
    frame[-2] = 0x5B
    (found,) = frames_in(bytes(frame))
    assert found == Malformed("checksum: computed 0x00, frame says 0x5B", bytes(frame))


HEADERS = st.builds(
    Header,
    message_id=st.integers(0, 0xFFFF),
    phone=st.text("0123456789", min_size=12, max_size=12),
    serial=st.integers(0, 0xFFFF),
    is_2019=st.just(False),
    encryption=st.integers(0, 7),
    part=st.none() | st.builds(PartNumber, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    protocol_version=st.just(1),
    serial_size=st.just(2),
) | st.builds(
    Header,
    message_id=st.integers(0, 0xFFFF),
    phone=st.text("0123456789", min_size=20, max_size=20),
    serial=st.integers(0, 0xFFFF),
    is_2019=st.just(True),
    encryption=st.integers(0, 7),
    part=st.none() | st.builds(PartNumber, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    protocol_version=st.integers(0, 255),
    serial_size=st.just(2),
)


@given(HEADERS, st.binary(max_size=BODY_SIZE_MAX))
def test_header_and_body_come_back(header: Header, body: bytes) -> None:
    packet = unwrap(wrap(header, body))
    assert (packet.header, packet.body) == (header, body)


def test_the_headers_length_decides_when_bit_14_is_wrong() -> None:
    old = Header(0x0200, "013912345678", 7, is_2019=False)
    new = Header(0x0200, "00000000013912345678", 7, is_2019=True)
    for header in (old, new):
        content = bytearray(content_of(wrap(header, b"body")[1:-1]))
        content[2] ^= 0x40
        assert split_header(bytes(content)) == (header, b"body")


def test_a_length_that_fits_neither_header_is_refused() -> None:
    content = bytearray(content_of(wrap(Header(2, "1", 0, is_2019=False), b"body")[1:-1]))
    content[3] += 1
    with pytest.raises(DecodeError, match="length: header says 5 bytes of body, frame has 4"):
        split_header(bytes(content))


@pytest.mark.parametrize("phone", ["1234567890123", "+86139", "x", "１２"])
def test_a_phone_the_header_cannot_carry_is_our_mistake(phone: str) -> None:
    with pytest.raises(EncodeError, match="phone"):
        wrap(Header(2, phone, 0, is_2019=False), b"")


def test_a_body_over_ten_bits_is_our_mistake() -> None:
    with pytest.raises(EncodeError, match="1024 bytes"):
        wrap(Header(2, "1", 0, is_2019=False), bytes(1024))


# -- terminals that do not escape by the rules -----------------------------------------------------

# 7E and 7D in body, serial and checksum.
AWKWARD = wrap(
    Header(0x0900, "013912345678", 0x7D7E, is_2019=False), bytes.fromhex("41 7e 7d02 7d01 7e")
)


def content_in(stream: bytes, step: int) -> list[bytes]:
    reader = FrameReader()
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    found = [each for piece in pieces for each in reader.feed(piece)]
    return [each.content for each in [*found, *reader.close()] if isinstance(each, Frame)]


def bare(frame: bytes) -> bytes:
    return b"\x7e" + unescape(frame[1:-1]) + b"\x7e"


def twice_escaped(frame: bytes) -> bytes:
    return b"\x7e" + escape(frame[1:-1]) + b"\x7e"


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("deviate", [bare, twice_escaped])
def test_frames_not_escaped_or_escaped_twice_are_read(
    deviate: Callable[[bytes], bytes], step: int
) -> None:
    good = wrap(Header(2, "013912345678", 1, is_2019=False), b"")
    stream = good + deviate(AWKWARD) + good
    inside = content_of(AWKWARD[1:-1])
    assert content_in(stream, step) == [content_of(good[1:-1]), inside, content_of(good[1:-1])]


@given(HEADERS, st.binary(max_size=200))
def test_any_frame_escaped_twice_is_read(header: Header, body: bytes) -> None:
    frame = wrap(header, body)
    assert content_in(twice_escaped(frame), 4096) == [content_of(frame[1:-1])]


@pytest.mark.parametrize("ends", [(1, None), (0, -1), (1, -1)])
def test_a_missing_delimiter_at_an_end_of_the_stream_costs_nothing(
    ends: tuple[int, int | None],
) -> None:
    assert content_in(AWKWARD[slice(*ends)], 1000) == [content_of(AWKWARD[1:-1])]


def test_a_long_row_of_torn_pieces_costs_little() -> None:
    reader = FrameReader()
    for _ in range(200):
        found = reader.feed(b"\x7e\x7d".join([b"\x02" * 3] * 100))
        assert not any(isinstance(each, Frame) for each in found)


@pytest.mark.parametrize("attributes", [0x0003, 0x8C03, 0x8403])
def test_locks_number_their_reports_in_one_byte(attributes: int) -> None:
    content = struct.pack(">HH6sB", 0x5501, attributes, bytes.fromhex("740190311185"), 0x47)
    header, body = split_header(content + b"abc")
    assert (header.phone, header.serial, header.serial_size) == ("740190311185", 0x47, 1)
    # Their other bits are no encryption and no packet item.
    assert (header.encryption, header.part, header.is_2019, body) == (0, None, False, b"abc")
    with pytest.raises(EncodeError, match="one byte"):
        wrap(header, body)
    # Nobody else does: there a byte is missing.
    with pytest.raises(DecodeError, match="header says 3 bytes of body, frame has 2"):
        split_header(struct.pack(">HH6sB", 0x0200, 3, bytes(6), 0x47) + b"abc")
    # A lock that sends two is understood as well.
    longer, body = split_header(struct.pack(">HH6sH", 0x5501, 3, bytes(6), 0x4748) + b"abc")
    assert (longer.serial, longer.serial_size, body) == (0x4748, 2, b"abc")


@pytest.mark.parametrize(
    ("phone", "imei"),
    [
        (f"{49015420323751:012x}", "490154203237518"),  # the textbook's example of a check digit
        ("013912345678", None),
        ("ffffffffffff", None),  # beyond fourteen digits
        ("0000000000000000000a", None),
    ],
)
def test_an_imei_may_stand_for_the_number(phone: str, imei: str | None) -> None:
    assert imei_of(phone) == imei
