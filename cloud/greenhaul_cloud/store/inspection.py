"""What a block says, judged before anything is stored.

Pure: bytes in, readings as columns out, everything unacceptable named with its reason and kept as
bytes. What only the store can judge (is the gateway known, is the source granted) comes later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from greenhaul_cloud.store.faults import Cause, Fault
from greenhaul_protocols.block import Block, DamagedBlock, unwrap_block
from greenhaul_protocols.bulk import (
    Bools,
    BytesColumn,
    Int64s,
    NumberColumn,
    SeriesColumns,
    columns_of,
)
from greenhaul_protocols.catalogue import KIND_OF, KINDS, Position
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.series import READINGS_MAX, Series, encode_body, parse_body
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN
from greenhaul_protocols.topics import LANE_MAX
from greenhaul_protocols.uplink_pb2 import Series as WireSeries

# Kept in a 16-bit column; bits beyond are of no version that could have sent them in good faith.
FLAGS_MAX = 2**15 - 1
# Kept in signed 64-bit columns.
NUMBER_MAX = 2**63 - 1

_POSITION = KIND_OF[Position]
# How far a coordinate goes either way, in degrees: swapped ones often go farther.
_REACH_DEG = {"latitude_deg": 90, "longitude_deg": 180}
_REACH_STEPS = {
    spec.number: _REACH_DEG[spec.name] * spec.per_unit
    for spec in _POSITION.fields
    if spec.name in _REACH_DEG
}
NOWHERE = Fault(Cause.PLACE, "nowhere on Earth; are latitude and longitude swapped?")


@dataclass(frozen=True, slots=True)
class ReceivedBlock:
    """A block as it came: gateway and lane are those of its topic.

    block is None when nothing it says can be believed, and `fault` says why. A fault of a block
    that is there sets all its readings aside.
    """

    gateway: str
    lane: int
    raw: bytes
    block: Block | None
    fault: Fault | None = None

    @property
    def count(self) -> int:
        """Readings it says it has; 0 in a hello or a damaged block."""
        return self.block.header.count if self.block else 0


@dataclass(frozen=True, slots=True)
class SetAside:
    """Readings that cannot be stored: offsets in the block, and bytes they can be read from."""

    numbers: list[int]
    source: str | None
    fault: Fault
    raw: bytes


@dataclass(slots=True)
class Inspected:
    """What is in a block: series to store, and what is set aside."""

    series: list[SeriesColumns] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)


def receive_block(gateway: str, lane: int, raw: bytes) -> ReceivedBlock:
    """Check what came on a gateway's topic: CRC, and that the header means this very topic."""
    try:
        block = unwrap_block(raw)
    except DamagedBlock as error:
        cause = Cause.CRC if "CRC" in str(error) else Cause.FORMAT
        return ReceivedBlock(gateway, lane, raw, None, Fault(cause, str(error)))
    except DecodeError as error:  # whole, but of a later format: its numbers cannot be read
        return ReceivedBlock(gateway, lane, raw, None, Fault(Cause.FORMAT, str(error)))
    return ReceivedBlock(gateway, lane, raw, *_checked_header(gateway, lane, block))


def _checked_header(gateway: str, lane: int, block: Block) -> tuple[Block | None, Fault | None]:
    header = block.header
    if header.gateway != gateway:
        return None, Fault(Cause.TOPIC, f"header says gateway {header.gateway[:64]!r}")
    if header.lane != lane or lane > LANE_MAX:
        return None, Fault(Cause.TOPIC, f"header says lane {header.lane}")
    if header.count and not 0 < header.first <= header.last <= NUMBER_MAX:
        return None, Fault(Cause.NUMBERS, f"numbers {header.first}…{header.last} cannot be")
    if header.count > READINGS_MAX:
        words = f"{header.count} readings in one block; {READINGS_MAX} at most"
        return None, Fault(Cause.NUMBERS, words)
    return block, None


def inspect(blocks: Sequence[ReceivedBlock]) -> list[Inspected]:
    """What is in each of these whole blocks. A body that contradicts itself is set aside as one.

    All bodies are made columns together, which is several times faster than one by one; where one
    of them is at fault, they are taken one by one.
    """
    parsed = [_parse(block) for block in blocks]
    together = [wire for found in parsed if not isinstance(found, Fault) for wire in found]
    try:
        columns = columns_of(together)
    except DecodeError:
        return [_inspect_alone(*pair) for pair in zip(blocks, parsed, strict=True)]
    placed = zip(columns, off_the_earth(columns), strict=True)
    return [
        _whole(block, found)
        if isinstance(found, Fault)
        else _sorted_out(block, list(islice(placed, len(found))))
        for block, found in zip(blocks, parsed, strict=True)
    ]


def _parse(received: ReceivedBlock) -> list[tuple[WireSeries, str]] | Fault:
    """The wire series of a block, or what is wrong with it."""
    assert received.block is not None, "damaged blocks have nothing to inspect"
    if received.fault:
        return received.fault
    if not received.count:
        return []
    try:
        return parse_body(received.block.inflate())
    except DecodeError as error:
        return Fault(Cause.BODY, str(error))


