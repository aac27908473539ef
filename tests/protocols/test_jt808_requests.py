"""Requests and answers, packets asked for again, encrypted bodies: both ends, one class."""

import random
from typing import Any

import pytest

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808 import (
    FAILED,
    BadBytes,
    Conversation,
    Event,
    LocationAnswer,
    LocationQuery,
    LocationReport,
    ParameterAnswer,
    ParameterQuery,
    PartReceived,
    PlatformResendRequest,
    Received,
    TerminalResendRequest,
    TextMessage,
    messages_media,
    messages_records,
    rsa,
)
from greenhaul_protocols.jt808.messages_location import Location
from greenhaul_protocols.jt808.parts import PARTS_ASKED_MAX, PARTS_TIMEOUT_MS
from greenhaul_protocols.jt808.requests import REQUESTS_MAX

REPORT = LocationReport(0, 2, 32.99, 112.52, 130, 36.5, 90, "261120150405")
REPORT_LOCATION = Location(0, 2, 32.99, 112.52, 130, 36.5, 90, "261120150405")
PHONE = "13912345678"
LONG = messages_records.Waybill(bytes(range(256)) * 10)


def only(events: list[Event]) -> Any:
    (event,) = events
    return event


def pair(revision: int = 2013) -> tuple[Conversation, Conversation]:
    return Conversation(phone=PHONE, revision=revision), Conversation(phone=PHONE)


# -- requests --------------------------------------------------------------------------------------


def test_a_general_answer_settles_its_request() -> None:
    terminal, platform = pair()
    request, frames = platform.ask(TextMessage(flags=4, text="停车"), now_ms=0)
    heard = only(terminal.receive(frames[0]))
    answer = only(platform.receive(terminal.answer(heard)))
    assert answer.request == request
    assert platform.poll(1_000_000) == ([], [], [])


def test_an_answer_of_its_own_settles_it_though_the_serial_is_zero() -> None:
    terminal, platform = pair()
    platform.next_serial = 7
    request, frames = platform.ask(LocationQuery(), now_ms=0)
    heard = only(terminal.receive(frames[0]))
    # The general answer says only that it came: the real one is still awaited.
    first = only(platform.receive(terminal.answer(heard)))
    assert first.request == request
    second = only(platform.receive(terminal.send(LocationAnswer(0, REPORT))))
    assert second.request == request
    third = only(platform.receive(terminal.send(LocationAnswer(0, REPORT))))
    assert third.request is None


def test_a_refusal_settles_a_request_that_wants_an_answer_of_its_own() -> None:
    terminal, platform = pair()
    request, frames = platform.ask(ParameterQuery(), now_ms=0)
    heard = only(terminal.receive(frames[0]))
    assert only(platform.receive(terminal.answer(heard, FAILED))).request == request
    assert only(platform.receive(terminal.send(ParameterAnswer(0, ())))).request is None


def test_answers_find_their_own_request_among_several() -> None:
    terminal, platform = pair()
    first, _ = platform.ask(ParameterQuery(), now_ms=0)
    second, _ = platform.ask(ParameterQuery(), now_ms=0)
    answer = ParameterAnswer(second.serials[0], ())
    assert only(platform.receive(terminal.send(answer))).request == second
    assert only(platform.receive(terminal.send(ParameterAnswer(0, ())))).request == first


def test_an_unanswered_request_is_repeated_ever_more_slowly_and_expires() -> None:
    platform = Conversation(phone=PHONE, answer_timeout_ms=10_000, retransmissions=3)
    request, frames = platform.ask(ParameterQuery(), now_ms=0)
    sent = [now_ms for now_ms in range(0, 700_000, 1000) if platform.poll(now_ms).frames]
    # 10 s, then twice as long, then three times, as the standard has it.
    assert sent == [10_000, 30_000, 90_000]
    repeated, expired, _ = Conversation(phone=PHONE).poll(0)
    assert (repeated, expired) == ([], [])
    again = Conversation(phone=PHONE, retransmissions=1)
    request, frames = again.ask(ParameterQuery(), now_ms=0)
    assert again.poll(10_000).frames == frames
    assert again.poll(30_000).expired == [request]


def test_requests_are_bounded_and_the_oldest_says_it_expired() -> None:
    platform = Conversation(phone=PHONE)
    first, _ = platform.ask(ParameterQuery(), now_ms=0)
    for _ in range(REQUESTS_MAX):
        platform.ask(ParameterQuery(), now_ms=0)
    assert platform.poll(0).expired == [first]


# -- packets asked for again -----------------------------------------------------------------------


@pytest.mark.parametrize("revision", [2013, 2019])
def test_a_platform_asks_for_the_packets_it_misses(revision: int) -> None:
    terminal, platform = pair(revision)
    one, two, three = terminal.send_frames(LONG)
    assert [type(e) for e in platform.receive(one + three)] == [PartReceived] * 2
    assert platform.poll(0).frames == []
    asked = platform.poll(PARTS_TIMEOUT_MS).frames
    request = only(terminal.receive(asked[0])).message
    assert request == PlatformResendRequest(0, (2,))
    assert terminal.resend(request) == [two]
    assert only(platform.receive(two)[1:]).message == LONG


