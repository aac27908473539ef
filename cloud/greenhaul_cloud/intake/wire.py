"""The broker through paho: one supervised connection, callbacks that only hand over.

paho is a wire here, not a queue: a client lives for one connection, its acknowledgements carry
that connection's generation, and what was not acknowledged comes again with the session.
"""

import json
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.worker import DELIVERIES_MAX, Delivery, Presence
from greenhaul_cloud.store.inspection import receive_block
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.receipt import Receipt, encode_receipt
from greenhaul_protocols.topics import (
    GATEWAY_ID,
    STATE_FILTER,
    UP_FILTER,
    parse_up_topic,
    receipt_topic,
)

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
# The broker keeps our queue this long while we are away; after that the edges' outboxes do.
SESSION_S = 24 * 3600
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 30.0
# A connection that stood this long was a good one: the next attempt comes soon.
STABLE_S = 60.0
# From the TCP connection to the SUBACK. A broker that knows only 3.1.1 may say nothing to 5.0.
_ANSWER_S_MAX = 4.0
_STATE_PREFIX = STATE_FILTER.removesuffix("+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and who we are there. shards: first and last this collector takes."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    shards: tuple[int, int] = (0x00, 0xFF)

    @property
    def filters(self) -> list[str]:
        """What to subscribe to."""
        first, last = self.shards
        if (first, last) == (0x00, 0xFF):
            return [UP_FILTER, STATE_FILTER]
        return [f"gh/v1/up/{shard:02x}/+/+" for shard in range(first, last + 1)] + [STATE_FILTER]


class PahoWire:
    """A `Wire` that stays connected; `deliver` is given everything that comes."""

    def __init__(self, address: BrokerAddress, counters: IntakeCounters) -> None:
        self._address, self._counters = address, counters
        self._deliver: Callable[[Delivery | Presence], bool] = lambda _item: False
        self._generation = 0
        self._client: Client | None = None
        self._version = MQTTProtocolVersion.MQTTv5
        self._is_version_refused = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._closed = threading.Event()
        self._answered = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="broker", daemon=True)

    @property
    def is_connected(self) -> bool:
        """Whether blocks can come in just now."""
        return self._connected.is_set()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until subscribed; False when it took longer."""
        return self._connected.wait(timeout_s)

    def start(self, deliver: Callable[[Delivery | Presence], bool]) -> None:
        """Connect, and keep connected until `stop`."""
        self._deliver = deliver
        self._thread.start()

    def stop(self) -> None:
        """Disconnect; the broker keeps the session."""
        self._stopping.set()
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def acknowledge(self, delivery: Delivery) -> None:
        """As `Wire.acknowledge`."""
        with self._lock:
            if self._client and delivery.generation == self._generation and delivery.qos:
                self._client.ack(delivery.message_id, delivery.qos)

    def publish_receipt(self, receipt: Receipt) -> bool:
        """As `Wire.publish_receipt`. QoS 0: a receipt that is lost is asked for again."""
        with self._lock:
            if not self._client or not self._connected.is_set():
                return False
            topic, data = receipt_topic(receipt.gateway), encode_receipt(receipt)
            sent = self._client.publish(topic, data, qos=0, retain=True)
            return sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def _supervise(self) -> None:
        backoff_s = BACKOFF_S_MIN
        while not self._stopping.is_set():
            stood = threading.Event()
            timer = threading.Timer(STABLE_S, stood.set)
            timer.daemon = True
            timer.start()
            try:
                self._connect_once()
            except OSError as error:
                log.warning("event=broker_unreachable host=%s error=%s", self._address.host, error)
            except Exception:
                log.exception("event=broker_connection_failed")
            finally:
                timer.cancel()
                self._connected.clear()
                self._counters.is_connected.set(0)
            if stood.is_set():
                backoff_s = BACKOFF_S_MIN
            # decorrelated jitter: collectors do not come back all at once
            backoff_s = min(BACKOFF_S_MAX, random.uniform(BACKOFF_S_MIN, 3 * backoff_s))
            self._stopping.wait(backoff_s)

    def _connect_once(self) -> None:
        """One connection from beginning to end."""
        self._closed.clear()
        self._answered.clear()
        self._is_version_refused = False
        client = self._make_client()
        with self._lock:
            self._generation += 1
            self._client = client
        try:
            self._open(client)
            client.loop_start()
            if not self._answered.wait(_ANSWER_S_MAX) or self._is_version_refused:
                self._try_other_version()
                return
            self._closed.wait()
        finally:
            with self._lock:
                self._client = None
            client.disconnect()
            client.loop_stop()

    def _try_other_version(self) -> None:
        is_v5 = self._version == MQTTProtocolVersion.MQTTv5
        self._version = MQTTProtocolVersion.MQTTv311 if is_v5 else MQTTProtocolVersion.MQTTv5

    def _make_client(self) -> Client:
        is_v5 = self._version == MQTTProtocolVersion.MQTTv5
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._address.client_id,
            clean_session=None if is_v5 else False,
            protocol=self._version,
            reconnect_on_failure=False,
            manual_ack=True,
            userdata=self._generation + 1,
        )
        client.suppress_exceptions = True
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if self._address.username is not None:
            client.username_pw_set(self._address.username, self._address.password)
        if self._address.tls:
            client.tls_set(ca_certs=str(self._address.ca_file) if self._address.ca_file else None)
        return client

    def _open(self, client: Client) -> None:
        if self._version != MQTTProtocolVersion.MQTTv5:
            client.connect(self._address.host, self._address.port, KEEPALIVE_S)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = DELIVERIES_MAX
        client.connect(
            self._address.host, self._address.port, KEEPALIVE_S,
            clean_start=False, properties=properties,
        )  # fmt: skip

    # -- paho's callbacks: they run in its thread, and only hand over --------------------------

    def _on_connect(
        self, client: Client, _generation: int, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            log.warning("event=broker_refused reason=%s", reason)
            self._is_version_refused = "version" in str(reason).lower()
            self._closed.set()
            self._answered.set()
            return
        client.subscribe([(pattern, 1) for pattern in self._address.filters])

    def _on_subscribe(
        self, _client: Client, _generation: int, _mid: int, reasons: list[ReasonCode], _props: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            log.error("event=subscription_refused reason=%s", refused[0])
            self._closed.set()
        else:
            self._connected.set()
            self._counters.connects.inc()
            self._counters.is_connected.set(1)
            log.info("event=broker_connected host=%s", self._address.host)
        self._answered.set()

    def _on_disconnect(
        self, _client: Client, _generation: int, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if not self._answered.is_set():
            # brokers that know only 3.1.1 often hang up on 5.0 without a word
            self._is_version_refused = True
        self._connected.clear()
        self._closed.set()
        self._answered.set()
        if not self._stopping.is_set():
            log.warning("event=broker_disconnected reason=%s", reason)

    def _on_connect_fail(self, _client: Client, _generation: int) -> None:
        self._closed.set()

    def _on_message(self, client: Client, generation: int, message: MQTTMessage) -> None:
        item: Delivery | Presence
        if message.topic.startswith(_STATE_PREFIX):
            client.ack(message.mid, message.qos)
            gateway = message.topic.removeprefix(_STATE_PREFIX)
            if not GATEWAY_ID.fullmatch(gateway):
                return
            item = Presence(gateway, says_online(bytes(message.payload)))
        else:
            try:
                gateway, lane = parse_up_topic(message.topic)
            except DecodeError as error:
                self._counters.blocks.labels("misdirected").inc()
                log.debug("event=misdirected error=%s", error)
                client.ack(message.mid, message.qos)
                return
            block = receive_block(gateway, lane, bytes(message.payload))
            item = Delivery(block, message.mid, message.qos, generation)
        if not self._deliver(item) and message.qos:
            self._closed.set()  # with a new connection the broker sends it again


def says_online(payload: bytes) -> bool:
    """Whether a presence message, `{"online": true, …}`, says that its gateway is connected."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):  # deep nesting is an error of its own
        return False
    return isinstance(said, dict) and said.get("online") is True
