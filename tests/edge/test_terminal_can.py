"""CAN frames uploaded by a terminal mean what they mean on a bus of our own."""

import socket
from collections.abc import Callable
from pathlib import Path

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_protocols.catalogue import BatteryReading, Event, Reading, TimeQuality
from greenhaul_protocols.jt808 import Conversation
from greenhaul_protocols.jt808.messages_records import CanFrame, CanId, CanReport

ReadingsIn = Callable[[Path], list[Reading]]

FRAMES = (
    CanFrame(CanId(0, True, False, 0x18F090F3), bytes.fromhex("d007b004302ab478")),
    CanFrame(CanId(0, True, False, 0x18F091F3), bytes.fromhex("007dffffffffffff")),
    CanFrame(CanId(1, False, False, 0x123), bytes(8)),
)


def test_frames_of_0x0705_become_a_battery_reading_beside_the_raw_event(
    outbox: Outbox, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    settings = Jt808Settings(
        listen="127.0.0.1:0", auth="open", can_mapping=Path("nowhere/j1939-hvess")
    )
    source = Jt808Source("terminals", settings, outbox, clock, TerminalAuth("open", b"s" * 32))
    source.start()
    host, _, port = source.address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=30) as terminal:
            report = CanReport.of("2000050350", FRAMES)
            terminal.sendall(Conversation(phone="13912345678").send(report))
            assert terminal.recv(4096)
    finally:
        source.stop()
    event, battery = readings_in(outbox_path)
    assert isinstance(event, Event)
    assert isinstance(battery, BatteryReading)
    assert event.code == "can_frames"
    assert battery.source == "808:13912345678"
    assert (battery.device_time_ms, battery.time_quality) == (
        event.device_time_ms,
        TimeQuality.SOURCE,
    )
    assert (battery.pack_voltage_v, battery.pack_current_a) == (540.0, -55.0)
    assert battery.soc_percent == 50.0
