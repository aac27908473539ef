"""Joining the packets of split messages, in whatever order they come.

The standard gives the packets of one message consecutive serials. Some terminals send other
messages between them, so packets also belong together when their serials merely rise with their
numbers.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from greenhaul_protocols.jt808.header import SERIAL_COUNT, Header

# A photo is some 200 packets; ten of them at once is more than any terminal was seen to send.
PARTS_BYTES_MAX = 4 * 1024 * 1024
# Messages begun and not complete; a terminal sends one or two at a time.
PARTS_MESSAGES_MAX = 16
# How far other messages may push the packets of one message apart.
_SERIAL_GAP_MAX = 256


class Part(NamedTuple):
    """One packet that waits for the others."""

    serial: int
    body: bytes
    raw: bytes


_Key = tuple[str, int, int]  # phone, message id, number of packets


@dataclass(slots=True)
class PartStore:
    """Packets of messages that are not complete. Bounded: the oldest message gives way."""

    _begun: dict[tuple[_Key, int], dict[int, Part]] = field(default_factory=dict)
    _bytes: int = 0
    evicted_parts: int = 0

    def put(self, header: Header, body: bytes, raw: bytes) -> list[Part] | None:
        """Keep a packet; all packets of its message in order, once the last one is here."""
        assert header.part is not None
        number, total = header.part
        key = (header.phone, header.message_id, total)
        first_serial = (header.serial - (number - 1)) % SERIAL_COUNT
        group = self._begun.setdefault((key, first_serial), {})
        known = group.get(number)
        if known is not None:
            self._bytes -= len(known.body) + len(known.raw)
        group[number] = Part(header.serial, body, raw)
        self._bytes += len(body) + len(raw)
        if len(group) == total:
            self._forget((key, first_serial))
            return [group[n] for n in range(1, total + 1)]
        joined = self._joined_across(key)
        if joined is None:
            self._make_room()
        return joined

    def missing(self, header: Header) -> list[int]:
        """Numbers of the packets still wanted by the message this packet belongs to."""
        assert header.part is not None
        number, total = header.part
        key = (header.phone, header.message_id, total)
        group = self._begun.get((key, (header.serial - number + 1) % SERIAL_COUNT), {})
        return [n for n in range(1, total + 1) if n not in group]

    def _joined_across(self, key: _Key) -> list[Part] | None:
        """A message whose serials are not consecutive: every number once, serials rising."""
        groups = [begun for begun in self._begun if begun[0] == key]
        total = key[2]
        if len(groups) < 2 or sum(len(self._begun[g]) for g in groups) != total:
            return None
        parts = {number: part for g in groups for number, part in self._begun[g].items()}
        if len(parts) != total:
            return None
        ordered = [parts[number] for number in range(1, total + 1)]
        offsets = [(part.serial - ordered[0].serial) % SERIAL_COUNT for part in ordered]
        if offsets != sorted(set(offsets)) or offsets[-1] > total + _SERIAL_GAP_MAX:
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
        self._bytes -= sum(len(part.body) + len(part.raw) for part in group.values())
