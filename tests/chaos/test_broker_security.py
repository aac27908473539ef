"""The broker configuration we ship: what gateway A can do to gateway B."""

import queue
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select
from tests.chaos.chain import until
from tests.chaos.secure_broker import COLLECTOR, PASSWORD, SecureBroker

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.service import Intake
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.intake.wires import PieceWires
from greenhaul_cloud.intake.worker import Delivery, Presence
from greenhaul_cloud.shards.pieces import Piece, cut
from greenhaul_cloud.store import tables
from greenhaul_cloud.store.engine import Store, migrate, open_store
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.receipt import decode_receipt
from greenhaul_protocols.series import encode_body, to_series
from greenhaul_protocols.topics import command_topic, receipt_topic, state_topic, up_topic

WAIT_S = 10
NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """The shipped configuration, running."""
    broker = SecureBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def store(broker: SecureBroker) -> Iterator[Store]:
    """A store that knows both gateways, with a collector on the broker."""
    url = f"sqlite:///{broker.folder}/cloud.db"
    migrate(url)
    store = open_store(url, NOW_MS)
    with store.write() as connection:
        for gateway in ("gw-a", "gw-b"):
            known = insert(tables.gateway).values(id=gateway, sources=[], created_at=NOW_MS)
            connection.execute(known)
    address = BrokerAddress(
        host="127.0.0.1",
        port=broker.local_port,
        client_id="collector",
        username=COLLECTOR,
        password=PASSWORD.format(COLLECTOR),
    )
    intake = Intake(store, address, CollectorRegistry())
    intake.start()
    assert intake.wait_connected(WAIT_S)
    yield store
    intake.stop()
    store.close()


class Client:
    """Somebody on the broker, with what he got."""

    def __init__(self, broker: SecureBroker, user: str, *, client_id: str = "") -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.refusals: queue.Queue[str] = queue.Queue()
        self.connected: queue.Queue[str] = queue.Queue()
        self.lost: queue.Queue[str] = queue.Queue()
        self.done: queue.Queue[int] = queue.Queue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )  # fmt: skip
        self.client.on_message = lambda _c, _d, m: self.messages.put((m.topic, bytes(m.payload)))
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self.connected.put(str(reason))
        self.client.on_disconnect = lambda _c, _d, _f, reason, _p: self.lost.put(str(reason))
        self.client.on_subscribe = lambda _c, _d, mid, _r, _p: self.done.put(mid)
        self.client.on_publish = self._published
        self.client.username_pw_set(user, PASSWORD.format(user))
        self.client.tls_set(ca_certs=str(broker.authority.ca))
        self.port = broker.port

    def _published(
        self, _client: Any, _data: Any, _mid: int, reason: Any, _properties: Any
    ) -> None:
        self.refusals.put(str(reason) if reason.is_failure else "")

    def connect(self) -> str:
        """What the broker said."""
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        return self.connected.get(timeout=WAIT_S)

    def subscribe(self, *topics: str) -> None:
        """Returns after the SUBACK."""
        self.client.subscribe([(topic, 1) for topic in topics])
        self.done.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """Why it was refused; empty if it was not."""
        self.client.publish(topic, payload, qos=1, retain=retain)
        return self.refusals.get(timeout=WAIT_S)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()
        self.client.on_message = self.client.on_connect = self.client.on_disconnect = None
        self.client.on_subscribe = self.client.on_publish = None


@pytest.fixture
def gateway_a(broker: SecureBroker) -> Iterator[Client]:
    """Gateway A, connected with its own credentials."""
    client = Client(broker, "gw-a")
    assert client.connect() == "Success"
    yield client
    client.close()


@pytest.fixture
def gateway_b(broker: SecureBroker) -> Iterator[Client]:
    """Gateway B, likewise."""
    client = Client(broker, "gw-b", client_id="gh-edge-gw-b")
    assert client.connect() == "Success"
    yield client
    client.close()


def block(gateway: str, source: str, *, epoch: int) -> bytes:
    """One reading of a source, carried by a gateway."""
    reading = Position(
        source=source, device_time_ms=NOW_MS, received_time_ms=NOW_MS, latitude_deg=33.0,
        longitude_deg=112.5, is_located=True,
    )  # fmt: skip
    header = BlockHeader(gateway=gateway, epoch=epoch, lane=1, first=1, count=1, asks_receipt=True)
    return wrap_block(header, encode_body(to_series([reading])))


def sources_stored(store: Store) -> set[str]:
    """Names of all sources with a position in the store."""
    query = select(tables.source.c.name).where(tables.position.c.source_id == tables.source.c.id)
    with store.read() as connection:
        return set(connection.execute(query).scalars())


def test_a_gateway_reaches_the_store_and_its_receipt(store: Store, gateway_a: Client) -> None:
    gateway_a.subscribe(receipt_topic("gw-a"))
    assert gateway_a.publish(up_topic("gw-a", 1), block("gw-a", "gw-a/gnss", epoch=1)) == ""
    topic, payload = gateway_a.messages.get(timeout=WAIT_S)
    assert topic == receipt_topic("gw-a")
    assert decode_receipt(payload).lanes[0].stored == 1
    assert "gw-a/gnss" in sources_stored(store)


