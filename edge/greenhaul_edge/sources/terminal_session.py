"""One terminal's connection as decisions: bytes in; readings to commit and answers out.

No socket and no outbox here: the adapter commits what a `Delivery` carries and only then writes
its answers.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from greenhaul_edge.sources.terminal_auth import REGISTERED, TerminalAuth
from greenhaul_protocols.catalogue import Event, Position, Reading, TimeQuality, Undecodable
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
    Logout,
    PartReceived,
    PlatformAnswer,
    Received,
    Registration,
    ServerTime,
    ServerTimeQuery,
    UnknownMessage,
    border,
    clock,
    wants_answer,
)

# Raw bytes in one reading; a split message that is not decodable can have megabytes.
RAW_SIZE_MAX = 32 * 1024
# A peer that sent this many frames in a row that are none is no terminal.
BAD_IN_A_ROW_MAX = 200


@dataclass(slots=True)
class Delivery:
    """Readings to commit together; `answers` may be written once they are."""

    readings: list[Reading] = field(default_factory=list)
    answers: bytes = b""
    copy_key: bytes | None = None
    is_alarm: bool = False
    is_rubbish: bool = False  # nobody resends it: may be evicted


@dataclass(slots=True)
class Counts:
    """What a listener counts, over all its connections."""

    received_messages: int = 0
    received_readings: int = 0
    registered: int = 0
    authenticated: int = 0
    refused_registrations: int = 0
    refused_authentications: int = 0
    refused_unauthenticated: int = 0
    undecodable: int = 0
    unknown_messages: int = 0
    acknowledged: int = 0  # deliveries answered after their commit
    held_back: int = 0  # deliveries not answered: the outbox did not take them
    rejected: int = 0
    replaced_connections: int = 0
    closed_idle: int = 0
    closed_rubbish: int = 0
    refused_connections: int = 0


class TerminalSession:
    """Drives one `Conversation`.

    on_authenticated is called with the terminal's number (without leading zeros).
    """

    def __init__(
        self,
        auth: TerminalAuth,
        *,
        rubbish_source: str,
        counts: Counts,
        on_authenticated: Callable[[str], None],
    ) -> None:
        self._auth, self._counts = auth, counts
        self._rubbish_source, self._on_authenticated = rubbish_source, on_authenticated
        self._conversation = Conversation()
        self._alarms = 0
        self._bad_in_a_row = 0
        self.terminal: str | None = None  # its number, once authenticated

    @property
    def is_rubbish(self) -> bool:
        """Whether the peer is no terminal and the connection should end."""
        return self._bad_in_a_row >= BAD_IN_A_ROW_MAX

    def receive(self, data: bytes, received_time_ms: int) -> list[Delivery]:
        """What these bytes ask to be committed and answered, in order."""
        deliveries: list[Delivery] = []
        for event in self._conversation.receive(data):
            self._counts.received_messages += 1
            found: Delivery | None
            match event:
                case BadBytes():
                    found = self._bad(event, received_time_ms)
                case PartReceived():
                    found = self._part(event)
                case UnknownMessage():
                    found = self._unknown(event, received_time_ms)
                case Received():
                    found = self._message(event, received_time_ms)
            if not isinstance(event, BadBytes):
                self._bad_in_a_row = 0
            if found is not None:
                self._counts.received_readings += len(found.readings)
                deliveries.append(found)
        return _merge(deliveries)

    def close(self, received_time_ms: int) -> list[Delivery]:
        """What the end of the connection leaves behind."""
        return [
            self._bad(event, received_time_ms)
            for event in self._conversation.close()
            if isinstance(event, BadBytes)
        ]

    def _may_report(self, header: Header) -> bool:
        number = header.phone.lstrip("0")
        return self.terminal == number or self._auth.mode == "open"

    def _bad(self, event: BadBytes, received_time_ms: int) -> Delivery:
        self._counts.undecodable += 1
        self._bad_in_a_row += 1
        header = event.header
        is_known = header is not None and self._may_report(header)
        if header is not None and is_known:
            source = border.source_name(header.phone)
        else:
            source = self._rubbish_source
        delivery = self._delivery(event, event.raw, source, header, received_time_ms)
        delivery.is_rubbish = not is_known
        if header is not None and wants_answer(header.message_id):
            delivery.answers = self._conversation.answer(event, BAD_MESSAGE)
        return delivery

    def _part(self, event: PartReceived) -> Delivery | None:
        # A packet is answered with its message: nothing acknowledged may lie in memory only.
        return None if self._may_report(event.header) else self._refuse(event)

    def _unknown(self, event: UnknownMessage, received_time_ms: int) -> Delivery | None:
        self._counts.unknown_messages += 1
        if not self._may_report(event.header):
            return self._refuse(event)
        source = border.source_name(event.header.phone)
        delivery = self._delivery(event, event.body, source, event.header, received_time_ms)
        delivery.answers = self._answer(event, UNSUPPORTED)
        return delivery

    def _message(self, event: Received, received_time_ms: int) -> Delivery | None:
        header, message = event.header, event.message
        match message:
            case Registration():
                return self._register(header)
            case Authentication():
                return self._authenticate(event, message)
        if not self._may_report(header):
            return self._refuse(event)
        match message:
            case Heartbeat():
                return Delivery(answers=self._answer(event, OK))
            case Logout():
                self.terminal = None
                return Delivery(answers=self._answer(event, OK))
            case ServerTimeQuery():
                digits = clock.digits_of(received_time_ms)
                return Delivery(answers=self._conversation.send(ServerTime(digits)))
        source = border.source_name(header.phone)
        delivery = self._delivery(message, event.body, source, header, received_time_ms)
        if not delivery.readings:
            delivery.readings = list(_pieces(_kept_whole(event, source, received_time_ms)))
        delivery.is_alarm = self._has_new_alarm(delivery.readings)
        delivery.answers = self._answer(event, OK)
        return delivery

    def _register(self, header: Header) -> Delivery:
        answer = self._auth.register(header.phone, header.serial)
        if answer.result == REGISTERED:
            self._counts.registered += 1
        else:
            self._counts.refused_registrations += 1
        return Delivery(answers=self._conversation.send(answer, phone=header.phone))

    def _authenticate(self, event: Received, message: Authentication) -> Delivery:
        phone = event.header.phone
        if not self._auth.authenticate(phone, message.auth_code):
            self._counts.refused_authentications += 1
            return Delivery(answers=self._answer(event, FAILED))
        self._counts.authenticated += 1
        self.terminal = phone.lstrip("0")
        self._on_authenticated(self.terminal)
        return Delivery(answers=self._answer(event, OK))

    def _refuse(self, event: Received | UnknownMessage | PartReceived) -> Delivery | None:
        self._counts.refused_unauthenticated += 1
        if not wants_answer(event.header.message_id):
            return None
        return Delivery(answers=self._conversation.answer(event, FAILED))

    def _answer(self, event: Received | UnknownMessage, result: int) -> bytes:
        """The general answer; to a split message, one for each of its packets."""
        if not wants_answer(event.header.message_id):
            return b""
        return b"".join(
            self._conversation.send(
                PlatformAnswer(packet.serial, packet.message_id, result), phone=packet.phone
            )
            for packet in event.packets or (event.header,)
        )

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
        readings = [piece for reading in found for piece in _pieces(reading)]
        delivery = Delivery(readings)
        is_unusable = any(r.time_quality is TimeQuality.UNUSABLE for r in readings)
        if is_unusable and header is not None:
            phone, message_id, serial, body_hash = border.resend_key(header, raw)
            delivery.copy_key = f"{phone}/{message_id}/{serial}/".encode() + body_hash
        return delivery


def _kept_whole(event: Received, source: str, received_time_ms: int) -> Event:
    """A message we acknowledge but make no reading of: nothing acknowledged is thrown away."""
    return Event(
        source=source,
        device_time_ms=received_time_ms,
        received_time_ms=received_time_ms,
        time_quality=TimeQuality.GATEWAY,
        code=f"jt808.0x{event.header.message_id:04X}",
        raw=event.raw,
    )


def _pieces(reading: Reading) -> Iterator[Reading]:
    """The reading, or several where its raw bytes are more than a block carries."""
    raw = getattr(reading, "raw", None) or b""
    if len(raw) <= RAW_SIZE_MAX:
        yield reading
        return
    for at in range(0, len(raw), RAW_SIZE_MAX):
        piece = raw[at : at + RAW_SIZE_MAX]
        where = f"bytes {at} to {at + len(piece) - 1} of {len(raw)}"
        if isinstance(reading, Undecodable):
            yield replace(reading, reason=f"{reading.reason} ({where})", raw=piece)
        elif isinstance(reading, Event):
            yield replace(reading, detail=json.dumps({"part": where}), raw=piece)


def _is_plain(delivery: Delivery) -> bool:
    return bool(delivery.readings) and delivery.copy_key is None and not delivery.is_rubbish


def _merge(deliveries: list[Delivery]) -> list[Delivery]:
    """Neighbours that need no treatment of their own as one: one wait for one commit."""
    merged: list[Delivery] = []
    for delivery in deliveries:
        last = merged[-1] if merged else None
        if last and _is_plain(last) and _is_plain(delivery):
            last.readings += delivery.readings
            last.answers += delivery.answers
            last.is_alarm |= delivery.is_alarm
        else:
            merged.append(delivery)
    return merged
