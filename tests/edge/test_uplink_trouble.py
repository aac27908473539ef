"""The uplink on links and with brokers that fail it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.edge.uplink_ends import PACE, Broker, Collector, Connect, Proxy, positions, waiting

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.uplink.dialer import Dialer
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.wire import Acked, PahoWire
from greenhaul_protocols.topics import LANE_LIVE, receipt_topic, up_topic

Until = Callable[[Callable[[], bool]], None]


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
