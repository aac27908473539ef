"""Frames of other people's terminals through the TCP source: nothing crashes, nothing vanishes."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_protocols.catalogue import Reading, Undecodable
from greenhaul_protocols.jt808 import BadBytes, Conversation

pytestmark = pytest.mark.corpus

ReadingsIn = Callable[[Path], list[Reading]]


def frames_in(folder: Path) -> list[bytes]:
    """Every frame that stands in a text file, whatever surrounds it."""
    found: list[bytes] = []
    for path in sorted(folder.glob("*.*")):
        text = path.read_text(encoding="utf-8", errors="replace").lower()
        found += [bytes.fromhex(one) for one in re.findall(r"7e(?:[0-9a-f]{2})+?7e", text)]
    return found


def test_every_frame_is_taken_or_kept_with_its_reason(
    shared: Path, outbox: Outbox, clock: Clock, outbox_path: Path, readings_in: ReadingsIn
) -> None:
    frames = frames_in(shared / "data" / "jt808")
    assert len(frames) > 100
    settings = Jt808Settings(listen="127.0.0.1:0", auth="open")
    source = Jt808Source("terminals", settings, outbox, clock, TerminalAuth("open", b"s" * 32))
    source.start()
    host, _, port = source.address.rpartition(":")
    try:
        # One connection a frame: each comes from another terminal, in another edition.
        for frame in frames:
            with socket.create_connection((host, int(port)), timeout=30) as terminal:
                terminal.sendall(frame)
                terminal.shutdown(socket.SHUT_WR)
                while terminal.recv(4096):
                    pass
    finally:
        source.stop()
    outbox.append([], is_urgent=True).result(10)
    bad = sum(
        isinstance(event, BadBytes) for frame in frames for event in Conversation().receive(frame)
    )
    kept = [one for one in readings_in(outbox_path) if isinstance(one, Undecodable)]
    assert source.counts.undecodable == bad
    assert all(one.reason and one.raw for one in kept)
    assert len(kept) >= bad
    assert source.counts.received_readings == len(readings_in(outbox_path))
