"""What a block says, judged before anything is stored.

Pure: bytes in, readings as columns out, everything unacceptable named with its reason and kept as
bytes. What only the store can judge (is the gateway known, is the source granted) comes later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from greenhaul_cloud.store.bodies import GatheredSeries, Parsed, gather_bodies, series_of
from greenhaul_cloud.store.faults import Cause, Fault
from greenhaul_cloud.store.grants import is_granted
from greenhaul_protocols.block import BLOCK_SIZE_MAX, Block, DamagedBlock, unwrap_block
from greenhaul_protocols.bulk import (
    Bools,
    BytesColumn,
    Int64s,
    NumberColumn,
    SeriesColumns,
    columns_of,
)
from greenhaul_protocols.bulk_bodies import KindColumns
from greenhaul_protocols.catalogue import KIND_OF, KINDS, Position
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.series import READINGS_MAX, Series, encode_body
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN
from greenhaul_protocols.topics import LANE_MAX

# Kept in a 16-bit column; bits beyond are of no version that could have sent them in good faith.
FLAGS_MAX = 2**15 - 1
# What the brokers' configurations here let through: twice a block. A broker without such a limit
# passes 256 MB, and what is damaged is kept.
RAW_SIZE_MAX = 2 * BLOCK_SIZE_MAX
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


@dataclass(frozen=True, slots=True)
class Accepted:
    """Readings of one kind to store, with columns of n entries.

    block: of which block each is, by place; source: index into `sources`. gateways: who carried
    each block.
    """

    readings: KindColumns
    block: Int64s
    source: Int64s
    sources: Sequence[str]
    gateways: Sequence[str]

    def take(self, rows: Int64s) -> "Accepted":
        """Some of the readings, by their index."""
        return replace(
            self,
            readings=self.readings.take(rows),
            block=self.block[rows],
            source=self.source[rows],
        )


@dataclass(slots=True)
class Inspected:
    """What is in blocks: readings to store, by kind, and what is set aside, with its block."""

    accepted: list[Accepted] = field(default_factory=list)
    aside: list[tuple[int, SetAside]] = field(default_factory=list)


def receive_block(gateway: str, lane: int, raw: bytes) -> ReceivedBlock:
    """Check what came on a gateway's topic: CRC, and that the header means this very topic."""
    if len(raw) > RAW_SIZE_MAX:
        fault = Fault(Cause.FORMAT, f"{len(raw)} bytes; a block has {BLOCK_SIZE_MAX} at most")
        return ReceivedBlock(gateway, lane, raw[:BLOCK_SIZE_MAX], None, fault)
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


# Patterns of the sources each gateway may carry.
Grants = Mapping[str, Sequence[str]]


def inspect(blocks: Sequence[ReceivedBlock], grants: Grants | None = None) -> Inspected:
    """What is in these whole blocks, of gateways that carry what they are granted, or anything.

    A body that contradicts itself is set aside as one. All bodies are made columns together, which
    is many times faster than one by one.
    """
    found = Inspected()
    whole: dict[int, Block] = {}
    for i, block in enumerate(blocks):
        assert block.block is not None, "damaged blocks have nothing to inspect"
        if block.fault:
            found.aside.append((i, _whole(block, block.fault)))
        elif block.count:
            whole[i] = block.block
    series, faults = gather_bodies(whole)
    found.aside += [(i, _whole(blocks[i], fault)) for i, fault in faults.items()]
    unsound = _miscounted(blocks, series)
    for i in unsound:
        words = f"numbers of the body are not 0…{blocks[i].count - 1}"
        found.aside.append((i, _whole(blocks[i], Fault(Cause.BODY, words))))
    judged = _Judgement(series, [block.gateway for block in blocks], grants)
    judged.judge(unsound)
    found.accepted = judged.accepted
    found.aside += judged.aside_of_blocks()
    return found


def inspect_series(
    parsed: Sequence[Parsed],
    block_of: Sequence[int],
    gateways: Sequence[str],
    grants: Grants | None,
) -> Inspected:
    """The same of series alone, each of one of these gateways' blocks. Raises DecodeError."""
    judged = _Judgement(series_of(parsed, block_of), gateways, grants)
    judged.judge(frozenset())
    return Inspected(judged.accepted, judged.aside_of_blocks())


def _whole(block: ReceivedBlock, fault: Fault) -> SetAside:
    return SetAside(list(range(block.count)), None, fault, block.raw)


