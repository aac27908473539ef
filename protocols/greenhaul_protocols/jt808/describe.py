"""Messages as JSON values, derived from their declarations."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from greenhaul_protocols.catalogue import UNITS
from greenhaul_protocols.jt808.clock import local_text_of
from greenhaul_protocols.jt808.declaration import Place, places_of
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.layouts import (
    MICRODEGREES,
    Bcd,
    BitFields,
    Bytes,
    Counted,
    Layout,
    Sized,
    Undecodable,
    signed_deg,
)
from greenhaul_protocols.jt808.notes import HexId
from greenhaul_protocols.jt808.parameters_table import PARAMETERS
from greenhaul_protocols.jt808.tables import Table, find
from greenhaul_protocols.jt808.texts import WireText
from greenhaul_protocols.jt808.vendor_items_table import OBD_ITEMS, TRACKER_ITEMS

# Tables an `Items` layout names; the id is written with as many digits as it has on the wire.
TABLES: Mapping[str, Table] = {
    "location": LOCATION_ITEMS,
    "parameters": PARAMETERS,
    "tracker": TRACKER_ITEMS,
    "obd": OBD_ITEMS,
}

# Units that no reading has and messages need.
_MORE_UNITS = {"s": "s", "mv": "mV", "kpa": "kPa", "100ms": "100 ms"}


_GARBLED = "\ufffd"  # what is no GBK reads so; the bytes stand beside


def unit_of(name: str) -> str | None:
    """Unit the last part of a name stands for; None if the field is dimensionless."""
    last = name.rpartition("_")[2]
    return UNITS.get(last) or _MORE_UNITS.get(last)


def body_json(message: Any, revision: int) -> dict[str, Any]:
    """A message's fields as JSON values: bytes in lower-case hex, times with `+08:00`."""
    found: dict[str, Any] = {}
    message_class: Any = type(message)
    for place in places_of(message_class, revision):
        value = getattr(message, place.name)
        if place.name == "cut" and not value:
            continue
        if isinstance(place.layout, BitFields):
            found |= value._asdict()
            continue
        found[place.name] = field_json(place, value, revision)
        if is_time(place.layout) and found[place.name] is None:
            found[place.name + "_raw"] = value
        elif isinstance(value, WireText) and _GARBLED in value:
            found[place.name + "_raw"] = value.wire.hex()
        elif isinstance(place.layout, Bytes) and place.layout.size and value is not None:
            found[place.name + "_size"] = len(value)
    return found


def field_json(place: Place, value: Any, revision: int) -> Any:
    """One field's value as JSON."""
    for note in place.notes:
        if isinstance(note, HexId) and value is not None:
            return [note.text(v) for v in value] if isinstance(value, tuple) else note.text(value)
    return value_json(value, place.layout, revision)


def is_time(layout: Layout | None) -> bool:
    """Whether the layout is an instant."""
    return isinstance(layout, Bcd) and layout.is_time


def value_json(value: Any, layout: Layout | None, revision: int) -> Any:
    """A value as JSON, as its layout says it."""
    if isinstance(value, Undecodable):
        return {"error": value.reason, "raw": value.raw.hex()}
    if is_time(layout) and isinstance(value, str):
        return local_text_of(value)
    if layout is MICRODEGREES:
        return signed_deg(value)
    if isinstance(layout, Items):
        return [item_json(item, layout, revision) for item in value]
    if isinstance(layout, Counted | Sized) and isinstance(value, tuple):
        inner = layout.of
        return [value_json(item, inner, revision) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(layout, BitFields):
        return value._asdict()
    if is_dataclass(value):
        return body_json(value, revision)
    return value


def item_json(item: Item, layout: Items, revision: int) -> dict[str, Any]:
    """An item with what its table says; name and value are null if the table does not know it."""
    digits = {"B": 2, "H": 4, "I": 8}[layout.id_code]
    if layout.table == "parameters":
        digits = 8 if item.id > 0xFFFF else 4
    found = find(TABLES[layout.table], item, revision)
    described: dict[str, Any] = {"id": f"0x{item.id:0{digits}X}", "name": None, "value": None}
    if found:
        entry, value = found
        described["name"] = entry.name
        described["value"] = value_json(value, entry.layout.at(revision), revision)
    if layout.table == "parameters":
        described["unit"] = unit_of(found[0].name) if found else None
    described["raw"] = item.raw.hex()
    return described