def _inspect_alone(block: ReceivedBlock, found: list[tuple[WireSeries, str]] | Fault) -> Inspected:
    if isinstance(found, Fault):
        return _whole(block, found)
    try:
        columns = columns_of(found)
    except DecodeError as error:
        return _whole(block, Fault(Cause.BODY, str(error)))
    return _sorted_out(block, list(zip(columns, off_the_earth(columns), strict=True)))


def _whole(block: ReceivedBlock, fault: Fault) -> Inspected:
    return Inspected(aside=[SetAside(list(range(block.count)), None, fault, block.raw)])


def _sorted_out(
    block: ReceivedBlock, placed: Sequence[tuple[SeriesColumns, Bools | None]]
) -> Inspected:
    numbers = sorted(chain.from_iterable(one.numbers.tolist() for one, _ in placed))
    if numbers != list(range(block.count)):
        words = f"numbers of the body are not 0…{block.count - 1}"
        return _whole(block, Fault(Cause.BODY, words))
    found = Inspected()
    for one, is_off in placed:
        fault = fault_of(one)
        if fault is not None:
            found.aside.append(set_aside(one, fault))
        elif is_off is None:
            found.series.append(one)
        else:
            found.aside.append(set_aside(one.take(np.flatnonzero(is_off)), NOWHERE))
            if not is_off.all():
                found.series.append(one.take(np.flatnonzero(~is_off)))
    return found


NOWHERE = Fault(
    Cause.PLACE, "the position is nowhere on Earth; are latitude and longitude swapped?"
)


def off_the_earth(series: Sequence[SeriesColumns]) -> list[Bools | None]:
    """Of each series which readings have a coordinate beyond the globe's; None where none has.

    Live traffic is thousands of series of one reading, so they are looked at together first.
    """
    found: list[Bools | None] = [None] * len(series)
    for field_number, reach in _REACH_STEPS.items():
        places, columns = [], []
        for place, one in enumerate(series):
            column = one.columns.get(field_number) if one.kind == _POSITION.number else None
            if isinstance(column, NumberColumn):
                places.append(place)
                columns.append(column.values)
        if not columns or not _is_beyond(np.concatenate(columns), reach).any():
            continue
        for place, values in zip(places, columns, strict=True):
            is_off, known = _is_beyond(values, reach), found[place]
            if is_off.any():
                found[place] = is_off if known is None else is_off | known
    return found


def _is_beyond(values: Int64s, reach: int) -> Bools:
    is_beyond: Bools = (values > reach) | (values < -reach)
    return is_beyond


def fault_of(series: SeriesColumns) -> Fault | None:
    """Why a series cannot be stored; None when it can."""
    kind = KINDS.get(series.kind)
    if kind is None:
        return Fault(Cause.KIND, f"kind {series.kind} is not in the catalogue")
    if not series.source.isprintable():
        return Fault(Cause.SOURCE, "the source's name has control characters")
    if series.flags > FLAGS_MAX:
        return Fault(Cause.FLAGS, f"flags {series.flags:#x} are not in the catalogue")
    if len(series) and not _are_sayable(series.device_time_ms, series.received_time_ms):
        return Fault(Cause.TIME, "a time lies outside the years 1 to 9999")
    for number, column in series.columns.items():
        spec = kind.by_number.get(number)
        if spec is None or spec.is_bytes == isinstance(column, BytesColumn):
            continue
        if isinstance(column, BytesColumn) or column.present.any():
            return Fault(Cause.FIELD, f"field {number} ({spec.name}) is of another type")
    return None


def _are_sayable(*columns: Int64s) -> bool:
    """Whether RFC 3339 and timestamptz can say all these instants."""
    return all(
        TIME_MS_MIN <= time_ms <= TIME_MS_MAX for column in columns for time_ms in column.tolist()
    )


def set_aside(series: SeriesColumns, fault: Fault) -> SetAside:
    """A series as bytes of its own, numbered from its first reading.

    Fields and kinds this version does not know are kept, so that an upgrade can read them.
    """
    first = int(series.numbers[0]) if len(series) else 0
    plain = Series(
        series.source,
        series.kind,
        series.flags,
        [number - first for number in series.numbers.tolist()],
        series.device_time_ms.tolist(),
        series.received_time_ms.tolist(),
        series.time_quality.tolist(),
        {number: _plain(column) for number, column in series.columns.items()},
    )
    return SetAside(series.numbers.tolist(), series.source, fault, encode_body([plain]))


def _plain(column: NumberColumn | BytesColumn) -> list[int | bytes | None]:
    if isinstance(column, BytesColumn):
        return list(column.values)
    pairs = zip(column.values.tolist(), column.present.tolist(), strict=True)
    return [value if is_there else None for value, is_there in pairs]
