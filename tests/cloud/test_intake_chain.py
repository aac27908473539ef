"""Block → committed rows → receipt, over a real broker."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from greenhaul_cloud.intake.service import Intake, client_id_of
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.store.tables import position
from greenhaul_protocols.receipt import Receipt, decode_receipt
from greenhaul_protocols.topics import receipt_topic, up_topic

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit
    from tests.conftest import Broker

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
            client_id=client_id_of(store.store_id, (0, 255)),
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
    edge.send(outbox.hello())
    hello = edge.receipt()
    assert hello.store_id == sqlite_store.store_id
    assert [(lane.lane, lane.settled) for lane in hello.lanes] == [(1, ())]
    edge.send(outbox.block(1, 30, asks_receipt=True))
    receipt = edge.receipt()
    assert receipt.epoch == kit.epoch
    assert receipt.revision > hello.revision
    (lane,) = receipt.lanes
    assert (lane.settled, lane.stored, lane.duplicate) == (((1, 30),), 30, 0)
    with sqlite_store.read() as conn:
        assert conn.execute(select(func.count()).select_from(position)).scalar_one() == 30
