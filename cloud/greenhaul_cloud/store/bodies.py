"""The series in blocks' bodies as columns, whichever way they were read.

What is as usual is read all at once from its bytes (`bulk_wire`); the rest body by body, so that
whatever contradicts itself is named and set aside as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from greenhaul_cloud.store.faults import Cause, Fault
from greenhaul_protocols.block import Block
from greenhaul_protocols.bulk import Int64s
from greenhaul_protocols.bulk_bodies import KindColumns, gather
from greenhaul_protocols.bulk_wire import ReadBodies, read_bodies
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.series import parse_body
from greenhaul_protocols.uplink_pb2 import Series as WireSeries

# Bodies read at once, together: 100,000 readings of terminals. The reader takes some fifty times
# their bytes for a moment, and 64 KiB of a block can claim to be 8 MB.
READ_BYTES_MAX = 4 * 1024 * 1024

Parsed = tuple[WireSeries, str]


@dataclass(frozen=True, slots=True)
class GatheredSeries:
    """Series of some blocks, columns of n entries. block: of which block each is, by index.

    kinds: their readings; `place` is an index into these. mistyped: series with a known field of
    another type.
    """

    block: Int64s
    source: list[str]
    kind: Int64s
    flags: Int64s
    kinds: list[KindColumns]
    mistyped: set[int]
    _parsed: Mapping[int, Parsed]
    _bodies: Sequence[bytes]
    _read: ReadBodies | None

    def __len__(self) -> int:
        return len(self.block)

    def wire(self, place: int) -> Parsed:
        """One of them as it came, with all its fields."""
        if place in self._parsed:
            return self._parsed[place]
        assert self._read, "a series is parsed or read"
        body = self._bodies[int(self._read.body[place])]
        return parse_body(body)[int(self._read.within[place])]


def series_of(parsed: Sequence[Parsed], block_of: Sequence[int]) -> GatheredSeries:
    """The same of parsed series. Raises DecodeError."""
    kinds, mistyped = gather(parsed)
    return GatheredSeries(
        np.array(block_of, np.int64),
        [source for _, source in parsed],
        np.array([wire.kind for wire, _ in parsed], np.int64),
        np.array([wire.flags for wire, _ in parsed], np.int64),
        kinds,
        mistyped,
        dict(enumerate(parsed)),
        (),
        None,
    )


def gather_bodies(blocks: Mapping[int, Block]) -> tuple[GatheredSeries, dict[int, Fault]]:
    """Series of these blocks with readings, and the faults of those whose body is none."""
    faults: dict[int, Fault] = {}
    numbers: list[int] = []
    bodies: list[bytes] = []
    parsed: dict[int, list[Parsed]] = {}
    size = 0
    for i, block in blocks.items():
        try:
            body = block.inflate()
            if size + len(body) > READ_BYTES_MAX:
                parsed[i] = _parse(body)
                continue
        except DecodeError as error:
            faults[i] = Fault(Cause.BODY, str(error))
            continue
        size += len(body)
        numbers.append(i)
        bodies.append(body)
    read = read_bodies(bodies)
    for left in read.left:
        try:
            parsed[numbers[left]] = _parse(bodies[left])
        except DecodeError as error:
            faults[numbers[left]] = Fault(Cause.BODY, str(error))
    others = _sound(parsed, faults)
    return _joined(read, numbers, bodies, others), faults


def _parse(body: bytes) -> list[Parsed]:
    found = parse_body(body)
    if not found:
        raise DecodeError("the body has no readings")
    return found


def _sound(parsed: dict[int, list[Parsed]], faults: dict[int, Fault]) -> GatheredSeries:
    """All series of bodies that do not contradict themselves; the others go to the faults."""
    while True:
        series = [one for body in parsed.values() for one in body]
        block_of = [i for i, body in parsed.items() for _ in body]
        try:
            return series_of(series, block_of)
        except DecodeError:
            for i, body in list(parsed.items()):
                try:
                    gather(body)
                except DecodeError as error:
                    faults[i] = Fault(Cause.BODY, str(error))
                    del parsed[i]


def _joined(
    read: ReadBodies, numbers: Sequence[int], bodies: Sequence[bytes], others: GatheredSeries
) -> GatheredSeries:
    """What was read, and behind it the others. numbers: of the bodies' blocks."""
    first = len(read.body)
    return GatheredSeries(
        np.concatenate((np.array(numbers, np.int64)[read.body], others.block)),
        [*read.source, *others.source],
        np.concatenate((read.kind, others.kind)),
        np.concatenate((read.flags, others.flags)),
        read.kinds + [replace(kind, place=kind.place + first) for kind in others.kinds],
        {first + place for place in others.mistyped},
        {first + place: others.wire(place) for place in range(len(others))},
        bodies,
        read,
    )
