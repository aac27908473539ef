"""Asking control units for what they do not broadcast: UDS and OBD requests (pure).

Only where the gateway's configuration allows it, only services that read, one request at a time
and at most one a second; and never beside a tester: two who ask at once confuse both, and a
workshop's work goes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from greenhaul_edge.sources.can_mapping import RequestSettings

# Between two requests on a bus, whatever their periods.
GAP_MS = 1_000
# A tester says something every 5 s at least, or its session ends (S3, ISO 14229-2): listened for so
# long before the first request.
LISTEN_MS = 5_000
# A mechanic reads and thinks between two questions.
TESTER_QUIET_MS = 60_000
# A control unit answers within 50 ms (P2), within 5 s after it said that it needs longer (P2*);
# the frames of a long answer follow within 1 s (N_Cr, ISO 15765-2).
_ANSWER_MS, _PENDING_MS, _NEXT_FRAME_MS = 1_000, 5_000, 1_000
# Who does not answer sleeps, and should: every frame wakes it and costs the 12 V battery.
_SILENT_REQUESTS, _ASLEEP_MS = 3, 300_000

# Source addresses of testers in 29-bit ids (ISO 15765-2 and -4, SAE J1939: F9, FA).
_TESTERS = (0xF1, 0xF9, 0xFA)
# Physical and functional addressing, any priority.
_DIAGNOSTIC_PFS = (0xDA, 0xDB)
_SINGLE, _FIRST, _CONSECUTIVE = 0, 1, 2
_NEGATIVE, _PENDING = 0x7F, 0x78
# Flow control: go on, all frames, 10 ms apart.
_GO_ON = bytes((0x30, 0, 10))


class Frame(NamedTuple):
    """A frame to send."""

    frame_id: int
    is_extended: bool
    data: bytes


@dataclass(slots=True)
class PollCounts:
    """What asking came to."""

    asked: int = 0
    answered: int = 0
    refused_requests: int = 0  # the control unit said no
    unanswered: int = 0
    tester_frames: int = 0  # of others who ask


@dataclass(slots=True)
class _Turn:
    """A request, when it is due, and how often in a row it was not answered."""

    settings: RequestSettings
    due_ms: int
    silent: int = 0


@dataclass(slots=True)
class _Open:
    """The request on the bus, how many bytes of its answer are to come, and until when."""

    turn: _Turn
    until_ms: int
    missing: int = 0


@dataclass(slots=True)
class Poller:
    """Says what to send. Times are monotonic milliseconds; opened_ms: when the bus was opened."""

    requests: Sequence[RequestSettings]
    opened_ms: int
    counts: PollCounts = field(default_factory=PollCounts)
    _turns: list[_Turn] = field(init=False)
    _open: _Open | None = field(init=False, default=None)
    _held_off_until_ms: int = field(init=False)
    _next_ms: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._held_off_until_ms = self.opened_ms + LISTEN_MS
        self._turns = [_Turn(one, self._held_off_until_ms) for one in self.requests]

    def is_held_off(self, now_ms: int) -> bool:
        """Whether nothing is asked for now: somebody else asks, or may."""
        return now_ms < self._held_off_until_ms

    def take(self, frame_id: int, is_extended: bool, data: bytes, now_ms: int) -> Frame | None:
        """A frame that somebody else sent; what to answer at once."""
        if is_request(frame_id, is_extended) or any(
            (frame_id, is_extended) == (one.id, one.is_extended) for one in self.requests
        ):
            self.counts.tester_frames += 1
            self._held_off_until_ms = now_ms + TESTER_QUIET_MS
            self._open = None
            return None
        asked = self._open
        if asked is None or not data:
            return None
        settings = asked.turn.settings
        if (frame_id, is_extended) != (settings.answer_id, settings.is_extended):
            return None
        return self._take_answer(asked, data, now_ms)

    def turn(self, now_ms: int) -> Frame | None:
        """The next request, if one is due; called some times a second."""
        asked = self._open
        if asked is not None:
            if now_ms < asked.until_ms:
                return None
            self.counts.unanswered += 1
            asked.turn.silent += 1
            if asked.turn.silent >= _SILENT_REQUESTS:
                asked.turn.due_ms = now_ms + _ASLEEP_MS
            self._open = None
        if self.is_held_off(now_ms) or now_ms < self._next_ms:
            return None
        turn = min(self._turns, key=lambda one: one.due_ms)
        if now_ms < turn.due_ms:
            return None
        turn.due_ms = now_ms + round(turn.settings.period_s * 1000)
        self._next_ms = now_ms + GAP_MS
        self._open = _Open(turn, now_ms + _ANSWER_MS)
        self.counts.asked += 1
        body = turn.settings.body
        return _padded(turn.settings, bytes((len(body),)) + body)

    def _take_answer(self, asked: _Open, data: bytes, now_ms: int) -> Frame | None:
        kind, service = data[0] >> 4, asked.turn.settings.body[0]
        if kind == _SINGLE:
            said = data[1 : 1 + (data[0] & 0x0F)]
            if said[:2] == bytes((_NEGATIVE, service)):
                if said[2:3] == bytes((_PENDING,)):
                    asked.until_ms = now_ms + _PENDING_MS
                    return None
                self.counts.refused_requests += 1
                self._finish(asked)
            elif said[:1] == bytes((service | 0x40,)):
                self.counts.answered += 1
                self._finish(asked)
        elif kind == _FIRST and data[2:3] == bytes((service | 0x40,)):
            asked.missing = ((data[0] & 0x0F) << 8 | data[1]) - len(data[2:])
            asked.until_ms = now_ms + _NEXT_FRAME_MS
            return _padded(asked.turn.settings, _GO_ON)
        elif kind == _CONSECUTIVE and asked.missing > 0:
            asked.missing -= len(data) - 1
            asked.until_ms = now_ms + _NEXT_FRAME_MS
            if asked.missing <= 0:
                self.counts.answered += 1
                self._finish(asked)
        return None

    def _finish(self, asked: _Open) -> None:
        asked.turn.silent = 0
        self._open = None


def is_request(frame_id: int, is_extended: bool) -> bool:
    """Whether an id belongs to those who ask (ISO 15765-4: 7DF, 7E0–7E7; 18DAxxF1, 18DBxxF1)."""
    if not is_extended:
        return frame_id == 0x7DF or 0x7E0 <= frame_id <= 0x7E7
    return frame_id >> 16 & 0xFF in _DIAGNOSTIC_PFS and frame_id & 0xFF in _TESTERS


def request_filters() -> list[tuple[int, int, bool]]:
    """(id, mask, is extended) of what `is_request` wants to see, for the kernel."""
    return [
        (0x7DF, 0x7FF, False),
        (0x7E0, 0x7F8, False),
        *((pf << 16 | tester, 0x00FF00FF, True) for pf in _DIAGNOSTIC_PFS for tester in _TESTERS),
    ]


def _padded(settings: RequestSettings, data: bytes) -> Frame:
    """Eight bytes, as control units want them."""
    return Frame(settings.id, settings.is_extended, data.ljust(8, b"\0"))