def test_a_cannot_publish_as_b(store: Store, gateway_a: Client, gateway_b: Client) -> None:
    gateway_b.subscribe(receipt_topic("gw-b"))
    forged = block("gw-b", "gw-b/gnss", epoch=2)
    assert gateway_a.publish(up_topic("gw-b", 1), forged) == "Not authorized"
    assert gateway_a.publish(state_topic("gw-b"), b'{"online": false}') == "Not authorized"
    assert gateway_a.publish(receipt_topic("gw-b"), b"", retain=True) == "Not authorized"
    assert gateway_a.publish(command_topic("gw-b"), b"open the door") == "Not authorized"
    # On A's own topic the ACL lets it pass; the collector does not.
    assert gateway_a.publish(up_topic("gw-a", 1), forged) == ""
    assert gateway_b.publish(up_topic("gw-b", 1), block("gw-b", "gw-b/can", epoch=3)) == ""
    _, payload = gateway_b.messages.get(timeout=WAIT_S)
    receipt = decode_receipt(payload)
    assert receipt.epoch == 3  # B's block came after the forged one, and only B's was taken
    assert "gw-b/gnss" not in sources_stored(store)
    assert "gw-b/can" in sources_stored(store)


def test_a_cannot_carry_what_is_granted_to_b(store: Store, gateway_a: Client) -> None:
    gateway_a.subscribe(receipt_topic("gw-a"))
    carried = block("gw-a", "gw-b/battery", epoch=4)
    assert gateway_a.publish(up_topic("gw-a", 1), carried) == ""
    while (receipt := decode_receipt(gateway_a.messages.get(timeout=WAIT_S)[1])).epoch != 4:
        pass  # what the broker retained for us
    assert (receipt.lanes[0].stored, receipt.lanes[0].quarantined) == (0, 1)
    assert "gw-b/battery" not in sources_stored(store)


def test_a_cannot_read_what_is_for_b(broker: SecureBroker, gateway_a: Client) -> None:
    collector = Client(broker, COLLECTOR)
    assert collector.connect() == "Success"
    gateway_a.subscribe("#", "gh/v1/rx/#", "gh/v1/cmd/#", receipt_topic("gw-b"))
    for topic in (receipt_topic("gw-b"), command_topic("gw-b"), up_topic("gw-b", 1)):
        collector.publish(topic, b"for B alone", retain=True)
    assert collector.publish(command_topic("gw-a"), b"for A") == ""
    heard = [gateway_a.messages.get(timeout=WAIT_S)]
    while heard[-1][1] != b"for A":
        heard.append(gateway_a.messages.get(timeout=WAIT_S))
    collector.close()
    own = {receipt_topic("gw-a"), command_topic("gw-a")}
    assert {topic for topic, _ in heard} <= own


def test_a_cannot_end_the_connection_of_b(broker: SecureBroker, gateway_b: Client) -> None:
    twin = Client(broker, "gw-a", client_id="gh-edge-gw-b")
    assert twin.connect() == "Success"
    namesake = Client(broker, "gw-a", client_id="gw-b")
    assert namesake.connect() == "Success"
    assert gateway_b.publish(state_topic("gw-b"), b'{"online": true}') == ""
    assert gateway_b.lost.empty()
    twin.close()
    namesake.close()


@pytest.mark.parametrize("user", ["gw-a", "gw-c", "", "@collector"])
def test_without_the_right_password_nobody_comes_in(broker: SecureBroker, user: str) -> None:
    client = Client(broker, user)
    client.client.username_pw_set(user or None, "guess" if user else None)
    assert client.connect() == "Not authorized"
    client.close()


def test_a_client_certificate_is_a_gateway(broker: SecureBroker) -> None:
    certificate, key = broker.authority.sign("gw-b")
    client = Client(broker, "gw-a")  # what it says it is does not matter
    context = ssl.create_default_context(cafile=broker.authority.ca)
    context.load_cert_chain(certificate, key)
    client.client._ssl_context = None  # paho sets it once
    client.client.tls_set_context(context)
    client.port = broker.certificate_port
    assert client.connect() == "Success"
    assert client.publish(state_topic("gw-a"), b"{}") == "Not authorized"
    assert client.publish(state_topic("gw-b"), b"{}") == ""
    client.close()


def test_the_shipped_files_name_only_what_exists() -> None:
    shipped = Path(__file__).parent.parent.parent / "cloud/mosquitto"
    readme = (shipped / "README.md").read_text()
    for name in ("acl", *(path.name for path in shipped.glob("*.conf"))):
        assert name in readme


def test_collectors_elsewhere_have_a_session_for_each_piece(
    broker: SecureBroker, store: Store, gateway_a: Client
) -> None:
    """By TLS, all as one user: nobody ends anybody's connection."""
    gateway_a.subscribe(receipt_topic("gw-a"))
    address = BrokerAddress(
        host="localhost",
        port=broker.collectors_port,
        client_id="elsewhere",
        username=COLLECTOR,
        password=PASSWORD.format(COLLECTOR),
        tls=True,
        ca_file=broker.authority.ca,
    )
    registry = CollectorRegistry()
    counters = IntakeCounters(registry)
    heard: queue.Queue[Delivery | Presence] = queue.Queue()

    def hear(item: Delivery | Presence) -> bool:
        heard.put(item)
        return True

    wires = PieceWires(address, counters, 16, hear)
    for piece in cut(Piece(0x00, 0xFF)):
        wires.take(piece)
    until(lambda: wires.is_connected, "all sessions stand")
    assert gateway_a.publish(up_topic("gw-a", 1), block("gw-a", "gw-a/gnss", epoch=9)) == ""
    while not isinstance(item := heard.get(timeout=WAIT_S), Delivery):
        pass
    wires.acknowledge(item)
    assert wires.is_connected
    for piece in cut(Piece(0x00, 0xFF)):
        wires.leave(piece)
    wires.join()
    assert item.block.gateway == "gw-a"
    assert registry.get_sample_value("greenhaul_intake_connects_total") == 16