def _miscounted(blocks: Sequence[ReceivedBlock], series: GatheredSeries) -> frozenset[int]:
    """Blocks whose readings are not numbered 0 to count - 1, each once."""
    counts = np.array([block.count for block in blocks], np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    hits = np.zeros(int(starts[-1]), np.int64)
    heard = np.isin(np.arange(len(blocks)), series.block)
    wrong = np.zeros(len(blocks), np.bool_)
    for kind in series.kinds:
        block = series.block[kind.place]
        is_within = (kind.numbers >= 0) & (kind.numbers < counts[block])
        wrong[block[~is_within]] = True
        hits += np.bincount((starts[block] + kind.numbers)[is_within], minlength=len(hits))
    wrong |= np.bincount(np.repeat(np.arange(len(blocks)), counts)[hits != 1],
                         minlength=len(blocks)).astype(np.bool_)  # fmt: skip
    return frozenset(np.flatnonzero(wrong & heard).tolist())


class _Judgement:
    """Which readings of sound bodies can be stored."""

    def __init__(
        self, series: GatheredSeries, gateways: Sequence[str], grants: Grants | None
    ) -> None:
        self._series, self._gateways, self._grants = series, gateways, grants
        self._faults: dict[int, Fault] = {}  # by place of the series
        self.accepted: list[Accepted] = []
        self.aside: list[tuple[int, SetAside]] = []  # with the place of its series

    def aside_of_blocks(self) -> list[tuple[int, SetAside]]:
        """What is set aside, with its block."""
        return [(int(self._series.block[place]), aside) for place, aside in self.aside]

    def judge(self, unsound: frozenset[int]) -> None:
        """Sort the readings out; those of unsound blocks are set aside already."""
        series = self._series
        numbers = {name: i for i, name in enumerate(dict.fromkeys(series.source))}
        sources = list(numbers)
        source_of = np.array([numbers[name] for name in series.source], np.int64)
        self._find_faults(source_of, sources)
        is_unsound = np.isin(series.block, [*unsound])
        refused = is_unsound.copy()
        refused[[*self._faults]] = True
        for place, fault in self._faults.items():
            if not is_unsound[place]:
                self.aside.append((place, set_aside(self._columns(place), fault)))
        for kind in series.kinds:
            is_good = ~refused[kind.place]
            is_good &= ~self._put_nowhere(kind, is_good)
            if not is_good.any():
                continue
            kept = kind if is_good.all() else kind.take(np.flatnonzero(is_good))
            of = kept.place
            self.accepted.append(
                Accepted(kept, series.block[of], source_of[of], sources, self._gateways)
            )

    def _find_faults(self, source_of: Int64s, sources: Sequence[str]) -> None:
        series = self._series
        is_known, is_flagged = np.isin(series.kind, [*KINDS]), series.flags > FLAGS_MAX
        refused = self._refused(source_of, sources)
        is_refused = np.isin(np.arange(len(series)), [*refused])
        for place in np.flatnonzero(~is_known | is_flagged | is_refused).tolist():
            if not is_known[place]:
                words = f"kind {series.kind[place]} is not in the catalogue"
                self._faults[place] = Fault(Cause.KIND, words)
            elif is_flagged[place]:
                words = f"flags {series.flags[place]:#x} are not in the catalogue"
                self._faults[place] = Fault(Cause.FLAGS, words)
            else:
                self._faults[place] = refused[place]
        for kind in series.kinds:
            is_off = ~(_is_sayable(kind.device_time_ms) & _is_sayable(kind.received_time_ms))
            for place in np.unique(kind.place[is_off]).tolist():
                fault = Fault(Cause.TIME, "a time lies outside the years 1 to 9999")
                self._faults.setdefault(place, fault)
        for place in sorted(series.mistyped):
            fault = Fault(Cause.FIELD, self._mistyped_words(place))
            self._faults.setdefault(place, fault)

    def _refused(self, source_of: Int64s, sources: Sequence[str]) -> dict[int, Fault]:
        """Faults of sources, by place: each is looked at once a gateway."""
        names = {name: i for i, name in enumerate(dict.fromkeys(self._gateways))}
        gateways = list(names)
        gateway_of = np.array([names[name] for name in self._gateways], np.int64)
        pairs = gateway_of[self._series.block] * len(sources) + source_of
        unique, pair_of = np.unique(pairs, return_inverse=True)
        faults: dict[int, Fault] = {}
        for i, pair in enumerate(unique.tolist()):
            gateway, source = divmod(pair, len(sources))
            fault = self._fault_of_source(gateways[gateway], sources[source])
            if fault is not None:
                faults |= dict.fromkeys(np.flatnonzero(pair_of == i).tolist(), fault)
        return faults

    def _fault_of_source(self, gateway: str, source: str) -> Fault | None:
        if not source.isprintable():
            return Fault(Cause.SOURCE, "the source's name has control characters")
        if self._grants is None or is_granted(gateway, self._grants[gateway], source):
            return None
        return Fault(Cause.GRANT, f"source {source} is not granted to {gateway}")

    def _mistyped_words(self, place: int) -> str:
        wire, _ = self._series.wire(place)
        known = KINDS[wire.kind].by_number if wire.kind in KINDS else {}
        for column in wire.columns:
            spec = known.get(column.field)
            if spec is not None and spec.is_bytes != bool(column.blobs):
                return f"field {column.field} ({spec.name}) is of another type"
        return "a field is of another type"

    def _put_nowhere(self, kind: KindColumns, is_good: Bools) -> Bools:
        """(n,) which readings have a coordinate beyond the globe's; they are set aside."""
        is_off = np.zeros(len(kind), np.bool_)
        if kind.kind != _POSITION.number:
            return is_off
        for field_number, reach in _REACH_STEPS.items():
            column = kind.columns.get(field_number)
            if isinstance(column, NumberColumn):
                is_off |= (column.values > reach) | (column.values < -reach)
        is_off &= is_good
        for place in np.unique(kind.place[is_off]).tolist():
            rows = np.flatnonzero(is_off[kind.place == place])
            self.aside.append((place, set_aside(self._columns(place).take(rows), NOWHERE)))
        return is_off

    def _columns(self, place: int) -> SeriesColumns:
        """One series with all its fields, whatever they are."""
        return columns_of([self._series.wire(place)])[0]


def _is_sayable(time_ms: Int64s) -> Bools:
    """(n,) whether RFC 3339 and timestamptz can say an instant."""
    found: Bools = (time_ms >= TIME_MS_MIN) & (time_ms <= TIME_MS_MAX)
    return found


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
