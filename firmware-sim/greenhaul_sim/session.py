"""One terminal's session with a platform, without the socket and without the clock.

    connected → register → code → authenticate → report, heartbeat
                                        ↑ reconnect ↓
    reports not acknowledged are kept and go as 0x0704 (blind area) after the next connection

Times are seconds of a clock of the caller's choice that only goes forward; the ledger's times come
with the same calls. A terminal gives no report up: each is resent until it is acknowledged.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from greenhaul_protocols.jt808 import (
    OK,
    UNSUPPORTED,
    BatchReport,
    Conversation,
    Heartbeat,
    LocationAnswer,
    LocationQuery,
    LocationReport,
    PlatformAnswer,
    Received,
    RegistrationAnswer,
    UnknownMessage,
    is_downlink,
    wants_answer,
)
from greenhaul_protocols.jt808.declaration import MESSAGE_IDS, encode
from greenhaul_protocols.jt808.header import BODY_SIZE_MAX
from greenhaul_sim.identity import Identity

# Reports kept while there is no network: a day at one in ten seconds, as real terminals hold.
KEPT_MAX = 8_640

_BLIND_AREA = 1
_BATCH_HEAD_SIZE, _BATCH_ITEM_HEAD_SIZE = 3, 2  # count W, type B; length W

_REGISTER, _AUTHENTICATE, _REPORT, _BATCH = 0x0100, 0x0102, 0x0200, 0x0704
_ALARM_CONFIRMED = 4  # 0x8001: also an acknowledgement
_BAD_MESSAGE = 2


class Stage(Enum):
    """How far a session has come."""

    OFFLINE = "offline"
    REGISTERING = "registering"
    AUTHENTICATING = "authenticating"
    ONLINE = "online"
    REFUSED = "refused"  # the platform will not have this terminal on this connection


class Kept(NamedTuple):
    """A report waiting for its acknowledgement."""

    report: LocationReport
    is_copy: bool = False  # acknowledged before and said again: not for the ledger


class Acknowledged(NamedTuple):
    """A report the platform has taken."""

    report: LocationReport
    serial: int
    message_id: int
    sent_at: float
    acked_at: float


@dataclass(slots=True)
class Outstanding:
    """A message sent and not answered yet."""

    message_id: int
    frames: bytes
    reports: tuple[Kept, ...]
    sent_at: float
    due_at: float
    timeout_s: float
    sendings: int = 1


@dataclass(frozen=True, slots=True)
class Manners:
    """How a terminal behaves. Times are real seconds: the standard's parameters 0x0001 to 0x0003.

    window_max: messages outstanding at most; real terminals have few.
    """

    answer_timeout_s: float = 6.0
    resend_max: int = 3
    heartbeat_s: float = 30.0
    window_max: int = 8


@dataclass(slots=True)
class SessionCounts:
    """What happened so far."""

    acknowledged: int = 0
    resent: int = 0  # messages sent again for want of an answer
    refused: int = 0  # reports answered "bad message" or "unsupported"


class Session:
    """A terminal. Bytes to send are returned by the calls; `next_due` says when to `poll`."""

    def __init__(self, identity: Identity, manners: Manners | None = None) -> None:
        self.identity = identity
        self.stage = Stage.OFFLINE
        self.has_given_up = False  # on this connection: the caller closes it
        self.counts = SessionCounts()
        self.last_refusal = ""
        self._manners = manners or Manners()
        self._next_serial = 0
        self._conversation = self._new_conversation()
        self._auth_code: str | None = None
        self._live: deque[Kept] = deque()
        self._late: deque[Kept] = deque()
        self._outstanding: dict[int, Outstanding] = {}
        self._acknowledged: list[Acknowledged] = []
        self._last_report: LocationReport | None = None
        self._quiet_since = 0.0
        self._has_batches = identity.revision >= 2013

    # -- reports --------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Reports not acknowledged yet, copies not counted."""
        return sum(not kept.is_copy for kept in (*self._live, *self._late)) + sum(
            not kept.is_copy for message in self._outstanding.values() for kept in message.reports
        )

    @property
    def has_room(self) -> bool:
        """Whether another report may be put."""
        return len(self._live) + len(self._late) < KEPT_MAX

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, copies included."""
        return not (self._live or self._late or self._outstanding)

    def put(self, report: LocationReport, *, is_copy: bool = False, is_late: bool = False) -> None:
        """Keep a report until it is acknowledged; `poll` sends it. Ask `has_room` before.

        is_late: said again or from the past, so that it goes in a batch.
        """
        assert self.has_room, "ask has_room first"
        is_live = self.stage is Stage.ONLINE and not is_late
        (self._live if is_live else self._late).append(Kept(report, is_copy))
        if not is_copy:
            self._last_report = report

    def take_acknowledged(self) -> list[Acknowledged]:
        """What was acknowledged since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        return taken

    # -- the link -------------------------------------------------------------------------------

    def connected(self, now: float) -> bytes:
        """A new connection: register, or authenticate with the code of the last registration."""
        self._conversation = self._new_conversation()
        self.has_given_up = False
        self._quiet_since = now
        return self._register(now) if self._auth_code is None else self._authenticate(now)

    def disconnected(self) -> None:
        """The connection is gone: what was not acknowledged waits for the next one."""
        self._next_serial = self._conversation.next_serial
        self.stage = Stage.OFFLINE
        unanswered = [kept for message in self._outstanding.values() for kept in message.reports]
        self._outstanding.clear()
        self._late.extendleft(reversed([*unanswered, *self._live]))
        self._live.clear()

    def receive(self, data: bytes, now: float) -> bytes:
        """Take what the platform sent; answers and whatever may go now come back."""
        out = bytearray()
        for event in self._conversation.receive(data):
            match event:
                case Received(message=PlatformAnswer() as answer):
                    out += self._take_answer(answer, now)
                case Received(message=RegistrationAnswer() as answer):
                    out += self._take_registration(answer, now)
                case Received(header=header, message=message) if is_downlink(header.message_id):
                    out += self._obey(event, message)
                case UnknownMessage(header=header) if is_downlink(header.message_id):
                    out += self._conversation.answer(event, UNSUPPORTED)
                case _:  # bad bytes and packets of messages we do not expect
                    pass
        return bytes(out) + self.poll(now)

    def poll(self, now: float) -> bytes:
        """Whatever is due: resends, reports, a heartbeat. Sets `has_given_up` when resends fail."""
        out = self._resend(now)
        if self.stage is Stage.ONLINE and not self.has_given_up:
            out += self._report(now)
            if not out and now >= self._quiet_since + self._manners.heartbeat_s:
                out += self._send(Heartbeat(), (), now)
        if out:
            self._quiet_since = now
        return out

    def next_due(self) -> float:
        """When `poll` has something to do without anything else happening."""
        due = [message.due_at for message in self._outstanding.values()]
        if self.stage is Stage.ONLINE:
            due.append(self._quiet_since + self._manners.heartbeat_s)
        return min(due, default=float("inf"))

    # -- sending --------------------------------------------------------------------------------

    def _new_conversation(self) -> Conversation:
        conversation = Conversation(phone=self.identity.phone, revision=self.identity.revision)
        conversation.next_serial = self._next_serial
        return conversation

    def _send(self, message: Any, reports: tuple[Kept, ...], now: float) -> bytes:
        serial = self._conversation.next_serial
        frames = self._conversation.send(message)
        timeout_s = self._manners.answer_timeout_s
        self._outstanding[serial] = Outstanding(
            MESSAGE_IDS[type(message)], frames, reports, now, now + timeout_s, timeout_s
        )
        return frames

    def _register(self, now: float) -> bytes:
        self.stage = Stage.REGISTERING
        self._auth_code = None
        return self._send(self.identity.registration(), (), now)

    def _authenticate(self, now: float) -> bytes:
        assert self._auth_code is not None
        self.stage = Stage.AUTHENTICATING
        return self._send(self.identity.authentication(self._auth_code), (), now)

    def _report(self, now: float) -> bytes:
        """Live reports one by one, then late ones in batches, as far as the window allows."""
        out = bytearray()
        while len(self._outstanding) < self._manners.window_max:
            if self._live:
                kept = self._live.popleft()
                out += self._send(kept.report, (kept,), now)
            elif self._late and self._has_batches:
                batch = self._next_batch()
                reports = tuple(kept.report for kept in batch)
                out += self._send(BatchReport.of(reports, _BLIND_AREA), batch, now)
            elif self._late:
                kept = self._late.popleft()
                out += self._send(kept.report, (kept,), now)
            else:
                break
        return bytes(out)

    def _next_batch(self) -> tuple[Kept, ...]:
        """As many late reports as one packet carries."""
        batch: list[Kept] = []
        size = _BATCH_HEAD_SIZE
        while self._late:
            body = encode(self._late[0].report, self.identity.revision)
            size += _BATCH_ITEM_HEAD_SIZE + len(body)
            if size > BODY_SIZE_MAX and batch:
                break
            batch.append(self._late.popleft())
        return tuple(batch)

    def _resend(self, now: float) -> bytes:
        """T(n+1) = T(n) × (n+1), clause 5.2 of JT/T 808 and parameter 0x0003."""
        out = bytearray()
        for message in self._outstanding.values():
            if message.due_at > now:
                continue
            if message.sendings > self._manners.resend_max:
                self.has_given_up = True
                message.due_at = float("inf")
                continue
            message.sendings += 1
            message.timeout_s *= message.sendings
            message.due_at = now + message.timeout_s
            self.counts.resent += 1
            out += message.frames
        return bytes(out)

    # -- receiving ------------------------------------------------------------------------------

    def _take_answer(self, answer: PlatformAnswer, now: float) -> bytes:
        message = self._outstanding.get(answer.answer_serial)
        if message is None or message.message_id != answer.answer_id:
            return b""  # of an earlier sending, or not ours
        is_ok = answer.result in (OK, _ALARM_CONFIRMED)
        if message.message_id == _AUTHENTICATE:
            del self._outstanding[answer.answer_serial]
            return self._take_authentication(is_ok, answer.result)
        if is_ok:
            del self._outstanding[answer.answer_serial]
            self._confirm(message, answer.answer_serial, now)
        elif answer.result in (_BAD_MESSAGE, UNSUPPORTED):
            del self._outstanding[answer.answer_serial]
            self._set_aside(message, answer.result)
        # "Failed" means not now: the resend comes at its time.
        return b""

    def _confirm(self, message: Outstanding, serial: int, now: float) -> None:
        for report, is_copy in message.reports:
            if not is_copy:
                self.counts.acknowledged += 1
                self._acknowledged.append(
                    Acknowledged(report, serial, message.message_id, message.sent_at, now)
                )

    def _set_aside(self, message: Outstanding, result: int) -> None:
        if message.message_id == _BATCH:
            self._has_batches = False  # a platform without 0x0704: one by one
            self._late.extendleft(reversed(message.reports))
            return
        refused = sum(not kept.is_copy for kept in message.reports)
        self.counts.refused += refused
        self.last_refusal = f"0x{message.message_id:04X} answered {result}"

    def _take_authentication(self, is_ok: bool, result: int) -> bytes:
        if is_ok:
            self.stage = Stage.ONLINE
            return b""
        self._auth_code = None  # the next connection registers anew
        return self._accept_refusal(f"authentication answered {result}")

    def _accept_refusal(self, refusal: str) -> bytes:
        self.last_refusal = refusal
        self.stage = Stage.REFUSED
        self.has_given_up = True
        return b""

    def _take_registration(self, answer: RegistrationAnswer, now: float) -> bytes:
        message = self._outstanding.get(answer.answer_serial)
        if message is None or message.message_id != _REGISTER:
            return b""
        del self._outstanding[answer.answer_serial]
        if answer.result != OK:
            return self._accept_refusal(f"registration answered {answer.result}")
        self._auth_code = answer.auth_code or ""
        return self._authenticate(now)

    def _obey(self, event: Received, message: Any) -> bytes:
        """Answer what a platform asks; of its questions only the one for the place is known."""
        if isinstance(message, LocationQuery) and self._last_report is not None:
            serial = event.header.serial if self.identity.revision >= 2013 else None
            return self._conversation.send(LocationAnswer(serial, self._last_report))
        if not wants_answer(event.header.message_id):
            return b""
        return self._conversation.answer(event, OK)
