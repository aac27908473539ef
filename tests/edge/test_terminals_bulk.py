"""Reports read together, or one by one but directly, become what the ordinary reader makes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.edge.terminal_peer import SECRET, Dial, report

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_edge.sources.terminal_session import TerminalSession
from greenhaul_protocols.catalogue import (
    BatteryReading,
    CargoReading,
    Position,
    Reading,
    TimeQuality,
)
from greenhaul_protocols.jt808 import FAILED, Conversation, Heartbeat, Item, PlatformAnswer

pytest.importorskip("numpy")

ReadingsIn = Callable[[Path], list[Reading]]
COUNT = 60


@pytest.fixture(params=[True, False], ids=["together", "directly"])
def source(request: pytest.FixtureRequest, outbox: Outbox, clock: Clock) -> Iterator[Jt808Source]:
    """A listener that leaves to the conversation only what it must."""
    settings = Jt808Settings(listen="127.0.0.1:0", auth="register")
    auth = TerminalAuth("register", SECRET)
    source = Jt808Source("terminals", settings, outbox, clock, auth, reads_in_bulk=request.param)
    source.start()
    yield source
    source.stop()


@pytest.mark.parametrize("revision", [2013, 2019])
def test_reports_read_together_are_committed_and_answered_one_by_one(
    source: Jt808Source,
    dial: Dial,
    clock: Clock,
    outbox_path: Path,
    readings_in: ReadingsIn,
    monkeypatch: pytest.MonkeyPatch,
    revision: int,
) -> None:
    terminal = dial(source)
    terminal.conversation = Conversation(phone="13912345678", revision=revision)
    terminal.sign_in()
    (line,) = source.lines
    assert line.session.is_plain
    monkeypatch.setattr(TerminalSession, "receive", None)  # nothing is left to the ordinary reader
    now_ms = clock.now_ms() // 1000 * 1000
    items = (Item(0x01, b"\x00\x01\x7d\x7e"), Item(0xEF, b"vendor"))
    reports = [replace(report(now_ms - n * 1000), items=items) for n in range(COUNT)]
    first = terminal.conversation.next_serial
    terminal.socket.sendall(b"".join(map(terminal.conversation.send, reports)))
    answers = terminal.answers(COUNT)
    assert answers == [PlatformAnswer(first + n, 0x0200, 0) for n in range(COUNT)]
    kept = readings_in(outbox_path)
    assert [one.device_time_ms for one in kept] == [now_ms - n * 1000 for n in range(COUNT)]
    assert all(isinstance(one, Position) and one.items == b"\xef\x06vendor" for one in kept)
    assert {one.source for one in kept} == {"808:13912345678"}
    assert source.counts.received_readings == COUNT


def test_what_is_more_than_a_plain_report_goes_the_ordinary_way(
    source: Jt808Source, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(source)
    terminal.sign_in()
    now_ms = clock.now_ms()
    send = terminal.conversation.send
    plain = [send(report(now_ms - n * 1000)) for n in range(COUNT)]
    charged = send(replace(report(now_ms), items=(Item(0xD4, b"\x50"),)))
    timeless = send(replace(report(now_ms), device_time="000000000000"))
    foreign = Conversation(phone="13900000000", revision=2013).send(report(now_ms))
    for odd in (charged, timeless, send(Heartbeat()), foreign):
        terminal.socket.sendall(b"".join(plain) + odd)
        terminal.answers(COUNT + 1)
    kept = readings_in(outbox_path)
    assert len(kept) == 4 * COUNT + 3
    assert [one.soc_percent for one in kept if isinstance(one, BatteryReading)] == [80]
    assert [one.time_quality for one in kept].count(TimeQuality.UNUSABLE) == 1
    assert {one.source for one in kept} == {"808:13912345678"}
    assert source.counts.refused_unauthenticated == 1
    # The last heard is now somebody who may not report, however plainly.
    terminal.socket.sendall(foreign * COUNT)
    refused = [one for one in terminal.answers(COUNT) if isinstance(one, PlatformAnswer)]
    assert [one.result for one in refused] == [FAILED] * COUNT
    assert len(readings_in(outbox_path)) == len(kept)


def test_batteries_and_compartments_are_read_together_too(
    source: Jt808Source,
    dial: Dial,
    clock: Clock,
    outbox_path: Path,
    readings_in: ReadingsIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = dial(source)
    terminal.sign_in()
    monkeypatch.setattr(TerminalSession, "receive", None)
    now_ms = clock.now_ms() // 1000 * 1000
    items = (Item(0xE4, b"\x01\x50"), Item(0x51, b"\x80\xb4"))
    reports = [replace(report(now_ms - n * 1000), items=items) for n in range(COUNT)]
    terminal.socket.sendall(b"".join(map(terminal.conversation.send, reports)))
    assert None not in terminal.answers(COUNT)
    kept = readings_in(outbox_path)
    assert [one.device_time_ms for one in kept[::3]] == [now_ms - n * 1000 for n in range(COUNT)]
    assert [one.soc_percent for one in kept if isinstance(one, BatteryReading)] == [80] * COUNT
    cold = [one.compartment_temperature_1_c for one in kept if isinstance(one, CargoReading)]
    assert cold == [-18] * COUNT
    assert source.counts.received_readings == 3 * COUNT


def test_a_new_alarm_is_seen_in_bulk(
    source: Jt808Source, dial: Dial, clock: Clock, outbox: Outbox
) -> None:
    alarms: list[bool] = []
    outbox.on_commit = alarms.append
    terminal = dial(source)
    terminal.sign_in()
    reports = [report(clock.now_ms() - n * 1000) for n in range(COUNT)]
    reports[30] = replace(reports[30], alarms=1)
    terminal.socket.sendall(b"".join(map(terminal.conversation.send, reports)))
    assert None not in terminal.answers(COUNT)
    assert any(alarms)


def test_frames_cut_anywhere_are_read_all_the_same(
    source: Jt808Source, dial: Dial, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    terminal = dial(source)
    terminal.sign_in()
    times_ms = [clock.now_ms() // 1000 * 1000 - n * 1000 for n in range(3 * COUNT)]
    stream = b"".join(terminal.conversation.send(report(at_ms)) for at_ms in times_ms)
    for start, end in ((0, 1), (1, 5_001), (5_001, 5_003), (5_003, len(stream))):
        terminal.socket.sendall(stream[start:end])
    assert None not in terminal.answers(3 * COUNT)
    assert [one.device_time_ms for one in readings_in(outbox_path)] == times_ms
