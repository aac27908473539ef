"""Bodies of many blocks read from their bytes, all at once: no object of protobuf's in between.

A city's traffic is thousands of small bodies alike. Here their series are walked in step: the
first element of every series, then the second of every one, as arrays. What is out of the ordinary
(a body that contradicts itself, a field of another type, encodings no sender of ours makes) is left
to `series.parse_body` and `bulk_bodies.gather`, which alone say what is wrong with it; what is read
here is read as they would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.bulk import Bools, BytesColumn, Int64s, NumberColumn, running_sums
from greenhaul_protocols.bulk_bodies import KindColumns, spread
from greenhaul_protocols.bulk_messages import (
    PADDING,
    UINT32_MAX,
    Blobs,
    Bytes,
    Packed,
    Walked,
    walk,
)
from greenhaul_protocols.catalogue import KINDS, TimeQuality
from greenhaul_protocols.series import READINGS_MAX, SOURCE_LENGTH_MAX

# Tags: field number << 3 | wire type.
_BODY_SOURCE, _BODY_SERIES = 0x0A, 0x12
_SOURCE, _KIND, _FLAGS = 0x08, 0x10, 0x38
_NUMBER, _DEVICE_TIME, _QUALITY, _COLUMN, _RECEIVED_TIME = 0x1A, 0x22, 0x2A, 0x32, 0x42
_FIELD, _PRESENT, _VALUES, _BLOB = 0x08, 0x12, 0x1A, 0x22


@dataclass(frozen=True, slots=True)
class ReadBodies:
    """What was read. Of each series: its body (by index), place in it, source, kind and flags.

    kinds: columns of all of them; `place` is an index into these. left: bodies not read.
    """

    body: Int64s
    within: Int64s
    source: list[str]
    kind: Int64s
    flags: Int64s
    kinds: list[KindColumns]
    left: list[int]


def read_bodies(bodies: Sequence[bytes]) -> ReadBodies:
    """The readings of bodies, of those that are as usual."""
    series = _Series(bodies)
    series.read()
    return series.kept()


class _Series:
    """Every series of these bodies."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._is_left = np.zeros(len(bodies), np.bool_)
        self._names: list[list[str]] = []
        starts: list[int] = []
        ends: list[int] = []
        body_of: list[int] = []
        base = 0
        for i, body in enumerate(bodies):
            try:
                names, spans = _split(body)
            except (IndexError, ValueError):
                names, spans = [], []
            self._is_left[i] = not spans
            self._names.append(names)
            for low, high in spans:
                starts.append(base + low)
                ends.append(base + high)
                body_of.append(i)
            base += len(body)
        self._data = np.frombuffer(b"".join([*bodies, PADDING]), np.uint8)
        self._body = np.array(body_of, np.int64)
        self._spans = np.array(starts, np.int64), np.array(ends, np.int64)

    def read(self) -> None:
        """Take the series apart, and note whose body has to be left."""
        scalars = (_SOURCE, _KIND, _FLAGS)
        packed = (_NUMBER, _DEVICE_TIME, _QUALITY, _RECEIVED_TIME)
        self._found = found = walk(self._data, *self._spans, scalars, packed, _COLUMN)
        is_wrong = ~found.is_right
        self._numbers = numbers = self._unpack(_NUMBER)
        self._count = count = numbers.counts
        is_wrong |= (count == 0) | numbers.is_any(numbers.words > UINT32_MAX)
        is_wrong |= numbers.is_any((numbers.words == 0) & ~numbers.is_first)
        self._times = [self._unpack(tag) for tag in (_DEVICE_TIME, _RECEIVED_TIME)]
        for times in self._times:
            is_wrong |= times.counts != count
        self._quality = quality = self._unpack(_QUALITY)
        is_wrong |= ~np.isin(quality.counts, (0, 1)) & (quality.counts != count)
        is_wrong |= quality.is_any(quality.words > TimeQuality.UNUSABLE)
        for one in (numbers, *self._times, quality):
            is_wrong |= ~one.is_right
        self._columns = _Columns(self._data, found, count)
        is_wrong |= self._columns.is_wrong
        names = np.array([len(names) for names in self._names], np.int64)
        is_wrong |= found.scalars[_SOURCE] >= names[self._body]
        self._is_left[self._body[is_wrong]] = True
        readings = np.bincount(self._body, count, len(self._is_left))
        self._is_left |= readings > READINGS_MAX

    def kept(self) -> ReadBodies:
        """What is in the bodies that are not left."""
        kept = np.flatnonzero(~self._is_left[self._body])
        body, scalars = self._body[kept], self._found.scalars
        kind = scalars[_KIND][kept]
        first = np.searchsorted(self._body, body)
        sources = [
            self._names[i][source]
            for i, source in zip(body.tolist(), scalars[_SOURCE][kept].tolist(), strict=True)
        ]
        places = np.full(len(self._body), -1, np.int64)
        places[kept] = np.arange(len(kept))
        return ReadBodies(
            body,
            kept - first,
            sources,
            kind,
            scalars[_FLAGS][kept],
            [self._of_kind(number, kept[kind == number], places) for number in np.unique(kind)],
            np.flatnonzero(self._is_left).tolist(),
        )

    def _unpack(self, tag: int) -> "Packed":
        return Packed(self._data, *self._found.spans[tag])

    def _of_kind(self, kind: np.int64, series: Int64s, places: Int64s) -> KindColumns:
        """Columns of series of one kind, by index."""
        counts = self._count[series]
        starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        device_time_ms, received_time_ms = (
            running_sums(times.taken(series, is_signed=True), counts) for times in self._times
        )
        return KindColumns(
            int(kind),
            np.repeat(places[series], counts),
            np.repeat(self._found.scalars[_FLAGS][series], counts),
            running_sums(self._numbers.taken(series), counts),
            device_time_ms,
            received_time_ms,
            self._qualities(series, counts),
            self._columns.of(series, starts, counts),
        )

    def _qualities(self, series: Int64s, counts: Int64s) -> NDArray[np.int16]:
        """(n,) said of each reading, once for all of a series, or not at all: 0."""
        said = self._quality.counts[series]
        found = np.zeros(int(counts.sum()), np.int16)
        is_each = np.repeat(said == counts, counts)
        found[is_each] = self._quality.taken(series[said == counts])
        is_one = (said == 1) & (counts != 1)
        found[np.repeat(is_one, counts)] = np.repeat(
            self._quality.taken(series[is_one]), counts[is_one]
        )
        return found


