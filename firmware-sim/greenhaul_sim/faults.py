"""What bad links do to bytes, as decisions: no socket, no clock; the caller brings both.

A TCP stream is chopped and delayed as bytes. What a modem or a serial converter on the way loses,
repeats or turns around are whole frames: a frame mixed up within itself could pass an 8-bit check
code and would be a reading nobody sent.
"""

import math
import random
import re
from dataclasses import dataclass
from typing import NamedTuple

_FRAME = re.compile(rb"\x7e[^\x7e]+\x7e")

# Pieces of a chopped write; each is at least a byte.
_PIECES_MAX = 6
# Far enough that the other end reads them one by one.
_PIECES_APART_S = (0.001, 0.02)


@dataclass(frozen=True, slots=True)
class FaultProfile:
    """How bad a link is, each way. Times are real seconds; probabilities are of a write for
    `chop`, of a frame for the others. Outages come on their own, connected or not in use."""

    chop: float = 0.0  # arrives in pieces
    delay_s: tuple[float, float] = (0.0, 0.0)
    drop: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0  # the next frame arrives first
    rate_bytes_per_s: float | None = None
    outage_every_s: tuple[float, float] | None = None  # of a connection, from one to the next
    outage_s: tuple[float, float] = (1.0, 10.0)
    half_open: float = 0.0  # share of outages in which nobody is told that the link is gone


NO_FAULTS = FaultProfile()

PROFILES: dict[str, FaultProfile] = {
    "none": NO_FAULTS,
    "chopped": FaultProfile(chop=0.8),
    "delayed": FaultProfile(delay_s=(0.05, 1.5), chop=0.2),
    "repeating": FaultProfile(repeat=0.2),
    "reordering": FaultProfile(reorder=0.2),
    "lossy": FaultProfile(drop=0.1),
    "half-open": FaultProfile(outage_every_s=(10.0, 60.0), half_open=1.0),
    "slow": FaultProfile(rate_bytes_per_s=300.0, delay_s=(0.3, 0.6)),  # GPRS at its edge
    "outages": FaultProfile(outage_every_s=(5.0, 40.0), outage_s=(1.0, 20.0)),
    "hostile": FaultProfile(
        chop=0.5,
        delay_s=(0.0, 0.8),
        drop=0.03,
        repeat=0.05,
        reorder=0.05,
        rate_bytes_per_s=2_000.0,
        outage_every_s=(10.0, 60.0),
        outage_s=(0.5, 10.0),
        half_open=0.3,
    ),
}


class Carried(NamedTuple):
    """Bytes and when they arrive."""

    at: float
    data: bytes


class Outage(NamedTuple):
    """When a connection will break, for how long there is no other, and whether it is told."""

    after_s: float
    lasts_s: float
    is_half_open: bool


@dataclass(slots=True)
class FaultCounts:
    """What links have done."""

    dropped: int = 0
    repeated: int = 0
    reordered: int = 0
    outages: int = 0
    half_open: int = 0


class Path:
    """One direction of one connection. What it carries arrives in order."""

    def __init__(self, profile: FaultProfile, rng: random.Random, counts: FaultCounts) -> None:
        self._profile, self._rng, self._counts = profile, rng, counts
        self._overtaken: list[bytes] = []
        self._free_at = 0.0

    def carry(self, data: bytes, now: float) -> list[Carried]:
        """What becomes of a write; times never go back."""
        profile, rng = self._profile, self._rng
        carried: list[Carried] = []
        for piece in self._pieces(self._mixed_up(data)):
            at = now + rng.uniform(*profile.delay_s)
            if carried:
                at += rng.uniform(*_PIECES_APART_S)
            if self._free_at > now:
                # Never at the same time: a heap of timers does not keep equals in order.
                at = max(at, math.nextafter(self._free_at, math.inf))
            if profile.rate_bytes_per_s:
                at += len(piece) / profile.rate_bytes_per_s
            self._free_at = at
            carried.append(Carried(at, piece))
        return carried

    def _mixed_up(self, data: bytes) -> bytes:
        profile, counts = self._profile, self._counts
        if not (profile.drop or profile.repeat or profile.reorder):
            return data
        arriving: list[bytes] = []
        for frame in _FRAME.findall(data):
            if self._hits(profile.drop):
                counts.dropped += 1
            elif self._hits(profile.reorder):
                counts.reordered += 1
                self._overtaken.append(frame)
                continue
            else:
                arriving.append(frame)
                if self._hits(profile.repeat):
                    counts.repeated += 1
                    arriving.append(frame)
            arriving += self._overtaken
            self._overtaken.clear()
        return b"".join(arriving)

    def _pieces(self, data: bytes) -> list[bytes]:
        if len(data) < 2 or not self._hits(self._profile.chop):
            return [data] if data else []
        count = self._rng.randint(1, min(_PIECES_MAX, len(data)) - 1)
        cuts = sorted(self._rng.sample(range(1, len(data)), count))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _hits(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability


class LinkFaults:
    """What one terminal's links suffer, connection after connection."""

    def __init__(self, profile: FaultProfile, rng: random.Random) -> None:
        self._profile, self._rng = profile, rng
        self.counts = FaultCounts()
        self.connected()

    def connected(self) -> Outage | None:
        """A new connection: fresh paths, and when it will break."""
        self.up = Path(self._profile, self._rng, self.counts)
        self.down = Path(self._profile, self._rng, self.counts)
        if self._profile.outage_every_s is None:
            return None
        return Outage(
            self._rng.uniform(*self._profile.outage_every_s),
            self._rng.uniform(*self._profile.outage_s),
            self._rng.random() < self._profile.half_open,
        )
