"""Peers that are no terminals, or broken ones: each costs a counter, never the process."""

import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

import pytest
from tests.edge.terminal_peer import PHONE, Dial, Listen, report

from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.sources.terminal_proxy import Proxied, read_proxy_header
from greenhaul_protocols.catalogue import Event, MediaPart, Reading, TimeQuality
from greenhaul_protocols.jt808 import (
    Conversation,
    Heartbeat,
    Item,
    ParameterSetting,
    PartReceived,
    PlatformAnswer,
    PlatformResendRequest,
    Received,
    TerminalResendRequest,
    wrap,
)
from greenhaul_protocols.jt808.header import Header, PartNumber
from greenhaul_protocols.jt808.messages_location import Location
from greenhaul_protocols.jt808.messages_media import MediaAnswer, MediaData

ReadingsIn = Callable[[Path], list[Reading]]
Until = Callable[[Callable[[], bool]], None]

BINARY = b"\r\n\r\n\x00\r\nQUIT\n"


def packet(serial: int, number: int, total: int, body: bytes) -> bytes:
    """One packet of a split 0x0801."""
    header = Header(0x0801, f"0{PHONE}", serial, is_2019=False, part=PartNumber(number, total))
    return wrap(header, body)


def photo_of(data: bytes) -> MediaData:
    """A photo that says where it was taken."""
    digits = report(1_760_000_000_000).device_time
    return MediaData(
        7, 0, 0, 1, 2, None, None, Location(0, 3, 32.99, 112.52, 130, 36.5, 90, digits), data
    )


def test_a_frame_of_ten_megabytes_is_counted_and_the_next_one_read(
    listen: Listen, dial: Dial, until: Until
) -> None:
    source = listen(Jt808Settings(auth="open", burst_size_max=1 << 30))
    terminal = dial(source)
    terminal.socket.sendall(b"\x7e" + b"\x00" * 10_000_000 + b"\x7e")
    assert terminal.ask(Heartbeat()) == PlatformAnswer(0, 0x0002, 0)
    terminal.close()
    until(lambda: not source.lines)
    assert source.counts.skipped_bytes > 9_990_000
    assert source.counts.undecodable == 1


def test_split_messages_without_end_are_cut_before_they_take_the_memory(
    listen: Listen, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.jt808.PARTS_SIZE_MAX", 200_000)
    source = listen(Jt808Settings(auth="open"))
    greedy, modest = dial(source), dial(source, "13900000000")
    assert modest.ask(Heartbeat()) == PlatformAnswer(0, 0x0002, 0)
    greedy.ask(Heartbeat())
    greedy.socket.sendall(b"".join(packet(n, n, 1_000, b"x" * 1000) for n in range(1, 300)))
    assert greedy.answer() is None
    assert source.counts.closed_parts == 1
    assert modest.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 0)


def test_a_stranger_may_keep_hardly_any_packets(listen: Listen, dial: Dial) -> None:
    source = listen()
    stranger = dial(source)
    stranger.socket.sendall(b"".join(packet(n, n, 1_000, b"x" * 1000) for n in range(1, 100)))
    answers = stranger.answers(100)
    assert answers[-1] is None
    assert source.counts.closed_parts == 1


