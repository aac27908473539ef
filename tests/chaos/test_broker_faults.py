"""Brokers that die, forget, refuse and limit; collectors that stay away."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.chaos.chain import QUICK, Collector, Gateway, Mosquitto, until
from tests.chaos.line import Line

from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.uplink.schedule import Pace

SEED = 20261121


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes as tenths of seconds."""
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MIN", 0.02)
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MAX", 0.2)
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.REFUSED_S_MIN", 0.3)
    monkeypatch.setattr("greenhaul_edge.uplink.hello.HELLO_MS_MIN", 200)
    monkeypatch.setattr("greenhaul_edge.uplink.hello.HELLO_MS_MAX", 1_000)
    monkeypatch.setattr("greenhaul_edge.uplink.link.REFUSED_MS_MIN", 20)
    monkeypatch.setattr("greenhaul_edge.uplink.schedule.ANSWER_MS_MAX", 400)
    monkeypatch.setattr("greenhaul_edge.uplink.schedule.PROBE_INTERVAL_MS_MAX", 1_500)
    monkeypatch.setattr("greenhaul_cloud.intake.wire.BACKOFF_S_MIN", 0.05)
    monkeypatch.setattr("greenhaul_cloud.intake.wire.BACKOFF_S_MAX", 0.2)


Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Brokers, collectors, gateways and lines that are gone at the end."""
    with ExitStack() as stack:

        def build(kind: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            if kind is Line:
                made: Any = Line(*arguments, **named)
            else:
                made = kind(tmp_path / f"{kind.__name__}-{id(arguments)}", *arguments, **named)
            stack.callback(made.kill if kind is Mosquitto else made.close)
            if kind is Mosquitto:
                made.start()
            return made

        yield build


def play_kills(make: Make, *, seconds: float, period_s: float, seed: int) -> None:
    """Kill the broker every period, let the collector come and go, then count."""
    print(f"seed={seed}")
    random = Random(seed)
    broker = make(Mosquitto)
    collector = make(Collector, broker.port, ["gw-a"])
    gateway = make(Gateway, "gw-a", UplinkSettings(port=broker.port))
    gateway.uplink.start()
    ends_at, is_up = time.monotonic() + seconds, False
    while time.monotonic() < ends_at:
        turn_ends_at = time.monotonic() + period_s * random.uniform(0.5, 1.5)
        if is_up:
            collector.stop()
        else:
            collector.start()
        is_up = not is_up
        while time.monotonic() < turn_ends_at:
            gateway.append(random.randrange(1, 60))
        broker.kill()
        broker.start()
    if not is_up:
        collector.start()
    until(lambda: gateway.waiting == 0, "everything is settled", 30 + seconds)
    print(f"{gateway.appended} readings, {gateway.in_flight.connections} connections")
    assert collector.positions() == gateway.appended


def test_brokers_killed_and_collectors_away_lose_nothing(make: Make) -> None:
    play_kills(make, seconds=6, period_s=0.8, seed=SEED)


@pytest.mark.soak
def test_brokers_killed_every_half_minute_lose_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MAX", 5.0)
    play_kills(make, seconds=900, period_s=30, seed=SEED)


def test_a_collector_away_for_long_leaves_link_and_broker_in_peace(make: Make) -> None:
    """An hour, with every interval a thousandth."""
    broker = make(Mosquitto, "sys_interval 1")
    collector = make(Collector, broker.port, ["gw-a"])
    collector.start()
    collector.wait_connected()
    gateway = make(Gateway, "gw-a", UplinkSettings(port=broker.port))
    gateway.uplink.start()
    gateway.append(10)
    until(lambda: gateway.waiting == 0, "the collector answers")
    collector.stop()
    queued: list[int] = []
    with _listening(broker.port, "$SYS/broker/store/messages/bytes", queued):
        until(lambda: bool(queued), "the broker counts")
        before, rubbish = queued[-1], Random(SEED)
        for _ in range(60):
            gateway.append(100, rubbish)
            assert int(gateway.uplink.state()["unreceipted_bytes"]) <= QUICK.unreceipted_max
        seen = len(queued)
        until(lambda: len(queued) > seen + 1, "the broker counts again")
        assert max(queued) - before <= QUICK.unreceipted_max
        assert max(queued) - before >= QUICK.unreceipted_max // 2
    assert gateway.uplink.failures == 0
    assert gateway.in_flight.connections == 1
    collector.start()
    until(lambda: gateway.waiting == 0, "everything is settled")
    assert collector.positions() == gateway.appended


class _listening:  # noqa: N801  # used as a with statement
    """Numbers published on a topic."""

    def __init__(self, port: int, topic: str, found: list[int]) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, message: found.append(int(message.payload))
        self._client.on_connect = lambda client, *_: client.subscribe(topic)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> None:
        self._client.loop_start()

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = self._client.on_connect = None


def test_a_broker_that_refuses_blocks_is_told_from_a_dead_link(make: Make, tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite gh/v1/rx/#\ntopic readwrite gh/v1/state/#\n")
    acl.chmod(0o600)
    broker = make(Mosquitto, f"acl_file {acl}")
    collector = make(Collector, broker.port, ["gw-a"])
    gateway = make(Gateway, "gw-a", UplinkSettings(port=broker.port, protocol="5.0"))
    gateway.uplink.start()
    gateway.append(10)
    until(lambda: "refuses blocks: Not authorized" in gateway.link, "the refusal is said")
    acl.write_text("topic readwrite gh/#\n")
    broker.process.send_signal(signal.SIGHUP)
    collector.start()
    until(lambda: gateway.waiting == 0, "everything is settled")
    assert gateway.uplink.failures == 0
    assert gateway.in_flight.connections == 1


def test_receive_maximum_is_kept(make: Make) -> None:
    broker = make(Mosquitto, "max_inflight_messages 5")
    collector = make(Collector, broker.port, ["gw-a"])
    collector.start()
    collector.wait_connected()
    far = make(Line, broker.port, delay_s=0.05)
    pace = Pace(send_window_ms=0, resend_after_ms=400, unreceipted_max=1 << 20)
    gateway = make(Gateway, "gw-a", UplinkSettings(port=far.port, protocol="5.0"), pace=pace)
    gateway.uplink.start()
    until(lambda: gateway.uplink.state()["cloud"] == "answers", "the collector answers")
    for _ in range(100):
        gateway.append(1)
    until(lambda: gateway.waiting == 0, "everything is settled")
    connected = [event for event in gateway.in_flight.events if hasattr(event, "receive_max")]
    assert [event.receive_max for event in connected] == [5]
    assert 3 <= gateway.in_flight.most <= 5


@pytest.mark.parametrize("protocol", ["3.1.1", "5.0"])
@pytest.mark.parametrize("limit", [131_072, 20_000])
def test_a_limit_of_the_broker_is_said_or_found(
    make: Make, protocol: Literal["3.1.1", "5.0"], limit: int
) -> None:
    broker = make(Mosquitto, f"max_packet_size {limit}")
    collector = make(Collector, broker.port, ["gw-a"])
    collector.start()
    collector.wait_connected()
    pace = Pace(send_window_ms=20, resend_after_ms=400, unreceipted_max=1 << 20)
    gateway = make(Gateway, "gw-a", UplinkSettings(port=broker.port, protocol=protocol), pace=pace)
    gateway.uplink.start()
    until(lambda: gateway.uplink.state()["cloud"] == "answers", "the collector answers")
    for _ in range(3):
        gateway.append(2_000, Random(SEED))
    until(lambda: gateway.waiting == 0, "everything is settled")
    assert collector.positions() == gateway.appended
    if limit > 65_536 or protocol == "5.0":
        assert gateway.uplink.failures == 0


def test_a_twin_makes_us_wait_and_is_named(make: Make) -> None:
    broker = make(Mosquitto)
    collector = make(Collector, broker.port, ["gw-a"])
    collector.start()
    collector.wait_connected()
    settings = UplinkSettings(port=broker.port, protocol="5.0")
    first, twin = (make(Gateway, "gw-a", settings) for _ in range(2))
    first.uplink.start()
    until(lambda: first.uplink.state()["cloud"] == "answers", "the first is served")
    twin.uplink.start()
    # Some brokers say so; Mosquitto 2.0.11 just hangs up, but again and again.
    hints = ("another client connected with our id", "does another agent use this id?")
    until(lambda: any(hint in first.link for hint in hints), "the twin is named")
    kicked_at = first.in_flight.connections
    began = time.monotonic()
    until(lambda: first.in_flight.connections > kicked_at, "it tries again")
    assert time.monotonic() - began > 0.2  # fifteen seconds, outside of tests
    twin.uplink.stop()
    first.append(5)
    until(lambda: first.waiting == 0, "the first is served again")


def test_a_line_that_dies_in_any_state_is_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.uplink.wire._ANSWER_S_MAX", 0.4)
    broker = make(Mosquitto)
    collector = make(Collector, broker.port, ["gw-a"])
    collector.start()
    collector.wait_connected()
    line = make(Line, broker.port)
    settings = UplinkSettings(port=line.port, protocol="3.1.1")
    gateway = make(Gateway, "gw-a", settings, ack_timeout_s=0.4)
    line.is_dead = True
    gateway.uplink.start()
    until(lambda: "no CONNACK" in gateway.link, "no CONNACK is noticed")
    line.is_dead = False
    until(lambda: gateway.uplink.state()["cloud"] == "answers", "the collector answers")
    line.is_dead = True
    gateway.append(10)
    until(lambda: "no PUBACK" in gateway.link, "no PUBACK is noticed")
    line.is_dead = False
    until(lambda: gateway.waiting == 0, "everything is settled")


def test_dead_and_hanging_resolvers_stop_neither_ingest_nor_delivery(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("greenhaul_edge.uplink.addresses.LOOKUP_S_MAX", 0.2)
    broker = make(Mosquitto)
    collector = make(Collector, broker.port, ["gw-a"])
    collector.start()
    line = make(Line, broker.port)
    hanging, asked = threading.Event(), []

    def lookup(host: str, _port: int) -> list[str]:
        asked.append(host)
        if len(asked) == 1:
            raise OSError("Temporary failure in name resolution")
        if len(asked) == 2:
            return ["127.0.0.1"]
        hanging.wait()
        return []

    settings = UplinkSettings(host="broker.example", port=line.port)
    gateway = make(Gateway, "gw-a", settings, lookup=lookup)
    gateway.uplink.start()
    until(lambda: "Temporary failure" in gateway.link, "the dead resolver is said")
    gateway.append(10)
    until(lambda: gateway.waiting == 0, "everything is settled")
    for _ in range(3):  # each finds the resolver hanging, and the last good address
        before = gateway.in_flight.connections
        line.cut()
        began = time.monotonic()
        gateway.append(10)
        assert time.monotonic() - began < 0.15
        until(lambda before=before: gateway.in_flight.connections > before, "it dials")  # type: ignore[misc]
        until(lambda: gateway.waiting == 0, "everything is settled")
    assert len(asked) == 3  # one question hangs, not one a connection
    hanging.set()
    until(lambda: len(asked) == 3, "no more questions")
