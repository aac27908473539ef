"""The uplink against a real broker, with a collector that plays its part by script."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from tests.edge.uplink_ends import PACE, Collector, Connect, positions, waiting

from greenhaul_edge.outbox.writer import Outbox
from greenhaul_protocols.block import FORMAT, FORMAT_PACKED
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.ranges import RangeSet

Until = Callable[[Callable[[], bool]], None]


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
