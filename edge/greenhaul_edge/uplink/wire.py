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

from greenhaul_edge.config import UplinkSettings
from greenhaul_protocols.errors import ConfigError, Unavailable
from greenhaul_protocols.topics import receipt_topic, state_topic

log = logging.getLogger(__name__)

# Unacknowledged bytes make the kernel give up a dead link after so long.
_TCP_USER_TIMEOUT_MS = 30_000
_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us, and the subscription is under way."""

    connection: int
    receive_max: int | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over, or never was."""

    connection: int
    reason: str
    is_refused: bool = False  # by the broker: wrong credentials, no rights


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


class PahoWire:
    """One connection to the broker. `report` is called from paho's thread and must only enqueue."""

    def __init__(
        self,
        settings: UplinkSettings,
        gateway: str,
        connection: int,
        report: Callable[[WireEvent], None],
    ) -> None:
        self._settings, self._gateway = settings, gateway
        self._connection, self._report = connection, report
        self._client = self._make_client()
        self._is_closed = False
        self._lock = threading.Lock()  # closing, and connecting in another thread
        # Name lookup and connecting may hang: never in the caller's thread.
        threading.Thread(target=self._connect, name="uplink connect", daemon=True).start()

    def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> int:
        """Send at QoS 1; the number its PUBACK will carry. Raises Unavailable."""
        info = self._client.publish(topic, payload, qos=1, retain=is_retained)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise Unavailable(paho.error_string(info.rc))
        return info.mid

    def close(self, farewell: bytes | None = None) -> None:
        """End the connection; farewell: presence to leave behind."""
        with self._lock:
            self._is_closed = True
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
        self._client.on_connect = self._client.on_disconnect = None
        self._client.on_publish = self._client.on_message = None

    def _connect(self) -> None:
        settings = self._settings
        try:
            self._client.connect(settings.host, settings.port, settings.keepalive_s)
        except (OSError, ValueError) as error:
            self._report(Closed(self._connection, f"{settings.host}:{settings.port}: {error}"))
            return
        with self._lock:
            if not self._is_closed:
                self._client.loop_start()

    def _make_client(self) -> paho.Client:
        settings = self._settings
        is_v5 = settings.protocol == "5.0"
        version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"gh-edge-{self._gateway}",
            clean_session=None if is_v5 else True,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if settings.username:
            client.username_pw_set(settings.username, read_password(settings))
        if settings.tls:
            client.tls_set_context(tls_context(settings))
        client.will_set(state_topic(self._gateway), presence(False), qos=1, retain=True)
        client.on_socket_open = _tune
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._report(Closed(self._connection, str(reason), is_refused=True))
            return
        client.drop_out_messages()
        client.subscribe(receipt_topic(self._gateway), qos=0)
        self._report(Connected(self._connection, getattr(properties, "ReceiveMaximum", None)))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._report(Closed(self._connection, str(reason)))

    def _on_publish(
        self, _client: paho.Client, _data: Any, message: int, reason: Any, _properties: Any
    ) -> None:
        # 0x10, no matching subscribers: there is no collector, so nothing was delivered.
        is_failure = reason.is_failure or reason.value == 0x10
        self._report(Acked(self._connection, message, str(reason) if is_failure else None))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._report(Arrived(self._connection, bytes(message.payload), message.retain))


def presence(is_online: bool, **more: object) -> bytes:
    """What stands, retained, on a gateway's state topic."""
    return json.dumps({"online": is_online, **more}).encode()


def check_credentials(settings: UplinkSettings) -> None:
    """Read password and certificates once, before anything starts. Raises ConfigError."""
    read_password(settings)
    if settings.tls:
        tls_context(settings)


def read_password(settings: UplinkSettings) -> str | None:
    """The password's file, read at each connection. Raises ConfigError."""
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise ConfigError(f"uplink.password_file: {settings.password_file}: {error}") from error


def tls_context(settings: UplinkSettings) -> ssl.SSLContext:
    """TLS with the broker checked against `ca_file` or the system's authorities."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.client_cert_file:
            context.load_cert_chain(settings.client_cert_file, settings.client_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"uplink: certificate files cannot be used: {error}") from error
    return context


def _tune(_client: paho.Client, _data: Any, sock: Any) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        log.warning("uplink socket options: %s", error)
