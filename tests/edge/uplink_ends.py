"""What an uplink meets: a collector that plays its part by script, and a link in our hands."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import paho.mqtt.client as paho

from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_protocols.block import FORMAT_MAX, BlockHeader, unwrap_block
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt, encode_receipt
from greenhaul_protocols.series import decode_body
from greenhaul_protocols.topics import receipt_topic

PACE = Pace(send_window_ms=50, resend_after_ms=300, unreceipted_max=256 * 1024)


class Broker(Protocol):
    """What the session's fixture gives."""

    host: str
    port: int


@dataclass
class Collector:
    """Stores by identity, answers every block; or does not, when told so."""

    client: paho.Client
    gateway: str
    is_answering: bool = True
    is_retaining: bool = True
    headers: list[BlockHeader] = field(default_factory=list)
    readings: set[int] = field(default_factory=set)
    settled: dict[int, RangeSet] = field(default_factory=dict)
    presence: list[dict[str, Any]] = field(default_factory=list)
    revision: int = 1
    block_format: int = FORMAT_MAX  # as it says it reads
    formats: set[int] = field(default_factory=set)

    def on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        """A block, or somebody's presence."""
        if message.topic.startswith("gh/v1/state/"):
            self.presence.append(json.loads(message.payload))
            return
        block = unwrap_block(bytes(message.payload))
        header = block.header
        self.formats |= {block.block_format} if header.count else set()
        ranges = self.settled.setdefault(header.epoch, RangeSet())
        for series in decode_body(block.inflate()):
            self.readings |= set(series.device_time_ms)
        ranges.add(header.first, header.last)
        self.headers.append(header)
        if self.is_answering:
            self.answer(header.epoch)

    def answer(self, epoch: int) -> None:
        """Say what is settled."""
        self.revision += 1
        ranges = self.settled.get(epoch, RangeSet())
        lane = LaneState(lane=1, settled=tuple(ranges), through=ranges.last, stored=ranges.total)
        receipt = Receipt(
            gateway=self.gateway,
            epoch=epoch,
            store_id=7,
            revision=self.revision,
            server_time_ms=time.time_ns() // 1_000_000,
            block_format=self.block_format,
            lanes=(lane,) if ranges.total else (),
        )
        topic = receipt_topic(self.gateway)
        self.client.publish(topic, encode_receipt(receipt), qos=1, retain=self.is_retaining)


Connect = Callable[..., Uplink]


def positions(count: int, start: int = 0) -> list[Position]:
    """Readings whose device times tell them apart."""
    return [
        Position(
            source="808:1",
            device_time_ms=start + i,
            received_time_ms=0,
            latitude_deg=30 + i / 1000,
            longitude_deg=112.0,
        )
        for i in range(count)
    ]


def waiting(outbox: Outbox) -> int:
    """How many readings no receipt has settled."""
    return sum(lane.unsettled.total for lane in outbox.view().lanes)


class Proxy:
    """A link in our hands: between an uplink and the broker."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self.connections = 0
        self.is_frozen = False
        self.up = b""  # what went to the broker
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b, a is near), daemon=True).start()

    def _pump(self, a: socket.socket, b: socket.socket, is_up: bool) -> None:
        try:
            while data := a.recv(65_536):
                if is_up:
                    self.up += data
                if not self.is_frozen:
                    b.sendall(data)
        except OSError:
            pass
        finally:
            a.close()
            b.close()

    def cut(self) -> None:
        """Every connection ends."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        """No more of it."""
        self._listener.close()
        self.cut()