def test_packets_that_are_missing_are_asked_for_then_what_came_is_kept(
    listen: Listen,
    dial: Dial,
    until: Until,
    outbox_path: Path,
    readings_in: ReadingsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("greenhaul_protocols.jt808.parts.PARTS_TIMEOUT_MS", 50)
    monkeypatch.setattr("greenhaul_edge.sources.jt808.TICK_S", 0.05)
    source = listen(Jt808Settings(auth="open"))
    terminal = dial(source)
    terminal.socket.sendall(packet(5, 1, 3, b"a" * 100) + packet(7, 3, 3, b"c" * 100))
    asked = [one for one in terminal.answers(3) if isinstance(one, PlatformResendRequest)]
    assert asked == [PlatformResendRequest(5, (2,))] * 3
    until(lambda: source.counts.given_up_messages == 1)
    until(lambda: len(readings_in(outbox_path)) == 1)
    assert "2 of 3 packets" in str(getattr(readings_in(outbox_path)[0], "reason", ""))


def test_packets_lost_on_the_way_up_are_asked_for_and_the_photo_is_whole(
    listen: Listen,
    dial: Dial,
    outbox_path: Path,
    readings_in: ReadingsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("greenhaul_protocols.jt808.parts.PARTS_TIMEOUT_MS", 200)
    monkeypatch.setattr("greenhaul_edge.sources.jt808.TICK_S", 0.05)
    terminal = dial(listen())
    terminal.sign_in()
    frames = terminal.conversation.send_frames(photo_of(bytes(range(256)) * 20))
    lost = (2, 4)
    sent = [frame for number, frame in enumerate(frames, start=1) if number not in lost]
    terminal.socket.sendall(b"".join(sent))
    request = terminal.answer()
    assert isinstance(request, PlatformResendRequest)
    assert request.numbers == lost
    again = terminal.conversation.resend(request)
    assert again == [frames[number - 1] for number in lost]  # byte by byte
    terminal.socket.sendall(b"".join(again))
    answers: list[object] = []
    while not any(isinstance(answer, MediaAnswer) for answer in answers):
        answers += terminal.answers(1)
        assert None not in answers
    parts = [one for one in readings_in(outbox_path) if isinstance(one, MediaPart)]
    assert b"".join(part.data or b"" for part in parts) == bytes(range(256)) * 20


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_packets_lost_on_the_way_down_are_sent_again_when_asked_for(
    listen: Listen, transport: Literal["tcp", "udp"]
) -> None:
    source = listen(Jt808Settings(transport=transport, auth="open"))
    host, _, port = source.address.rpartition(":")
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    conversation = Conversation(phone=PHONE, revision=2019)
    with socket.socket(socket.AF_INET, kind) as peer:
        peer.settimeout(30)
        peer.connect((host, int(port)))
        peer.sendall(conversation.send(Heartbeat()))
        assert isinstance(conversation.receive(peer.recv(65_536))[0], Received)
        (line,) = source.lines
        frames: Future[list[bytes]] = Future()
        message = ParameterSetting((Item(0x0083, b"x" * 200),) * 12)
        # Nothing the gateway says by itself is so long; a command of a manager may be.
        source.call_later(
            lambda: frames.set_result(line.session._conversation.send_frames(message))
        )
        sent = frames.result(30)
        # The second of three never arrives; two come, the last one first.
        for frame in (sent[2], sent[0]):
            (event,) = conversation.receive(frame)
            assert isinstance(event, PartReceived)
            first_serial = event.header.serial
        peer.sendall(conversation.send(TerminalResendRequest(first_serial, (2,))))
        part, whole = conversation.receive(peer.recv(65_536))
    assert (part.raw, len(sent)) == (sent[1], 3)
    assert isinstance(whole, Received)
    assert whole.message == message


def test_crawlers_and_scanners_cost_a_counter_not_the_outbox(
    listen: Listen,
    dial: Dial,
    until: Until,
    outbox_path: Path,
    readings_in: ReadingsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.jt808.RUBBISH_KEPT_MAX", 5)
    monkeypatch.setattr("greenhaul_edge.sources.jt808.RUBBISH_KEPT_PER_S", 0.0)
    source = listen()
    host, _, port = source.address.rpartition(":")
    for head in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"") * 10:
        with socket.create_connection((host, int(port)), timeout=30) as peer:
            peer.sendall(head)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(100) == b""
    until(lambda: not source.lines)
    assert source.counts.undecodable == 20
    assert source.counts.rubbish_not_kept == 15
    until(lambda: len(readings_in(outbox_path)) == 5)
    dial(source).sign_in()


def test_when_all_room_is_taken_strangers_make_way_and_terminals_stay(
    listen: Listen, dial: Dial, until: Until
) -> None:
    source = listen(Jt808Settings(connections_max=3))
    terminal = dial(source)
    terminal.sign_in()
    strangers = [dial(source) for _ in range(4)]
    assert strangers[0].answer() is None
    until(lambda: source.counts.displaced_strangers >= 2)
    assert terminal.ask(Heartbeat()) == PlatformAnswer(2, 0x0002, 0)
    strangers[3].sign_in()  # a newer connection of the same box
    assert terminal.answer() is None


def test_a_peer_that_is_too_fast_is_counted(listen: Listen, dial: Dial) -> None:
    settings = Jt808Settings(auth="open", rate_max_bytes_per_s=50_000, burst_size_max=1_000)
    source = listen(settings)
    terminal = dial(source)
    frames = [terminal.conversation.send(Heartbeat()) for _ in range(200)]
    terminal.socket.sendall(b"".join(frames))
    assert None not in terminal.answers(200)
    assert source.counts.throttled >= 1


def test_a_photo_is_kept_in_parts_and_answered_when_it_is_whole(
    listen: Listen, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    photo = bytes(range(256)) * 300
    frames = terminal.conversation.send_frames(photo_of(photo))
    terminal.socket.sendall(b"".join(frames))
    answers = terminal.answers(len(frames) + 1)
    assert answers[-1] == MediaAnswer(None, 7, None)
    assert all(one.result == 0 for one in answers if isinstance(one, PlatformAnswer))
    parts = [one for one in readings_in(outbox_path) if isinstance(one, MediaPart)]
    assert b"".join(part.data or b"" for part in parts) == photo


def test_what_no_declaration_knows_is_kept_raw(
    listen: Listen, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    for frame in terminal.conversation.send_body(0x0900, b"\xf7" + b"peripheral"):
        terminal.socket.sendall(frame)
    assert terminal.answer() == PlatformAnswer(2, 0x0900, 0)
    (kept,) = readings_in(outbox_path)
    assert isinstance(kept, Event)
    assert kept.code == "pass_through"
    assert kept.raw == b"peripheral"
    assert kept.time_quality is TimeQuality.UNUSABLE


@pytest.mark.parametrize(
    ("head", "peer"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 8808\r\n", "192.0.2.7:40000"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 8808\r\n", "[2001:db8::7]:40000"),
        (b"PROXY UNKNOWN\r\n", None),
        (
            BINARY + struct.pack(">BBH4s4sHH", 0x21, 0x11, 12, b"\xc0\x00\x02\x07", b"", 4000, 88),
            "192.0.2.7:4000",
        ),
        (BINARY + struct.pack(">BBH", 0x20, 0, 0), None),
        (b"", None),
    ],
)
def test_a_proxy_header_may_come_and_is_taken_off(
    listen: Listen, dial: Dial, head: bytes, peer: str | None
) -> None:
    source = listen(Jt808Settings(auth="open", proxy_protocol=True))
    terminal = dial(source)
    frame = terminal.conversation.send(Heartbeat())
    for byte in head:
        terminal.socket.sendall(bytes((byte,)))
    terminal.socket.sendall(frame)
    assert terminal.answer() == PlatformAnswer(0, 0x0002, 0)
    (line,) = source.lines
    assert peer is None or line.peer == peer
    for cut in range(1, len(head)):
        assert read_proxy_header(head[:cut]) is None
    assert read_proxy_header(head + frame) == Proxied(peer, len(head))


@pytest.mark.parametrize(
    "head",
    [
        b"PROXY " + b"x" * 200,
        b"PROXY TCP4 nowhere 192.0.2.1 1 2\r\n",
        BINARY + struct.pack(">BBH", 0x31, 0x11, 12),
        BINARY + struct.pack(">BBH", 0x21, 0x11, 60_000),
    ],
)
def test_a_proxy_header_that_is_none_ends_the_connection(
    listen: Listen, dial: Dial, head: bytes
) -> None:
    source = listen(Jt808Settings(auth="open", proxy_protocol=True))
    terminal = dial(source)
    terminal.socket.sendall(head)
    assert terminal.answer() is None
    assert source.counts.bad_proxy_headers == 1
