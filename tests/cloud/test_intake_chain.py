"""Block → committed rows → receipt, over a real broker."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select
from tests.conftest import Broker, free_port, start_mosquitto

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.schedule import ReceiptSchedule
from greenhaul_cloud.intake.service import Intake, client_id_of
from greenhaul_cloud.intake.wire import BrokerAddress, says_online
from greenhaul_cloud.intake.worker import Delivery, IntakeWorker
from greenhaul_cloud.store import sqlite
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.inspection import (
    Grants,
    Inspected,
    ReceivedBlock,
    inspect,
    receive_block,
)
from greenhaul_cloud.store.settling import receipt_for
from greenhaul_cloud.store.tables import gateway, position, quarantine
from greenhaul_protocols.block import unwrap_block, wrap_block
from greenhaul_protocols.receipt import Receipt, decode_receipt
from greenhaul_protocols.topics import receipt_topic, state_topic, up_topic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

WAIT_S = 10


class RecordingWire:
    """A wire whose far end only takes notes."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()

    def acknowledge(self, delivery: Delivery) -> None:
        self.events.put(("ack", delivery.message_id))

    def publish_receipt(self, receipt: Receipt) -> bool:
        self.events.put(("receipt", receipt))
        return True

    def renew(self) -> None:
        self.events.put(("renew", None))


