"""A connection to the broker, step by step, as far as it gets."""

import queue
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Config
from greenhaul_edge.uplink.addresses import AddressBook
from greenhaul_edge.uplink.credentials import Credentials
from greenhaul_edge.uplink.dialer import Dialer
from greenhaul_edge.uplink.wire import Acked, Arrived, Closed, Connected, WireEvent
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.errors import ConfigError, DecodeError, Unavailable
from greenhaul_protocols.receipt import decode_receipt
from greenhaul_protocols.topics import LANE_LIVE, up_topic

_TCP_S_MAX = 5.0
_CONNACK_S_MAX = 15.0
_RECEIPT_S_MAX = 10.0


@dataclass(slots=True)
class BrokerProbe:
    """Faults by step: empty is well, None is not tried."""

    name: str | None = None
    port: str | None = None
    files: str | None = None
    tls: str | None = None
    credentials: str | None = None
    publishing: str | None = None
    receipt: str | None = None
    certificate: dict[str, Any] | None = None  # the broker's, as `getpeercert` gives it
    cloud_ahead_ms: int | None = None  # cloud's clock minus the system's


def probe_broker(
    config: Config, clock: Clock, epoch: int | None, *, is_polite: bool
) -> BrokerProbe:
    """Connect and say hello. is_polite: an agent runs, whose connection we must not take over."""
    probe = BrokerProbe()
    try:
        Credentials(config.uplink, clock)
        probe.files = ""
    except ConfigError as error:
        probe.files = str(error)
    address = _reach(probe, config)
    if address is None or probe.files:
        return probe
    if config.uplink.tls:
        _shake_hands(probe, config, clock, address)
        if probe.tls:
            return probe
    if not is_polite:
        _say_hello(probe, config, clock, epoch)
    return probe


def _reach(probe: BrokerProbe, config: Config) -> str | None:
    host, port = config.uplink.host, config.uplink.port
    try:
        addresses = AddressBook(host, port).candidates()
        probe.name = ""
    except Unavailable as error:
        probe.name = str(error)
        return None
    for address in addresses:
        try:
            socket.create_connection((address, port), _TCP_S_MAX).close()
        except OSError as error:
            probe.port = f"{address} port {port}: {error.strerror or error}"
        else:
            probe.port = ""
            return address
    return None


def _shake_hands(probe: BrokerProbe, config: Config, clock: Clock, address: str) -> None:
    context = Credentials(config.uplink, clock).show().context
    assert context is not None
    try:
        with (
            socket.create_connection((address, config.uplink.port), _TCP_S_MAX) as plain,
            context.wrap_socket(plain) as secured,
        ):
            probe.certificate = secured.getpeercert()
            probe.tls = ""
    except ssl.SSLCertVerificationError as error:
        probe.tls = error.verify_message if hasattr(error, "verify_message") else str(error)
    except OSError as error:
        probe.tls = str(error)


def _say_hello(probe: BrokerProbe, config: Config, clock: Clock, epoch: int | None) -> None:
    events: queue.Queue[WireEvent] = queue.Queue()
    gateway = config.gateway.id
    wire = Dialer(config.uplink, gateway, clock)(1, events.put)
    try:
        event = _next(events, _CONNACK_S_MAX)
        if not isinstance(event, Connected):
            probe.credentials = event.reason if isinstance(event, Closed) else "no answer"
            return
        probe.credentials = ""
        if epoch is None:
            return
        header = BlockHeader(
            gateway=gateway, epoch=epoch, lane=LANE_LIVE, first=1, count=0, asks_receipt=True
        )
        wire.publish(up_topic(gateway, LANE_LIVE), wrap_block(header))
        _await_receipt(probe, events, epoch)
    except Unavailable as error:
        probe.receipt = str(error)
    finally:
        wire.close()


def _await_receipt(probe: BrokerProbe, events: "queue.Queue[WireEvent]", epoch: int) -> None:
    deadline = time.monotonic() + _RECEIPT_S_MAX
    while (left_s := deadline - time.monotonic()) > 0:
        match _next(events, left_s):
            case Acked(failure=failure):
                probe.publishing = failure or ""
            case Closed(reason=reason):
                probe.receipt = reason
                return
            case Arrived(payload=payload, is_retained=False):
                try:
                    receipt = decode_receipt(payload)
                except DecodeError as error:
                    probe.receipt = str(error)
                    return
                if receipt.epoch == epoch:
                    probe.receipt = ""
                    probe.cloud_ahead_ms = receipt.server_time_ms - time.time_ns() // 1_000_000
                    return
    probe.receipt = "no receipt"


def _next(events: "queue.Queue[WireEvent]", wait_s: float) -> WireEvent | None:
    try:
        return events.get(timeout=wait_s)
    except queue.Empty:
        return None
