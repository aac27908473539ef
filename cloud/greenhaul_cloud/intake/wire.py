"""The broker through paho: one supervised connection, callbacks that only hand over.

paho is a wire here, not a queue: a client lives for one connection, its acknowledgements carry
that connection's generation, and what was not acknowledged comes again with the session.
"""

import itertools
import json
import logging
import random
import socket
import threading
import time
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
from greenhaul_cloud.intake.worker import DELIVERIES_MAX, LOG_EVERY_S, Delivery, Presence
from greenhaul_cloud.store.faults import Cause, Fault
from greenhaul_cloud.store.inspection import ReceivedBlock, receive_block
from greenhaul_protocols.block import BLOCK_SIZE_MAX
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.receipt import Receipt, encode_receipt
from greenhaul_protocols.topics import (
    GATEWAY_ID,
    STATE_FILTER,
    UP_FILTER,
    Misdirected,
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
ANSWER_S_MAX = 4.0
# A broker whose machine vanished is missed after 2 s + 3 × 1 s, not at the second unanswered ping;
# and what we sent it is not waited for any longer either.
_KEEPALIVE_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5_000),
)
# The broker drops what is larger than any block can be, as those do that we ship settings for.
PACKET_SIZE_MAX = 128 * 1024
_STATE_PREFIX = STATE_FILTER.removesuffix("+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and who we are there.

    shards: first and last to take; inflight_max: messages the broker may have with us
    unacknowledged; hears_state: whether gateways' coming and going is heard here; is_lasting:
    whether the broker keeps the session while we are away; version: which MQTT to try first.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    shards: tuple[int, int] = (0x00, 0xFF)
    inflight_max: int = DELIVERIES_MAX
    hears_state: bool = True
    is_lasting: bool = True
    version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5

    @property
    def filters(self) -> list[str]:
        """What to subscribe to."""
        first, last = self.shards
        states = [STATE_FILTER] if self.hears_state else []
        if (first, last) == (0x00, 0xFF):
            return [UP_FILTER, *states]
        return [f"gh/v1/up/{shard:02x}/+/+" for shard in range(first, last + 1)] + states


def make_client(address: BrokerAddress, version: MQTTProtocolVersion) -> Client:
    """A client for one connection, which nothing is called back of yet."""
    is_v5 = version == MQTTProtocolVersion.MQTTv5
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=address.client_id,
        clean_session=None if is_v5 else not address.is_lasting,
        protocol=version,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.suppress_exceptions = True
    client.on_socket_open = _keep_alive
    if address.username is not None:
        client.username_pw_set(address.username, address.password)
    if address.tls:
        client.tls_set(ca_certs=str(address.ca_file) if address.ca_file else None)
    return client


def open_connection(client: Client, address: BrokerAddress, version: MQTTProtocolVersion) -> None:
    """Connect and ask to be let in. Raises OSError."""
    if version != MQTTProtocolVersion.MQTTv5:
        client.connect(address.host, address.port, KEEPALIVE_S)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_S if address.is_lasting else 0
    properties.ReceiveMaximum = address.inflight_max
    properties.MaximumPacketSize = PACKET_SIZE_MAX
    client.connect(
        address.host, address.port, KEEPALIVE_S,
        clean_start=not address.is_lasting, properties=properties,
    )  # fmt: skip


def other_version(version: MQTTProtocolVersion) -> MQTTProtocolVersion:
    """What to try when a broker does not speak this one."""
    is_v5 = version == MQTTProtocolVersion.MQTTv5
    return MQTTProtocolVersion.MQTTv311 if is_v5 else MQTTProtocolVersion.MQTTv5


def _keep_alive(_client: Client, _userdata: Any, opened: Any) -> None:
    for level, option, value in _KEEPALIVE_OPTIONS:
        opened.setsockopt(level, option, value)


# Of connections, in the whole process: an acknowledgement finds its own, or none.
_generations = itertools.count(1)


class PahoWire:
    """One session at the broker that stays connected; `deliver` is given everything that comes."""

    def __init__(
        self,
        address: BrokerAddress,
        counters: IntakeCounters,
        deliver: Callable[[Delivery | Presence], bool],
    ) -> None:
        self._address, self._counters = address, counters
        self._deliver = deliver
        self._generation = 0
        self._client: Client | None = None
        self._version = address.version
        self.has_stood = False  # whether it was ever connected
        self._is_version_refused = False
        self._complained_s = -LOG_EVERY_S
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

    def start(self) -> None:
        """Connect, and keep connected until `stop`."""
        self._thread.start()

    def leave(self) -> None:
        """Disconnect without waiting for it; the broker keeps the session."""
        self._stopping.set()
        self._closed.set()
        self._answered.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until a wire that was left has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def renew(self) -> None:
        """Connect anew: the broker sends again what was not acknowledged."""
        self._closed.set()

    def acknowledge(self, delivery: Delivery) -> bool:
        """Tell the broker; False when the delivery came on another connection."""
        with self._lock:
            if not self._client or delivery.generation != self._generation:
                return False
            if delivery.qos:
                self._client.ack(delivery.message_id, delivery.qos)
            return True

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
                self._set_connected(False)
            if stood.is_set():
                backoff_s = BACKOFF_S_MIN
            # decorrelated jitter: collectors do not come back all at once
            backoff_s = min(BACKOFF_S_MAX, random.uniform(BACKOFF_S_MIN, 3 * backoff_s))
            self._stopping.wait(backoff_s)

    def _connect_once(self) -> None:
        """One connection from beginning to end."""
        self._closed.clear()
        self._answered.clear()
        if self._stopping.is_set():  # asked to leave just before these were cleared
            return
        self._is_version_refused = False
        generation = next(_generations)
        client = self._make_client(generation)
        with self._lock:
            self._generation = generation
            self._client = client
        try:
            open_connection(client, self._address, self._version)
            client.loop_start()
            if not self._answered.wait(ANSWER_S_MAX) or self._is_version_refused:
                self._try_other_version()
                return
            self._closed.wait()
        finally:
            with self._lock:
                self._client = None
            client.disconnect()
            client.loop_stop()

    def _try_other_version(self) -> None:
        self._version = other_version(self._version)

    def _set_connected(self, is_connected: bool) -> None:
        with self._lock:
            if is_connected != self._connected.is_set():
                self._counters.is_connected.inc(1 if is_connected else -1)
            if is_connected:
                self._connected.set()
            else:
                self._connected.clear()

    def _make_client(self, generation: int) -> Client:
        client = make_client(self._address, self._version)
        client.user_data_set(generation)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

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
            self._set_connected(True)
            self.has_stood = True
            self._counters.connects.inc()
            log.info(
                "event=broker_connected host=%s shards=%02x-%02x",
                self._address.host,
                *self._address.shards,
            )
        self._answered.set()

    def _on_disconnect(
        self, _client: Client, _generation: int, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if not self._answered.is_set():
            # brokers that know only 3.1.1 often hang up on 5.0 without a word
            self._is_version_refused = True
        self._set_connected(False)
        self._closed.set()
        self._answered.set()
        if not self._stopping.is_set():
            log.warning("event=broker_disconnected reason=%s", reason)

    def _on_connect_fail(self, _client: Client, _generation: int) -> None:
        self._closed.set()

    def _on_message(self, client: Client, generation: int, message: MQTTMessage) -> None:
        try:
            item = self._read(message, generation)
            if item is None or isinstance(item, Presence):
                client.ack(message.mid, message.qos)
            if item is not None and not self._deliver(item) and message.qos:
                self._closed.set()  # with a new connection the broker sends it again
        except Exception:  # it must not keep the others out: it comes again with the next session
            log.exception("event=message_failed action=left_unacknowledged")

    def _read(self, message: MQTTMessage, generation: int) -> Delivery | Presence | None:
        """What a message is; None when its topic says nothing we know."""
        if message.topic.startswith(_STATE_PREFIX):
            gateway = message.topic.removeprefix(_STATE_PREFIX)
            if GATEWAY_ID.fullmatch(gateway):
                return Presence(gateway, says_online(bytes(message.payload)))
            self._misdirected("state", message.topic)
            return None
        payload = bytes(message.payload)
        try:
            gateway, lane = parse_up_topic(message.topic)
        except Misdirected as error:
            # settles nothing, but whose it is can be told: kept as evidence
            self._counters.misdirected.labels("shard" if error.lane is not None else "lane").inc()
            fault = Fault(Cause.TOPIC, str(error))
            evidence = payload[:BLOCK_SIZE_MAX]
            block = ReceivedBlock(error.gateway, error.lane or 0, evidence, None, fault)
        except DecodeError:
            self._misdirected("topic", message.topic)
            return None
        else:
            block = receive_block(gateway, lane, payload)
        return Delivery(block, message.mid, message.qos, generation)

    def _misdirected(self, reason: str, topic: str) -> None:
        """Nobody to keep it for: counted, and said once a minute."""
        self._counters.misdirected.labels(reason).inc()
        if time.monotonic() - self._complained_s >= LOG_EVERY_S:
            self._complained_s = time.monotonic()
            log.warning("event=misdirected topic=%r action=dropped", topic[:120])


def says_online(payload: bytes) -> bool:
    """Whether a presence message, `{"online": true, …}`, says that its gateway is connected."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):  # deep nesting is an error of its own
        return False
    return isinstance(said, dict) and said.get("online") is True
