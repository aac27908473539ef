"""Id-length-value items: how they lie in a body. What ids mean stands in tables."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.layouts import Fixed, Layout, PartialList, write_counts


class Item(NamedTuple):
    """An id-length-value item as it came. What it says stands in a table of items."""

    id: int
    raw: bytes


# Half the time of `Item(…)`, and a location report has four.
_new_item: Callable[[tuple[int, bytes]], Item] = partial(tuple.__new__, Item)


@dataclass(frozen=True, eq=False)
class Items(Layout):
    """Id-length-value items. Unknown ids, order and repetitions are kept.

    Without a count they run to the end of the body, and reading stops before an item whose length
    runs past it. table: name under which describers find what the ids mean. size_code: of the
    length. size_first: the length stands before the id and counts it, as one vendor has it.
    """

    id_code: Literal["B", "H", "I"]
    table: str
    count: Fixed | None = None
    packet_count: Fixed | None = None
    size_code: Literal["B", "H"] = "B"
    size_first: bool = False

    def read(self, body: bytes, at: int) -> tuple[tuple[Item, ...], int]:
        found: list[Item] = []
        if self.count is None:
            if self.id_code == self.size_code == "B":
                return _short_items(body, at)
            while (behind := self._read_one(body, at, found)) is not None:
                at = behind
            return tuple(found), at
        counts: list[int] = []
        for counter in (self.count, self.packet_count):
            if counter is not None:
                number, at = counter.read(body, at)
                counts.append(number)
        for number in range(counts[-1]):
            behind = self._read_one(body, at, found)
            if behind is None:
                raise DecodeError(f"[{number}] of {counts[-1]} items runs past the end of the body")
            at = behind
        return PartialList.of(found, counts), at

    def _read_one(self, body: bytes, at: int, found: list[Item]) -> int | None:
        """The offset behind the item at `at`, which is appended; None if it does not fit."""
        head = self._head
        value_at = at + head.size
        if value_at > len(body):
            return None
        item_id, size = head.unpack_from(body, at)
        if self.size_first:
            item_id, size = size, item_id - self._id_size
        behind = value_at + size
        if size < 0 or behind > len(body):
            return None
        found.append(Item(item_id, body[value_at:behind]))
        return int(behind)

    @property
    def head_size(self) -> int:
        """Bytes of an item before its value."""
        return self._head.size

    @property
    def _id_size(self) -> int:
        return struct.calcsize(">" + self.id_code)

    @property
    def _head(self) -> struct.Struct:
        codes = (
            (self.size_code, self.id_code) if self.size_first else (self.id_code, self.size_code)
        )
        return struct.Struct(">" + "".join(codes))

    def write(self, value: tuple[Item, ...]) -> bytes:
        counts = write_counts((self.count, self.packet_count), value)
        return counts + b"".join(map(self.write_one, value))

    def write_one(self, item: Item) -> bytes:
        """The bytes of one item. Raises EncodeError."""
        item_id, raw = item
        head = (len(raw) + self._id_size, item_id) if self.size_first else (item_id, len(raw))
        try:
            return self._head.pack(*head) + raw
        except struct.error as error:
            raise EncodeError(f"item {item_id} of {len(raw)} bytes: {error}") from error


def _short_items(body: bytes, at: int) -> tuple[tuple[Item, ...], int]:
    """Items of one byte of id and one of length, to the end: a third of every location report."""
    found: list[Item] = []
    end = len(body)
    last = end - 2
    while at <= last:
        value_at = at + 2
        behind = value_at + body[at + 1]
        if behind > end:
            break
        found.append(_new_item((body[at], body[value_at:behind])))
        at = behind
    return tuple(found), at
