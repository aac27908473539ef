"""Tables of id-length-value items: what an id means at a length.

Tables are data: a vendor's dialect is another table laid over the standard's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.items import Item
from greenhaul_protocols.jt808.layouts import Dated, Fixed, Layout


@dataclass(frozen=True, eq=False)
class Entry:
    """One id at one length. The name ends in the unit."""

    id: int
    name: str
    layout: Dated
    size: int | None = None  # None: the layout's own, or any where it has none
    since: int = 2011
    notes: tuple[Any, ...] = ()  # Meanings, BitNames


# Entries of an id, in the order in which they are tried.
Table = Mapping[int, tuple[Entry, ...]]


def entries(*groups: Iterable[Entry]) -> Table:
    """A table of these entries."""
    table: dict[int, tuple[Entry, ...]] = {}
    for group in groups:
        for entry in group:
            table[entry.id] = (*table.get(entry.id, ()), entry)
    return table


def find(table: Table, item: Item, revision: int) -> tuple[Entry, Any] | None:
    """The entry an item fits, and its value; None if it is unknown at this length.

    An item newer than the revision is understood too: terminals mix editions.
    """
    for entry in table.get(item.id, ()):
        if entry.size is not None and entry.size != len(item.raw):
            continue
        layout = _layout_at(entry, revision)
        if layout is None or (isinstance(layout, Fixed) and layout.size != len(item.raw)):
            continue
        try:
            value, used = layout.read(item.raw, 0)
        except DecodeError:
            continue
        if used == len(item.raw):
            return entry, value
    return None


def item_of(table: Table, name: str, value: Any, revision: int = 2019) -> Item:
    """The item that says `name` is `value`. Raises EncodeError."""
    for of_id in table.values():
        for entry in of_id:
            layout = _layout_at(entry, revision) if entry.name == name else None
            if layout is not None:
                wire = layout.write(value)
                if entry.size is None or entry.size == len(wire):
                    return Item(entry.id, wire)
    raise EncodeError(f"{name}: no such item in {revision}")


@cache
def _layout_at(entry: Entry, revision: int) -> Layout | None:
    return entry.layout.at(revision)
