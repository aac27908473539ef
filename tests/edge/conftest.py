"""An outbox on a file of its own, a clock that knows UTC, and waiting without sleeping blindly."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.edge.terminal_peer import PHONE, SECRET, Dial, Listen, Terminal

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth, allow_list
from greenhaul_edge.sources.terminal_registry import TerminalRegistry
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.series import decode_body


@pytest.fixture
def clock() -> Clock:
    """A clock that was told the time."""
    clock = Clock()
    clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
    return clock


@pytest.fixture
def outbox_path(tmp_path: Path) -> Path:
    """Where the outbox's file lies."""
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(outbox_path: Path, clock: Clock) -> Iterator[Outbox]:
    """A running outbox of gateway gw-test with a short commit window."""
    file = OutboxFile(outbox_path, "gw-test", boot=clock.boot, now_ms=clock.now_ms())
    outbox = Outbox(file, clock, commit_window_s=0.05)
    outbox.start()
    yield outbox
    outbox.close()


Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def until() -> Until:
    """Wait until something holds; fails after half a minute."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, "did not happen within 30 s"
            time.sleep(0.005)

    return wait


ReadingsIn = Callable[[Path], list[Reading]]


@pytest.fixture
def readings_in() -> ReadingsIn:
    """Every reading an outbox's file holds, in order of its numbers."""
    from greenhaul_edge.outbox.schema import open_to_read

    def read(path: Path) -> list[Reading]:
        connection = open_to_read(path)
        try:
            rows = connection.execute("SELECT body FROM chunk ORDER BY lane, first").fetchall()
        finally:
            connection.close()
        found: list[Reading] = []
        for (body,) in rows:
            numbered = [
                pair
                for series in decode_body(body)
                for pair in zip(series.numbers, series.readings(), strict=True)
            ]
            found += [reading for _, reading in sorted(numbered, key=lambda pair: pair[0])]
        return found

    return read


@pytest.fixture
def listen(outbox: Outbox, clock: Clock, tmp_path: Path) -> Iterator[Listen]:
    """Start a source of terminals on a free port. All share a registry's file, as in a gateway."""
    sources: list[Jt808Source] = []

    def start(
        settings: Jt808Settings | None = None, auth: TerminalAuth | None = None
    ) -> Jt808Source:
        settings = replace(settings or Jt808Settings(), listen="127.0.0.1:0")
        auth = auth or TerminalAuth(
            settings.auth,
            SECRET,
            allow_list(settings.allow),
            TerminalRegistry(tmp_path / "terminals.sqlite"),
        )
        source = Jt808Source("terminals", settings, outbox, clock, auth)
        source.start()
        sources.append(source)
        return source

    yield start
    for source in sources:
        source.stop()


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Connect terminals; they hang up at the end."""
    terminals: list[Terminal] = []

    def connect(source: Jt808Source, phone: str = PHONE) -> Terminal:
        terminals.append(Terminal(source.address, phone))
        return terminals[-1]

    yield connect
    for terminal in terminals:
        terminal.close()
