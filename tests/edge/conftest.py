"""An outbox on a file of its own, a clock that knows UTC, and waiting without sleeping blindly."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.edge.serial_line import Line
from tests.edge.terminal_peer import PHONE, SECRET, Dial, Listen, Terminal
from tests.edge.uplink_ends import PACE, Broker, Collector, Connect, Proxy

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings, UplinkSettings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth, allow_list
from greenhaul_edge.sources.terminal_registry import TerminalRegistry
from greenhaul_edge.uplink.dialer import Dialer
from greenhaul_edge.uplink.link import Uplink
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.series import decode_body
from greenhaul_protocols.topics import state_topic


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


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> str:
    """A gateway id of this test's own: the broker is everybody's."""
    return f"gw-{abs(hash(request.node.nodeid)) % 10**9}"


@pytest.fixture
def collector(mosquitto: Broker, gateway: str) -> Iterator[Collector]:
    """Subscribed and ready."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    collector = Collector(client, gateway)
    subscribed = threading.Event()
    client.on_message = collector.on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(mosquitto.host, mosquitto.port)
    client.subscribe([(f"gh/v1/up/+/{gateway}/+", 1), (state_topic(gateway), 1)])
    client.loop_start()
    assert subscribed.wait(10)
    yield collector
    client.disconnect()
    client.loop_stop()
    client.on_message = client.on_subscribe = None  # no cycle: paho closes its sockets at once


@pytest.fixture
def gateway_outbox(outbox_path: Path, clock: Clock, gateway: str) -> Iterator[Outbox]:
    """A running outbox of this test's gateway."""
    file = OutboxFile(outbox_path, gateway, boot=1, now_ms=clock.now_ms())
    outbox = Outbox(file, clock, commit_window_s=0.02)
    outbox.start()
    yield outbox
    outbox.close()


@pytest.fixture
def connect(
    mosquitto: Broker,
    gateway_outbox: Outbox,
    outbox_path: Path,
    clock: Clock,
    gateway: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Connect]:
    """Start an uplink; it is stopped at the end."""
    uplinks: list[Uplink] = []
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MIN", 0.02)
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MAX", 0.1)

    def start(port: int | None = None, protocol: Any = "3.1.1", **more: Any) -> Uplink:
        settings = UplinkSettings(
            host=mosquitto.host, port=port or mosquitto.port, protocol=protocol
        )
        uplink = Uplink(
            gateway_outbox,
            outbox_path,
            clock,
            Dialer(settings, gateway, clock),
            pace=PACE,
            random=Random(1),
            **more,
        )
        gateway_outbox.on_commit = uplink.note_commit
        uplinks.append(uplink)
        uplink.start()
        return uplink

    yield start
    for uplink in uplinks:
        uplink.stop()


@pytest.fixture
def proxy(mosquitto: Broker) -> Iterator[Proxy]:
    """A link to the broker that can be cut and frozen."""
    proxy = Proxy(mosquitto.port)
    yield proxy
    proxy.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Line]:
    """A GNSS receiver's line, plugged in."""
    line = Line(tmp_path / "ttyGNSS")
    line.plug()
    yield line
    line.close()
