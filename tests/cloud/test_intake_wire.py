"""A wire to a real broker: acknowledgements count, one bad message is alone."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from prometheus_client import CollectorRegistry
from tests.conftest import Broker

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.wire import BrokerAddress, PahoWire
from greenhaul_cloud.intake.worker import Delivery, Presence
from greenhaul_protocols.topics import up_topic

WAIT_S = 10
# More than one read and one turn of the loop; a broker of 3.1.1 is not told how many it may send.
COUNTS = [(MQTTProtocolVersion.MQTTv5, 2_500), (MQTTProtocolVersion.MQTTv311, 20)]

Deliver = Callable[[Delivery | Presence], bool]


@contextmanager
def connected(
    broker: Broker, client_id: str, version: MQTTProtocolVersion, deliver: Deliver
) -> Iterator[PahoWire]:
    """A wire that stands, until the block ends."""
    subscribed = queue.Queue[None]()
    address = BrokerAddress(
        host=broker.host, port=broker.port, client_id=client_id, hears_state=False, version=version
    )
    counters = IntakeCounters(CollectorRegistry())
    counters.connects.inc = lambda *_: subscribed.put(None)  # type: ignore[method-assign]
    wire = PahoWire(address, counters, deliver)
    wire.start()
    subscribed.get(timeout=WAIT_S)
    yield wire
    wire.leave()
    wire.join()


@contextmanager
def publishing(broker: Broker) -> Iterator[Callable[[bytes], None]]:
    """Publishes on a gateway's topic; all has reached the broker when the block ends."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    sent = []
    yield lambda payload: sent.append(client.publish(up_topic("gw-wire", 1), payload, qos=1))
    for one in sent:
        one.wait_for_publish(WAIT_S)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize(("version", "count"), COUNTS)
def test_what_was_acknowledged_does_not_come_again(
    mosquitto: Broker, version: MQTTProtocolVersion, count: int
) -> None:
    """And the rest does, in order: acknowledgements that go out together each count."""
    client_id = f"wire-{uuid4().hex}"
    heard = queue.Queue[Delivery]()

    def deliver(item: Delivery | Presence) -> bool:
        assert isinstance(item, Delivery)
        heard.put(item)
        return True

    with connected(mosquitto, client_id, version, deliver) as wire:
        with publishing(mosquitto) as publish:
            for number in range(count):
                publish(b"%d" % number)
            first = [heard.get(timeout=WAIT_S) for _ in range(count // 2)]
            for one in first:
                assert wire.acknowledge(one)
        unacknowledged = [heard.get(timeout=WAIT_S) for _ in range(count - count // 2)]
    said = [int(one.block.raw) for one in (*first, *unacknowledged)]
    assert said == list(range(count))
    with connected(mosquitto, client_id, version, deliver) as wire:
        again = [heard.get(timeout=WAIT_S) for _ in unacknowledged]
        assert [int(one.block.raw) for one in again] == said[count // 2 :]
        assert not wire.acknowledge(first[0]), "it came on another connection"
        for one in again:
            assert wire.acknowledge(one)
    with connected(mosquitto, client_id, version, deliver), publishing(mosquitto) as publish:
        publish(b"last")
        assert heard.get(timeout=WAIT_S).block.raw == b"last"


def test_a_message_that_cannot_be_taken_keeps_no_other_out(
    mosquitto: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    heard = queue.Queue[bytes]()

    def deliver(item: Delivery | Presence) -> bool:
        assert isinstance(item, Delivery)
        if item.block.raw == b"poison":
            raise ZeroDivisionError
        heard.put(item.block.raw)
        return True

    client_id = f"wire-{uuid4().hex}"
    with (
        connected(mosquitto, client_id, MQTTProtocolVersion.MQTTv5, deliver) as wire,
        publishing(mosquitto) as publish,
    ):
        for payload in (b"before", b"poison", b"after"):
            publish(payload)
        assert [heard.get(timeout=WAIT_S) for _ in range(2)] == [b"before", b"after"]
        assert wire.is_connected
    assert "event=message_failed" in caplog.text
