"""A session's socket: connects, keeps time for the session, reconnects with jittered backoff."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from greenhaul_sim.ledger import LedgerEntry, claim_of
from greenhaul_sim.session import Acknowledged, Session, Stage

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.2, 20.0

Record = Callable[[list[LedgerEntry]], None]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the platform listens."""

    host: str
    port: int


class Link(asyncio.Protocol):
    """The connection of one terminal, for as long as the simulation lasts.

    record: called with the ledger entries of reports acknowledged. wall_offset_s: what must be
    added to the loop's clock for seconds since 1970.
    """

    def __init__(
        self,
        session: Session,
        address: Address,
        *,
        rng: random.Random,
        record: Record,
        wall_offset_s: float,
    ) -> None:
        self.session = session
        self.connections = 0
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
        self.connections += 1
        self._write(self.session.connected(self._loop.time()))

    def data_received(self, data: bytes) -> None:
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
        self._transport = None
        if self._timer:
            self._timer.cancel()
        self.session.disconnected()
        self._closed.set()

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
        assert self._transport is not None
        if data:
            self._transport.write(data)
        if self.session.has_given_up:
            self._drop()
            return
        if self._timer:
            self._timer.cancel()
        due = self.session.next_due()
        self._timer = self._loop.call_at(due, self.poke) if due < float("inf") else None

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

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
