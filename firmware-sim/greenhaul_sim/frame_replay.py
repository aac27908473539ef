"""Recorded JT/T 808 frames sent again byte for byte, one connection a terminal.

Location reports, most of any recording, are sorted by the vectorised reader where numpy is there.

A frame that no server can answer (wrong checksum, no header) is sent all the same and not waited
for. Answers are matched by serial and message id; a report among the frames that is acknowledged
goes into the ledger like any other.
"""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

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

# Frames sorted together: a stretch that the vectorised reader reads fastest.
_TOGETHER_MAX = 4_000
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

    def told(self) -> Event | None:
        """What it says; of a report that was only sorted, found out now."""
        if self.event is None and self.wants_answer:
            return Conversation().receive(self.raw)[-1]
        return self.event


def sort_frames(
    frames: list[Frame | Malformed], result: FrameResult
) -> dict[tuple[str, bool], list[Parcel]]:
    """Frames by terminal and header shape, in order; broken ones under the terminal before them."""
    conversation = Conversation()
    parcels: dict[tuple[str, bool], list[Parcel]] = {}
    key = (_BROKEN, False)
    reporters = _reporters(frames)
    for place, frame in enumerate(frames):
        result.read += 1
        if place in reporters:
            key = reporters[place]
            parcels.setdefault(key, []).append(Parcel(frame.raw, None, wants_answer=True))
            continue
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


def _reporters(frames: list[Frame | Malformed]) -> dict[int, tuple[str, bool]]:
    """Terminal and header shape of frames that are whole, plain location reports, by place."""
    try:
        from greenhaul_protocols.bulk_jt808 import read_reports
    except ImportError:
        return {}
    found: dict[int, tuple[str, bool]] = {}
    for first in range(0, len(frames), _TOGETHER_MAX):
        raws = [frame.raw for frame in frames[first : first + _TOGETHER_MAX]]
        ends = [0, *accumulate(map(len, raws))]
        places = {span: first + i for i, span in enumerate(pairwise(ends))}
        reports = read_reports(b"".join(raws), received_time_ms=0)
        for span, phone, is_2019 in zip(
            map(tuple, reports.spans.tolist()),
            reports.phones,
            reports.is_2019.tolist(),
            strict=True,
        ):
            if span in places:
                digits = phone.tobytes().hex()
                found[places[span]] = (digits if is_2019 else digits[-12:], is_2019)
    return found


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
        event = parcel.told()
        if not parcel.wants_answer or event is None:
            return
        header = event.header
        assert header is not None
        answer = await _answer_to(reader, conversation, header.serial, header.message_id)
        if answer is None:
            self._result.unanswered += 1
            return
        self._result.answered[answer.result] += 1
        if answer.result == OK and isinstance(event, Received) and self._ledger:
            self._ledger.append(_entries(event, sent_at_ms))


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
