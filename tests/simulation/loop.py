"""asyncio in a world: loops whose callbacks are calls of the world, and TCP between them."""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from tests.simulation.world import Process, Signal, World, current

_LATENCY_S = (0.0005, 0.03)
_CONNECT_TIMEOUT_S = 20.0


class SimLoop(asyncio.BaseEventLoop):
    """A loop of one process. It runs without `run_forever`: whatever is due is called."""

    def __init__(self, process: Process | None = None) -> None:
        super().__init__()
        self.world = current()
        owner = process or self.world.process
        assert owner is not None, "a loop needs a process"
        self.process: Process = owner
        owner.on_death.append(self.close)
        self._stopped = False
        self._stop = Signal()
        self.set_exception_handler(self._fail)

    def time(self) -> float:
        """Seconds of the world."""
        return self.world.elapsed_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """After everything that is due now."""
        handle = asyncio.Handle(callback, args, self, context)
        self.world.later(0, self._turn, handle, process=self.process)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """The same: one thread runs at a time."""
        return self.call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """At a time of the world."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        # A nanosecond late, so that `time` never says less than what was waited for.
        delay_s = when - self.time() + 1e-9
        self.world.later(delay_s, self._turn, handle, process=self.process)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """After a while."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def inside(self, call: Callable[[], Any]) -> Any:
        """Call something as a callback of this loop, at once."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            return call()
        finally:
            events._set_running_loop(before)

    def run_forever(self) -> None:
        """Wait for `stop`, in a thread of the process."""
        while not self._stopped:
            self._stop.wait()

    def stop(self) -> None:
        """End `run_forever`."""
        self._stopped = True
        self._stop.notify_all()

    async def create_server(  # type: ignore[override]
        self, factory: Callable[[], asyncio.BaseProtocol], _host: str, port: int, **_: Any
    ) -> "SimServer":
        """Listen; port 0 is some port."""
        return network_of(self.world).listen(self, factory, port)

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.BaseProtocol], _host: str, port: int, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect. Raises ConnectionRefusedError, or TimeoutError where nobody says no."""
        network = network_of(self.world)
        await asyncio.sleep(network.latency_s())
        listener = network.listeners.get(port)
        if listener is None:
            raise ConnectionRefusedError(f"port {port}")
        if not listener.loop.process.is_alive:
            await asyncio.sleep(_CONNECT_TIMEOUT_S)
            raise TimeoutError(f"port {port}")
        near, far = SimTransport(network, self), SimTransport(network, listener.loop)
        near.peer, far.peer = far, near
        network.transports += [near, far]
        far.begin(listener.factory())
        protocol = factory()
        near.begin(protocol)
        return near, protocol

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is seen when its time comes

    def _turn(self, handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            self.inside(handle._run)

    def _fail(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.process.is_alive and error is not None:
            self.world.failures.append(error)


class SimServer:
    """A listener."""

    def __init__(
        self,
        network: "Network",
        loop: SimLoop,
        factory: Callable[[], asyncio.BaseProtocol],
        port: int,
    ) -> None:
        self._network, self.loop, self.factory, self.port = network, loop, factory, port
        self.sockets = [self]

    def getsockname(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def close(self) -> None:
        """No more."""
        self._network.listeners.pop(self.port, None)


class Network:
    """Loopback of a world: who listens, and how long bytes take."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.listeners: dict[int, SimServer] = {}
        self.transports: list[SimTransport] = []
        self._next_port = 40_000

    def latency_s(self) -> float:
        """One way."""
        return self._world.random.uniform(*_LATENCY_S)

    def listen(
        self, loop: SimLoop, factory: Callable[[], asyncio.BaseProtocol], port: int
    ) -> SimServer:
        """A listener; whoever listened there before is gone."""
        if not port:
            self._next_port += 1
            port = self._next_port
        self.listeners[port] = SimServer(self, loop, factory, port)
        return self.listeners[port]

    def lose(self, process: Process, *, is_quiet: bool) -> None:
        """A process died. Its kernel says so to its peers, or has lost power with it."""
        for transport in [one for one in self.transports if one.loop.process is process]:
            self.transports.remove(transport)
            if not is_quiet:
                peer = transport.peer
                self._world.later(self.latency_s(), peer.end, ConnectionResetError())
        for port in [port for port, one in self.listeners.items() if one.loop.process is process]:
            if not is_quiet:
                del self.listeners[port]


class SimTransport(asyncio.Transport):
    """One end of a TCP connection: bytes arrive in order, late, in one piece or more."""

    peer: "SimTransport"

    def __init__(self, network: Network, loop: SimLoop) -> None:
        super().__init__()
        self._network, self.loop = network, loop
        self._protocol: Any = None
        self._is_closing = self._is_paused = False
        self._arrived: deque[bytes] = deque()
        self._free_ns = 0
        self._under_way = 0

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The connection is made."""
        self._protocol = protocol
        self.loop.call_soon(protocol.connection_made, self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Somebody else looks after it."""
        self._protocol = protocol

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._is_closing

    def write(self, data: Any) -> None:
        """Send; a peer without power hears nothing, and one that has it back says no."""
        if self._is_closing or not data:
            return
        world, peer = self.loop.world, self.peer
        # Later than all before it: a stream keeps its order.
        arrives_ns = world.now_ns + round(self._network.latency_s() * 1e9)
        self._free_ns = max(arrives_ns, self._free_ns + 1)
        delay_s = (self._free_ns - world.now_ns) / 1e9
        if peer.loop.process.is_alive:
            self._under_way += len(data)
            world.later(delay_s, self._carry, bytes(data))
        elif any(one.loop.process.is_alive for one in self._network.listeners.values()):
            world.later(delay_s, self.end, ConnectionResetError())

    def get_write_buffer_size(self) -> int:
        """What the peer did not take yet."""
        return self._under_way + sum(map(len, self.peer._arrived))

    def close(self) -> None:
        """End it; what was written still arrives."""
        if self._is_closing:
            return
        world = self.loop.world
        delay_s = max(self._free_ns - world.now_ns, 0) / 1e9 + 1e-6
        world.later(delay_s, self.peer.end, None)
        self.end(None)

    abort = close

    def end(self, error: Exception | None) -> None:
        """The connection is over."""
        if self._is_closing:
            return
        self._is_closing = True
        if self in self._network.transports:
            self._network.transports.remove(self)
        self.loop.call_soon(self._protocol.connection_lost, error)

    def pause_reading(self) -> None:
        """What comes waits."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """What waited is read."""
        self._is_paused = False
        while self._arrived and not self._is_paused:
            self.loop.call_soon(self._read, self._arrived.popleft())

    def _carry(self, data: bytes) -> None:
        self._under_way -= len(data)
        peer = self.peer
        if not peer.loop.process.is_alive or peer._is_closing:
            return
        if peer._is_paused:
            peer._arrived.append(data)
        else:
            peer.loop.call_soon(peer._read, data)

    def _read(self, data: bytes) -> None:
        if not self._is_closing:
            self._protocol.data_received(data)


def network_of(world: World) -> Network:
    """The one network of a world."""
    if world.network is None:
        world.network = Network(world)
    found: Network = world.network
    return found
