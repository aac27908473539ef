"""A line between two ends on loopback: slow, far, dead, cut; every byte counted."""

import contextlib
import queue
import socket
import threading
import time
from dataclasses import dataclass

# What TCP and IPv4 add to a segment, with time stamps; every second segment is acknowledged.
_HEADER_SIZE = 52
_SEGMENT_SIZE = 1448


@dataclass(slots=True)
class Count:
    """What went over a line in one direction."""

    payload: int = 0
    segments: int = 0

    def total(self, back: "Count") -> int:
        """Bytes with headers, and with the acknowledgements of what came back."""
        return self.payload + _HEADER_SIZE * (self.segments + (back.segments + 1) // 2)


class Line:
    """Forwards to a port. bits_per_s and delay_s apply to each direction; 0 is none.

    at: the port of its near end; 0 takes a free one.
    """

    def __init__(
        self, port: int, *, bits_per_s: float = 0, delay_s: float = 0, at: int = 0
    ) -> None:
        self._target, self._bits_per_s, self._delay_s = port, bits_per_s, delay_s
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self.up, self.down = Count(), Count()
        self.connections = 0
        self.is_dead = False  # takes bytes and forwards none
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection ends."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No more of it."""
        # closing alone would let the one who waits in `accept` take one more
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self.connections += 1
            self._sockets += [near, far]
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # A real link does not take half a megabyte in advance.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            self._pump(near, far, self.up)
            self._pump(far, near, self.down)

    def _pump(self, a: socket.socket, b: socket.socket, count: Count) -> None:
        on_way: queue.Queue[tuple[float, bytes]] = queue.Queue(64)
        threading.Thread(target=self._take, args=(a, on_way, count), daemon=True).start()
        threading.Thread(target=self._give, args=(b, on_way), daemon=True).start()

    def _take(
        self, a: socket.socket, on_way: "queue.Queue[tuple[float, bytes]]", count: Count
    ) -> None:
        free_at = time.monotonic()
        try:
            while data := a.recv(_SEGMENT_SIZE if self._bits_per_s else 65_536):
                count.payload += len(data)
                count.segments += -(-len(data) // _SEGMENT_SIZE)
                if self.is_dead:
                    continue
                now = time.monotonic()
                if self._bits_per_s:
                    free_at = max(free_at, now) + (len(data) + _HEADER_SIZE) * 8 / self._bits_per_s
                    time.sleep(max(free_at - now, 0))  # the line is busy that long
                on_way.put((time.monotonic() + self._delay_s, data))
        except OSError:
            pass
        on_way.put((0.0, b""))
        a.close()

    def _give(self, b: socket.socket, on_way: "queue.Queue[tuple[float, bytes]]") -> None:
        while True:
            at, data = on_way.get()
            if not data:
                break
            if self._delay_s:
                time.sleep(max(at - time.monotonic(), 0))  # the way is that long
            try:
                b.sendall(data)
            except OSError:
                break
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_RDWR)
        b.close()
