"""Joining the packets of split messages, in whatever order they come.

The standard gives the packets of one message consecutive serials. Some terminals send other
messages between them, so packets whose serials merely rise with their numbers belong together too:
at once where a second message of that length would not fit in between, otherwise when the terminal
has moved on and no better packet came.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from greenhaul_protocols.jt808.header import SERIAL_COUNT, Header

# A photo is some 200 packets; ten of them at once is more than any terminal was seen to send.
PARTS_BYTES_MAX = 4 * 1024 * 1024
# Messages begun and not complete; a terminal sends one or two at a time.
PARTS_MESSAGES_MAX = 16
# Other messages between the packets of one; 16 were seen.
BETWEEN_MAX = 64


class Part(NamedTuple):
    """One packet that waits for the others."""

    header: Header
    body: bytes
    raw: bytes

    @property
    def cost_bytes(self) -> int:
        """Memory it takes; 512 for the objects, or empty packets would cost nothing."""
        return len(self.body) + len(self.raw) + 512


# How long a terminal that began a split message may be silent before its packets are asked for, and
# how often: a photo over a poor link takes seconds between packets.
PARTS_TIMEOUT_MS = 10_000
PARTS_ASKED_MAX = 3


class Missing(NamedTuple):
    """A split message that waits for packets."""

    header: Header  # of a packet that came
    first_serial: int  # of its first packet
    numbers: tuple[int, ...]  # of the packets that did not come


@dataclass(slots=True)
class _Patience:
    """Since when a message waits, and how often it was asked for."""

    since_ms: int
    asked: int = 0


_Key = tuple[str, int, int]  # phone, message id, number of packets
_Begun = tuple[_Key, int]  # and the serial of its first packet, if serials are consecutive


@dataclass(slots=True)
class PartStore:
    """Packets of messages that are not complete. Bounded: the oldest message gives way."""

    _begun: dict[_Begun, dict[int, Part]] = field(default_factory=dict)
    _hopeless: set[_Key] = field(default_factory=set)  # tried in vain since the last packet
    _patience: dict[_Begun, _Patience] = field(default_factory=dict)
    _bytes: int = 0
    evicted_parts: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether any packet is kept."""
        return bool(self._begun)

    @property
    def waiting_bytes(self) -> int:
        """Memory of the packets kept."""
        return self._bytes

    def put(self, header: Header, body: bytes, raw: bytes) -> list[Part] | None:
        """Keep a packet; all packets of its message in order, once the last one is here."""
        assert header.part is not None
        number, total = header.part
        key = (header.phone, header.message_id, total)
        begun = key, (header.serial - (number - 1)) % SERIAL_COUNT
        group = self._begun.setdefault(begun, {})
        known = group.get(number)
        part = group[number] = Part(header, body, raw)
        self._bytes += part.cost_bytes
        if known is not None:
            self._bytes -= known.cost_bytes
            return None
        self._hopeless.discard(key)
        for of_key in [of for of in self._patience if of[0] == key]:
            del self._patience[of_key]
        if len(group) == total:
            self._forget(begun)
            return [group[n] for n in range(1, total + 1)]
        # A second message of this length begins at least `total` serials later.
        joined = self._joined_across(key, between_max=total - 1)
        if joined is None:
            self._make_room()
        return joined

    def overdue(self, now_ms: int) -> tuple[list[Missing], list[list[Part]]]:
        """What to ask for, and what to give up: the packets that came of messages asked for in
        vain. Time goes by from the first call after a packet came."""
        asked: list[Missing] = []
        given_up: list[list[Part]] = []
        clusters = {groups[0]: groups for groups in self._clusters()}
        for gone in self._patience.keys() - clusters.keys():
            del self._patience[gone]
        for first, groups in clusters.items():
            patience = self._patience.setdefault(first, _Patience(now_ms))
            if now_ms - patience.since_ms < PARTS_TIMEOUT_MS:
                continue
            parts = {number: part for g in groups for number, part in self._begun[g].items()}
            if patience.asked >= PARTS_ASKED_MAX:
                given_up.append([parts[number] for number in sorted(parts)])
                for group in groups:
                    self._forget(group)
                continue
            patience.since_ms, patience.asked = now_ms, patience.asked + 1
            number, part = min(parts.items())
            first_serial = (part.header.serial - (number - 1)) % SERIAL_COUNT
            missing = tuple(n for n in range(1, first[0][2] + 1) if n not in parts)
            if missing:
                asked.append(Missing(part.header, first_serial, missing))
        return asked, given_up

    def _clusters(self) -> Iterator[list[_Begun]]:
        """Groups that may be of one message, because no packet is in two of them."""
        for key in dict.fromkeys(key for key, _ in self._begun):
            groups = self._groups(key)
            numbers = [number for g in groups for number in self._begun[g]]
            if len(numbers) == len(set(numbers)):
                yield groups
            else:
                yield from ([group] for group in groups)

    def _groups(self, key: _Key) -> list[_Begun]:
        return [begun for begun in self._begun if begun[0] == key]

    def moved_on(self, phone: str | None, busy_with: Header | None = None) -> Iterator[list[Part]]:
        """Messages that are taken to be complete, because the terminal sends something else.

        phone: the terminal, None for all of them. busy_with: the packet that came, if it is one.
        """
        busy = None
        if busy_with is not None and busy_with.part is not None:
            busy = (busy_with.phone, busy_with.message_id, busy_with.part.total)
        for key in dict.fromkeys(key for key, _ in self._begun):
            if key == busy or key in self._hopeless or phone not in (None, key[0]):
                continue
            joined = self._joined_across(key, between_max=BETWEEN_MAX)
            if joined is not None:
                yield joined
            else:
                self._hopeless.add(key)

    def _joined_across(self, key: _Key, *, between_max: int) -> list[Part] | None:
        """A message with others between its packets: every number once, serials rising."""
        groups = self._groups(key)
        total = key[2]
        if len(groups) < 2 or sum(len(self._begun[g]) for g in groups) != total:
            return None
        parts = {number: part for g in groups for number, part in self._begun[g].items()}
        if len(parts) != total:
            return None
        ordered = [parts[number] for number in range(1, total + 1)]
        start = ordered[0].header.serial
        offsets = [(part.header.serial - start) % SERIAL_COUNT for part in ordered]
        between = offsets[-1] - (total - 1)
        if between > between_max or any(a >= b for a, b in pairwise(offsets)):
            return None
        for g in groups:
            self._forget(g)
        return ordered

    def _make_room(self) -> None:
        while len(self._begun) > PARTS_MESSAGES_MAX or self._bytes > PARTS_BYTES_MAX:
            oldest = next(iter(self._begun))
            self.evicted_parts += len(self._begun[oldest])
            self._forget(oldest)

    def _forget(self, begun: _Begun) -> None:
        self._hopeless.discard(begun[0])
        self._bytes -= sum(part.cost_bytes for part in self._begun.pop(begun).values())
