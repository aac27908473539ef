"""One connection at the broker through paho, driven by a thread of ours.

paho's own loop asks the kernel for a message in four pieces, makes a dozen objects of it, wakes up
for each acknowledgement and sends each by itself. Here blocks are told from the bytes that have
come, what a flush acknowledges goes out as one, and paho has the rest: connecting, subscribing,
pings, publishing, the end.
"""

import logging
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion

from greenhaul_cloud.intake.packets import READ_BYTES, Publish, ReadAhead

log = logging.getLogger(__name__)

# Packets taken before acknowledgements that wait have their turn.
PACKETS_MAX = 1_000
# Receipts that wait for the loop; a gateway's next one says all that these did.
RECEIPTS_MAX = 10_000
# How soon a line that was closed, or has to ping, notices by itself.
_TURN_S = 0.5
# Both versions: PUBACK, two more bytes, the message's number; no reason means success.
_PUBACK = struct.Struct(">BBH")


class ReadAheadClient(Client):
    """paho's client over such a socket."""

    def _create_socket(self) -> Any:
        return ReadAhead(super()._create_socket())


class Line:
    """A client's connection once it is open, until either side ends it.

    Acknowledgements and receipts may come from any thread; `on_publish` and `on_end` are called in
    the line's own.
    """

    def __init__(
        self,
        client: Client,
        generation: int,
        on_publish: Callable[[Publish], None],
        on_end: Callable[[], None],
    ) -> None:
        """generation: of the connection, which its deliveries carry."""
        self.generation = generation
        self._client, self._on_publish, self._on_end = client, on_publish, on_end
        self._is_v5 = client.protocol == MQTTProtocolVersion.MQTTv5
        self._acknowledged: deque[int] = deque()  # no more than the broker may have with us
        self._receipts: deque[tuple[str, bytes]] = deque()
        self._closing = threading.Event()
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="broker-line", daemon=True)

    def start(self) -> None:
        """Begin to receive and send."""
        self._thread.start()

    def close(self) -> None:
        """Send what waits, disconnect, and wait for the end."""
        self._closing.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        else:
            self._hang_up()
        self._woken.close()
        self._waking.close()

    def acknowledge(self, message_id: int) -> None:
        """Tell the broker that a message is kept."""
        self._acknowledged.append(message_id)
        if len(self._acknowledged) == 1:
            self._wake()

    def publish_retained(self, topic: str, payload: bytes) -> bool:
        """Publish at QoS 0; False when too much waits."""
        if len(self._receipts) >= RECEIPTS_MAX:
            return False
        self._receipts.append((topic, payload))
        self._wake()
        return True

    def _wake(self) -> None:
        try:
            self._waking.send(b"\0")
        except OSError:  # full: it will wake; closed: it has ended
            return

    def _run(self) -> None:
        try:
            while not self._closing.is_set() and self._client.socket() is not None:
                self._take_turn()
            self._send_waiting()
        except Exception:
            log.exception("event=broker_line_failed")
        finally:
            self._hang_up()
            self._on_end()

    def _hang_up(self) -> None:
        self._client.disconnect()
        opened = self._client.socket()
        if opened is not None:  # the broker takes nothing, not even this
            opened.close()

    def _take_turn(self) -> None:
        opened = self._opened()
        wants = select.POLLOUT if opened.has_rest or self._client.want_write() else 0
        ready = select.poll()
        ready.register(opened, select.POLLIN | wants)
        ready.register(self._woken, select.POLLIN)
        found = dict(ready.poll(0 if opened.is_ready else _TURN_S * 1000))
        if self._woken.fileno() in found:
            self._woken.recv(READ_BYTES)
        self._send_waiting()
        if opened.is_ready or found.get(opened.fileno(), 0) & ~select.POLLOUT:
            self._receive(opened)
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def _receive(self, opened: ReadAhead) -> None:
        is_open = opened.whole() > 0 or opened.fill()
        for _ in range(PACKETS_MAX):
            size = opened.whole()
            if not size:
                break
            publish = opened.take_publish(size, is_v5=self._is_v5)
            if publish is not None:
                self._hand_over(publish)
                continue
            self._client.loop_read()
            if self._client.socket() is None:
                return
        else:
            return
        if not is_open:
            opened.drop_part()
            self._client.loop_read()  # finds that it is over, and says so

    def _hand_over(self, publish: Publish) -> None:
        try:
            self._on_publish(publish)
        except Exception:  # it must not keep the others out: it comes again with the next session
            log.exception("event=message_failed action=left_unacknowledged")

    def _send_waiting(self) -> None:
        if self._client.socket() is None:
            return
        opened, taken = self._opened(), []
        while self._acknowledged:  # until none is left: only the first of some wakes us
            taken.append(self._acknowledged.popleft())
        opened.put(b"".join(_PUBACK.pack(0x40, 2, message_id) for message_id in taken))
        for _ in range(len(self._receipts)):
            topic, payload = self._receipts.popleft()
            self._client.publish(topic, payload, qos=0, retain=True)

    def _opened(self) -> ReadAhead:
        opened: Any = self._client.socket()
        assert isinstance(opened, ReadAhead), "paho made its socket otherwise"
        return opened
