"""The TCP source as terminals, and things that are none, meet it."""

import socket
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.edge.terminal_peer import PHONE, REGISTRATION, SECRET, Dial, Listen, report

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth, load_secret
from greenhaul_protocols.catalogue import (
    Event,
    Flags,
    Position,
    Reading,
    TimeQuality,
    Undecodable,
)
from greenhaul_protocols.jt808 import (
    Authentication,
    BatchReport,
    Conversation,
    Heartbeat,
    PlatformAnswer,
    RegistrationAnswer,
    TerminalAnswer,
)

ReadingsIn = Callable[[Path], list[Reading]]


def test_a_report_is_acknowledged_after_it_is_on_the_disk(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    for i in range(5):
        answer = terminal.ask(report(clock.now_ms() - 5_000 + i * 1000, 32.0 + i / 1000))
        assert answer == PlatformAnswer(2 + i, 0x0200, 0)
        assert len(readings_in(outbox_path)) == i + 1
    first = readings_in(outbox_path)[0]
    assert isinstance(first, Position)
    assert (first.source, first.latitude_deg) == ("808:13912345678", 32.0)


def test_a_report_before_authentication_is_refused(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    source = listen()
    terminal = dial(source)
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(0, 0x0200, 1)
    assert terminal.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 1)
    assert source.counts.refused_unauthenticated == 2
    assert not readings_in(outbox_path)
    terminal.sign_in()
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(4, 0x0200, 0)


def test_a_terminal_may_not_report_as_another(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    frame = Conversation(phone="13900000000", revision=2013).send(report(clock.now_ms()))
    terminal.socket.sendall(frame)
    assert terminal.answer() == PlatformAnswer(0, 0x0200, 1)
    assert not readings_in(outbox_path)


def test_a_wrong_code_is_refused_and_the_right_one_outlives_restarts(
    listen: Listen, dial: Dial, tmp_path: Path
) -> None:
    secret = load_secret(tmp_path)
    code = dial(listen(auth=TerminalAuth("register", secret))).sign_in()
    again = dial(listen(auth=TerminalAuth("register", load_secret(tmp_path))))
    assert again.ask(Authentication("wrong")) == PlatformAnswer(0, 0x0102, 1)
    assert again.ask(Authentication(code)) == PlatformAnswer(1, 0x0102, 0)
    assert (tmp_path / "terminals.secret").stat().st_mode & 0o777 == 0o600


def test_the_allow_list_decides(listen: Listen, dial: Dial) -> None:
    source = listen(Jt808Settings(auth="allow-list", allow=(PHONE,)))
    dial(source).sign_in()
    stranger = dial(source, "13900000000")
    answer = stranger.ask(REGISTRATION)
    assert isinstance(answer, RegistrationAnswer)
    assert answer.result == 4
    code = source.auth.code("13900000000")
    assert stranger.ask(Authentication(code)) == PlatformAnswer(1, 0x0102, 1)


def test_an_open_listener_asks_for_nothing(listen: Listen, dial: Dial, clock: Clock) -> None:
    terminal = dial(listen(Jt808Settings(auth="open")))
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(0, 0x0200, 0)


def test_the_newest_authenticated_connection_wins(listen: Listen, dial: Dial) -> None:
    source = listen()
    old, new = dial(source), dial(source)
    old.sign_in()
    new.sign_in()
    assert old.answer() is None
    assert new.ask(Heartbeat()) == PlatformAnswer(2, 0x0002, 0)
    assert source.counts.replaced_connections == 1


def test_a_batch_keeps_all_its_reports_and_the_backlog_mark(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    reports = tuple(report(clock.now_ms() - 60_000 + i * 1000) for i in range(10))
    assert terminal.ask(BatchReport(len(reports), 1, reports)) == PlatformAnswer(2, 0x0704, 0)
    readings = readings_in(outbox_path)
    assert len(readings) == 10
    assert {reading.flags for reading in readings} == {Flags.BACKLOG}


def test_a_split_message_is_acknowledged_packet_by_packet_once_it_is_whole(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    reports = tuple(report(clock.now_ms() - 90_000 + i * 1000) for i in range(80))
    frames = terminal.conversation.send_frames(BatchReport(len(reports), 0, reports))
    assert len(frames) > 2
    for frame in frames[:-1]:
        terminal.socket.sendall(frame)
    serial = terminal.conversation.next_serial
    assert terminal.ask(Heartbeat()) == PlatformAnswer(serial, 0x0002, 0)  # no packet before it
    terminal.socket.sendall(frames[-1])
    answers = terminal.answers(len(frames))
    serials = [a.answer_serial for a in answers if isinstance(a, PlatformAnswer)]
    assert serials == list(range(2, 2 + len(frames)))
    assert len(readings_in(outbox_path)) == 80


def test_chopped_and_joined_frames_are_the_same_frames(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    frames = [terminal.conversation.send(report(clock.now_ms() - i * 1000)) for i in range(4)]
    terminal.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(len(frames[0])):
        terminal.socket.sendall(frames[0][at : at + 1])
    terminal.socket.sendall(frames[1] + frames[2] + frames[3][:7])
    terminal.socket.sendall(frames[3][7:])
    answers = terminal.answers(4)
    serials = [a.answer_serial for a in answers if isinstance(a, PlatformAnswer)]
    assert serials == [2, 3, 4, 5]
    assert len(readings_in(outbox_path)) == 4


def test_rubbish_is_kept_with_its_reason_and_the_connection_survives(
    listen: Listen, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    source = listen()
    terminal = dial(source)
    frame = bytearray(terminal.conversation.send(REGISTRATION))
    frame[10] ^= 0x40
    terminal.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(frame))
    terminal.sign_in()
    kept = readings_in(outbox_path)
    assert [reading.source for reading in kept] == ["gw-test/terminals"] * 2
    assert all(isinstance(reading, Undecodable) for reading in kept)
    assert "checksum" in str(getattr(kept[1], "reason", ""))
    terminal.socket.sendall(bytes(frame))
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(3, 0x0200, 0)
    assert source.counts.undecodable == 3


def test_an_endless_stream_of_rubbish_is_hung_up_on(listen: Listen, dial: Dial) -> None:
    source = listen()
    terminal = dial(source)
    terminal.socket.sendall(b"\x7erubbish\x7e" * 1_000)
    assert terminal.answer() is None
    assert source.counts.closed_rubbish == 1
    dial(source).sign_in()


def test_an_unknown_message_is_answered_as_unsupported_and_kept(
    listen: Listen, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    source = listen()
    terminal = dial(source)
    terminal.sign_in()
    terminal.socket.sendall(b"".join(terminal.conversation.send_body(0x0F01, b"\x01\x02")))
    assert terminal.answer() == PlatformAnswer(2, 0x0F01, 3)
    (kept,) = readings_in(outbox_path)
    assert isinstance(kept, Undecodable)
    assert (kept.source, kept.reason) == ("808:13912345678", "unknown message 0x0F01")


def test_a_known_message_without_readings_is_kept_whole(
    listen: Listen, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    terminal.socket.sendall(terminal.conversation.send(TerminalAnswer(7, 0x8300, 0)))
    assert terminal.ask(Heartbeat()) == PlatformAnswer(3, 0x0002, 0)
    (kept,) = readings_in(outbox_path)
    assert isinstance(kept, Event)
    assert kept.code == "jt808.0x0001"


def test_a_resent_report_of_unusable_time_takes_the_time_of_its_first_copy(
    listen: Listen, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    no_time = replace(report(10**12), device_time="000000000000")
    frame = terminal.conversation.send(no_time)
    for _ in range(2):
        terminal.socket.sendall(frame)
        assert terminal.answer() == PlatformAnswer(2, 0x0200, 0)
    first, second = readings_in(outbox_path)
    assert first.time_quality == second.time_quality == TimeQuality.UNUSABLE
    assert first.device_time_ms == first.received_time_ms == second.device_time_ms


def test_an_unknown_message_larger_than_a_block_is_kept_in_pieces(
    listen: Listen, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(listen())
    terminal.sign_in()
    frames = terminal.conversation.send_body(0x0F02, bytes(range(256)) * 300)
    terminal.socket.sendall(b"".join(frames))
    answers = terminal.answers(len(frames))
    assert {a.result for a in answers if isinstance(a, PlatformAnswer)} == {3}
    kept = [reading for reading in readings_in(outbox_path) if isinstance(reading, Undecodable)]
    assert b"".join(reading.raw or b"" for reading in kept) == b"".join(frames)
    assert len(kept) > 1
    assert len({reading.reason for reading in kept}) == len(kept)


def test_a_gateway_that_does_not_know_the_year_holds_terminals_back(
    outbox: Outbox, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    class Clock1970:
        is_plausible = False

        def now_ms(self) -> int:
            return 1_000

    clock = Clock1970()
    settings = Jt808Settings(listen="127.0.0.1:0", auth="open")
    auth = TerminalAuth("open", SECRET)
    source = Jt808Source("terminals", settings, outbox, clock, auth)
    source.start()
    try:
        terminal = dial(source)
        frame = terminal.conversation.send(report(1_760_000_000_000))
        terminal.socket.sendall(frame)
        assert terminal.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 0)
        assert not readings_in(outbox_path)
        clock.is_plausible = True
        terminal.socket.sendall(frame)
        assert terminal.answer() == PlatformAnswer(0, 0x0200, 0)
    finally:
        source.stop()


def test_a_full_outbox_acknowledges_nothing(
    tmp_path: Path, clock: Clock, dial: Dial, readings_in: ReadingsIn
) -> None:
    path = tmp_path / "small.sqlite"
    file = OutboxFile(path, "gw-test", boot=1, now_ms=0, bounds=Bounds(size_max=4096))
    outbox = Outbox(file, clock)
    outbox.start()
    auth = TerminalAuth("open", SECRET)
    settings = Jt808Settings(listen="127.0.0.1:0", auth="open")
    source = Jt808Source("terminals", settings, outbox, clock, auth)
    source.start()
    try:
        terminal = dial(source)
        terminal.socket.sendall(terminal.conversation.send(report(clock.now_ms())))
        assert terminal.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 0)  # and nothing before it
        assert not readings_in(path)
        assert source.counts.held_back == 1
    finally:
        source.stop()
        outbox.close()


def test_a_connection_that_never_says_who_it_is_ends(
    listen: Listen, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.terminal_line.AUTHENTICATION_TIMEOUT_S", 0.1)
    source = listen()
    assert dial(source).answer() is None
    assert source.counts.closed_idle == 1


def test_stopping_answers_what_was_committed(
    outbox: Outbox, clock: Clock, dial: Dial, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    auth = TerminalAuth("open", SECRET)
    settings = Jt808Settings(listen="127.0.0.1:0", auth="open")
    source = Jt808Source("terminals", settings, outbox, clock, auth)
    source.start()
    terminal = dial(source)
    assert terminal.ask(report(clock.now_ms())) == PlatformAnswer(0, 0x0200, 0)
    stopper = threading.Thread(target=source.stop)
    stopper.start()
    assert terminal.answer() is None
    stopper.join()
    assert len(readings_in(outbox_path)) == 1


def test_the_outbox_is_what_it_says(outbox_path: Path, outbox: Outbox) -> None:
    outbox.append([], is_urgent=True).result(10)
    connection = sqlite3.connect(outbox_path)
    try:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def test_a_terminal_faster_than_its_rate_is_slowed_not_cut(
    listen: Listen, dial: Dial, clock: Clock
) -> None:
    settings = Jt808Settings(auth="open", rate_max_bytes_per_s=20_000, burst_size_max=1_000)
    terminal = dial(listen(settings))
    frames = [terminal.conversation.send(report(clock.now_ms() - i)) for i in range(80)]
    terminal.socket.sendall(b"".join(frames))
    assert None not in terminal.answers(80)
    assert terminal.ask(Heartbeat()) == PlatformAnswer(80, 0x0002, 0)


def test_a_socket_is_not_read_while_much_of_it_waits_for_its_commit(
    listen: Listen, dial: Dial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.sources.jt808.UNCOMMITTED_MAX", 10)
    terminal = dial(listen(Jt808Settings(auth="open")))
    frames = [terminal.conversation.send(report(clock.now_ms() - i)) for i in range(3_000)]
    sender = threading.Thread(target=terminal.socket.sendall, args=(b"".join(frames),))
    sender.start()
    answers = terminal.answers(3_000)
    sender.join()
    serials = [a.answer_serial for a in answers if isinstance(a, PlatformAnswer)]
    assert serials == list(range(3_000))


def test_a_silent_connection_ends(listen: Listen, dial: Dial) -> None:
    source = listen(Jt808Settings(auth="open", idle_timeout_s=0.1))
    assert dial(source).answer() is None
    assert source.counts.closed_idle == 1


def test_connections_beyond_the_limit_are_refused(listen: Listen, dial: Dial) -> None:
    source = listen(Jt808Settings(auth="open", connections_max=1))
    first = dial(source)
    assert first.ask(Heartbeat()) == PlatformAnswer(0, 0x0002, 0)
    assert dial(source).answer() is None
    assert first.ask(Heartbeat()) == PlatformAnswer(1, 0x0002, 0)
    assert source.counts.refused_connections == 1
