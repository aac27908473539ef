"""What a terminal's connection and its datagrams have in common: deliveries in, answers out.

A line gives what its session asks for to the outbox and to the registry, writes answers once that
is on the disk, and holds its peer to a rate.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from greenhaul_edge.sources.terminal_delivery import Delivery
from greenhaul_edge.sources.terminal_direct import read_directly
from greenhaul_edge.sources.terminal_session import TerminalSession
from greenhaul_protocols.errors import Rejected, Unavailable
from greenhaul_protocols.jt808 import Received

if TYPE_CHECKING:
    from greenhaul_edge.sources.jt808 import Jt808Source

log = logging.getLogger(__name__)

# A peer that has not authenticated by then is no terminal.
AUTHENTICATION_TIMEOUT_S = 60.0
# Heartbeats that may be lost before the terminal counts as gone, and the least time for it.
HEARTBEATS_MISSED_MAX, IDLE_TIMEOUT_S_MIN = 3, 60.0
# How long after it connected a terminal is told our key and asked for its heartbeat, one after the
# other: not while it is sending what it kept.
HEARTBEAT_QUERY_DELAY_S = 30.0


class TerminalLine(ABC):
    """One peer. Subclasses write to it and end it."""

    __slots__ = (
        "_allowance",
        "_heard_s",
        "_opened_s",
        "_watch",
        "parts_size",
        "peer",
        "session",
        "source",
        "stands_for",
        "uncommitted",
    )

    def __init__(self, source: "Jt808Source", peer: str) -> None:
        self.source, self.peer = source, peer
        self.session = TerminalSession(
            source.auth,
            rubbish_source=source.rubbish_source,
            counts=source.counts,
            on_authenticated=self._authenticated,
            read_frames=source.read_frames,
            private_key=source.private_key,
        )
        self.stands_for = ""  # the terminal that authenticated last
        self.uncommitted = 0  # readings, and answers behind them, that wait for a commit
        self._allowance = float(source.settings.burst_size_max)
        self._heard_s = self._opened_s = source.now_s()
        self._watch: asyncio.TimerHandle | None = None
        self.parts_size = 0  # memory of packets that wait, as the source knows it

    def receive(self, data: bytes) -> None:
        """Bytes of the peer, by the ordinary reader."""
        self.deliver_all(self.session.receive(data, self.source.clock.now_ms()))

    def read(self, data: bytes) -> None:
        """Whole frames of a peer whose session `is_plain`, by the reader that suits them."""
        delivery = read_directly(self.session, data, self.source.clock.now_ms())
        if delivery is None:
            self.receive(data)
        else:
            self.deliver(delivery)

    @abstractmethod
    def write(self, answers: bytes) -> None:
        """Send to the peer."""

    @abstractmethod
    def end(self) -> None:
        """Forget the peer; answers already written still go out."""

    @abstractmethod
    def hold(self) -> None:
        """Take no more for now, if that can be said to the peer."""

    @abstractmethod
    def go_on(self) -> None:
        """Take more, if the peer was held."""

    @property
    def is_known(self) -> bool:
        """Whether the peer proved to be a terminal."""
        return self.session.is_heard

    def spend(self, size: int) -> float:
        """Take bytes off the allowance; what remains. Negative: the peer is too fast."""
        settings = self.source.settings
        now_s = self.source.now_s()
        refilled = self._allowance + (now_s - self._heard_s) * settings.rate_max_bytes_per_s
        self._allowance = min(refilled, settings.burst_size_max) - size
        self._heard_s = now_s
        if self._allowance < 0:
            self.source.counts.throttled += 1
        return self._allowance

    def deliver_all(self, deliveries: list[Delivery]) -> None:
        """Give everything on, then end the line if the peer deserves it."""
        for delivery in deliveries:
            self.deliver(delivery)
        self.source.note_parts(self, self.session.waiting_size)
        fault = self.session.fault()
        if fault:
            self.source.end_for(self, fault)

    def deliver(self, delivery: Delivery) -> None:
        """Commit what a delivery carries, then write its answers."""
        if delivery.registration is not None:
            self._register(delivery.registration)
            return
        if delivery.logout is not None:
            self._log_out(delivery.logout)
            return
        # Answers keep their order: those without readings go behind those that wait.
        if not delivery.readings and self.uncommitted == 0:
            self.write(delivery.answers)
            return
        if delivery.is_rubbish and not self.source.may_keep_rubbish():
            self.source.counts.rubbish_not_kept += 1
            self.write(delivery.answers)
            return
        if delivery.readings and not self.source.clock.is_plausible:
            # A clock in 1970 would call every report's time unusable, for ever. Terminals keep
            # what is not acknowledged; the hello's answer sets the clock.
            self.source.counts.held_back += 1
            return
        self._append(delivery)

    def _append(self, delivery: Delivery) -> None:
        self.uncommitted += max(len(delivery.readings), 1)
        if self.uncommitted > self.source.uncommitted_max:
            self.hold()
        self.source.commits.put(self, delivery)

    def committed(self, delivery: Delivery, error: BaseException | None) -> None:
        """The outbox has a delivery on the disk, or says why not."""
        self.uncommitted -= max(len(delivery.readings), 1)
        match error:
            case None:
                self.source.counts.acknowledged += bool(delivery.readings)
                self.write(delivery.answers)
            case Unavailable() if not delivery.readings:
                self.write(delivery.answers)
            case Unavailable():
                self.source.counts.held_back += 1
            case Rejected():
                self.source.counts.rejected += 1
                log.warning("source=%s rejected: %s", self.source.name, error)
            case _:
                log.error("source=%s: outbox failed", self.source.name, exc_info=error)
        if self.uncommitted <= self.source.uncommitted_max // 2 and self._allowance >= 0:
            self.go_on()

    def _register(self, event: Received) -> None:
        header = event.header
        self.uncommitted += 1
        done = self.source.auth.register(
            header.phone, event.message, event.revision, self.source.clock.now_ms()
        )
        self._then(done, lambda future: self._registered(event, future))

    def _registered(self, event: Received, future: "Future[int]") -> None:
        self.uncommitted -= 1
        error = future.exception()
        if error is None:
            self.write(self.session.registered(event, future.result()))
            fault = self.session.fault()
            if fault:
                self.source.end_for(self, fault)
        elif isinstance(error, Unavailable):
            # Unanswered, the terminal registers again.
            self.source.counts.held_back += 1
        else:
            log.error("source=%s: registry failed", self.source.name, exc_info=error)

    def _log_out(self, event: Received) -> None:
        self.uncommitted += 1
        # First, or who sees the release would end this connection before it is answered.
        self.source.logged_out(self)
        done = self.source.auth.release(event.header.phone, self.source.clock.now_ms())
        self._then(done, lambda future: self._logged_out(event, future))

    def _logged_out(self, event: Received, future: "Future[bool]") -> None:
        self.uncommitted -= 1
        if future.exception() is None:
            self.write(self.session.logged_out(event))
        else:
            self.source.counts.held_back += 1

    def _then(self, done: Future[Any], call: Callable[[Future[Any]], None]) -> None:
        """Call in the source's thread; at once if it is done, so that answers keep their order."""
        if done.done():
            call(done)
        else:
            done.add_done_callback(lambda future: self.source.call_later(lambda: call(future)))

    def _authenticated(self, terminal: str) -> None:
        self.source.authenticated(self, terminal)

    # -- time -----------------------------------------------------------------------------------

    def ends_s(self) -> float:
        """When the line ends, if nothing is heard before."""
        heartbeat_s = self.session.heartbeat_s
        timeout_s = self.source.settings.idle_timeout_s
        if heartbeat_s:
            timeout_s = max(HEARTBEATS_MISSED_MAX * heartbeat_s, IDLE_TIMEOUT_S_MIN)
        ends_s = self._heard_s + timeout_s
        if not self.is_known and self.source.auth.mode != "open":
            ends_s = min(ends_s, self._opened_s + AUTHENTICATION_TIMEOUT_S)
        return ends_s

    def look_after(self) -> None:
        """End a peer that is silent, or that never says who it is; ask what is not known."""
        now_s, ends_s = self.source.now_s(), self.ends_s()
        if now_s >= ends_s:
            self.source.end_for(self, "closed_idle")
            return
        asks_s = self._opened_s + HEARTBEAT_QUERY_DELAY_S
        if now_s >= asks_s:
            said = self.session.key_announcement()
            if not said and self.source.settings.asks_heartbeat:
                said = self.session.heartbeat_query()
            self.write(said)
            may_say_more = said or not self.is_known
            asks_s = now_s + HEARTBEAT_QUERY_DELAY_S if may_say_more else ends_s
        delay_s = max(min(ends_s, asks_s) - now_s, 0.05)
        self._watch = self.source.loop.call_later(delay_s, self.look_after)

    def forget(self) -> None:
        """The line is no more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for delivery in self.session.close(self.source.clock.now_ms()):
            self.deliver(delivery)
        self.source.forget(self)

    def poll(self, now_ms: int) -> None:
        """Ask for packets that are missing; give up what never came."""
        self.deliver_all(self.session.poll(now_ms, self.source.clock.now_ms()))
