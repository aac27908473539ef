"""Block → committed rows → receipt, over a real broker."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select
from tests.conftest import Broker, free_port, start_mosquitto

from greenhaul_cloud.intake.service import Intake, client_id_of
from greenhaul_cloud.intake.wire import BrokerAddress, says_online
from greenhaul_cloud.store.tables import gateway, position, quarantine
from greenhaul_protocols.block import unwrap_block, wrap_block
from greenhaul_protocols.receipt import Receipt, decode_receipt
from greenhaul_protocols.topics import receipt_topic, state_topic, up_topic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


WAIT_S = 10


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
