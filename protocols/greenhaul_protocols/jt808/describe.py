"""Messages as JSON values and as explanations field by field, derived from their declarations."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, NamedTuple

from greenhaul_protocols.catalogue import UNITS
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.jt808.clock import local_text_of
from greenhaul_protocols.jt808.declaration import Place, Record, places_of, spans_of
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    BitFields,
    Bytes,
    Counted,
    Layout,
    Sized,
    Undecodable,
)
from greenhaul_protocols.jt808.notes import BitNames, BitRanges, HexId, Meanings
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


class Line(NamedTuple):
    """One field of an explanation."""

    offset: int  # in the body
    wire: bytes
    field: str
    value: str
    unit: str
    meaning: str  # of the value, or of each set bit


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
        found[place.name] = _field_json(place, value, revision)
        if _is_time(place.layout) and found[place.name] is None:
            found[place.name + "_raw"] = value
        elif isinstance(value, WireText) and _GARBLED in value:
            found[place.name + "_raw"] = value.wire.hex()
        elif isinstance(place.layout, Bytes) and place.layout.size and value is not None:
            found[place.name + "_size"] = len(value)
    return found


def _field_json(place: Place, value: Any, revision: int) -> Any:
    for note in place.notes:
        if isinstance(note, HexId) and value is not None:
            return [note.text(v) for v in value] if isinstance(value, tuple) else note.text(value)
    return _value_json(value, place.layout, revision)


def _is_time(layout: Layout | None) -> bool:
    return isinstance(layout, Bcd) and layout.is_time


def _value_json(value: Any, layout: Layout | None, revision: int) -> Any:
    if isinstance(value, Undecodable):
        return {"error": value.reason, "raw": value.raw.hex()}
    if _is_time(layout) and isinstance(value, str):
        return local_text_of(value)
    if isinstance(layout, Items):
        return [item_json(item, layout, revision) for item in value]
    if isinstance(layout, Counted | Sized) and isinstance(value, tuple):
        inner = layout.of
        return [_value_json(item, inner, revision) for item in value]
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
        described["value"] = _value_json(value, entry.layout, revision)
    if layout.table == "parameters":
        described["unit"] = unit_of(found[0].name) if found else None
    described["raw"] = item.raw.hex()
    return described


def explain(cls: Any, body: bytes, revision: int, offset: int = 0) -> Iterator[Line]:
    """The body field by field: offset, bytes, name, value, unit, meaning.

    Raises DecodeError at the first field that cannot be read, after the lines before it.
    """
    end = 0
    for span in spans_of(cls, body, revision):
        wire = body[span.start : span.end]
        end = span.end
        layout = span.place.layout
        if isinstance(layout, Items):
            yield from _explain_items(span.value, layout, offset + span.start, revision)
        elif isinstance(layout, Record):
            for line in explain(layout.cls, wire, revision, offset + span.start):
                yield line._replace(field=f"{span.place.name}.{line.field}")
        elif isinstance(layout, Counted):
            yield from _explain_list(span.place, layout, wire, offset + span.start, revision)
        elif span.place.name != "cut" or wire:
            yield _line(span.place, wire, span.value, offset + span.start, revision)
    if end < len(body):
        yield Line(offset + end, body[end:], "(left over)", "", "", "not declared")


def _line(place: Place, wire: bytes, value: Any, offset: int, revision: int) -> Line:
    shown = _field_json(place, value, revision)
    text = "" if shown is None else str(shown)
    if _is_time(place.layout) and shown is None:
        text = f"{value} (no time)"
    meaning = _meaning(place.notes, value, revision)
    return Line(offset, wire, place.name, text, unit_of(place.name) or "", meaning)


def _meaning(notes: tuple[Any, ...], value: Any, revision: int) -> str:
    for note in notes:
        if isinstance(note, Meanings):
            return note.names.get(value, "")
        if isinstance(note, BitNames):
            return ", ".join(note.of(value, revision))
        if isinstance(note, BitRanges):
            return note.text(value)
    return ""


def _explain_items(
    items: tuple[Item, ...], layout: Items, offset: int, revision: int
) -> Iterator[Line]:
    id_size = {"B": 1, "H": 2, "I": 4}[layout.id_code]
    offset += sum(c.size for c in (layout.count, layout.packet_count) if c is not None)
    for item in items:
        wire = item.id.to_bytes(id_size, "big") + bytes((len(item.raw),)) + item.raw
        described = item_json(item, layout, revision)
        found = find(TABLES[layout.table], item, revision)
        name = f"{described['id']} {described['name'] or '?'}"
        value = described["raw"] if found is None else str(described["value"])
        unit = unit_of(found[0].name) or "" if found else ""
        meaning = _meaning(found[0].notes, found[1], revision) if found else ""
        yield Line(offset, wire, name, value, unit, meaning)
        offset += len(wire)


def _explain_list(
    place: Place, layout: Counted, wire: bytes, offset: int, revision: int
) -> Iterator[Line]:
    at = sum(c.size for c in (layout.count, layout.packet_count) if c is not None)
    number = 0
    while at < len(wire):
        name = f"{place.name}[{number}]"
        try:
            value, behind = layout.of.read(wire, at)
        except DecodeError as error:
            # Only a list that keeps its good items comes here.
            yield Line(offset + at, wire[at:], name, "", "", str(error))
            return
        inner = layout.of.of if isinstance(layout.of, Sized) else layout.of
        if isinstance(inner, Record) and not isinstance(value, Undecodable):
            start = at + (layout.of.size.size if isinstance(layout.of, Sized) else 0)
            for line in explain(inner.cls, wire[start:behind], revision, offset + start):
                yield line._replace(field=f"{name}.{line.field}")
        else:
            shown = str(_value_json(value, inner, revision))
            yield Line(offset + at, wire[at:behind], name, shown, "", "")
        at, number = behind, number + 1
