"""The uplink against a real broker, with a collector that plays its part by script."""

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Protocol

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.uplink.dialer import Dialer
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_edge.uplink.wire import Acked, PahoWire
from greenhaul_protocols.block import (
    FORMAT,
    FORMAT_MAX,
    FORMAT_PACKED,
    BlockHeader,
    unwrap_block,
)
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt, encode_receipt
from greenhaul_protocols.series import decode_body
from greenhaul_protocols.topics import LANE_LIVE, receipt_topic, state_topic, up_topic

Until = Callable[[Callable[[], bool]], None]
PACE = Pace(send_window_ms=50, resend_after_ms=300, unreceipted_max=256 * 1024)


class Broker(Protocol):
    """What the session's fixture gives."""

    host: str
    port: int


@dataclass
class Collector:
    """Stores by identity, answers every block; or does not, when told so."""

    client: paho.Client
    gateway: str
    is_answering: bool = True
    is_retaining: bool = True
    headers: list[BlockHeader] = field(default_factory=list)
    readings: set[int] = field(default_factory=set)
    settled: dict[int, RangeSet] = field(default_factory=dict)
    presence: list[dict[str, Any]] = field(default_factory=list)
    revision: int = 1
    block_format: int = FORMAT_MAX  # as it says it reads
    formats: set[int] = field(default_factory=set)

    def on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        """A block, or somebody's presence."""
        if message.topic.startswith("gh/v1/state/"):
            self.presence.append(json.loads(message.payload))
            return
        block = unwrap_block(bytes(message.payload))
        header = block.header
        self.formats |= {block.block_format} if header.count else set()
        ranges = self.settled.setdefault(header.epoch, RangeSet())
        for series in decode_body(block.inflate()):
            self.readings |= set(series.device_time_ms)
        ranges.add(header.first, header.last)
        self.headers.append(header)
        if self.is_answering:
            self.answer(header.epoch)

    def answer(self, epoch: int) -> None:
        """Say what is settled."""
        self.revision += 1
        ranges = self.settled.get(epoch, RangeSet())
        lane = LaneState(lane=1, settled=tuple(ranges), through=ranges.last, stored=ranges.total)
        receipt = Receipt(
            gateway=self.gateway,
            epoch=epoch,
            store_id=7,
            revision=self.revision,
            server_time_ms=time.time_ns() // 1_000_000,
            block_format=self.block_format,
            lanes=(lane,) if ranges.total else (),
        )
        topic = receipt_topic(self.gateway)
        self.client.publish(topic, encode_receipt(receipt), qos=1, retain=self.is_retaining)


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


Connect = Callable[..., Uplink]


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


def positions(count: int, start: int = 0) -> list[Position]:
    """Readings whose device times tell them apart."""
    return [
        Position(
            source="808:1",
            device_time_ms=start + i,
            received_time_ms=0,
            latitude_deg=30 + i / 1000,
            longitude_deg=112.0,
        )
        for i in range(count)
    ]


def waiting(outbox: Outbox) -> int:
    """How many readings no receipt has settled."""
    return sum(lane.unsettled.total for lane in outbox.view().lanes)


@pytest.mark.parametrize("protocol", ["3.1.1", "5.0"])
@pytest.mark.parametrize("is_retaining", [True, False])
def test_readings_arrive_and_receipts_settle_them(
    connect: Connect,
    collector: Collector,
    gateway_outbox: Outbox,
    until: Until,
    protocol: str,
    is_retaining: bool,
) -> None:
    collector.is_retaining = is_retaining
    gateway_outbox.append(positions(300), is_urgent=True).result(10)
    connect(protocol=protocol)
    until(lambda: len(collector.readings) == 300)
    gateway_outbox.append(positions(20, 1_000), is_urgent=True).result(10)
    until(lambda: len(collector.readings) == 320)
    until(lambda: waiting(gateway_outbox) == 0)
    assert collector.headers[0].count == 0


@pytest.mark.parametrize("block_format", [FORMAT, FORMAT_PACKED])
def test_blocks_are_packed_for_collectors_that_read_it(
    connect: Connect,
    collector: Collector,
    gateway_outbox: Outbox,
    until: Until,
    block_format: int,
) -> None:
    collector.block_format = block_format
    connect()
    random = Random(1)
    moving = [replace(one, latitude_deg=30 + random.random() / 1000) for one in positions(300)]
    gateway_outbox.append(moving, is_urgent=True).result(10)
    until(lambda: waiting(gateway_outbox) == 0)
    assert collector.formats == {block_format}
    assert len(collector.readings) == 300