class Edge:
    """A gateway's end of the wire: publishes blocks, collects receipts."""

    def __init__(self, broker: Broker, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self.receipts: queue.Queue[Receipt] = queue.Queue()
        subscribed = queue.Queue[None]()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=f"edge-{gateway_id}")
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        self.client.subscribe(receipt_topic(gateway_id), 0)
        subscribed.get(timeout=WAIT_S)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.receipts.put(decode_receipt(bytes(message.payload)))

    def send(self, block: bytes, lane: int = 1) -> None:
        self.client.publish(up_topic(self.gateway_id, lane), block, qos=1).wait_for_publish(WAIT_S)

    def receipt(self) -> Receipt:
        return self.receipts.get(timeout=WAIT_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def gateway_id() -> str:
    return f"gw-{uuid4().hex[:12]}"


@pytest.fixture
def edge(mosquitto: Broker, gateway_id: str) -> Iterator[Edge]:
    made = Edge(mosquitto, gateway_id)
    yield made
    made.close()


@pytest.fixture
def start_intake(mosquitto: Broker) -> Iterator[Callable[[Store], Intake]]:
    running: list[Intake] = []

    def start(store: Store) -> Intake:
        address = BrokerAddress(
            host=mosquitto.host,
            port=mosquitto.port,
            client_id=client_id_of(store.store_id),
        )
        intake = Intake(store, address, CollectorRegistry())
        running.append(intake)
        intake.start()
        assert intake.wait_connected(WAIT_S)
        return intake

    yield start
    for intake in running:
        intake.stop()


def test_a_block_that_asks_is_stored_and_answered(
    kit: Kit,
    sqlite_store: Store,
    edge: Edge,
    start_intake: Callable[[Store], Intake],
    gateway_id: str,
) -> None:
    kit.register(sqlite_store, gateway_id)
    start_intake(sqlite_store)
    readings = [kit.position("808:13912345678", kit.now_ms + i * 1000) for i in range(30)]
    outbox = kit.outbox(gateway_id, readings=list(readings))
    header = replace(unwrap_block(outbox.hello()).header, monotonic_ms=86_400_123)
    edge.send(wrap_block(header))
    hello = edge.receipt()
    assert hello.store_id == sqlite_store.store_id
    assert hello.hello_ms == 86_400_123
    assert [(lane.lane, lane.settled) for lane in hello.lanes] == [(1, ())]
    edge.send(outbox.block(1, 30, asks_receipt=True))
    receipt = edge.receipt()
    assert receipt.epoch == kit.epoch
    assert receipt.revision > hello.revision
    assert receipt.hello_ms == 0, "a block is no hello"
    (lane,) = receipt.lanes
    assert (lane.settled, lane.stored, lane.duplicate) == (((1, 30),), 30, 0)
    with sqlite_store.read() as conn:
        assert conn.execute(select(func.count()).select_from(position)).scalar_one() == 30


def test_a_live_gateway_is_answered_later_and_a_backlog_within_a_second(kit: Kit) -> None:
    schedule = ReceiptSchedule()

    def receipt(revision: int) -> Receipt:
        return Receipt(gateway="g", epoch=1, store_id=2, revision=revision, server_time_ms=0)

    schedule.note(receipt(1), 0, is_asked=False)
    assert schedule.next_due_ms() == 60_000
    schedule.note(receipt(2), 10_000, is_asked=False)
    assert schedule.next_due_ms() == 60_000
    schedule.note(receipt(3), 10_100, is_asked=False)
    assert (schedule.next_due_ms(), schedule.due(11_099)) == (11_100, [])
    assert [one.revision for one in schedule.due(11_100)] == [3]
    schedule.sent(receipt(3))
    assert len(schedule) == 0
    schedule.note(receipt(4), 30_000, is_asked=True)
    assert [one.revision for one in schedule.due(30_000)] == [4]


def test_a_receipt_answers_the_hello_of_the_one_whose_place_it_takes() -> None:
    """While the broker is away answers wait, and newer receipts come in their place."""
    schedule = ReceiptSchedule()
    blank = Receipt(gateway="g", epoch=1, store_id=2, revision=1, server_time_ms=0)
    for hello_ms, answered_ms in ((0, 0), (7, 7), (0, 7), (9, 9), (0, 9)):
        schedule.note(replace(blank, hello_ms=hello_ms), 0, is_asked=hello_ms > 0)
        (waiting,) = schedule.due(60_000)
        assert waiting.hello_ms == answered_ms


def test_nothing_is_acknowledged_or_answered_before_the_commit(
    kit: Kit, sqlite_store: Store
) -> None:
    """A store that is locked by somebody else keeps everything waiting, and loses nothing."""
    kit.register(sqlite_store)
    wire = RecordingWire()
    worker = IntakeWorker(sqlite_store, wire, IntakeCounters(CollectorRegistry()))
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    asks = receive_block("gw-1", 1, outbox.block(1, 1, asks_receipt=True))
    with sqlite_store.write():
        worker.start()
        worker.deliver(Delivery(asks, 7, 1, 1))
        with pytest.raises(queue.Empty):
            wire.events.get(timeout=0.3)
    assert wire.events.get(timeout=WAIT_S) == ("ack", 7)
    kind, receipt = wire.events.get(timeout=WAIT_S)
    assert (kind, receipt.lanes[0].settled) == ("receipt", ((1, 1),))
    worker.stop()


class RefusingWire(RecordingWire):
    """A wire without a connection: receipts wait."""

    def publish_receipt(self, receipt: Receipt) -> bool:
        super().publish_receipt(receipt)
        return False


class CountingWorker(IntakeWorker):
    """Counts what its thread does."""

    turns = 0

    def _take_turn(self) -> None:
        self.turns += 1
        super()._take_turn()


def test_receipts_that_cannot_go_out_are_waited_with_not_in_a_circle(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_cloud.intake.worker.RECEIPTS_RETRY_S", WAIT_S)
    kit.register(sqlite_store)
    wire = RefusingWire()
    worker = CountingWorker(sqlite_store, wire, IntakeCounters(CollectorRegistry()))
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    asks = receive_block("gw-1", 1, outbox.block(1, 1, asks_receipt=True))
    worker.start()
    worker.deliver(Delivery(asks, 7, 1, 1))
    assert wire.events.get(timeout=WAIT_S)[0] == "ack"
    assert wire.events.get(timeout=WAIT_S)[0] == "receipt"
    with pytest.raises(queue.Empty):
        wire.events.get(timeout=0.3)
    assert worker.turns <= 3
    worker.stop()


class HastyWorker(IntakeWorker):
    """The wrong rule: acknowledge first, then store."""

    def _store_all(self, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            self._wire.acknowledge(one)
        super()._store_all(deliveries)


@pytest.mark.parametrize(("rule", "is_lost"), [(IntakeWorker, False), (HastyWorker, True)])
def test_acknowledging_before_the_commit_would_lose_data(
    kit: Kit,
    sqlite_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rule: type[IntakeWorker],
    is_lost: bool,
) -> None:
    """The collector stops while its store is locked: what the broker may forget must be stored."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)
    store = open_store(f"sqlite:///{tmp_path}/store.db", kit.now_ms)
    kit.register(store)
    wire, counters = RecordingWire(), IntakeCounters(CollectorRegistry())
    worker = rule(store, wire, counters)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    with sqlite_store.write():
        worker.start()
        worker.deliver(Delivery(outbox.received(1, 1), 1, 1, 1))
        with suppress(queue.Empty):
            wire.events.get(timeout=0.3)
            wire.events.put(("ack", 1))
        worker.stop()
    with store.read() as conn:
        stored = conn.execute(select(func.count()).select_from(position)).scalar_one()
    store.close()
    is_forgotten = not wire.events.empty()
    assert (is_forgotten and stored == 0) is is_lost


def test_an_outage_of_the_store_is_waited_out(
    kit: Kit, sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)  # locked is unavailable at once
    impatient = open_store(f"sqlite:///{tmp_path}/store.db", kit.now_ms)
    kit.register(impatient)
    wire, counters = RecordingWire(), IntakeCounters(CollectorRegistry())
    worker = IntakeWorker(impatient, wire, counters)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    with sqlite_store.write():
        worker.start()
        worker.deliver(Delivery(outbox.received(1, 1), 1, 1, 1))
        with pytest.raises(queue.Empty):
            wire.events.get(timeout=0.3)
    assert wire.events.get(timeout=WAIT_S) == ("ack", 1)
    worker.stop()
    impatient.close()
    (retries,) = counters.retries.collect()
    assert retries.samples[0].value > 0


def test_one_poisoned_block_is_set_aside_and_stops_nobody(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.register(sqlite_store)
    readings = [kit.position("808:1", kit.now_ms + i) for i in range(3)]
    outbox = kit.outbox(readings=readings)

    def refuse_two(blocks: Sequence[ReceivedBlock], grants: Grants) -> Inspected:
        for block in blocks:
            if block.block and block.block.header.first == 2 and not block.fault:
                raise ValueError("nobody thought of this")
        return inspect(blocks, grants)

    monkeypatch.setattr("greenhaul_cloud.store.write.inspect", refuse_two)
    wire = RecordingWire()
    worker = IntakeWorker(sqlite_store, wire, IntakeCounters(CollectorRegistry()))
    for number in (1, 2, 3):
        worker.deliver(Delivery(outbox.received(number, number), number, 1, 1))
    worker.start()
    assert [wire.events.get(timeout=WAIT_S) for _ in range(3)] == [("ack", n) for n in (1, 2, 3)]
    worker.stop()
    with sqlite_store.write() as conn:
        receipt = receipt_for(conn, "gw-1", kit.epoch, sqlite_store.store_id, kit.now_ms)
    (lane,) = receipt.lanes
    assert (lane.settled, lane.stored, lane.quarantined) == (((1, 3),), 2, 1)
    assert lane.refused == (((2, 2), "could not be stored: nobody thought of this"),)


def test_what_waits_at_the_broker_comes_when_the_collector_is_back(
    kit: Kit,
    sqlite_store: Store,
    edge: Edge,
    start_intake: Callable[[Store], Intake],
    gateway_id: str,
) -> None:
    kit.register(sqlite_store, gateway_id)
    start_intake(sqlite_store).stop()
    readings = [kit.position("808:1", kit.now_ms + i) for i in range(5)]
    outbox = kit.outbox(gateway_id, readings=readings)
    for number in range(1, 6):
        edge.send(outbox.block(number, number, asks_receipt=number == 5))
    start_intake(sqlite_store)
    assert edge.receipt().lanes[0].settled == ((1, 5),)


def test_strangers_and_rubbish_are_passed_over(
    kit: Kit,
    sqlite_store: Store,
    edge: Edge,
    start_intake: Callable[[Store], Intake],
    gateway_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kit.register(sqlite_store, gateway_id)
    start_intake(sqlite_store)
    outbox = kit.outbox(gateway_id, readings=[kit.position("808:1", kit.now_ms)])
    stranger = kit.outbox(f"{gateway_id}-stranger", readings=outbox.readings)
    edge.client.publish(up_topic(stranger.gateway, 1), stranger.block(1, 1), qos=1)
    edge.client.publish(f"gh/v1/up/zz/{gateway_id}/1", outbox.block(1, 1), qos=1)
    edge.client.publish("gh/v1/state/!", b"{}", qos=1)
    edge.send(b"rubbish")
    edge.send(outbox.block(1, 1, asks_receipt=True))
    assert edge.receipt().lanes[0].settled == ((1, 1),)
    assert f"event=damaged_block gateway={gateway_id}" in caplog.text
    assert f"event=unregistered_gateway gateway={stranger.gateway}" in caplog.text


def test_what_comes_on_a_wrong_topic_is_counted_and_kept_where_it_can_be_told_whose_it_is(
    kit: Kit, sqlite_store: Store, edge: Edge, mosquitto: Broker, gateway_id: str
) -> None:
    kit.register(sqlite_store, gateway_id)
    registry = CollectorRegistry()
    address = BrokerAddress(
        host=mosquitto.host, port=mosquitto.port, client_id=f"{gateway_id}-collector"
    )
    intake = Intake(sqlite_store, address, registry)
    intake.start()
    assert intake.wait_connected(WAIT_S)
    outbox = kit.outbox(gateway_id, readings=[kit.position("808:1", kit.now_ms)])
    block = outbox.block(1, 1)
    for topic in (
        f"gh/v1/up/zz/{gateway_id}/1", f"gh/v1/up/00/{gateway_id}/256", "gh/v1/up/00/a b/1",
        "gh/v1/state/a b",
    ):  # fmt: skip
        edge.client.publish(topic, block, qos=1)
    edge.send(outbox.block(1, 1, asks_receipt=True))
    assert edge.receipt().lanes[0].stored == 1
    intake.stop()
    with sqlite_store.read() as conn:
        kept = conn.execute(select(quarantine.c.raw, quarantine.c.reason)).all()
    assert {bytes(row.raw) for row in kept} == {block}
    assert any("shard" in row.reason for row in kept)
    for reason in ("shard", "lane", "topic", "state"):
        labels = {"reason": reason}
        assert registry.get_sample_value("greenhaul_intake_misdirected_total", labels) == 1, reason


def test_presence_follows_the_retained_state(
    kit: Kit,
    sqlite_store: Store,
    edge: Edge,
    start_intake: Callable[[Store], Intake],
    gateway_id: str,
) -> None:
    kit.register(sqlite_store, gateway_id)
    edge.client.publish(state_topic(gateway_id), b'{"online": true}', qos=1, retain=True)
    start_intake(sqlite_store)
    outbox = kit.outbox(gateway_id)
    for payload, expected in ((b'{"online": true}', True), (b'{"online": false}', False)):
        edge.client.publish(state_topic(gateway_id), payload, qos=1, retain=True)
        edge.send(outbox.hello())  # answered in the turn after the state was noted, or later
        edge.receipt()
        edge.send(outbox.hello())
        edge.receipt()
        with sqlite_store.read() as conn:
            query = select(gateway.c.is_online).where(gateway.c.id == gateway_id)
            assert conn.execute(query).scalar_one() is expected


@pytest.mark.parametrize(
    ("payload", "is_online"),
    [
        (b'{"online": true, "version": "1"}', True),
        (b'{"online": false}', False),
        (b'{"online": "yes"}', False),
        (b"", False),
        (b"[1]", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_presence_is_read_as_gateways_write_it(payload: bytes, is_online: bool) -> None:
    assert says_online(payload) is is_online


def test_shards_are_subscribed_one_by_one() -> None:
    address = BrokerAddress(host="h", port=1, client_id="c", shards=(0xFE, 0xFF))
    assert address.filters == ["gh/v1/up/fe/+/+", "gh/v1/up/ff/+/+", "gh/v1/state/+"]


def test_a_broker_that_restarts_is_found_again(
    kit: Kit, sqlite_store: Store, tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "broker"
    process = start_mosquitto(folder, port)
    kit.register(sqlite_store)
    address = BrokerAddress(host="127.0.0.1", port=port, client_id="collector")
    registry = CollectorRegistry()
    intake = Intake(sqlite_store, address, registry)
    intake.start()
    assert intake.wait_connected(WAIT_S)
    process.kill()
    process.wait()
    process = start_mosquitto(folder, port)
    edge = Edge(Broker("127.0.0.1", port, process.pid), "gw-1")
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    receipt = None
    for _ in range(WAIT_S * 2):  # as a gateway does: what was not answered is sent again
        edge.send(outbox.block(1, 1, asks_receipt=True))
        with suppress(queue.Empty):
            receipt = edge.receipts.get(timeout=0.5)
            break
    edge.close()
    intake.stop()
    process.terminate()
    process.wait()
    assert receipt is not None
    assert receipt.lanes[0].settled == ((1, 1),)
    assert registry.get_sample_value("greenhaul_intake_connects_total") == 2
