"""MQTT packets as they lie in a connection, as far as a collector reads them by itself.

Blocks are nearly all that comes; paho takes some fifty calls for each. Its own packets, and
whatever is unusual, are left in the socket for it to read.
"""

import ssl
from typing import Any, NamedTuple

# Read at once: some hundred live blocks, or one of the largest.
READ_BYTES = 64 * 1024
LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_PUBLISH = 3
# Of a length: 7 bits each (MQTT 1.5.5), so a packet is of 256 MiB at most.
_LENGTH_BYTES_MAX = 4


class Publish(NamedTuple):
    """What a broker publishes to us. message_id: 0 at QoS 0."""

    topic: str
    payload: bytes
    message_id: int
    qos: int


def parse_publish(packet: bytes | bytearray, *, is_v5: bool) -> Publish | None:
    """A whole packet, if it is a PUBLISH at QoS 0 or 1 as it should be."""
    qos = packet[0] >> 1 & 3
    if packet[0] >> 4 != _PUBLISH or qos > 1:
        return None
    try:
        at = 1 + _length_at(packet, 1)[1]
        start = at + 2
        at = start + int.from_bytes(packet[at:start], "big")
        topic = packet[start:at].decode()
        message_id = 0
        if qos:
            message_id = packet[at] << 8 | packet[at + 1]
            at += 2
        if is_v5:
            length, size = _length_at(packet, at)
            at += size + length
    except (IndexError, ValueError):
        return None
    if not topic or at > len(packet):
        return None
    return Publish(topic, bytes(packet[at:]), message_id, qos)


def _length_at(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer, and its size. Raises IndexError when cut short, ValueError."""
    length = 0
    for place in range(_LENGTH_BYTES_MAX):
        byte = packet[at + place]
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return length, place + 1
    raise ValueError("a length of more than four bytes")


class ReadAhead:
    """A socket that is read in large pieces, and takes whole packets."""

    def __init__(self, opened: Any) -> None:
        self._socket = opened
        self._ahead = bytearray()
        self._is_over = False
        self._rest = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    # -- for paho: a socket as any other -------------------------------------------------------

    def pending(self) -> int:
        """Bytes that can be received without waiting."""
        return len(self._ahead) + self._below()

    def recv(self, size: int) -> bytes:
        """As a socket's."""
        if not self._ahead and not self._is_over:
            self._ahead += self._socket.recv(READ_BYTES)
        found = bytes(self._ahead[:size])
        del self._ahead[:size]
        return found

    def send(self, data: bytes) -> int:
        """As a socket's, but all or nothing: packets of others may come between."""
        self.flush()
        if self._rest:
            raise BlockingIOError
        self._rest = bytes(data)
        self.flush()
        return len(data)

    # -- for a line: packet by packet ----------------------------------------------------------

    @property
    def has_rest(self) -> bool:
        """Whether something that was taken is not on its way yet."""
        return bool(self._rest)

    @property
    def is_ready(self) -> bool:
        """Whether there is more than the kernel knows."""
        return self._below() > 0 or self.whole() > 0

    def fill(self) -> bool:
        """Take what has come; False when it was the end."""
        try:
            found = self._socket.recv(READ_BYTES)
        except LATER:
            return True
        except OSError:
            found = b""
        self._ahead += found
        self._is_over = not found
        return bool(found)

    def whole(self) -> int:
        """Size of the packet that comes next, 0 when it is not all there."""
        try:
            length, size = _length_at(self._ahead, 1)
        except IndexError:
            return 0
        except ValueError:
            return len(self._ahead)  # paho knows what to say
        return 1 + size + length if 1 + size + length <= len(self._ahead) else 0

    def take_publish(self, size: int, *, is_v5: bool) -> Publish | None:
        """The packet of this size, if it can be told; else it stays."""
        found = parse_publish(self._ahead[:size], is_v5=is_v5)
        if found is not None:
            del self._ahead[:size]
        return found

    def drop_part(self) -> None:
        """Forget the beginning of a packet whose rest will never come."""
        self._ahead.clear()

    def put(self, data: bytes) -> None:
        """Send whole packets behind what is on its way."""
        self._rest += data
        self.flush()

    def flush(self) -> None:
        """Send what the kernel takes of the rest."""
        while self._rest:
            try:
                self._rest = self._rest[self._socket.send(self._rest) :]
            except LATER:
                return
            except OSError:  # who reads finds out, and tells
                self._rest = b""

    def _below(self) -> int:
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
