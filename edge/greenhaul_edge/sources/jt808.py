"""JT/T 808 terminals over TCP: thousands of connections on one asyncio loop in one thread."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Protocol

from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_edge.sources.terminal_session import Counts, Delivery, TerminalSession
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable

log = logging.getLogger(__name__)

# Readings of one connection that wait for their commit before its socket is no longer read.
UNCOMMITTED_MAX = 2_000
# Answers a peer does not read before its connection is closed.
UNREAD_SIZE_MAX = 256 * 1024
# A peer that has not authenticated by then is no terminal.
AUTHENTICATION_TIMEOUT_S = 60.0
# How long stopping waits for commits under way, so that their answers still go out.
CLOSE_TIMEOUT_S = 2.0
# How often the loop shows the supervisor that it turns.
BEAT_PERIOD_S = 2.0


class Clock(Protocol):
    """What a source needs of the gateway's clock."""

    def now_ms(self) -> int:
        """UTC as the gateway knows it."""

    @property
    def is_plausible(self) -> bool:
        """Whether `now_ms` can judge a terminal's clock."""


class Jt808Source:
    """A listener. Its terminals' reports are acknowledged after the outbox committed them."""

    def __init__(
        self, name: str, settings: Jt808Settings, outbox: Outbox, clock: Clock, auth: TerminalAuth
    ) -> None:
        self.name, self.settings, self.clock, self.auth = name, settings, clock, auth
        self.outbox = outbox
        self.counts = Counts()
        self.connections: set[_Connection] = set()
        self.by_terminal: dict[str, _Connection] = {}
        self.address = ""
        self._landed: deque[Callable[[], None]] = deque()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self.beat = Beat()
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Listen. Raises ConfigError if the address cannot be had."""
        opened: Future[None] = Future()
        self._loop.call_soon(lambda: self._loop.create_task(self._open(opened)))
        self._thread.start()
        opened.result()

    def stop(self) -> None:
        """Close the listener and every connection."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def state(self) -> Mapping[str, str | int]:
        """Address, open connections and counters."""
        open_now = {"address": self.address, "connections": len(self.connections)}
        return {**open_now, **asdict(self.counts)}

    def call_later(self, call: Callable[[], None]) -> None:
        """Run in the loop's thread; from any thread. Many calls cost one wake-up."""
        self._landed.append(call)
        if len(self._landed) == 1 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._land)

    def _has_uncommitted(self) -> bool:
        return any(connection.uncommitted for connection in self.connections)

    def _land(self) -> None:
        while True:
            try:
                call = self._landed[0]
            except IndexError:
                return
            try:
                call()
            finally:
                # Only now: whoever appends meanwhile sees that we are still at it.
                self._landed.popleft()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self, opened: "Future[None]") -> None:
        host, _, port = self.settings.listen.rpartition(":")
        try:
            self._server = await self._loop.create_server(
                lambda: _Connection(self), host.strip("[]"), int(port), backlog=1024
            )
        except OSError as error:
            key = f"sources.{self.name}.listen"
            opened.set_exception(ConfigError(f"{key}: cannot listen on {host}:{port}: {error}"))
            return
        bound = self._server.sockets[0].getsockname()
        self.address = f"{bound[0]}:{bound[1]}"
        log.info("source=%s listening=%s auth=%s", self.name, self.address, self.auth.mode)
        self._keep_beating()
        opened.set_result(None)

    def _keep_beating(self) -> None:
        self.beat.note()
        self._loop.call_later(BEAT_PERIOD_S, self._keep_beating)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.pause()
        ends_s = self._loop.time() + CLOSE_TIMEOUT_S
        while self._has_uncommitted() and self._loop.time() < ends_s:  # noqa: ASYNC110
            # Once, at the end, and bounded: an event would have to be set on every commit.
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.end()
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One socket: bytes to the session, deliveries to the outbox, answers back."""

    def __init__(self, source: Jt808Source) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._session = TerminalSession(
            source.auth,
            rubbish_source=f"{source.outbox.gateway}/{source.name}",
            counts=source.counts,
            on_authenticated=self._authenticated,
        )
        self._transport: asyncio.Transport | None = None
        self.uncommitted = 0
        self._is_paused = False
        self._allowance = float(source.settings.burst_size_max)
        self._heard_s = self._opened_s = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio calls this once."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._source.connections) >= self._source.settings.connections_max:
            self._source.counts.refused_connections += 1
            transport.abort()
            return
        self._source.connections.add(self)
        self._look_after()

    def data_received(self, data: bytes) -> None:
        """asyncio calls this with whatever came."""
        elapsed_s = self._loop.time() - self._heard_s
        self._heard_s += elapsed_s
        for delivery in self._session.receive(data, self._source.clock.now_ms()):
            self._deliver(delivery)
        if self._session.is_rubbish:
            self._source.counts.closed_rubbish += 1
            self.end()
            return
        settings = self._source.settings
        refilled = self._allowance + elapsed_s * settings.rate_max_bytes_per_s
        self._allowance = min(refilled, settings.burst_size_max) - len(data)
        if self._allowance < 0:
            self.pause()
            delay_s = -self._allowance / settings.rate_max_bytes_per_s
            self._loop.call_later(delay_s, self._resume)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio calls this once at the end."""
        if self._watch is not None:
            self._watch.cancel()
        for delivery in self._session.close(self._source.clock.now_ms()):
            self._deliver(delivery)
        self._source.connections.discard(self)
        terminal = self._session.terminal
        if terminal and self._source.by_terminal.get(terminal) is self:
            del self._source.by_terminal[terminal]

    def end(self) -> None:
        """Close from our side; answers already written still go out."""
        if self._transport is not None:
            self._transport.close()

    def _authenticated(self, terminal: str) -> None:
        before = self._source.by_terminal.get(terminal)
        self._source.by_terminal[terminal] = self
        if before is not None and before is not self:
            self._source.counts.replaced_connections += 1
            before.end()

    def _deliver(self, delivery: Delivery) -> None:
        # Answers keep their order: those without readings go behind those that wait.
        if not delivery.readings and self.uncommitted == 0:
            self._write(delivery.answers)
            return
        if delivery.readings and not self._source.clock.is_plausible:
            # A clock in 1970 would call every report's time unusable, for ever. Terminals keep
            # what is not acknowledged; the hello's answer sets the clock.
            self._source.counts.held_back += 1
            return
        self.uncommitted += max(len(delivery.readings), 1)
        if self.uncommitted > UNCOMMITTED_MAX:
            self.pause()
        done = self._source.outbox.append(
            delivery.readings,
            priority=Priority.EVICTABLE if delivery.is_rubbish else Priority.KEPT,
            is_urgent=bool(delivery.answers),
            is_alarm=delivery.is_alarm,
            copy_key=delivery.copy_key,
        )
        done.add_done_callback(
            lambda future: self._source.call_later(lambda: self._committed(delivery, future))
        )

    def _committed(self, delivery: Delivery, future: "Future[None]") -> None:
        self.uncommitted -= max(len(delivery.readings), 1)
        match future.exception():
            case None:
                self._source.counts.acknowledged += bool(delivery.readings)
                self._write(delivery.answers)
            case Unavailable() if not delivery.readings:
                self._write(delivery.answers)
            case Unavailable():
                self._source.counts.held_back += 1
            case Rejected() as error:
                self._source.counts.rejected += 1
                log.warning("source=%s rejected: %s", self._source.name, error)
            case error:
                log.error("source=%s: outbox failed", self._source.name, exc_info=error)
        if self.uncommitted <= UNCOMMITTED_MAX // 2 and self._allowance >= 0:
            self._resume()

    def _write(self, answers: bytes) -> None:
        transport = self._transport
        if not answers or transport is None or transport.is_closing():
            return
        transport.write(answers)
        if transport.get_write_buffer_size() > UNREAD_SIZE_MAX:
            transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._allowance = max(self._allowance, 0.0)
        is_open = self._transport is not None and not self._transport.is_closing()
        if self._is_paused and is_open and self.uncommitted <= UNCOMMITTED_MAX:
            assert self._transport is not None
            self._is_paused = False
            self._transport.resume_reading()

    def _look_after(self) -> None:
        """End a connection that is silent, or that never says who it is."""
        now_s = self._loop.time()
        settings = self._source.settings
        is_known = self._session.terminal is not None or self._source.auth.mode == "open"
        ends_s = self._heard_s + settings.idle_timeout_s
        if not is_known:
            ends_s = min(ends_s, self._opened_s + AUTHENTICATION_TIMEOUT_S)
        if now_s >= ends_s:
            self._source.counts.closed_idle += 1
            self.end()
            return
        self._watch = self._loop.call_later(max(ends_s - now_s, 0.05), self._look_after)