def test_nothing_but_the_hello_goes_out_until_it_is_answered(
    connect: Connect,
    collector: Collector,
    gateway_outbox: Outbox,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("greenhaul_edge.uplink.hello.HELLO_MS_MIN", 50)
    collector.is_answering = False
    gateway_outbox.append(positions(10), is_urgent=True).result(10)
    connect()
    until(lambda: len(collector.headers) >= 3)
    assert all(header.count == 0 and header.asks_receipt for header in collector.headers)
    assert all(lane.sent_mark == 0 for lane in gateway_outbox.view().lanes)
    collector.is_answering = True
    until(lambda: len(collector.readings) == 10)
    until(lambda: waiting(gateway_outbox) == 0)


def test_a_collector_that_falls_silent_stops_the_sending_not_the_link(
    connect: Connect, collector: Collector, gateway_outbox: Outbox, until: Until
) -> None:
    uplink = connect()
    until(lambda: uplink.state()["cloud"] == "answers")
    collector.is_answering = False
    rubbish = Random(1)
    for start in range(0, 30_000, 1_000):
        readings = [
            Position(
                source="808:1",
                device_time_ms=start + i,
                received_time_ms=0,
                items=rubbish.randbytes(40),
            )
            for i in range(1_000)
        ]
        gateway_outbox.append(readings, is_urgent=True).result(10)
    limit = PACE.unreceipted_max
    until(lambda: int(uplink.state()["unreceipted_bytes"] or 0) > limit // 2)
    silent_since = len(collector.headers)
    until(lambda: len(collector.headers) > silent_since + 1)  # probes go on
    assert int(uplink.state()["unreceipted_bytes"] or 0) <= limit
    assert waiting(gateway_outbox) == 30_000
    assert uplink.failures == 0
    collector.is_answering = True
    collector.answer(gateway_outbox.view().epoch)
    until(lambda: waiting(gateway_outbox) == 0)
    assert len(collector.readings) == 30_000


def test_an_outbox_restored_from_an_old_image_begins_a_new_epoch(
    connect: Connect, collector: Collector, gateway_outbox: Outbox, until: Until
) -> None:
    gateway_outbox.append(positions(10), is_urgent=True).result(10)
    old = gateway_outbox.view().epoch
    collector.settled[old] = RangeSet([(1, 500)])
    connect()
    until(lambda: len(collector.readings) == 11)  # and the record that the old epoch is closed
    until(lambda: waiting(gateway_outbox) == 0)
    assert gateway_outbox.view().epoch != old
    sent = [header for header in collector.headers if header.count]
    assert {header.epoch for header in sent} == {gateway_outbox.view().epoch}


def test_presence_is_left_with_the_broker(
    connect: Connect, collector: Collector, gateway_outbox: Outbox, until: Until
) -> None:
    uplink = connect()
    until(lambda: bool(collector.presence))
    assert collector.presence[-1]["online"] is True
    uplink.stop()
    until(lambda: collector.presence[-1]["online"] is False)


class Proxy:
    """A link in our hands: between an uplink and the broker."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self.connections = 0
        self.is_frozen = False
        self.up = b""  # what went to the broker
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b, a is near), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket, is_up: bool) -> None:
        try:
            while data := a.recv(65_536):
                if is_up:
                    self.up += data
                if not self.is_frozen:
                    b.sendall(data)
        except OSError:
            pass
        finally:
            a.close()
            b.close()

    def cut(self) -> None:
        """Every connection ends."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        """No more of it."""
        self._listener.close()
        self.cut()


@pytest.fixture
def proxy(mosquitto: Broker) -> Iterator[Proxy]:
    """A link to the broker that can be cut and frozen."""
    proxy = Proxy(mosquitto.port)
    yield proxy
    proxy.close()


def test_a_link_cut_again_and_again_loses_nothing(
    connect: Connect, collector: Collector, gateway_outbox: Outbox, proxy: Proxy, until: Until
) -> None:
    uplink = connect(port=proxy.port)
    for i in range(4):
        before = proxy.connections
        gateway_outbox.append(positions(500, i * 500), is_urgent=True).result(10)
        until(lambda: uplink.state()["link"] == "connected")
        proxy.cut()
        until(lambda before=before: proxy.connections > before)  # type: ignore[misc]
    until(lambda: len(collector.readings) == 2_000)
    until(lambda: waiting(gateway_outbox) == 0)


@pytest.mark.parametrize(("protocol", "named"), [("3.1.1", 4), ("5.0", 1)])
def test_a_topic_is_named_once_a_connection_where_mqtt_can(
    connect: Connect,
    collector: Collector,
    gateway_outbox: Outbox,
    gateway: str,
    proxy: Proxy,
    until: Until,
    protocol: str,
    named: int,
) -> None:
    topic = up_topic(gateway, LANE_LIVE).encode()
    uplink = connect(port=proxy.port, protocol=protocol)
    for connection in (1, 2):
        until(lambda: uplink.state()["link"] == "connected")
        for number in range(3 * connection - 3, 3 * connection):
            gateway_outbox.append(positions(1, number), is_urgent=True).result(10)
            until(lambda number=number: len(collector.readings) > number)  # type: ignore[misc]
        assert proxy.up.count(topic) == named  # the hello's, and each block's where it must be
        proxy.up = b""
        proxy.cut()
        until(lambda connection=connection: proxy.connections > connection)  # type: ignore[misc]


def test_a_link_that_swallows_everything_is_given_up(
    connect: Connect, collector: Collector, gateway_outbox: Outbox, proxy: Proxy, until: Until
) -> None:
    uplink = connect(port=proxy.port, ack_timeout_s=0.3)
    until(lambda: uplink.state()["cloud"] == "answers")
    proxy.is_frozen = True
    gateway_outbox.append(positions(10), is_urgent=True).result(10)
    until(lambda: uplink.failures > 0)
    proxy.is_frozen = False
    until(lambda: waiting(gateway_outbox) == 0)
    assert len(collector.readings) == 10


def test_a_receipt_that_is_rubbish_changes_nothing(
    connect: Connect, collector: Collector, gateway_outbox: Outbox, gateway: str, until: Until
) -> None:
    uplink = connect()
    until(lambda: uplink.state()["cloud"] == "answers")
    collector.client.publish(receipt_topic(gateway), b"\xff\xff\xff", qos=1)
    gateway_outbox.append(positions(5), is_urgent=True).result(10)
    until(lambda: waiting(gateway_outbox) == 0)
    assert uplink.failures == 0


def test_a_damaged_row_is_named_and_its_neighbours_are_delivered(
    connect: Connect,
    collector: Collector,
    gateway_outbox: Outbox,
    outbox_path: Path,
    until: Until,
) -> None:
    for start in (0, 10, 20):
        gateway_outbox.append(positions(10, start), is_urgent=True).result(10)
    with closing(sqlite3.connect(outbox_path)) as connection:
        connection.execute("UPDATE chunk SET body = x'00' WHERE first = 11")
        connection.commit()
    connect()
    until(lambda: waiting(gateway_outbox) == 0)
    times = {ms for ms in collector.readings if ms < 100}
    assert times == set(range(10)) | set(range(20, 30))
    assert len(collector.readings) == 21  # and the record of what was lost


def test_a_broker_that_refuses_blocks_is_asked_again_on_the_same_link(
    collector: Collector,
    gateway_outbox: Outbox,
    outbox_path: Path,
    clock: Clock,
    mosquitto: Broker,
    gateway: str,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("greenhaul_edge.uplink.link.REFUSED_MS_MIN", 10)
    dialer = Dialer(UplinkSettings(host=mosquitto.host, port=mosquitto.port), gateway, clock)
    refusals = iter([None, None, "quota exceeded", "quota exceeded"])

    def make_wire(connection: int, report: Callable[[Any], None]) -> PahoWire:
        def spoil(event: Any) -> None:
            failure = next(refusals, None) if isinstance(event, Acked) else None
            report(replace(event, failure=failure) if failure else event)

        return dialer(connection, spoil)

    uplink = Uplink(gateway_outbox, outbox_path, clock, make_wire, pace=PACE, random=Random(1))
    uplink.start()
    try:
        gateway_outbox.append(positions(10), is_urgent=True).result(10)
        until(lambda: waiting(gateway_outbox) == 0)
        assert uplink.failures == 0
    finally:
        uplink.stop()
