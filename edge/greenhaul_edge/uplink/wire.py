"""paho as a wire: one client a connection, nothing queued in it, callbacks that only report.

What paho would do on its own (reconnect, send everything again at once, swallow failure codes) is
left to the supervisor: a connection that ends is thrown away with all it had not delivered.
"""

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from greenhaul_edge.clock import Moment
from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.uplink.addresses import AddressBook
from greenhaul_edge.uplink.credentials import Shown, date_fault
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.topics import receipt_topic, state_topic

log = logging.getLogger(__name__)

# Unacknowledged bytes make the kernel give up a dead link after so long; an idle one is probed.
_TCP_USER_TIMEOUT_MS = 30_000
_TCP_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
_CONNECT_TIMEOUT_S = 10.0
# From the TCP connection to the CONNACK. Some brokers of 3.1.1 say nothing at all to 5.0.
_ANSWER_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us, and the subscription is under way. Limits only where it names them."""

    connection: int
    receive_max: int | None = None
    packet_size_max: int | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over, or never was."""

    connection: int
    reason: str
    is_refused: bool = False  # by the broker: wrong credentials, no rights, somebody else's name


@dataclass(frozen=True, slots=True)
class Acked:
    """A PUBACK; `failure` is its reason where it says no."""

    connection: int
    message: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message on the receipt topic."""

    connection: int
    payload: bytes
    is_retained: bool


WireEvent = Connected | Closed | Acked | Arrived
Report = Callable[[WireEvent], None]


class PahoWire:
    """One connection to the broker. `report` is called from paho's thread and must only enqueue."""

    def __init__(
        self,
        settings: UplinkSettings,
        gateway: str,
        connection: int,
        report: Report,
        *,
        is_v5: bool,
        book: AddressBook,
        show: Callable[[], Shown],
        on_version: Callable[[bool], None],
    ) -> None:
        """on_version: told whether the broker speaks the version tried."""
        self._settings, self._gateway = settings, gateway
        self._connection, self._report = connection, report
        self._is_v5, self._book, self._show, self._on_version = is_v5, book, show, on_version
        self._address = ""
        # Blocks go to one topic a lane: named once a connection, then by number (MQTT 5). It is
        # one twentieth of a live block's bytes.
        self._aliases: dict[str, int] = {}
        self._alias_max = 0  # how many numbers the broker keeps
        self._answered = threading.Event()
        self._is_closed = False
        self._lock = threading.Lock()  # closing, and connecting in another thread
        self._client = self._make_client()
        # Name lookup and connecting may hang: never in the caller's thread.
        threading.Thread(target=self._connect, name="uplink connect", daemon=True).start()

    def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> int:
        """Send at QoS 1; the number its PUBACK will carry. Raises Unavailable."""
        named, properties = topic, None
        if not is_retained:
            named, properties = self._shortened(topic)
        info = self._client.publish(
            named, payload, qos=1, retain=is_retained, properties=properties
        )
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise Unavailable(paho.error_string(info.rc))
        return info.mid

    def _shortened(self, topic: str) -> tuple[str, Properties | None]:
        """The topic, to be known by a number from now on; or nothing and that number."""
        number = self._aliases.get(topic)
        is_new = number is None and len(self._aliases) < self._alias_max
        if is_new:
            number = self._aliases[topic] = len(self._aliases) + 1
        if number is None:
            return topic, None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has it so
        properties.TopicAlias = number
        return topic if is_new else "", properties

    def date_fault(self, utc_ms: int) -> str | None:
        """What was wrong with the broker's certificates, had it been this moment. None: nothing."""
        connection = self._client.socket()
        if not isinstance(connection, ssl.SSLSocket):
            return None
        return date_fault(connection, Moment(utc_ms, is_known=True, is_system=False))

    def close(self, farewell: bytes | None = None) -> None:
        """End the connection; farewell: presence to leave behind."""
        with self._lock:
            self._is_closed = True
        self._answered.set()
        if farewell is not None and self._client.is_connected():
            info = self._client.publish(state_topic(self._gateway), farewell, qos=1, retain=True)
            try:
                info.wait_for_publish(timeout=2)
            except (RuntimeError, ValueError) as error:
                log.info("presence not published: %s", error)
        self._client.disconnect()
        self._client.loop_stop()
        # Callbacks hold this object and it holds the client: without the cycle paho's sockets
        # are closed now, not when the garbage collector comes by.
        self._client.on_connect = self._client.on_disconnect = self._client.on_subscribe = None
        self._client.on_publish = self._client.on_message = None

    # The connecting thread.

    def _connect(self) -> None:
        try:
            self._open()
        except Unavailable as error:
            self._end(str(error))
            return
        except Exception as error:
            log.exception("uplink: connecting failed")
            self._end(f"connecting failed: {error}")
            return
        with self._lock:
            if self._is_closed:
                return
            self._client.loop_start()
        if not self._answered.wait(_ANSWER_S_MAX):
            self._on_version(False)
            self._end(f"{self._address}: connected, but no CONNACK in {_ANSWER_S_MAX:g} s")

    def _open(self) -> None:
        """Connect to the first address that takes us. Raises Unavailable."""
        settings, faults = self._settings, list[str]()
        shown = self._show()
        if settings.username:
            self._client.username_pw_set(settings.username, shown.password)
        if shown.context is not None:
            self._client.tls_set_context(shown.context)
        for address in self._book.candidates():
            self._address = address
            try:
                self._client.connect(address, settings.port, settings.keepalive_s)
            except (OSError, ValueError) as error:
                faults.append(f"{address} port {settings.port}: {error}")
            else:
                return
        raise Unavailable("; ".join(faults))

    def _end(self, reason: str, *, is_refused: bool = False) -> None:
        self._report(Closed(self._connection, reason, is_refused))

    def _make_client(self) -> paho.Client:
        version = MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"gh-edge-{self._gateway}",
            clean_session=None if self._is_v5 else True,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.will_set(state_topic(self._gateway), presence(False), qos=1, retain=True)
        client.on_socket_open = _tune
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    # paho's callbacks: they run in its thread and only report.

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, properties: Any
    ) -> None:
        self._answered.set()
        if reason.is_failure:
            self._on_version("protocol version" not in str(reason).lower())
            self._end(f"refused by the broker: {reason}", is_refused=True)
            return
        self._on_version(True)
        self._book.note_good(self._address)
        client.drop_out_messages()
        client.subscribe(receipt_topic(self._gateway), qos=0)
        receive_max = getattr(properties, "ReceiveMaximum", None)
        size_max = getattr(properties, "MaximumPacketSize", None)
        self._alias_max = getattr(properties, "TopicAliasMaximum", 0)
        self._report(Connected(self._connection, receive_max, size_max))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if not self._answered.is_set():
            self._on_version(False)  # hung up instead of a CONNACK
        self._answered.set()
        is_twin = reason.value == 0x8E  # session taken over
        said = "another client connected with our id" if is_twin else str(reason)
        self._end(said, is_refused=is_twin)

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _message: int, reasons: Any, _properties: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._end(f"receipts may not be read: {refused[0]}", is_refused=True)

    def _on_publish(
        self, _client: paho.Client, _data: Any, message: int, reason: Any, _properties: Any
    ) -> None:
        failure = str(reason) if reason.is_failure else None
        if reason.value == 0x10:  # no matching subscribers: nothing was delivered
            failure = "no collector is subscribed"
        self._report(Acked(self._connection, message, failure))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._report(Arrived(self._connection, bytes(message.payload), message.retain))


def presence(is_online: bool, **more: object) -> bytes:
    """What stands, retained, on a gateway's state topic."""
    return json.dumps({"online": is_online, **more}).encode()


def _tune(_client: paho.Client, _data: Any, sock: Any) -> None:
    try:
        for level, option, value in _TCP_OPTIONS:
            sock.setsockopt(level, option, value)
    except OSError as error:
        log.warning("uplink socket options: %s", error)
