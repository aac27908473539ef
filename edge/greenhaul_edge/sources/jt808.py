"""JT/T 808 terminals over TCP or UDP: thousands of them on one asyncio loop in one thread."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_edge.sources.terminal_commits import Commits
from greenhaul_edge.sources.terminal_counts import Counts
from greenhaul_edge.sources.terminal_key import load_private_key
from greenhaul_edge.sources.terminal_line import TerminalLine
from greenhaul_edge.sources.terminal_session import ReadFrames
from greenhaul_edge.sources.terminal_sockets import DatagramLine, DatagramListener, TcpLine
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from greenhaul_edge.sources.terminal_bulk import BulkReader

log = logging.getLogger(__name__)

# Readings of one peer that wait for their commit before it is no longer read.
UNCOMMITTED_MAX = 2_000
# Packets of unfinished split messages, over all peers: sixteen photos at once, and what costs more
# is ended, largest first.
PARTS_SIZE_MAX = 64 * 1024 * 1024
# Rubbish of strangers that is kept for people to look at: so much at once, then so much a second.
# A port scanner or a web crawler is a counter, not a full outbox.
RUBBISH_KEPT_MAX, RUBBISH_KEPT_PER_S = 1_000, 1.0
# Peers from which on reports are read together: with fewer there are seldom enough in a turn of the
# loop, and a truck's gateway has better uses for numpy's 25 MB.
BULK_LINES_MIN = 100
# How long stopping waits for commits under way, so that their answers still go out.
CLOSE_TIMEOUT_S = 2.0
# How often packets that are missing are asked for, and the supervisor sees that the loop turns.
TICK_S = 1.0


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
        self,
        name: str,
        settings: Jt808Settings,
        outbox: Outbox,
        clock: Clock,
        auth: TerminalAuth,
        *,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
        reads_in_bulk: bool | None = None,
    ) -> None:
        """new_loop, reads_in_bulk: by default what the extra `[bulk]` brought; the latter only once
        there are many terminals."""
        self.name, self.settings, self.clock, self.auth = name, settings, clock, auth
        self.outbox = outbox
        self.read_frames = _frame_reader(settings)
        self.private_key = load_private_key(settings.rsa_key_file)
        self.rubbish_source = f"{outbox.gateway}/{name}"
        self.uncommitted_max = UNCOMMITTED_MAX
        self.counts = Counts()
        self.lines: set[TerminalLine] = set()
        self.by_terminal: dict[str, TerminalLine] = {}
        self.by_address: dict[tuple[Any, ...], DatagramLine] = {}
        self.address = ""
        self.beat = Beat()
        self.loop = (new_loop or fastest_loop())()
        self.commits = Commits(outbox, self.loop.call_soon, self.call_later)
        self.bulk = make_bulk_reader() if reads_in_bulk else None
        self._may_read_in_bulk = reads_in_bulk is None
        self._strangers: dict[TerminalLine, None] = {}  # oldest first; some proved known since
        self._with_parts: set[TerminalLine] = set()
        self._parts_size = 0
        self._rubbish_allowance, self._rubbish_s = float(RUBBISH_KEPT_MAX), self.loop.time()
        self._landed: deque[Callable[[], None]] = deque()
        self._server: asyncio.Server | asyncio.BaseTransport | None = None
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Listen. Raises ConfigError if the address or the registry cannot be had."""
        if self.auth.registry is not None:
            try:
                self.auth.registry.open()
            except Unavailable as error:
                raise ConfigError(f"sources.{self.name}: {error}") from error
        opened: Future[None] = Future()
        self.loop.call_soon(lambda: self.loop.create_task(self._open(opened)))
        self._thread.start()
        opened.result()

    def stop(self) -> None:
        """Close the listener and every connection."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self.loop).result()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        self.loop.close()
        if self.auth.registry is not None:
            self.auth.registry.close()

    def state(self) -> Mapping[str, str | int]:
        """Address, open connections and counters."""
        return {
            "address": self.address,
            "connections": len(self.lines),
            "terminals": len(self.by_terminal),
            **asdict(self.counts),
        }

    def call_later(self, call: Callable[[], None]) -> None:
        """Run in the loop's thread; from any thread. Many calls cost one wake-up."""
        self._landed.append(call)
        if len(self._landed) == 1 and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._land)

    def now_s(self) -> float:
        """Time of the loop."""
        return self.loop.time()

    # -- what the lines tell and ask ------------------------------------------------------------

    def admit(self, line: TerminalLine) -> bool:
        """Whether there is room for a peer. One that has said nothing yet gives way to it."""
        if len(self.lines) >= self.settings.connections_max and not self._displace_stranger():
            self.counts.refused_connections += 1
            return False
        self.lines.add(line)
        self._strangers[line] = None
        if self._may_read_in_bulk and len(self.lines) >= BULK_LINES_MIN:
            self._may_read_in_bulk = False
            self.bulk = make_bulk_reader()
        return True

    def forget(self, line: TerminalLine) -> None:
        """A peer is gone."""
        self.note_parts(line, 0)
        self.lines.discard(line)
        self._strangers.pop(line, None)
        self.logged_out(line)

    def authenticated(self, line: TerminalLine, terminal: str) -> None:
        """The newest connection of a terminal is the one; an older one ends."""
        self._strangers.pop(line, None)
        self.logged_out(line)  # of whomever it was until now
        before = self.by_terminal.get(terminal)
        self.by_terminal[terminal] = line
        line.stands_for = terminal
        if before is not None and before is not line:
            log.debug("terminal=%s peer=%s replaces=%s", terminal, line.peer, before.peer)
            self.end_for(before, "replaced_connections")

    def logged_out(self, line: TerminalLine) -> None:
        """A terminal gave its registration up; its connection may stay."""
        if self.by_terminal.get(line.stands_for) is line:
            del self.by_terminal[line.stands_for]

    def end_for(self, line: TerminalLine, counter: str) -> None:
        """End a peer for what one of the counters says."""
        setattr(self.counts, counter, getattr(self.counts, counter) + 1)
        line.end()

    def note_parts(self, line: TerminalLine, size: int) -> None:
        """How much memory a peer's unfinished split messages take now."""
        if size == line.parts_size:
            return
        self._parts_size += size - line.parts_size
        line.parts_size = size
        if not size:
            self._with_parts.discard(line)
            return
        self._with_parts.add(line)
        if self._parts_size > PARTS_SIZE_MAX:
            self.end_for(max(self._with_parts, key=lambda one: one.parts_size), "closed_parts")

    def put_whole(self, line: TerminalLine, data: bytes) -> None:
        """Whole frames, to read together with those of other lines once this turn's have come, or
        at once."""
        if self.bulk is None:
            line.read(data)
            return
        if not self.bulk.size:
            self.loop.call_soon(self._flush_bulk)
        self.bulk.put(line, data)
        if self.bulk.is_due:
            self._flush_bulk()

    def may_keep_rubbish(self) -> bool:
        """Whether another piece of a stranger's rubbish is kept, or only counted."""
        now_s = self.loop.time()
        refilled = self._rubbish_allowance + (now_s - self._rubbish_s) * RUBBISH_KEPT_PER_S
        self._rubbish_allowance, self._rubbish_s = min(refilled, RUBBISH_KEPT_MAX), now_s
        if self._rubbish_allowance < 1:
            return False
        self._rubbish_allowance -= 1
        return True

    # -- the rest runs in the source's thread ---------------------------------------------------

    def _displace_stranger(self) -> bool:
        while self._strangers:
            line = next(iter(self._strangers))
            del self._strangers[line]
            if not line.is_known:
                self.lines.discard(line)
                self.end_for(line, "displaced_strangers")
                return True
        return False

    def _flush_bulk(self) -> None:
        if self.bulk is not None and self.bulk.size:
            self.bulk.flush(self.clock.now_ms())

    def _tick(self) -> None:
        self.beat.note()
        now_ms = round(self.loop.time() * 1000)
        for line in list(self._with_parts):
            line.poll(now_ms)
        self._end_released()
        self.loop.call_later(TICK_S, self._tick)

    def _end_released(self) -> None:
        """What a box proved when it connected is worth nothing once its number was released."""
        try:
            released = self.auth.revoked()
        except Unavailable as error:
            log.warning("source=%s %s", self.name, error)
            return
        for terminal in released:
            line = self.by_terminal.get(terminal)
            if line is not None:
                self.end_for(line, "closed_released")

    def _has_uncommitted(self) -> bool:
        return any(line.uncommitted for line in self.lines)

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
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._tick)
        self.loop.run_forever()

    async def _open(self, opened: "Future[None]") -> None:
        host, _, port = self.settings.listen.rpartition(":")
        try:
            self.address = await self._listen(host.strip("[]"), int(port))
        except OSError as error:
            key = f"sources.{self.name}.listen"
            opened.set_exception(ConfigError(f"{key}: cannot listen on {host}:{port}: {error}"))
            return
        log.info(
            "source=%s listening=%s transport=%s auth=%s",
            self.name, self.address, self.settings.transport, self.auth.mode,
        )  # fmt: skip
        opened.set_result(None)

    async def _listen(self, host: str, port: int) -> str:
        if self.settings.transport == "udp":
            transport, _ = await self.loop.create_datagram_endpoint(
                lambda: DatagramListener(self), (host, port)
            )
            self._server = transport
            bound = transport.get_extra_info("sockname")
        else:
            server = await self.loop.create_server(lambda: TcpLine(self), host, port, backlog=1024)
            self._server = server
            bound = server.sockets[0].getsockname()
        return f"{bound[0]}:{bound[1]}"

    async def _close(self) -> None:
        is_tcp = self.settings.transport == "tcp"
        if self._server is not None and is_tcp:
            self._server.close()
        for line in list(self.lines):
            line.hold()
        ends_s = self.loop.time() + CLOSE_TIMEOUT_S
        while self._has_uncommitted() and self.loop.time() < ends_s:  # noqa: ASYNC110
            # Once, at the end, and bounded: an event would have to be set on every commit.
            await asyncio.sleep(0.01)
        for line in list(self.lines):
            line.end()
        if self._server is not None and not is_tcp:
            self._server.close()  # its answers went out by it
        await asyncio.sleep(0)


def make_bulk_reader() -> "BulkReader | None":
    """The vectorised reader where the extra `[bulk]` brought numpy."""
    try:
        from greenhaul_edge.sources.terminal_bulk import BulkReader
    except ImportError:
        return None
    return BulkReader()


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where the extra `[bulk]` brought it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new_loop


def _frame_reader(settings: Jt808Settings) -> ReadFrames | None:
    if settings.can_mapping is None:
        return None
    from greenhaul_edge.sources.terminal_can import FrameReader  # cantools costs memory

    return FrameReader(settings.can_mapping)
