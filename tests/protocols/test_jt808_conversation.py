"""Conversations: one class for both ends; whatever arrives is an event."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import (
    UNSUPPORTED,
    BadBytes,
    Conversation,
    Event,
    Header,
    Heartbeat,
    LinkCheck,
    LocationQuery,
    LocationReport,
    PartNumber,
    PartReceived,
    PlatformAnswer,
    Received,
    Registration,
    RegistrationAnswer,
    TerminalAnswer,
    UnknownMessage,
    unwrap,
    wants_answer,
    wrap,
)
from greenhaul_protocols.jt808.parts import PARTS_MESSAGES_MAX

REPORT = LocationReport(0, 2, 32.99, 112.52, 130, 36.5, 90, "261120150405")
PHONE = "13912345678"


def only(events: list[Event]) -> Any:
    (event,) = events
    return event


@pytest.mark.parametrize("revision", [2011, 2013, 2019])
def test_a_terminal_and_a_platform_talk(revision: int) -> None:
    terminal = Conversation(phone=PHONE, revision=revision)
    platform = Conversation()
    registration = Registration(41, 1300, "GHAUL", "M1", "T000001", 2, "豫R12345")
    event = only(platform.receive(terminal.send(registration)))
    assert (event.message, event.revision, platform.revision) == (registration, revision, revision)
    reply = platform.send(RegistrationAnswer(event.header.serial, 0, "code"))
    answer = only(terminal.receive(reply))
    assert answer.message == RegistrationAnswer(0, 0, "code")
    assert answer.header.phone.lstrip("0") == PHONE
    report = only(platform.receive(terminal.send(REPORT)))
    acknowledged = only(terminal.receive(platform.answer(report)))
    assert acknowledged.message == PlatformAnswer(1, 0x0200, 0)
    query = only(terminal.receive(platform.send(LocationQuery())))
    confirmed = only(platform.receive(terminal.answer(query, UNSUPPORTED)))
    assert confirmed.message == TerminalAnswer(query.header.serial, 0x8201, 3)


def test_serials_wrap() -> None:
    terminal = Conversation(phone=PHONE)
    terminal.next_serial = 65_535
    serials = [unwrap(terminal.send(Heartbeat())).header.serial for _ in range(2)]
    assert serials == [65_535, 0]
    assert terminal.next_serial == 1


def test_an_unknown_message_is_answered_unsupported() -> None:
    platform = Conversation()
    event = only(platform.receive(wrap(Header(0x0F01, PHONE, 9, is_2019=False), b"body")))
    assert isinstance(event, UnknownMessage)
    assert event.body == b"body"
    answer = unwrap(platform.answer(event, UNSUPPORTED))
    assert answer.body == bytes.fromhex("0009 0f01 03")


def test_an_undecodable_body_keeps_reason_and_frame() -> None:
    frame = wrap(Header(0x0200, PHONE, 9, is_2019=False), b"short")
    event = only(Conversation().receive(frame))
    assert isinstance(event, BadBytes)
    assert event.reason == "0x0200 status: wants 4 bytes at 4, has 1"
    assert event.raw == frame
    assert event.header is not None


def test_encrypted_bodies_are_kept_whole() -> None:
    frame = wrap(Header(0x0200, PHONE, 9, is_2019=False, encryption=1), bytes(28))
    event = only(Conversation().receive(frame))
    assert event.reason == "encrypted: RSA, no key"
    assert event.raw == frame


def test_bytes_in_a_heartbeat_are_left_over_not_wrong() -> None:
    event = only(Conversation().receive(wrap(Header(2, PHONE, 9, is_2019=False), b"x" * 17)))
    assert (event.message, event.rest) == (Heartbeat(), b"x" * 17)


@pytest.mark.parametrize(("header_is_2019", "body_revision"), [(False, 2019), (True, 2013)])
def test_a_body_of_another_edition_than_its_header(
    header_is_2019: bool, body_revision: int
) -> None:
    other = Conversation(phone=PHONE, revision=body_revision)
    registration = Registration(41, 1300, "GHAUL", "M1", "T1", 2, "豫R12345")
    body = unwrap(other.send(registration)).body
    frame = wrap(Header(0x0100, PHONE, 0, is_2019=header_is_2019), body)
    event = only(Conversation().receive(frame))
    if header_is_2019:
        assert event.message == registration
    else:
        # A 2013 body may end in any plate: only being told helps.
        assert event.revision == 2013
        told = only(Conversation(revision=2019).receive(frame))
        assert told.message == registration


def test_replies_have_the_header_the_peer_uses() -> None:
    platform = Conversation(revision=2019)
    event = only(platform.receive(wrap(Header(2, PHONE, 0, is_2019=False), b"")))
    assert not unwrap(platform.answer(event)).header.is_2019
    assert not unwrap(platform.send(LinkCheck())).header.is_2019


def test_a_peer_that_changes_its_header_is_answered_in_the_one_it_used() -> None:
    platform = Conversation()
    new = wrap(Header(2, "1" * 20, 0, is_2019=True), b"")
    old = wrap(Header(2, "2" * 12, 1, is_2019=False), b"")
    first, second = platform.receive(new + old)
    for event in (first, second):
        assert event.header is not None
        reply = unwrap(platform.answer(event)).header
        assert (reply.phone, reply.is_2019) == (event.header.phone, event.header.is_2019)
    assert first.header is not None
    named = platform.send(PlatformAnswer(0, 2, 0), phone=first.header.phone)
    assert unwrap(named).header.is_2019


def test_a_settled_revision_stays() -> None:
    platform = Conversation(revision=2011)
    terminal = Conversation(phone=PHONE, revision=2013)
    platform.receive(terminal.send(Heartbeat()))
    assert platform.revision == 2011
    with pytest.raises(ValueError, match="revision 2012"):
        Conversation(revision=2012)


def test_a_message_the_edition_lacks_is_our_mistake() -> None:
    with pytest.raises(EncodeError, match="0x8204 is not in 2013"):
        Conversation(phone=PHONE, revision=2013).send(LinkCheck())


def test_nobody_can_be_addressed_before_anybody_spoke() -> None:
    with pytest.raises(EncodeError, match="phone"):
        Conversation().send(LocationQuery())
    with pytest.raises(EncodeError, match="no frame"):
        Conversation().answer(BadBytes("rubbish", b"x"))


def test_answers_want_no_answer() -> None:
    assert [wants_answer(i) for i in (0x0001, 0x8001, 0x8100, 0x0200)] == [False] * 3 + [True]


# -- split messages --------------------------------------------------------------------------------

LONG = bytes(range(256)) * 10  # three packets


def packets(serial: int = 0, *, message_id: int = 0x0F02, body: bytes = LONG) -> list[bytes]:
    terminal = Conversation(phone=PHONE)
    terminal.next_serial = serial
    return terminal.send_body(message_id, body)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("serial", [0, 65_534])
def test_packets_join_in_any_order(order: tuple[int, ...], serial: int) -> None:
    platform = Conversation()
    frames = packets(serial)
    events = [e for n in order for e in platform.receive(frames[n])]
    assert [type(e) for e in events] == [PartReceived] * 3 + [UnknownMessage]
    joined = events[-1]
    assert isinstance(joined, UnknownMessage)
    assert (joined.body, joined.raw, joined.is_joined) == (LONG, b"".join(frames), True)
    assert joined.packets == tuple(unwrap(frame).header for frame in frames)


def test_a_packet_sent_twice_counts_once() -> None:
    platform = Conversation()
    one, two, three = packets()
    events = platform.receive(one + one + two + two + three)
    assert [type(e) for e in events] == [PartReceived] * 5 + [UnknownMessage]


def test_two_messages_interleaved_do_not_mix() -> None:
    first, second = packets(10), packets(13, body=LONG[::-1])
    for seed in range(30):
        platform = Conversation()
        frames = first + second
        random.Random(seed).shuffle(frames)
        events = [e for frame in frames for e in platform.receive(frame)]
        joined = sorted(e.body for e in events if isinstance(e, UnknownMessage))
        assert joined == sorted([LONG, LONG[::-1]]), f"seed {seed}"


def numbered(serials: tuple[int, ...]) -> list[bytes]:
    """Packets 1, 2, 3… of a message with these serials and bodies a, b, c…"""
    total = len(serials)
    return [
        wrap(
            Header(0x0F02, PHONE, serial, is_2019=False, part=PartNumber(number, total)),
            bytes((96 + number,)),
        )
        for number, serial in enumerate(serials, start=1)
    ]


def joined_bodies(events: list[Event]) -> list[bytes]:
    return [e.body for e in events if isinstance(e, UnknownMessage)]


@pytest.mark.parametrize("step", [1, -1])
def test_two_messages_between_the_packets_do_not_part_them(step: int) -> None:
    platform = Conversation()
    events = [e for f in numbered((5, 6, 9))[::step] for e in platform.receive(f)]
    assert joined_bodies(events) == [b"abc"]


@pytest.mark.parametrize("step", [1, -1])
def test_with_room_for_another_message_packets_join_once_the_terminal_moved_on(step: int) -> None:
    frames = numbered((1233, 1250))[::step]
    platform = Conversation()
    assert joined_bodies([e for f in frames for e in platform.receive(f)]) == []
    heartbeat = wrap(Header(2, PHONE, 1251, is_2019=False), b"")
    events = platform.receive(heartbeat)
    assert joined_bodies(events) == [b"ab"]
    assert [type(e) for e in events] == [UnknownMessage, Received]

    ended = Conversation()
    for frame in frames:
        ended.receive(frame)
    assert joined_bodies(ended.close()) == [b"ab"]


def test_serials_that_fall_while_numbers_rise_are_of_two_messages() -> None:
    platform = Conversation()
    events = [e for f in numbered((9, 5)) for e in platform.receive(f)]
    assert joined_bodies([*events, *platform.close()]) == []


def test_packets_that_cannot_be_are_bad() -> None:
    for number, total in ((0, 3), (4, 3), (0, 0)):
        part = PartNumber(number, total)
        event = only(Conversation().receive(wrap(Header(2, PHONE, 0, False, part=part), b"")))
        assert event.reason == f"packet {number} of {total}"


def test_messages_never_finished_give_way() -> None:
    platform = Conversation()
    for serial in range(0, 200, 4):
        platform.receive(packets(serial)[0])
    assert platform.evicted_parts == 50 - PARTS_MESSAGES_MAX
    events = [e for frame in packets(500) for e in platform.receive(frame)]
    assert isinstance(events[-1], UnknownMessage)


# -- what a hostile peer may do --------------------------------------------------------------------


@given(st.binary(max_size=300), st.integers(1, 40))
@settings(max_examples=60)
def test_noise_is_events_however_it_is_chopped(noise: bytes, step: int) -> None:
    good = Conversation(phone=PHONE).send(REPORT)
    stream = b"\x7e" + noise + b"\x7e" + good + noise
    whole = Conversation().receive(stream)
    platform = Conversation()
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert [e for piece in pieces for e in platform.receive(piece)] == whole
    assert any(isinstance(e, Received) and e.message == REPORT for e in whole)


@given(st.data())
@settings(max_examples=100)
def test_a_flipped_bit_never_raises_and_never_passes(data: st.DataObject) -> None:
    frame = bytearray(Conversation(phone=PHONE).send(REPORT))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    platform = Conversation()
    events = [*platform.receive(bytes(frame)), *platform.close()]
    assert not any(isinstance(e, Received) for e in events)
