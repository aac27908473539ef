"""One terminal's connection as decisions: bytes in; readings to commit and answers out.

No socket and no outbox here: the adapter commits what a `Delivery` carries and only then writes
its answers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from greenhaul_edge.sources.terminal_answers import GeneralAnswers
from greenhaul_edge.sources.terminal_auth import REGISTERED, TerminalAuth, tag_of
from greenhaul_edge.sources.terminal_counts import Counts
from greenhaul_edge.sources.terminal_delivery import Delivery, kept_whole, merge, pieces
from greenhaul_protocols.catalogue import Position, Reading, TimeQuality
from greenhaul_protocols.jt808 import (
    BAD_MESSAGE,
    FAILED,
    OK,
    UNSUPPORTED,
    Authentication,
    BadBytes,
    Conversation,
    Header,
    Heartbeat,
    Item,
    LocationReport,
    Logout,
    ParameterAnswer,
    PartReceived,
    Received,
    Registration,
    RegistrationAnswer,
    ServerTime,
    ServerTimeQuery,
    TerminalResendRequest,
    UnknownMessage,
    border,
    clock,
    wants_answer,
)
from greenhaul_protocols.jt808 import Event as ConversationEvent
from greenhaul_protocols.jt808.messages import SomeParametersQuery
from greenhaul_protocols.jt808.messages_media import MediaAnswer, MediaData
from greenhaul_protocols.jt808.messages_records import CanReport, PlatformKey, TerminalKey
from greenhaul_protocols.jt808.rsa import BLOCK_SIZE, PrivateKey

# A peer that sent this many frames in a row that are none is no terminal.
BAD_IN_A_ROW_MAX = 200
# Packets of split messages kept for a peer that has not authenticated: no message before that is
# split, but some terminals begin too early.
STRANGER_PARTS_SIZE_MAX = 64 * 1024
# Encrypted packets that are opened for such a peer: one that kept our key may begin so, but each
# costs the gateway more than it costs the peer.
STRANGER_KEY_USES_MAX = 10
# Wrong codes and refused registrations of one connection before it is closed: one who guesses.
REFUSALS_MAX = 10

_HEARTBEAT_INTERVAL_ID = 0x0001

# CAN frames of 0x0705 as readings that take source and times of the report's event.
ReadFrames = Callable[[CanReport, Reading], list[Reading]]


class TerminalSession:
    """Drives one `Conversation`.

    on_authenticated is called with the terminal's number (without leading zeros).
    """

    __slots__ = (
        "_alarms",
        "_auth",
        "_bad_in_a_row",
        "_conversation",
        "_counted_evicted",
        "_counted_skipped",
        "_counts",
        "_has_asked_heartbeat",
        "_has_registered",
        "_on_authenticated",
        "_read_frames",
        "_refusals",
        "_rubbish_source",
        "_untold_key",
        "answers",
        "heartbeat_s",
        "is_heard",
        "terminal",
    )

    def __init__(
        self,
        auth: TerminalAuth,
        *,
        rubbish_source: str,
        counts: Counts,
        on_authenticated: Callable[[str], None],
        read_frames: ReadFrames | None = None,
        private_key: PrivateKey | None = None,
    ) -> None:
        self._auth, self._counts, self._read_frames = auth, counts, read_frames
        self._rubbish_source, self._on_authenticated = rubbish_source, on_authenticated
        self._conversation = Conversation(private_key=private_key)
        self.answers = GeneralAnswers(self._conversation)
        self._untold_key = private_key and private_key.public  # until the terminal was told it
        if auth.mode != "open":
            self._conversation.key_uses_left = STRANGER_KEY_USES_MAX
        self._alarms = 0
        self._bad_in_a_row = self._refusals = 0
        self._counted_skipped = self._counted_evicted = 0
        self._has_registered = self._has_asked_heartbeat = False
        self.terminal: str | None = None  # its number, once authenticated
        self.heartbeat_s = 0  # its parameter 0x0001; 0 is not known
        self.is_heard = False  # whether it said anything it was allowed to say

    @property
    def revision(self) -> int:
        """The edition its messages are written in now."""
        return self._conversation.revision

    @property
    def is_plain(self) -> bool:
        """Whether the peer is known and sends well: its next report holds no surprise."""
        is_let_in = self.terminal is not None or (self._auth.mode == "open" and self.is_heard)
        return is_let_in and not self._bad_in_a_row and not self.waiting_size

    def expects(self, source: str, is_2019: bool) -> bool:
        """Whether a report of this source, in this shape, is what the last message was and may be
        taken."""
        phone = self._conversation.phone
        return (
            phone is not None
            and border.source_name(phone) == source
            and (self._conversation.revision == 2019) == is_2019
            and self._may_report(phone)
        )

    def note_reports(self, alarms: Sequence[int], readings: int) -> bool:
        """Count reports read elsewhere, by their alarm bits; whether a bit is new."""
        has_new = False
        for now in alarms:
            has_new |= bool(now & ~self._alarms)
            self._alarms = now
        self._counts.received_messages += len(alarms)
        self._counts.received_readings += readings
        return has_new

    @property
    def waiting_size(self) -> int:
        """Memory of packets that wait for the rest of their messages."""
        return self._conversation.waiting_bytes

    def fault(self) -> str | None:
        """The counter of what the peer did that ends the connection, if it did."""
        if self._bad_in_a_row >= BAD_IN_A_ROW_MAX:
            return "closed_rubbish"
        if self._refusals >= REFUSALS_MAX:
            return "closed_refused"
        if not self.is_heard and self.waiting_size > STRANGER_PARTS_SIZE_MAX:
            return "closed_parts"
        return None

    def receive(self, data: bytes, received_time_ms: int) -> list[Delivery]:
        """What these bytes ask to be committed and answered, in order."""
        return self.take(self._conversation.receive(data), received_time_ms)

    def receive_datagram(self, data: bytes, received_time_ms: int) -> list[Delivery]:
        """As `receive`; frames end with the datagram."""
        return self.take(self._conversation.receive_datagram(data), received_time_ms)

    def take(self, events: Iterable[ConversationEvent], received_time_ms: int) -> list[Delivery]:
        """What events of the conversation ask to be committed and answered, in order."""
        deliveries: list[Delivery] = []
        for event in events:
            self._counts.received_messages += 1
            found: Delivery | None
            match event:
                case Received():
                    self._bad_in_a_row = 0
                    found = self._message(event, received_time_ms)
                case BadBytes():
                    found = self._bad(event, received_time_ms)
                case PartReceived():
                    self._bad_in_a_row = 0
                    found = self._part(event)
                case UnknownMessage():
                    self._bad_in_a_row = 0
                    found = self._unknown(event, received_time_ms)
            if found is not None:
                self._counts.received_readings += len(found.readings)
                deliveries.append(found)
        return merge(deliveries)

    def poll(self, now_ms: int, received_time_ms: int) -> list[Delivery]:
        """What time asks for: packets that are missing, messages given up. now_ms: monotonic."""
        due = self._conversation.poll(now_ms)
        deliveries = [Delivery(answers=b"".join(due.frames))] if due.frames else []
        for event in due.given_up:
            self._counts.given_up_messages += 1
            deliveries.append(self._kept(event, received_time_ms))
        return deliveries

    def close(self, received_time_ms: int) -> list[Delivery]:
        """What the end of the connection leaves behind."""
        left = self._conversation.close()
        self._count_losses()
        return [
            self._kept(event, received_time_ms) for event in left if isinstance(event, BadBytes)
        ]

    def heartbeat_query(self) -> bytes:
        """Asks once for the terminal's heartbeat interval; nothing if it is known or cannot be."""
        is_known = self._has_asked_heartbeat or self.heartbeat_s or self.terminal is None
        # Until 2013 only all parameters can be asked for.
        if is_known or self._conversation.revision == 2011:
            return b""
        self._has_asked_heartbeat = True
        return self._conversation.send(SomeParametersQuery((_HEARTBEAT_INTERVAL_ID,)))

    def key_announcement(self) -> bytes:
        """Says our public key once; nothing if there is none, or nobody to say it to."""
        key = self._untold_key
        if key is None or not self.is_heard:
            return b""
        self._untold_key = None
        modulus = key.modulus.to_bytes(BLOCK_SIZE, "big")
        return self._conversation.send(PlatformKey(key.exponent, modulus))

    def registered(self, event: Received, result: int) -> bytes:
        """The answer to a registration that was decided."""
        header, registration = event.header, event.message
        code = None
        if result == REGISTERED:
            self._counts.registered += 1
            self._has_registered = True
            code = self._auth.code(header.phone, tag_of(registration))
        else:
            self._refusals += 1
            self._counts.refused_registrations += 1
        answer = RegistrationAnswer(header.serial, result, code)
        return self._conversation.send(answer, to=header)

    def _may_report(self, phone: str) -> bool:
        return self._auth.mode == "open" or self.terminal == phone.lstrip("0")

    def logged_out(self, event: Received) -> bytes:
        """The answer to a terminal that has given its registration up."""
        self.terminal = None
        return self.answers.to_message(event, OK)

    def _bad(self, event: BadBytes, received_time_ms: int) -> Delivery:
        self._bad_in_a_row += 1
        self._count_losses()
        delivery = self._kept(event, received_time_ms)
        header = event.header
        if header is not None and wants_answer(header.message_id):
            delivery.answers = self._conversation.answer(event, BAD_MESSAGE)
        return delivery

    def _kept(self, event: BadBytes, received_time_ms: int) -> Delivery:
        self._counts.undecodable += 1
        header = event.header
        self._counts.unopened += header is not None and header.encryption != 0
        is_known = header is not None and self._may_report(header.phone)
        if header is not None and is_known:
            source = border.source_name(header.phone)
        else:
            source = self._rubbish_source
        delivery = self._delivery(event, event.raw, source, header, received_time_ms)
        delivery.is_rubbish = not is_known
        return delivery

    def _count_losses(self) -> None:
        skipped, evicted = self._conversation.skipped_bytes, self._conversation.evicted_parts
        self._counts.skipped_bytes += skipped - self._counted_skipped
        self._counts.evicted_parts += evicted - self._counted_evicted
        self._counted_skipped, self._counted_evicted = skipped, evicted

    def _part(self, event: PartReceived) -> Delivery | None:
        # A packet is answered with its message: nothing acknowledged may lie in memory only.
        self._count_losses()
        return None if self._may_report(event.header.phone) else self._refuse(event)

    def _unknown(self, event: UnknownMessage, received_time_ms: int) -> Delivery | None:
        self._counts.unknown_messages += 1
        if not self._may_report(event.header.phone):
            return self._refuse(event)
        source = border.source_name(event.header.phone)
        delivery = self._delivery(event, event.body, source, event.header, received_time_ms)
        delivery.answers = self.answers.to_message(event, UNSUPPORTED)
        return delivery

    def _message(self, event: Received, received_time_ms: int) -> Delivery | None:
        header, message = event.header, event.message
        if isinstance(message, Registration):
            return self._register(event)
        if isinstance(message, Authentication):
            return self._authenticate(event, message, received_time_ms)
        if not self._may_report(header.phone):
            return self._refuse(event)
        self.is_heard = True
        if not isinstance(message, LocationReport):
            answered = self._answered_at_once(event, received_time_ms)
            if answered is not None:
                return answered
        source = border.source_name(header.phone)
        delivery = self._delivery(message, event.body, source, header, received_time_ms)
        if isinstance(message, CanReport) and self._read_frames and delivery.readings:
            delivery.readings += self._read_frames(message, delivery.readings[0])
        if not delivery.readings:
            delivery.readings = list(pieces(kept_whole(event, source, received_time_ms)))
        delivery.is_alarm = self._has_new_alarm(delivery.readings)
        delivery.answers = self.answers.to_message(event, OK)
        if isinstance(message, MediaData):
            # The packets have their general answers; that the whole is here is said besides.
            serial = header.serial if self._conversation.revision == 2011 else None
            answer = MediaAnswer(serial, message.media_id)
            delivery.answers += self._conversation.send(answer, to=header)
        elif isinstance(message, TerminalKey):
            delivery.answers += self.key_announcement()
        return delivery

    def _answered_at_once(self, event: Received, received_time_ms: int) -> Delivery | None:
        """The answer to a message that says nothing to keep."""
        match event.message:
            case Heartbeat():
                return Delivery(answers=self.answers.to_message(event, OK))
            case Logout():
                return Delivery(logout=event)
            case ServerTimeQuery():
                digits = clock.digits_of(received_time_ms)
                answer = self._conversation.send(ServerTime(digits), to=event.header)
                return Delivery(answers=answer)
            case TerminalResendRequest():
                return Delivery(answers=b"".join(self._conversation.resend(event.message)))
            case ParameterAnswer(parameters=parameters):
                self._learn_heartbeat(parameters)
        return None

    def _register(self, event: Received) -> Delivery:
        if not event.header.is_2019 and self._conversation.revision != event.revision:
            # What was remembered is no longer so.
            self._conversation.revision = event.revision
        return Delivery(registration=event)

    def _authenticate(
        self, event: Received, message: Authentication, received_time_ms: int
    ) -> Delivery:
        header = event.header
        standing = self._auth.authenticate(header.phone, message.auth_code, received_time_ms)
        if standing is None:
            self._refusals += 1
            self._counts.refused_authentications += 1
            return Delivery(answers=self.answers.to_message(event, FAILED))
        self._counts.authenticated += 1
        self._refusals = 0
        self.is_heard = True
        self._conversation.key_uses_left = None
        self.terminal = header.phone.lstrip("0")
        self.heartbeat_s = standing.heartbeat_s
        if header.is_2019:
            if standing.revision != 2019:
                self._auth.note(self.terminal, revision=2019)
        elif standing.revision in (2011, 2013) and not self._has_registered:
            # No other message than the registration tells these two apart.
            self._conversation.revision = standing.revision
        self._on_authenticated(self.terminal)
        return Delivery(answers=self.answers.to_message(event, OK))

    def _learn_heartbeat(self, parameters: Iterable[Item]) -> None:
        for item_id, raw in parameters:
            if item_id == _HEARTBEAT_INTERVAL_ID and raw:
                self.heartbeat_s = int.from_bytes(raw, "big")
                if self.terminal:
                    self._auth.note(self.terminal, heartbeat_s=min(self.heartbeat_s, 1 << 31))

    def _refuse(self, event: Received | UnknownMessage | PartReceived) -> Delivery | None:
        self._counts.refused_unauthenticated += 1
        if not wants_answer(event.header.message_id):
            return None
        return Delivery(answers=self._conversation.answer(event, FAILED))

    def _has_new_alarm(self, readings: list[Reading]) -> bool:
        before = self._alarms
        for reading in readings:
            if isinstance(reading, Position):
                self._alarms = reading.alarms or 0
        return bool(self._alarms & ~before)

    def _delivery(
        self, body: Any, raw: bytes, source: str, header: Header | None, received_time_ms: int
    ) -> Delivery:
        found = border.readings_of(body, source=source, received_time_ms=received_time_ms)
        if isinstance(body, LocationReport):
            # Of one time, and shorter than any block: most of what comes is this.
            readings, is_unusable = found, found[0].time_quality is TimeQuality.UNUSABLE
        else:
            readings = [piece for reading in found for piece in pieces(reading)]
            is_unusable = any(r.time_quality is TimeQuality.UNUSABLE for r in readings)
        delivery = Delivery(readings)
        if is_unusable and header is not None:
            phone, message_id, serial, body_hash = border.resend_key(header, raw)
            delivery.copy_key = f"{phone}/{message_id}/{serial}/".encode() + body_hash
        return delivery
