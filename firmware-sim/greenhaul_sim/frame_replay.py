"""Recorded JT/T 808 frames sent again byte for byte, one connection a terminal.

A frame that no server can answer (wrong checksum, no header) is sent all the same and not waited
for. Answers are matched by serial and message id; a report among the frames that is acknowledged
goes into the ledger like any other.
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.jt808 import (
    OK,
    BatchReport,
    Conversation,
    Event,
    LocationReport,
    PlatformAnswer,
    Received,
    RegistrationAnswer,
    is_downlink,
    wants_answer,
)
from greenhaul_protocols.jt808.framing import Frame, Malformed
from greenhaul_sim.identity import identity_of
from greenhaul_sim.ledger import LedgerEntry, LedgerWriter, claim_of
from greenhaul_sim.link import Address

# How long a frame's answer may take before the next one goes: servers answer bad ones with silence.
_ANSWER_S = 2.0
_CONNECT_S = 10.0

_BROKEN = ""  # the phone of frames without a header


@dataclass(slots=True)
class FrameResult:
    """What became of a file's frames."""

    name: str
    read: int = 0
    sent: int = 0
    answered: Counter[int] = field(default_factory=Counter)  # by result of 0x8001
    unanswered: int = 0
    malformed: int = 0
    downlink: int = 0  # what a platform once said: not sent
    closed: int = 0  # connections the server ended early

    @property
    def is_complete(self) -> bool:
        """Frames have no promise to keep: it is enough that they were sent."""
        return self.sent + self.downlink == self.read

    def line(self) -> str:
        """One line for people."""
        answers = " ".join(f"result_{result}={n}" for result, n in sorted(self.answered.items()))
        return (
            f"{self.name}: read={self.read} sent={self.sent} answered={self.answered.total()} "
            f"{answers + ' ' if answers else ''}unanswered={self.unanswered} "
            f"malformed={self.malformed} downlink={self.downlink} closed={self.closed}"
        )


@dataclass(frozen=True, slots=True)
class Parcel:
    """One frame to send, and what it says if it says anything."""

    raw: bytes
    event: Event | None
    wants_answer: bool


def sort_frames(
    frames: list[Frame | Malformed], result: FrameResult
) -> dict[tuple[str, bool], list[Parcel]]:
    """Frames by terminal and header shape, in order; broken ones under the terminal before them."""
    conversation = Conversation()
    parcels: dict[tuple[str, bool], list[Parcel]] = {}
    key = (_BROKEN, False)
    for frame in frames:
        result.read += 1
        events = conversation.receive(frame.raw)
        event = events[-1] if events else None
        header = event.header if event else None
        if isinstance(frame, Malformed) or event is None or header is None:
            result.malformed += 1
            parcels.setdefault(key, []).append(Parcel(frame.raw, None, wants_answer=False))
        elif is_downlink(header.message_id):
            result.downlink += 1
        else:
            key = (header.phone, header.is_2019)
            parcels.setdefault(key, []).append(
                Parcel(frame.raw, event, wants_answer(header.message_id))
            )
    return parcels


class FramePlayer:
    """Sends the frames of one terminal over one connection."""

    def __init__(
        self,
        address: Address,
        result: FrameResult,
        ledger: LedgerWriter | None,
        *,
        registers: bool,
    ) -> None:
        self._address = address
        self._result = result
        self._ledger = ledger
        self._registers = registers

    async def play(self, phone: str, is_2019: bool, parcels: list[Parcel]) -> None:
        """Send each frame, wait for its answer, send the next. Raises Unavailable."""
        revision = 2019 if is_2019 else 2013
        conversation = Conversation(phone=phone or None, revision=revision)
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(
                    self._address.host, self._address.port
                )
        except OSError as error:  # TimeoutError is one
            raise Unavailable(f"{self._address.host}:{self._address.port}: {error}") from error
        try:
            if self._registers and phone:
                await _register(reader, writer, conversation, phone, revision)
            for parcel in parcels:
                await self._send(reader, writer, conversation, parcel)
        except ConnectionError:
            self._result.closed += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _send(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        conversation: Conversation,
        parcel: Parcel,
    ) -> None:
        sent_at_ms = round(time.time() * 1000)
        writer.write(parcel.raw)
        await writer.drain()
        self._result.sent += 1
        if not parcel.wants_answer or parcel.event is None:
            return
        header = parcel.event.header
        assert header is not None
        answer = await _answer_to(reader, conversation, header.serial, header.message_id)
        if answer is None:
            self._result.unanswered += 1
            return
        self._result.answered[answer.result] += 1
        if answer.result == OK and isinstance(parcel.event, Received) and self._ledger:
            self._ledger.append(_entries(parcel.event, sent_at_ms))


async def _answer_to(
    reader: asyncio.StreamReader, conversation: Conversation, serial: int, message_id: int
) -> PlatformAnswer | RegistrationAnswer | None:
    """The answer to a message, or None if it does not come. Raises ConnectionError at the end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_S):
            while True:
                data = await reader.read(65_536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                for event in conversation.receive(data):
                    match event:
                        case Received(message=PlatformAnswer() as answer) if (
                            answer.answer_serial == serial and answer.answer_id == message_id
                        ):
                            return answer
                        case Received(message=RegistrationAnswer() as answer) if (
                            answer.answer_serial == serial
                        ):
                            return answer
    return None


async def _register(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    conversation: Conversation,
    phone: str,
    revision: int,
) -> None:
    """Become known to the server as this terminal, as far as it lets us."""
    identity = identity_of(phone, revision)
    serial = conversation.next_serial
    writer.write(conversation.send(identity.registration()))
    answer = await _answer_to(reader, conversation, serial, 0x0100)
    if isinstance(answer, RegistrationAnswer) and answer.auth_code is not None:
        serial = conversation.next_serial
        writer.write(conversation.send(identity.authentication(answer.auth_code)))
        await _answer_to(reader, conversation, serial, 0x0102)


def _entries(event: Received, sent_at_ms: int) -> list[LedgerEntry]:
    match event.message:
        case LocationReport():
            reports: tuple[object, ...] = (event.message,)
        case BatchReport(reports=batch):
            reports = batch
        case _:
            return []
    acked_at_ms = round(time.time() * 1000)
    return [
        LedgerEntry(
            terminal=event.header.phone,
            serial=event.header.serial,
            message_id=event.header.message_id,
            claim=claim,
            sent_at_ms=sent_at_ms,
            acked_at_ms=acked_at_ms,
        )
        for report in reports
        if isinstance(report, LocationReport) and (claim := claim_of(report))
    ]
