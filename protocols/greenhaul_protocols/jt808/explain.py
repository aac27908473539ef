"""Bodies explained byte by byte: every byte stands in exactly one line.

Where a body has what comes from its declaration, so nothing here knows a message.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.jt808.declaration import Place, Record, spans_of
from greenhaul_protocols.jt808.describe import (
    TABLES,
    field_json,
    is_time,
    item_json,
    unit_of,
    value_json,
)
from greenhaul_protocols.jt808.header import Header, imei_of
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.layouts import (
    BitFields,
    BySize,
    Counted,
    Fixed,
    Layout,
    Sized,
)
from greenhaul_protocols.jt808.notes import BitNames, BitRanges, Meanings, Spelled
from greenhaul_protocols.jt808.tables import Entry, find


class Line(NamedTuple):
    """One field of an explanation."""

    offset: int  # in the body
    wire: bytes
    field: str
    value: str
    unit: str
    meaning: str  # of the value, or of each set bit


def explain(cls: Any, body: bytes, revision: int, offset: int = 0) -> Iterator[Line]:
    """The body field by field: offset, bytes, name, value, unit, meaning.

    Raises DecodeError at the first field that cannot be read, after the lines before it.
    """
    end = 0
    for span in spans_of(cls, body, revision):
        wire = body[span.start : span.end]
        end = span.end
        place = span.place
        if place.layout is not None and (wire or place.name != "cut"):
            at = offset + span.start
            yield from _explain(place.name, place, place.layout, wire, at, revision)
    if end < len(body):
        yield Line(offset + end, body[end:], "(left over)", "", "", "not declared")


def explain_header(content: bytes, header: Header) -> Iterator[Line]:
    """What stands before the body, of a frame's content."""
    at = 0

    def line(size: int, field: str, value: str, meaning: str = "") -> Line:
        nonlocal at
        wire, offset = content[at : at + size], at
        at += size
        return Line(offset, wire, field, value, "", meaning)

    attributes = int.from_bytes(content[2:4], "big")
    meanings = [f"body of {attributes & 0x3FF} bytes"]
    meanings += ["encrypted"] if header.encryption else []
    meanings += ["split"] if attributes & 0x2000 else []
    meanings += ["edition 2019"] if attributes & 0x4000 else []
    yield line(2, "message_id", f"0x{header.message_id:04X}")
    yield line(2, "attributes", f"0x{attributes:04X}", ", ".join(meanings))
    if header.is_2019:
        yield line(1, "protocol_version", str(header.protocol_version))
    imei = imei_of(header.phone)
    meaning = f"IMEI {imei}" if imei else ""
    yield line(10 if header.is_2019 else 6, "phone", header.phone, meaning)
    yield line(header.serial_size, "serial", str(header.serial))
    if header.part:
        yield line(2, "packet_total", str(header.part.total))
        yield line(2, "packet_number", str(header.part.number))


def _explain(
    name: str, place: Place, layout: Layout, wire: bytes, offset: int, revision: int
) -> Iterator[Line]:
    """The lines of one field, of whatever shape its layout is."""
    match layout:
        case Items():
            yield from _explain_items(name, layout, wire, offset, revision)
        case Record():
            for line in explain(layout.cls, wire, revision, offset):
                yield line._replace(field=f"{name}.{line.field}")
        case Counted():
            yield from _explain_list(name, place, layout, wire, offset, revision)
        case BySize():
            chosen = layout.layouts[len(wire)]
            yield from _explain(name, place, chosen, wire, offset, revision)
        case Sized():
            size = layout.size.size
            inner = wire[size:]
            yield Line(offset, wire[:size], f"{name} size", str(len(inner)), "B", "")
            try:
                yield from list(_explain(name, place, layout.of, inner, offset + size, revision))
            except DecodeError as error:
                yield Line(offset + size, inner, name, "", "", str(error))
        case _:
            value, _ = layout.read(wire, 0)
            yield _line(name, place, layout, wire, value, offset, revision)


def _line(
    name: str, place: Place, layout: Layout, wire: bytes, value: Any, offset: int, revision: int
) -> Line:
    if layout is place.layout:
        shown = field_json(place, value, revision)
    else:
        shown = value_json(value, layout, revision)
    text = "" if shown is None else str(shown)
    if is_time(layout) and shown is None:
        text = f"{value} (no time)"
    meaning = _meaning(place.notes, value, revision)
    if isinstance(layout, BitFields):
        text = f"0x{wire.hex()}"
        meaning = ", ".join(f"{part}={number:d}" for part, number in shown.items())
    return Line(offset, wire, name, text, unit_of(name) or "", meaning)


def _meaning(notes: tuple[Any, ...], value: Any, revision: int) -> str:
    for note in notes:
        match note:
            case Meanings():
                return note.names.get(value, "")
            case BitNames():
                return ", ".join(note.of(value, revision))
            case BitRanges() | Spelled():
                return note.text(value)
    return ""


def _counters(
    name: str, counters: tuple[Fixed | None, Fixed | None], wire: bytes, offset: int
) -> Iterator[Line]:
    at = 0
    for label, counter in zip(("count", "in this packet"), counters, strict=True):
        if counter is not None:
            number, behind = counter.read(wire, at)
            yield Line(offset + at, wire[at:behind], f"{name} {label}", str(number), "", "")
            at = behind


def _explain_items(
    name: str, layout: Items, wire: bytes, offset: int, revision: int
) -> Iterator[Line]:
    at = 0
    for line in _counters(name, (layout.count, layout.packet_count), wire, offset):
        at += len(line.wire)
        yield line
    items, _ = layout.read(wire, 0)
    for item in items:
        size = layout.head_size + len(item.raw)
        yield from _explain_item(item, layout, wire[at : at + size], offset + at, revision)
        at += size
    if at < len(wire):
        yield Line(offset + at, wire[at:], "(cut)", "", "", "an item runs past the end")


def _explain_item(
    item: Item, layout: Items, wire: bytes, offset: int, revision: int
) -> Iterator[Line]:
    described = item_json(item, layout, revision)
    found = find(TABLES[layout.table], item, revision)
    name = f"{described['id']} {described['name'] or '?'}"
    if found is None:
        yield Line(offset, wire, name, described["raw"], "", "")
        return
    entry, value = found
    inner = entry.layout.at(revision)
    if isinstance(inner, Record | Items):
        head = layout.head_size
        yield Line(offset, wire[:head], name, "", "", f"{len(item.raw)} bytes")
        place = _place_of(entry, inner)
        yield from _explain(str(entry.name), place, inner, item.raw, offset + head, revision)
        return
    unit = unit_of(entry.name) or ""
    meaning = _meaning(entry.notes, value, revision)
    yield Line(offset, wire, name, str(described["value"]), unit, meaning)


def _place_of(entry: Entry, layout: Layout) -> Place:
    return Place(entry.name, layout, None, is_optional=False, notes=entry.notes, default=None)


def _explain_list(
    name: str, place: Place, layout: Counted, wire: bytes, offset: int, revision: int
) -> Iterator[Line]:
    at = 0
    for line in _counters(name, (layout.count, layout.packet_count), wire, offset):
        at += len(line.wire)
        yield line
    values, _ = layout.read(wire, 0)
    for number, value in enumerate(values):
        of_one = f"{name}[{number}]"
        try:
            _, behind = layout.of.read(wire, at)
        except DecodeError:
            # What a list that keeps its good items could not read.
            yield Line(offset + at, wire[at:], of_one, "", "", value.reason)
            return
        piece = wire[at:behind]
        yield from _explain(of_one, place, layout.of, piece, offset + at, revision)
        at = behind
