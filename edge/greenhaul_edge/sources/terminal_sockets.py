"""Terminals' peers on sockets: a TCP connection, and those who send datagrams to one socket."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from greenhaul_edge.sources.terminal_line import TerminalLine
from greenhaul_edge.sources.terminal_proxy import read_proxy_header

if TYPE_CHECKING:
    from greenhaul_edge.sources.jt808 import Jt808Source

# Answers a peer does not read before its connection is closed.
UNREAD_SIZE_MAX = 256 * 1024


class TcpLine(TerminalLine, asyncio.Protocol):
    """One connection."""

    __slots__ = ("_ends_whole", "_head", "_is_held", "_transport")

    def __init__(self, source: "Jt808Source") -> None:
        super().__init__(source, "")
        self._transport: asyncio.Transport | None = None
        self._is_held = False
        self._ends_whole = False  # whether the last bytes read by the session ended a frame
        # What came of a proxy's header; None once the terminal's own bytes began.
        self._head: bytes | None = b"" if source.settings.proxy_protocol else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio calls this once."""
        self._transport = cast(asyncio.Transport, transport)
        if not self.source.admit(self):
            self._transport.abort()
            return
        self.peer = _text(transport.get_extra_info("peername"))
        self.look_after()

    def data_received(self, data: bytes) -> None:
        """asyncio calls this with whatever came."""
        if self._head is not None:
            data = self._behind_proxy_header(data)
        is_whole = data[:1] == data[-1:] == b"\x7e"
        if is_whole and self._ends_whole and self.session.is_plain:
            self.source.put_whole(self, data)
        else:
            self.receive(data)
            self._ends_whole = data[-1:] == b"\x7e"
        allowance = self.spend(len(data))
        if allowance < 0:
            self.hold()
            delay_s = -allowance / self.source.settings.rate_max_bytes_per_s
            self.source.loop.call_later(delay_s, self._slept)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio calls this once at the end."""
        self.forget()

    def write(self, answers: bytes) -> None:
        """Send, unless the connection is closing. One that never reads is cut."""
        transport = self._transport
        if not answers or transport is None or transport.is_closing():
            return
        transport.write(answers)
        if transport.get_write_buffer_size() > UNREAD_SIZE_MAX:
            self.source.counts.closed_unread += 1
            transport.abort()

    def end(self) -> None:
        """Close; answers already written still go out."""
        if self._transport is not None:
            self._transport.close()

    def hold(self) -> None:
        """Read no more for now."""
        if not self._is_held and self._transport is not None:
            self._is_held = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on, if too much does not wait for its commit."""
        is_open = self._transport is not None and not self._transport.is_closing()
        if self._is_held and is_open and self.uncommitted <= self.source.uncommitted_max:
            assert self._transport is not None
            self._is_held = False
            self._transport.resume_reading()

    def _slept(self) -> None:
        self._allowance = max(self._allowance, 0.0)
        self.go_on()

    def _behind_proxy_header(self, data: bytes) -> bytes:
        assert self._head is not None
        head = self._head + data
        try:
            found = read_proxy_header(head)
        except ValueError:
            self._head = None
            self.source.end_for(self, "bad_proxy_headers")
            return b""
        if found is None:
            self._head = head
            return b""
        self._head = None
        self.peer = found.peer or self.peer
        return head[found.size :]


class DatagramLine(TerminalLine):
    """One address that datagrams come from."""

    __slots__ = ("_address", "_socket")

    def __init__(
        self, source: "Jt808Source", transport: asyncio.DatagramTransport, address: tuple[Any, ...]
    ) -> None:
        super().__init__(source, _text(address))
        self._socket, self._address = transport, address

    def datagram_received(self, data: bytes) -> None:
        """Where TCP would be read no more, it is dropped: the terminal resends."""
        is_behind = self.uncommitted > self.source.uncommitted_max
        if is_behind or self.spend(len(data)) < 0:
            self._allowance = max(self._allowance, 0.0)
            self.source.counts.dropped_datagrams += 1
        elif data[:1] == data[-1:] == b"\x7e" and self.session.is_plain:
            self.source.put_whole(self, data)
        else:
            self.receive(data)

    def receive(self, data: bytes) -> None:
        """A datagram, by the ordinary reader."""
        self.deliver_all(self.session.receive_datagram(data, self.source.clock.now_ms()))

    def write(self, answers: bytes) -> None:
        """One datagram a frame: several terminals read only the first of a packet."""
        if self._socket.is_closing():
            return
        for content in filter(None, answers.split(b"\x7e")):
            self._socket.sendto(b"\x7e" + content + b"\x7e", self._address)

    def hold(self) -> None:
        """Datagrams know no such word; what comes too early is dropped."""

    def go_on(self) -> None:
        """Nobody was held."""

    def end(self) -> None:
        """Forget the address."""
        if self.source.by_address.pop(self._address, None) is self:
            self.forget()


class DatagramListener(asyncio.DatagramProtocol):
    """The socket all datagrams come to."""

    def __init__(self, source: "Jt808Source") -> None:
        self._source = source
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio calls this once."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """asyncio calls this with each datagram."""
        line = self._source.by_address.get(addr)
        if line is None:
            assert self._transport is not None
            line = DatagramLine(self._source, self._transport, addr)
            if not self._source.admit(line):
                return
            self._source.by_address[addr] = line
            line.look_after()
        line.datagram_received(data)


def _text(address: tuple[Any, ...] | None) -> str:
    return f"{address[0]}:{address[1]}" if address else ""
