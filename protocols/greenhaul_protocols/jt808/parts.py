"""Joining the packets of split messages, in whatever order they come.

The standard gives the packets of one message consecutive serials. Some terminals send other
messages between them, so packets also belong together when their serials rise with their numbers
and every serial left out was seen on another message. Anything looser would mix two messages.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from greenhaul_protocols.jt808.header import SERIAL_COUNT, Header

# A photo is some 200 packets; ten of them at once is more than any terminal was seen to send.
PARTS_BYTES_MAX = 4 * 1024 * 1024
# Messages begun and not complete; a terminal sends one or two at a time.
PARTS_MESSAGES_MAX = 16
# Messages between the packets of one message: their serials are remembered this far back.
SERIALS_SEEN_MAX = 256


class Part(NamedTuple):
    """One packet that waits for the others."""

    serial: int
    body: bytes
    raw: bytes

    @property
    def cost_bytes(self) -> int:
        """Memory it takes; 256 for the objects, or empty packets would cost nothing."""
        return len(self.body) + len(self.raw) + 256


_Key = tuple[str, int, int]  # phone, message id, number of packets


@dataclass(slots=True)
class PartStore:
    """Packets of messages that are not complete. Bounded: the oldest message gives way."""

    _begun: dict[tuple[_Key, int], dict[int, Part]] = field(default_factory=dict)
    _seen: deque[tuple[str, int, _Key | None]] = field(
        default_factory=lambda: deque(maxlen=SERIALS_SEEN_MAX)
    )
    _bytes: int = 0
    evicted_parts: int = 0

    def pass_by(self, header: Header) -> None:
        """Take note of a message that is not split."""
        self._seen.append((header.phone, header.serial, None))

    def put(self, header: Header, body: bytes, raw: bytes) -> list[Part] | None:
        """Keep a packet; all packets of its message in order, once the last one is here."""
        assert header.part is not None
        number, total = header.part
        key = (header.phone, header.message_id, total)
        self._seen.append((header.phone, header.serial, key))
        first_serial = (header.serial - (number - 1)) % SERIAL_COUNT
        group = self._begun.setdefault((key, first_serial), {})
        known = group.get(number)
        part = group[number] = Part(header.serial, body, raw)
        self._bytes += part.cost_bytes
        if known is not None:
            self._bytes -= known.cost_bytes
            return None
        if len(group) == total:
            self._forget((key, first_serial))
            return [group[n] for n in range(1, total + 1)]
        joined = self._joined_across(key)
        if joined is None:
            self._make_room()
        return joined

    def _joined_across(self, key: _Key) -> list[Part] | None:
        """A message with others between its packets: each number once, no serial unaccounted for."""
        groups = [begun for begun in self._begun if begun[0] == key]
        total = key[2]
        if len(groups) < 2 or sum(len(self._begun[g]) for g in groups) != total:
            return None
        parts = {number: part for g in groups for number, part in self._begun[g].items()}
        if len(parts) != total:
            return None
        ordered = [parts[number] for number in range(1, total + 1)]
        start = ordered[0].serial
        offsets = [(part.serial - start) % SERIAL_COUNT for part in ordered]
        if offsets != sorted(set(offsets)) or offsets[-1] >= total + SERIALS_SEEN_MAX:
            return None
        others = {serial for phone, serial, of in self._seen if phone == key[0] and of != key}
        skipped = set(range(offsets[-1])).difference(offsets)
        if any((start + offset) % SERIAL_COUNT not in others for offset in skipped):
            return None
        for g in groups:
            self._forget(g)
        return ordered

    def _make_room(self) -> None:
        while len(self._begun) > PARTS_MESSAGES_MAX or self._bytes > PARTS_BYTES_MAX:
            oldest = next(iter(self._begun))
            self.evicted_parts += len(self._begun[oldest])
            self._forget(oldest)

    def _forget(self, begun: tuple[_Key, int]) -> None:
        group = self._begun.pop(begun)
        self._bytes -= sum(part.cost_bytes for part in group.values())
