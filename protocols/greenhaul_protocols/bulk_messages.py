"""Messages of protobuf's wire format, thousands at a time: walked in step, as arrays.

The first element of every message is read, then the second of every one. What no sender of ours
writes is not read but marked as wrong, so that a plain reader can look at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.bulk import Bools, Int64s
from greenhaul_protocols.bulk_bodies import ranges

Bytes = NDArray[np.uint8]

# Elements of one message: a series has eight fields and some columns, a column some texts.
ELEMENTS_MAX = 64
# Read behind the last byte, and found to be outside.
PADDING = bytes(16)
_VARINT_BYTES_MAX = 10
UINT32_MAX = 2**32 - 1


@dataclass(slots=True)
class Walked:
    """Elements of n messages by tag: scalars (n,), starts and sizes of spans (n,), size 0 where
    there is none; and of the tag that may come often, whose it is, start and size."""

    is_right: Bools
    scalars: dict[int, Int64s]
    spans: dict[int, tuple[Int64s, Int64s]]
    many: tuple[Int64s, Int64s, Int64s]


def walk(
    data: Bytes,
    starts: Int64s,
    ends: Int64s,
    scalars: Sequence[int],
    spans: Sequence[int],
    many: int | None = None,
) -> Walked:
    """Messages between starts and ends, element by element, all in step."""
    count = len(starts)
    nothing = np.zeros(count, np.int64)
    found = Walked(
        np.ones(count, np.bool_),
        {tag: nothing.copy() for tag in scalars},
        {tag: (nothing.copy(), nothing.copy()) for tag in spans},
        (nothing[:0], nothing[:0], nothing[:0]),
    )
    seen = {tag: np.zeros(count, np.bool_) for tag in (*scalars, *spans)}
    often: list[tuple[Int64s, Int64s, Int64s]] = []
    at, active = starts.copy(), np.flatnonzero(starts < ends)
    for _ in range(ELEMENTS_MAX):
        if not len(active):
            break
        tags = data[at[active]]
        values, after = _varint(data, at[active] + 1)
        is_span = tags & 7 == 2
        stops = np.where(is_span, after + values, after)
        is_right = (stops <= ends[active]) & (values >= 0)
        for tag, is_seen in seen.items():
            here = np.flatnonzero((tags == tag) & is_right)
            if not len(here):
                continue
            of = active[here]
            is_right[here] = ~is_seen[of]
            is_seen[of] = True
            if tag in found.scalars:
                found.scalars[tag][of] = values[here]
            else:
                found.spans[tag][0][of], found.spans[tag][1][of] = after[here], values[here]
        is_known = np.isin(tags, [*seen] if many is None else [*seen, many])
        if many is not None:
            here = np.flatnonzero((tags == many) & is_right)
            often.append((active[here], after[here], values[here]))
        is_right &= is_known
        found.is_right[active[~is_right]] = False
        at[active] = stops
        active = active[is_right & (stops < ends[active])]
    found.is_right[active] = False
    if often:
        owner, start, size = (np.concatenate(one) for one in zip(*often, strict=True))
        found.many = owner, start, size
    return found


def _varint(data: Bytes, at: Int64s) -> tuple[Int64s, Int64s]:
    """Unsigned numbers of 32 bits (-1: it is none), and where each ends."""
    last = len(data) - 1
    byte = data[np.minimum(at, last)]
    values, after = (byte & 0x7F).astype(np.int64), at + 1
    rows = np.flatnonzero(byte >= 0x80)
    for shift in (7, 14, 21, 28):
        if not len(rows):
            break
        byte = data[np.minimum(after[rows], last)]
        values[rows] |= (byte & 0x7F).astype(np.int64) << shift
        after[rows] += 1
        rows = rows[byte >= 0x80]
    values[rows] = -1
    values[values > UINT32_MAX] = -1
    return values, after


class Packed:
    """Packed varints of n spans, one behind the other."""

    def __init__(self, data: Bytes, starts: Int64s, sizes: Int64s) -> None:
        """What is no varint makes its span wrong, and its numbers mean nothing."""
        flat = data[ranges(starts, sizes)]
        ends = np.cumsum(sizes)
        holds = np.flatnonzero(sizes)
        self.is_right = np.ones(len(sizes), np.bool_)
        is_last = flat < 0x80
        self.is_right[holds] = is_last[ends[holds] - 1]
        is_last[ends[holds] - 1] = True
        last = np.flatnonzero(is_last)
        first = np.concatenate((np.zeros(1, np.int64), last[:-1] + 1)) if len(last) else last
        width = last - first + 1
        self.words = (flat[first] & 0x7F).astype(np.uint64)
        for place in range(1, min(int(width.max(initial=0)), _VARINT_BYTES_MAX)):
            rows = np.flatnonzero(width > place)
            group = (flat[first[rows] + place] & 0x7F).astype(np.uint64)
            self.words[rows] |= group << np.uint64(7 * place)
        self._owner = np.searchsorted(ends, last, "right")
        is_long = (width > _VARINT_BYTES_MAX) | ((width == _VARINT_BYTES_MAX) & (flat[last] > 1))
        self.is_right &= ~self.is_any(is_long)
        self.counts = np.bincount(self._owner, minlength=len(sizes))
        self._starts = np.cumsum(self.counts) - self.counts

    @property
    def is_first(self) -> Bools:
        """(words,) which begin a span."""
        found = np.zeros(len(self.words), np.bool_)
        found[self._starts[self.counts > 0]] = True
        return found

    def is_any(self, chosen: Bools) -> Bools:
        """(spans,) in which any of these words lies."""
        found = np.zeros(len(self.is_right), np.bool_)
        found[self._owner[chosen]] = True
        return found

    def taken(self, spans: Int64s, *, is_signed: bool = False) -> Int64s:
        """The numbers of some spans, zigzag if signed."""
        counts = self.counts[spans]
        words = self.words
        if len(spans) != len(self.counts) or (np.diff(spans) != 1).any():
            words = words[ranges(self._starts[spans], counts)]
        if is_signed:
            words = words >> np.uint64(1) ^ -(words & np.uint64(1))
        return words.view(np.int64)


class Blobs:
    """Texts and blobs of n messages."""

    def __init__(
        self, data: Bytes, messages: int, owner: Int64s, start: Int64s, size: Int64s
    ) -> None:
        """owner, start, size: of each, those of one message in its order."""
        self._data = data
        order = np.argsort(owner, kind="stable")
        self._start, self._end = start[order].tolist(), (start + size)[order].tolist()
        self.counts = np.bincount(owner, minlength=messages)
        self._first = (np.cumsum(self.counts) - self.counts).tolist()

    def of(self, message: int) -> list[bytes]:
        """Those of one message."""
        first = self._first[message]
        last = first + int(self.counts[message])
        pairs = zip(self._start[first:last], self._end[first:last], strict=True)
        return [self._data[start:end].tobytes() for start, end in pairs]
