"""Requests that wait for their answers, and split messages that may be asked for again.

Which message answers which is the standard's list; the times are its rule of retransmission:
the n-th wait is n times as long as the one before.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenhaul_protocols.jt808.header import SERIAL_COUNT, Header
from greenhaul_protocols.jt808.messages import (
    PlatformAnswer,
    PlatformResendRequest,
    TerminalAnswer,
    TerminalResendRequest,
)
from greenhaul_protocols.jt808.messages_media import MediaAnswer

# Requests that wait at once; the oldest gives way and counts as expired. People send commands one
# by one, a platform's whole repertoire is some forty.
REQUESTS_MAX = 64
# Split messages kept for a peer that misses packets: as much as a peer keeps of ours.
SENT_SPLIT_MAX, SENT_SPLIT_BYTES_MAX = 8, 4 * 1024 * 1024
# What terminals have as parameters 0x0002 and 0x0003 when nobody set them.
ANSWER_TIMEOUT_MS, RETRANSMISSIONS = 10_000, 3

# Requests with an answer of their own; all others want the general answer.
REPLY_IDS = {
    0x0004: 0x8004,
    0x0100: 0x8100,
    0x0801: 0x8800,
    0x0A00: 0x8A00,
    0x8104: 0x0104,
    0x8106: 0x0104,
    0x8107: 0x0107,
    0x8201: 0x0201,
    0x8302: 0x0302,
    0x8500: 0x0500,
    0x8608: 0x0608,
    0x8700: 0x0700,
    0x8702: 0x0702,
    0x8801: 0x0805,
    0x8802: 0x0802,
    0x8A00: 0x0A00,
}

_OK = 0


class Request(NamedTuple):
    """A message sent that wants an answer."""

    message_id: int
    serials: tuple[int, ...]  # of its packets: some peers answer the first, some the last
    frames: tuple[bytes, ...]  # as sent; repeated, they are the same bytes


@dataclass(slots=True)
class _Open:
    request: Request
    reply_id: int | None
    due_ms: int
    wait_ms: int
    attempts: int = 1
    is_acknowledged: bool = False  # by a general answer, while its own is still to come


@dataclass(slots=True)
class OpenRequests:
    """Requests in the order in which they were sent."""

    timeout_ms: int = ANSWER_TIMEOUT_MS
    retransmissions: int = RETRANSMISSIONS
    _open: list[_Open] = field(default_factory=list)
    _evicted: list[Request] = field(default_factory=list)

    def put(self, request: Request, reply_id: int | None, now_ms: int) -> None:
        """Wait for the answer to a request sent now. reply_id: None wants the general answer."""
        if len(self._open) >= REQUESTS_MAX:
            self._evicted.append(self._open.pop(0).request)
            del self._evicted[:-REQUESTS_MAX]
        due_ms = now_ms + self.timeout_ms
        self._open.append(_Open(request, reply_id, due_ms, self.timeout_ms))

    def answered_by(self, header: Header, message: Any) -> Request | None:
        """The request a message answers. It waits no longer, unless this is only the general answer
        to one that has an answer of its own."""
        if not self._open:
            return None
        if isinstance(message, TerminalAnswer | PlatformAnswer):
            return self._answered_generally(message)
        candidates = [one for one in self._open if one.reply_id == header.message_id]
        serial = getattr(message, "answer_serial", None)
        by_serial = [one for one in candidates if serial in one.request.serials]
        # Terminals often echo serial 0, and some answers have none: the oldest is meant.
        for one in by_serial or candidates:
            self._open.remove(one)
            return one.request
        return None

    def _answered_generally(self, answer: TerminalAnswer | PlatformAnswer) -> Request | None:
        for one in self._open:
            request = one.request
            if (
                request.message_id != answer.answer_id
                or answer.answer_serial not in request.serials
            ):
                continue
            if one.reply_id is None or answer.result != _OK:
                self._open.remove(one)
            else:
                one.is_acknowledged = True
            return request
        return None

    @property
    def due_ms(self) -> int | None:
        """When `overdue` has something to say, if nothing is answered before."""
        return min((one.due_ms for one in self._open), default=None)

    def overdue(self, now_ms: int) -> tuple[list[bytes], list[Request]]:
        """Frames to repeat, and requests that are given up."""
        frames: list[bytes] = []
        expired, self._evicted = self._evicted, []
        for one in [one for one in self._open if one.due_ms <= now_ms]:
            if one.attempts > self.retransmissions:
                self._open.remove(one)
                expired.append(one.request)
                continue
            one.attempts += 1
            one.wait_ms *= one.attempts
            one.due_ms = now_ms + one.wait_ms
            if not one.is_acknowledged:
                frames += one.request.frames
        return frames, expired


class _Sent(NamedTuple):
    message_id: int
    first_serial: int
    head: bytes  # of its body: the media id, where it is media
    frames: list[bytes]


@dataclass(slots=True)
class SentSplits:
    """The split messages sent last, packet by packet."""

    _sent: deque[_Sent] = field(default_factory=lambda: deque(maxlen=SENT_SPLIT_MAX))

    def put(self, message_id: int, first_serial: int, body: bytes, frames: list[bytes]) -> None:
        """Keep the frames of a split message."""
        self._sent.append(_Sent(message_id, first_serial % SERIAL_COUNT, body[:4], frames))
        while sum(sum(map(len, sent.frames)) for sent in self._sent) > SENT_SPLIT_BYTES_MAX:
            self._sent.popleft()

    def asked_for(self, message: Any) -> list[bytes]:
        """The packets a message of the peer asks for, as they were sent; none if they are gone."""
        match message:
            case PlatformResendRequest() | TerminalResendRequest():
                wanted = [s for s in self._sent if s.first_serial == message.first_serial]
            case MediaAnswer():
                head = message.media_id.to_bytes(4, "big")
                wanted = [s for s in self._sent if s.message_id == 0x0801 and s.head == head]
            case _:
                wanted = []
        if not wanted:
            return []
        frames = wanted[-1].frames
        return [frames[n - 1] for n in message.numbers or () if 1 <= n <= len(frames)]
