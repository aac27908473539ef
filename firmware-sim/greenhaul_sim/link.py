"""A session's socket: connects, keeps time for the session, reconnects with jittered backoff."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from greenhaul_sim.faults import NO_FAULTS, FaultProfile, LinkFaults, Outage, Path
from greenhaul_sim.ledger import LedgerEntry, claim_of
from greenhaul_sim.session import Acknowledged, Session, Stage

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.2, 20.0
# Connections given up without a word that stay open at the other end.
_LEFT_BEHIND_MAX = 3

Record = Callable[[list[LedgerEntry]], None]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the platform listens."""

    host: str
    port: int


class Link(asyncio.Protocol):
    """The connection of one terminal, for as long as the simulation lasts.

    record: called with the ledger entries of reports acknowledged. wall_offset_s: what must be
    added to the loop's clock for seconds since 1970. faults: what the network does meanwhile.
    """

    def __init__(
        self,
        session: Session,
        address: Address,
        *,
        rng: random.Random,
        record: Record,
        wall_offset_s: float,
        faults: FaultProfile = NO_FAULTS,
    ) -> None:
        self.session = session
        self.connections = 0
        self.faults = LinkFaults(faults, rng)
        self._address = address
        self._rng = rng
        self._record = record
        self._wall_offset_s = wall_offset_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_writable = True
        self._timer: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()
        self._dark_until = 0.0
        self._backoff_s = 0.0  # the first attempt goes at once
        self._is_severed = False  # nothing passes any more, and nobody was told
        self._outage: asyncio.TimerHandle | None = None
        self._left_behind: list[asyncio.Transport] = []

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        try:
            while True:
                await self._rest()
                self._closed.clear()
                try:
                    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                        await self._loop.create_connection(
                            lambda: self, self._address.host, self._address.port
                        )
                except OSError as error:  # TimeoutError is one
                    log.debug("connect terminal=%s error=%s", self.session.identity.phone, error)
                    continue
                await self._closed.wait()
        finally:
            self._drop()
            for transport in self._left_behind:
                transport.abort()

    def go_dark(self, seconds: float) -> None:
        """Lose the network without a word, as in a tunnel."""
        self._dark_until = self._loop.time() + seconds
        self._drop()

    def poke(self) -> None:
        """Send what is due; call it when the session was given something."""
        if self._transport is not None and self._is_writable:
            self._write(self.session.poll(self._loop.time()))

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._is_writable = transport, True
        self._is_severed = False
        self.connections += 1
        outage = self.faults.connected()
        if outage is not None:
            self._outage = self._loop.call_later(outage.after_s, self._break, outage)
        self._write(self.session.connected(self._loop.time()))

    def data_received(self, data: bytes) -> None:
        """Carry what came to the session."""
        self._carry(self.faults.down, data, self._receive)

    def _receive(self, data: bytes) -> None:
        """Feed the session and write its answers."""
        if self._transport is None:
            return  # given up while the bytes were on their way
        out = self.session.receive(data, self._loop.time())
        if self.session.stage is Stage.ONLINE:
            self._backoff_s = _BACKOFF_S_MIN
        acknowledged = self.session.take_acknowledged()
        if acknowledged:
            self._record([entry for one in acknowledged if (entry := self._entry(one))])
        self._write(out)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the session, and let `run` go on."""
        self._end()

    def pause_writing(self) -> None:
        """The platform does not read: nothing more until it does."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_writable = True
        self.poke()

    # -------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Wait out an outage, or the backoff: at once at first, then longer and longer."""
        pause_s = self._dark_until - self._loop.time()
        if pause_s <= 0:
            pause_s = self._rng.uniform(0, self._backoff_s)
            self._backoff_s = min(max(self._backoff_s * 2, _BACKOFF_S_MIN), _BACKOFF_S_MAX)
        await asyncio.sleep(pause_s)

    def _write(self, data: bytes) -> None:
        if data:
            self._carry(self.faults.up, data, self._send)
        if self.session.has_given_up:
            self._drop()
            return
        if self._timer:
            self._timer.cancel()
        due = self.session.next_due()
        self._timer = self._loop.call_at(due, self.poke) if due < float("inf") else None

    def _carry(self, path: Path, data: bytes, arrive: Callable[[bytes], None]) -> None:
        """Let the network do to bytes what it does; at once where it does nothing."""
        if self._is_severed:
            return
        now, transport = self._loop.time(), self._transport
        for at, piece in path.carry(data, now):
            if at <= now:
                arrive(piece)
            else:
                self._loop.call_at(at, self._arrive, transport, arrive, piece)

    def _arrive(
        self, transport: asyncio.Transport | None, arrive: Callable[[bytes], None], data: bytes
    ) -> None:
        if transport is self._transport and not self._is_severed:
            arrive(data)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _break(self, outage: Outage) -> None:
        """The connection is gone; a half-open one neither end knows of."""
        self.faults.counts.outages += 1
        if outage.is_half_open:
            self.faults.counts.half_open += 1
            self._is_severed = True
        else:
            self.go_dark(outage.lasts_s)

    def _drop(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if not self._is_severed:
            transport.abort()
            self._transport = None
            return
        # No word of the end gets through: to the platform the connection stands.
        transport.set_protocol(_LeftBehind())
        self._left_behind.append(transport)
        if len(self._left_behind) > _LEFT_BEHIND_MAX:
            self._left_behind.pop(0).abort()
        self._end()

    def _end(self) -> None:
        self._transport = None
        for timer in (self._timer, self._outage):
            if timer:
                timer.cancel()
        self.session.disconnected()
        self._closed.set()

    def _entry(self, acknowledged: Acknowledged) -> LedgerEntry | None:
        claim = claim_of(acknowledged.report)
        if claim is None:
            return None
        return LedgerEntry(
            terminal=self.session.identity.phone,
            serial=acknowledged.serial,
            message_id=acknowledged.message_id,
            claim=claim,
            sent_at_ms=self._wall_ms(acknowledged.sent_at),
            acked_at_ms=self._wall_ms(acknowledged.acked_at),
        )

    def _wall_ms(self, loop_time: float) -> int:
        return round((loop_time + self._wall_offset_s) * 1000)


class _LeftBehind(asyncio.Protocol):
    """A connection that nobody looks at any more; what the platform sends is lost."""
