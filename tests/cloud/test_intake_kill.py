"""Kill -9 of the collector in the middle of a run: nothing it answered for is lost."""

from __future__ import annotations

import queue
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import func, select

from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.settling import receipt_for
from greenhaul_cloud.store.tables import position
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import Receipt, decode_receipt
from greenhaul_protocols.topics import receipt_topic, up_topic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit, Outbox
    from tests.conftest import Broker

READINGS = 1_200
DEADLINE_S = 60

COLLECTOR = """
import sys, threading, time
from prometheus_client import CollectorRegistry
from greenhaul_cloud.intake.service import Intake, client_id_of
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.store.engine import open_store
url, port = sys.argv[1], int(sys.argv[2])
store = open_store(url, time.time_ns() // 1_000_000)
client_id = client_id_of(store.store_id)
intake = Intake(
    store, BrokerAddress(host="127.0.0.1", port=port, client_id=client_id), CollectorRegistry()
)
intake.start()
assert intake.wait_connected(20)
print("ready", flush=True)
threading.Event().wait()
"""


class Gateway:
    """Sends what no receipt settled, again and again, until nothing is left."""

    def __init__(self, broker: Broker, outbox: Outbox) -> None:
        self.outbox = outbox
        self.settled = RangeSet()
        self._receipts: queue.Queue[Receipt] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=outbox.gateway)
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe(receipt_topic(outbox.gateway), 0)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._receipts.put(decode_receipt(bytes(message.payload)))

    def send_some(self, rng: random.Random) -> None:
        """Blocks of unsettled numbers, cut anew; then whatever was answered."""
        for first, last in self.settled.missing(1, READINGS)[:3]:
            end = min(last, first + rng.randrange(120))
            block = self.outbox.block(first, end, asks_receipt=True)
            self._client.publish(up_topic(self.outbox.gateway, 1), block, qos=1)
        with suppress(queue.Empty):
            receipt = self._receipts.get(timeout=0.3)
            for pair in next(lane.settled for lane in receipt.lanes if lane.lane == 1):
                self.settled.add(*pair)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def start_collector(url: str, port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, url, str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_kill_9_loses_nothing_that_was_settled(kit: Kit, mosquitto: Broker, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url, kit.now_ms)
    rng = random.Random(808)
    gateway_id = f"gw-{uuid4().hex[:12]}"
    kit.register(store, gateway_id)
    readings = [kit.position(f"808:{i % 7}", kit.now_ms + i * 100) for i in range(READINGS)]
    gateway = Gateway(mosquitto, kit.outbox(gateway_id, readings=readings))
    collector = start_collector(url, mosquitto.port)
    deadline = time.monotonic() + DEADLINE_S
    kills_at = [READINGS // 4, READINGS // 2]
    try:
        while gateway.settled.total < READINGS:
            assert time.monotonic() < deadline, f"settled {gateway.settled!r}"
            gateway.send_some(rng)
            if kills_at and gateway.settled.total >= kills_at[0]:
                kills_at.pop(0)
                gateway.send_some(rng)  # something is under way when it dies
                kill(collector)
                with store.write() as conn:
                    held = receipt_for(conn, gateway_id, kit.epoch, store.store_id, kit.now_ms)
                kept = RangeSet(held.lanes[0].settled)
                assert all(kept.missing(*pair) == [] for pair in gateway.settled)
                collector = start_collector(url, mosquitto.port)
    finally:
        kill(collector)
        gateway.close()
    with store.write() as conn:
        (lane,) = receipt_for(conn, gateway_id, kit.epoch, store.store_id, kit.now_ms).lanes
        stored = conn.execute(select(func.count()).select_from(position)).scalar_one()
    store.close()
    assert kills_at == []
    assert (lane.settled, stored) == (((1, READINGS),), READINGS)
    assert lane.stored + lane.duplicate == READINGS
