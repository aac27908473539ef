"""Terminals over UDP."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.edge.terminal_peer import PHONE, REGISTRATION, Listen, report

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_registry import TerminalRegistry
from greenhaul_edge.sources.terminal_session import TerminalSession
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.jt808 import (
    Authentication,
    BatchReport,
    Conversation,
    Heartbeat,
    PlatformAnswer,
    Received,
    RegistrationAnswer,
)

ReadingsIn = Callable[[Path], list[Reading]]
Until = Callable[[Callable[[], bool]], None]

UDP = Jt808Settings(transport="udp")
OPEN = Jt808Settings(transport="udp", auth="open")


class DatagramTerminal:
    """A terminal with a UDP socket."""

    def __init__(self, source: Jt808Source, phone: str = PHONE) -> None:
        host, _, port = source.address.rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(30)
        self.socket.connect((host, int(port)))
        self.conversation = Conversation(phone=phone, revision=2013)

    def ask(self, message: object) -> object:
        """Send a message; the body of the answer."""
        self.socket.send(self.conversation.send(message))
        return self.answer()

    def answer(self) -> object:
        """The message in the next datagram, which has no other."""
        (event,) = self.conversation.receive_datagram(self.socket.recv(65_536))
        assert isinstance(event, Received)
        return event.message

    def sign_in(self) -> str:
        """Register and authenticate; the code."""
        registered = self.ask(REGISTRATION)
        assert isinstance(registered, RegistrationAnswer)
        assert registered.auth_code
        assert self.ask(Authentication(registered.auth_code)) == PlatformAnswer(1, 0x0102, 0)
        return registered.auth_code


Call = Callable[..., DatagramTerminal]


@pytest.fixture
def call() -> Iterator[Call]:
    """Terminals; their sockets are closed at the end."""
    terminals: list[DatagramTerminal] = []

    def make(source: Jt808Source, phone: str = PHONE) -> DatagramTerminal:
        terminals.append(DatagramTerminal(source, phone))
        return terminals[-1]

    yield make
    for terminal in terminals:
        terminal.socket.close()


def test_a_report_by_datagram_is_acknowledged_after_it_is_on_the_disk(
    listen: Listen, call: Call, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    source = listen(UDP)
    terminal = call(source)
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(0, 0x0200, 1)
    terminal.conversation.next_serial = 0
    terminal.sign_in()
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(2, 0x0200, 0)
    assert len(readings_in(outbox_path)) == 1
    assert source.state()["terminals"] == 1


def test_plain_reports_by_datagram_are_read_directly(
    listen: Listen,
    call: Call,
    clock: Clock,
    outbox_path: Path,
    readings_in: ReadingsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = call(listen(UDP))
    terminal.sign_in()
    monkeypatch.setattr(TerminalSession, "take", None)  # nothing is left to the ordinary reader
    times_ms = [clock.now_ms() // 1000 * 1000 - number * 1000 for number in range(4)]
    first = terminal.conversation.next_serial
    frames = [terminal.conversation.send(report(time_ms)) for time_ms in times_ms]
    for datagram in (frames[0], b"".join(frames[1:])):
        terminal.socket.send(datagram)
    answers = [terminal.answer() for _ in frames]
    assert answers == [PlatformAnswer(first + number, 0x0200, 0) for number in range(4)]
    assert [one.device_time_ms for one in readings_in(outbox_path)] == times_ms


def test_several_frames_in_a_datagram_and_split_messages_over_several(
    listen: Listen, call: Call, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = call(listen(OPEN))
    frames = [terminal.conversation.send(report(clock.now_ms() - n)) for n in range(3)]
    terminal.socket.send(b"".join(frames))
    answers = [terminal.answer() for _ in frames]
    assert answers == [PlatformAnswer(serial, 0x0200, 0) for serial in range(3)]
    reports = tuple(report(clock.now_ms() - 90_000 + n * 1000) for n in range(60))
    packets = terminal.conversation.send_frames(BatchReport(len(reports), 0, reports))
    for packet in reversed(packets):
        terminal.socket.send(packet)
    assert {getattr(terminal.answer(), "result", None) for _ in packets} == {0}
    assert len(readings_in(outbox_path)) == 63


def test_half_a_frame_does_not_spoil_the_next_datagram(
    listen: Listen, call: Call, clock: Clock
) -> None:
    source = listen(OPEN)
    terminal = call(source)
    frame = terminal.conversation.send(report(clock.now_ms()))
    terminal.socket.send(frame[: len(frame) // 2])
    assert terminal.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 0)
    terminal.socket.send(frame.strip(b"\x7e"))  # some terminals leave the delimiters out
    assert terminal.answer() == PlatformAnswer(0, 0x0200, 0)
    assert source.counts.undecodable == 1


def test_the_address_that_authenticated_last_is_the_terminal(listen: Listen, call: Call) -> None:
    source = listen(UDP)
    old, new = call(source), call(source)
    code = old.sign_in()
    assert new.ask(Authentication(code)) == PlatformAnswer(0, 0x0102, 0)
    assert old.ask(Heartbeat()) == PlatformAnswer(2, 0x0002, 1)
    assert new.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 0)
    assert source.counts.replaced_connections == 1


def test_an_address_whose_number_was_released_is_a_stranger_again(
    listen: Listen, call: Call, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.jt808.TICK_S", 0.05)
    source = listen(UDP)
    terminal = call(source)
    code = terminal.sign_in()
    other = TerminalRegistry(tmp_path / "terminals.sqlite")  # of another process
    other.open()
    assert other.release(PHONE, 1).result(10)
    other.close()
    until(lambda: source.counts.closed_released == 1)
    assert terminal.ask(Heartbeat()) == PlatformAnswer(2, 0x0002, 1)
    assert terminal.ask(Authentication(code)) == PlatformAnswer(3, 0x0102, 1)


def test_addresses_are_bounded_and_strangers_make_way(listen: Listen, call: Call) -> None:
    source = listen(Jt808Settings(transport="udp", connections_max=2))
    terminal = call(source)
    terminal.sign_in()
    for _ in range(5):
        assert call(source).ask(Heartbeat()) == PlatformAnswer(0, 0x0002, 1)
    assert len(source.by_address) == 2
    assert source.counts.displaced_strangers == 4
    assert terminal.ask(Heartbeat()) == PlatformAnswer(2, 0x0002, 0)


def test_datagrams_beyond_the_rate_are_dropped_and_counted(
    listen: Listen, call: Call, until: Until
) -> None:
    settings = Jt808Settings(
        transport="udp", auth="open", rate_max_bytes_per_s=100, burst_size_max=1000
    )
    source = listen(settings)
    terminal = call(source)
    for _ in range(200):
        terminal.socket.send(terminal.conversation.send(Heartbeat()))
    until(lambda: source.counts.dropped_datagrams >= 100)
    assert source.counts.received_messages < 100


def test_a_silent_address_is_forgotten(listen: Listen, call: Call, until: Until) -> None:
    source = listen(Jt808Settings(transport="udp", auth="open", idle_timeout_s=0.1))
    assert call(source).ask(Heartbeat()) == PlatformAnswer(0, 0x0002, 0)
    until(lambda: not source.by_address)
    assert source.counts.closed_idle == 1