def test_a_terminal_asks_for_the_packets_it_misses() -> None:
    terminal, platform = pair(2019)
    platform.receive(terminal.send(REPORT))
    upgrade = messages_media.MediaAnswer(None, 7, tuple(range(1, 126)))
    frames = platform.send_body(0x8F01, bytes(3000))
    assert only(platform.receive(terminal.send(REPORT))).message == REPORT
    terminal.receive(frames[1])
    terminal.poll(0)
    request = only(platform.receive(b"".join(terminal.poll(PARTS_TIMEOUT_MS).frames))).message
    assert request == TerminalResendRequest(0, (1, 3))
    assert platform.resend(request) == [frames[0], frames[2]]
    assert platform.resend(upgrade) == []


def test_an_edition_without_the_request_only_waits() -> None:
    terminal, platform = pair(2011)
    platform.revision = 2011
    platform.receive(terminal.send_frames(LONG)[0])
    platform.poll(0)
    assert platform.poll(PARTS_TIMEOUT_MS).frames == []


def test_what_never_comes_is_given_up_and_kept() -> None:
    terminal, platform = pair()
    one, _, three = terminal.send_frames(LONG)
    platform.receive(one + three)
    times = range(0, (PARTS_ASKED_MAX + 2) * PARTS_TIMEOUT_MS, PARTS_TIMEOUT_MS)
    polled = [platform.poll(now_ms) for now_ms in times]
    assert sum(len(due.frames) for due in polled) == PARTS_ASKED_MAX
    (given_up,) = [bad for due in polled for bad in due.given_up]
    assert given_up.reason == "split: 2 of 3 packets came"
    assert given_up.raw == one + three


def test_a_packet_that_comes_starts_the_wait_anew() -> None:
    terminal, platform = pair()
    one, two, _ = terminal.send_frames(LONG)
    platform.receive(one)
    platform.poll(0)
    platform.receive(two)
    platform.poll(PARTS_TIMEOUT_MS - 1)
    assert platform.poll(PARTS_TIMEOUT_MS).frames == []


def test_media_packets_are_resent_by_the_media_answer() -> None:
    terminal, platform = pair()
    media = messages_media.MediaData(5, 0, 0, 1, 1, None, None, REPORT_LOCATION, bytes(3000))
    frames = terminal.send_frames(media)
    answer = only(terminal.receive(platform.send(messages_media.MediaAnswer(None, 5, (2, 9)))))
    assert terminal.resend(answer.message) == [frames[1]]
    other = messages_media.MediaAnswer(None, 6, (2,))
    assert terminal.resend(other) == []


def test_split_messages_sent_are_kept_within_bounds() -> None:
    terminal = Conversation(phone=PHONE)
    first = terminal.next_serial
    for _ in range(9):
        terminal.send_frames(LONG)
    assert terminal.resend(PlatformResendRequest(first, (1,))) == []
    assert len(terminal.resend(PlatformResendRequest(first + 3, (1, 2, 3, 4)))) == 3


# -- RSA -------------------------------------------------------------------------------------------


def _prime_after(number: int) -> int:
    """The next prime, by Fermat's test with a few bases: enough for a test's key."""
    number |= 1
    while any(pow(base, number - 1, number) != 1 for base in (2, 3, 5, 7, 11)):
        number += 2
    return number


@pytest.fixture(scope="module")
def keys() -> tuple[rsa.PublicKey, rsa.PrivateKey]:
    rng = random.Random(808)
    exponent = 65_537
    p, q = (_prime_after(rng.getrandbits(512) | 3 << 510) for _ in range(2))
    private = rsa.PrivateKey(p * q, pow(exponent, -1, (p - 1) * (q - 1)))
    return rsa.PublicKey(p * q, exponent), private


def test_encrypted_bodies_are_read_with_the_key(
    keys: tuple[rsa.PublicKey, rsa.PrivateKey],
) -> None:
    public, private = keys
    platform = Conversation(phone=PHONE, private_key=private)
    terminal = Conversation(phone=PHONE)
    modulus = public.modulus.to_bytes(128, "big")
    key = messages_records.PlatformKey(public.exponent, modulus)
    assert only(terminal.receive(platform.send(key))).message == key
    assert terminal.peer_key == public
    rng = random.Random(1)
    for message in (REPORT, LONG):
        frames = terminal.send_frames(message, random_bytes=rng.randbytes)
        *_, event = platform.receive(b"".join(frames))
        assert isinstance(event, Received)
        assert (event.message, event.header.encryption) == (message, 1)
        # Without the key it is kept whole.
        *_, kept = Conversation().receive(b"".join(frames))
        assert isinstance(kept, BadBytes)
        assert (kept.reason, kept.raw) == ("encrypted: RSA, no key", b"".join(frames))


def test_a_body_for_another_key_is_bad_bytes(
    keys: tuple[rsa.PublicKey, rsa.PrivateKey],
) -> None:
    public, private = keys
    terminal = Conversation(phone=PHONE)
    with pytest.raises(EncodeError, match="has not said its key"):
        terminal.send_frames(REPORT, random_bytes=random.Random(1).randbytes)
    terminal.peer_key = rsa.PublicKey(public.modulus - 2, public.exponent)
    (frame,) = terminal.send_frames(REPORT, random_bytes=random.Random(1).randbytes)
    event = only(Conversation(private_key=private).receive(frame))
    assert isinstance(event, BadBytes)
    assert event.reason.startswith("encrypted: RSA:")
    assert "exponent" not in repr(private)
    with pytest.raises(DecodeError, match="no blocks of 128"):
        rsa.decrypt(b"x", private)
    with pytest.raises(EncodeError, match="1024 are wanted"):
        rsa.encrypt(b"x", rsa.PublicKey(3233, 17), random.Random(1).randbytes)