def _split(body: bytes) -> tuple[list[str], list[tuple[int, int]]]:
    """Names of sources, and where the series lie. Raises IndexError or ValueError."""
    names, spans = [], []
    at, end = 0, len(body)
    while at < end:
        tag, size = body[at], body[at + 1]
        at += 2
        shift = 7
        while size >> shift:  # its highest bit says that more comes
            size += (body[at] - 1) << shift
            at += 1
            shift += 7
            if shift > 28:
                raise ValueError("too long")
        if tag == _BODY_SERIES:
            spans.append((at, at + size))
        elif tag == _BODY_SOURCE:
            name = body[at : at + size].decode()
            if not 0 < len(name) <= SOURCE_LENGTH_MAX:
                raise ValueError("not a name")
            names.append(name)
        else:
            raise ValueError("not a field of a body")
        at += size
    if at != end:
        raise ValueError("cut short")
    return names, spans


class _Columns:
    """The fields of all series."""

    def __init__(self, data: Bytes, series: Walked, count: Int64s) -> None:
        """count: readings of each series."""
        self._data = data
        owner, start, size = series.many
        found = walk(data, start, start + size, (_FIELD,), (_PRESENT, _VALUES), _BLOB)
        values = Packed(data, *found.spans[_VALUES])
        self._blobs = blobs = Blobs(data, len(owner), *found.many)
        field, kind = found.scalars[_FIELD], series.scalars[_KIND][owner]
        # by field, and the series in order within each
        self._order = order = np.lexsort((owner, field))
        is_twice = np.zeros(len(order), np.bool_)
        is_twice[order[1:]] = (np.diff(owner[order]) == 0) & (np.diff(field[order]) == 0)
        is_wrong = ~found.is_right | ~values.is_right | is_twice
        is_wrong |= _is_bytes(kind, field) != (blobs.counts > 0)
        is_wrong |= (blobs.counts > 0) & (values.counts > 0)
        held = values.counts + blobs.counts
        self._bitmap, self._bitmap_size = found.spans[_PRESENT]
        is_marked = self._bitmap_size > 0
        is_wrong |= ~is_marked & (held != count[owner])
        is_wrong |= is_marked & (self._bitmap_size != (count[owner] + 7) // 8)
        for i in np.flatnonzero(is_marked & ~is_wrong).tolist():
            is_wrong[i] = int(self._bits(i, int(count[owner[i]])).sum()) != held[i]
        self.is_wrong = np.zeros(len(count), np.bool_)
        self.is_wrong[owner[is_wrong]] = True
        self._owner, self._field, self._values = owner, field, values

    def of(
        self, series: Int64s, starts: Int64s, counts: Int64s
    ) -> dict[int, NumberColumn | BytesColumn]:
        """Columns of some series by field number, (n,) each; starts, counts: of their readings."""
        places = np.full(len(self.is_wrong), -1, np.int64)
        places[series] = np.arange(len(series))
        order = self._order[places[self._owner[self._order]] >= 0]
        field = self._field[order]
        borders = np.flatnonzero(np.diff(field)) + 1
        found: dict[int, NumberColumn | BytesColumn] = {}
        for chosen in np.split(order, borders) if len(order) else []:
            of_series = places[self._owner[chosen]]
            bitmaps = (
                [
                    (i, self._bits(int(column), int(counts[of_series[i]])))
                    for i, column in enumerate(chosen.tolist())
                    if self._bitmap_size[column]
                ]
                if self._bitmap_size[chosen].any()
                else []
            )
            number = int(self._field[chosen[0]])
            if self._blobs.counts[chosen[0]]:
                found[number] = self._spread_blobs(chosen, of_series, dict(bitmaps), starts)
                continue
            steps = running_sums(
                self._values.taken(chosen, is_signed=True), self._values.counts[chosen]
            )
            found[number] = spread(steps, of_series, bitmaps, starts, counts)
        return found

    def _spread_blobs(
        self, chosen: Int64s, of_series: Int64s, bitmaps: dict[int, Bools], starts: Int64s
    ) -> BytesColumn:
        """One field's texts or blobs put to their readings."""
        values: list[bytes | None] = [None] * int(starts[-1])
        lows = starts[of_series].tolist()
        for i, (column, low) in enumerate(zip(chosen.tolist(), lows, strict=True)):
            blobs = self._blobs.of(column)
            rows = np.flatnonzero(bitmaps[i]).tolist() if i in bitmaps else range(len(blobs))
            for row, blob in zip(rows, blobs, strict=True):
                values[low + row] = blob
        return BytesColumn(values)

    def _bits(self, column: int, count: int) -> Bools:
        start, size = int(self._bitmap[column]), int(self._bitmap_size[column])
        bits = np.unpackbits(self._data[start : start + size], count=count, bitorder="little")
        return bits.view(np.bool_)


def _is_bytes(kind: Int64s, field: Int64s) -> Bools:
    """(n,) which fields the catalogue says are texts or blobs."""
    found = np.zeros(len(kind), np.bool_)
    for number in np.unique(kind).tolist():
        if number in KINDS:
            fields = [spec.number for spec in KINDS[number].fields if spec.is_bytes]
            found |= (kind == number) & np.isin(field, fields)
    return found
