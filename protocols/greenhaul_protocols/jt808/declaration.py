"""Messages as declarations: one frozen dataclass each, its annotated fields are the table.

    @message(0x8100, clause="8.6")
    @dataclass(frozen=True, slots=True)
    class RegisterAnswer:
        serial: Word
        result: Byte
        auth_code: Annotated[str | None, Text(), equals("result", 0)] = None

`encode` and `decode` read the same annotations. Each (class, revision) is compiled once into a
plan: runs of constant size become one `struct`, the rest are read field by field.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from greenhaul_protocols.errors import DecodeError, EncodeError
from greenhaul_protocols.jt808.layouts import Byte_, ByVersion, Counted, Dated, Fixed, Layout
from greenhaul_protocols.jt808.notes import CountOf, IfLeft, When

REVISIONS = (2011, 2013, 2019)

C = TypeVar("C", bound=type)


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """What a message's decorator says."""

    message_id: int
    message_class: type[Any]
    clause: str
    revisions: tuple[int, ...]
    variants: tuple["Variant", ...] = ()

    def classes_of(self, revision: int) -> tuple[Any, ...]:
        """The classes a body of this edition may be, in the order in which they are tried.

        Terminals send messages before their edition has them, so there is always one.
        """
        variants = [v for v in self.variants if revision in v.revisions]
        if any(v.replaces for v in variants):
            return tuple(v.message_class for v in variants)
        return (self.message_class, *(v.message_class for v in variants))


@dataclass(frozen=True, slots=True)
class Variant:
    """Another body of the same message: of one edition, or of terminals that deviate."""

    message_class: type[Any]
    revisions: tuple[int, ...]
    replaces: bool  # False: tried after the message's own class


@dataclass(frozen=True, slots=True)
class Place:
    """One field of a declared class in one revision."""

    name: str
    layout: Layout | None  # None: this revision has no such field
    when: When | None
    is_optional: bool  # may be missing at the end, see IfLeft
    notes: tuple[Any, ...]  # Meanings, BitNames
    default: Any


@dataclass(frozen=True, slots=True)
class Span:
    """Where a field was found: for explanations."""

    place: Place
    start: int
    end: int
    value: Any


MESSAGES: dict[int, MessageSpec] = {}
MESSAGE_IDS: dict[type[Any], int] = {}


def message(message_id: int, *, clause: str, since: int = 2011) -> Callable[[C], C]:
    """Enter a dataclass as the body of a message.

    clause: of JT/T 808-2013, or of the edition named in brackets. since: first revision with it.
    """

    def enter(message_class: C) -> C:
        assert message_id not in MESSAGES, f"0x{message_id:04X} stands twice"
        revisions = tuple(year for year in REVISIONS if year >= since)
        MESSAGES[message_id] = MessageSpec(message_id, message_class, clause, revisions)
        MESSAGE_IDS[message_class] = message_id
        return message_class

    return enter


def variant(message_id: int, *, revisions: tuple[int, ...], replaces: bool) -> Callable[[C], C]:
    """Enter a dataclass as another body of a message that is declared already."""

    def enter(message_class: C) -> C:
        spec = MESSAGES[message_id]
        added = Variant(message_class, revisions, replaces)
        MESSAGES[message_id] = replace(spec, variants=(*spec.variants, added))
        MESSAGE_IDS[message_class] = message_id
        return message_class

    return enter


def revisions_of(message_class: Any) -> tuple[int, ...]:
    """The editions that have a message as this class says it."""
    spec = MESSAGES[MESSAGE_IDS[message_class]]
    for other in spec.variants:
        if other.message_class is message_class:
            return other.revisions
    replaced = {r for v in spec.variants if v.replaces for r in v.revisions}
    return tuple(year for year in spec.revisions if year not in replaced)


@cache
def places_of(cls: Any, revision: int) -> tuple[Place, ...]:
    """The fields of a declared class as one revision has them."""
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for field in fields(cls):
        metadata = get_args(hints[field.name])[1:]
        # The last layout wins: `Annotated[Word, …]` may narrow what Word says.
        layout = [note for note in metadata if isinstance(note, Dated)][-1].at(revision)
        when = next((note for note in metadata if isinstance(note, When)), None)
        is_optional = any(isinstance(note, IfLeft) for note in metadata)
        notes = tuple(note for note in metadata if not isinstance(note, Dated | When | IfLeft))
        default = None if field.default is MISSING else field.default
        found.append(Place(field.name, layout, when, is_optional, notes, default))
    return tuple(found)


def decode(cls: Any, body: bytes, revision: int) -> tuple[Any, bytes]:
    """The message in a body, and the bytes of the body behind it.

    Raises DecodeError that names the field.
    """
    value, at = reader_of(cls, revision)(body, 0)
    return value, body[at:]


def encode(value: Any, revision: int) -> bytes:
    """The body for a message. Raises EncodeError for what the revision cannot carry."""
    out = bytearray()
    cls: Any = type(value)
    ended_at = ""
    for place in places_of(cls, revision):
        field_value = getattr(value, place.name)
        when = place.when
        if place.layout is None or (when and not when.holds(getattr(value, when.field))):
            if field_value != place.default:
                raise EncodeError(f"{place.name}: {field_value!r} has no place in {revision}")
            continue
        if field_value is None and place.is_optional:
            ended_at = ended_at or place.name
            continue
        if field_value is None:
            raise EncodeError(f"{place.name}: is missing")
        if ended_at:
            raise EncodeError(f"{place.name}: nothing may follow where {ended_at} is missing")
        try:
            _insist_on_count(place, value)
            out += place.layout.write(field_value)
        except EncodeError as error:
            raise EncodeError(f"{place.name}: {error}") from error
    return bytes(out)


def _insist_on_count(place: Place, value: Any) -> None:
    for note in place.notes:
        if isinstance(note, CountOf):
            actual = len(getattr(value, note.field))
            if getattr(value, place.name) != actual:
                raise EncodeError(f"says another number than the {actual} {note.field}")


def spans_of(cls: Any, body: bytes, revision: int) -> Iterator[Span]:
    """Field by field where a body has what; slower than `decode` and equal to it."""
    values: dict[str, Any] = {}
    at = 0
    for place in places_of(cls, revision):
        when = place.when
        is_missing = place.is_optional and at >= len(body)
        if place.layout is None or is_missing or (when and not when.holds(values[when.field])):
            values[place.name] = place.default
            continue
        try:
            value, behind = place.layout.read(body, at)
        except DecodeError as error:
            raise DecodeError(f"{place.name}: {error}") from None
        values[place.name] = value
        yield Span(place, at, behind, value)
        at = behind


Reader = Callable[[bytes, int], tuple[Any, int]]


@cache
def reader_of(cls: Any, revision: int) -> Reader:
    """The compiled reader of a declared class: body and offset to value and offset behind it."""
    places = places_of(cls, revision)
    head = []
    for place in places:
        if not isinstance(place.layout, Fixed) or place.when or place.is_optional:
            break
        head.append(place)
    run = struct.Struct(">" + "".join(_code(place) for place in head))
    converters = [
        (index, place.layout.from_wire)
        for index, place in enumerate(head)
        if isinstance(place.layout, Fixed) and place.layout.converts
    ]
    tail = [_tail_step(places, index) for index in range(len(head), len(places))]

    def read(body: bytes, at: int) -> tuple[Any, int]:
        try:
            values = list(run.unpack_from(body, at))
        except struct.error:
            raise DecodeError(_what_is_short(head, len(body) - at)) from None
        for index, convert in converters:
            values[index] = convert(values[index])
        at += run.size
        for name, read_field, is_present, is_optional, default in tail:
            if (is_present is not None and not is_present(values)) or (
                is_optional and at >= len(body)
            ):
                values.append(default)
                continue
            try:
                value, at = read_field(body, at)
            except DecodeError as error:
                raise DecodeError(f"{name}: {error}") from None
            values.append(value)
        return cls(*values), at

    return read


def _code(place: Place) -> str:
    assert isinstance(place.layout, Fixed)
    return place.layout.code


_Values = list[Any]
_TailStep = tuple[str, Reader, Callable[[_Values], bool] | None, bool, Any]


def _tail_step(places: tuple[Place, ...], index: int) -> _TailStep:
    place, when = places[index], places[index].when
    if place.layout is None:
        return place.name, _unreadable, lambda _values: False, False, place.default
    if when is None:
        return place.name, place.layout.read, None, place.is_optional, place.default
    at = [earlier.name for earlier in places[:index]].index(when.field)

    def is_present(values: _Values) -> bool:
        return when.holds(values[at])

    return place.name, place.layout.read, is_present, place.is_optional, place.default


def _unreadable(_body: bytes, _at: int) -> tuple[Any, int]:
    raise AssertionError("a field the revision lacks is never read")


def _what_is_short(head: list[Place], size: int) -> str:
    at = 0
    for place in head:
        assert isinstance(place.layout, Fixed)
        if at + place.layout.size > size:
            return f"{place.name}: wants {place.layout.size} bytes at {at}, has {size - at}"
        at += place.layout.size
    raise AssertionError("the run was not short")


@dataclass(frozen=True, eq=False)
class Record(Layout):
    """A declared class as a field, or as an item of a list."""

    cls: Any
    revision: int | None = None  # set by `at`

    def at(self, revision: int) -> "Layout | None":
        return Record(self.cls, revision)

    def read(self, body: bytes, at: int) -> tuple[Any, int]:
        assert self.revision is not None, "a layout is read as some revision has it"
        return reader_of(self.cls, self.revision)(body, at)

    def write(self, value: Any) -> bytes:
        assert self.revision is not None, "a layout is written as some revision has it"
        if type(value) is not self.cls:
            raise EncodeError(f"{value!r} is not a {self.cls.__name__}")
        return encode(value, self.revision)


def counted_list(cls: Any) -> Dated:
    """A list of records behind a BYTE count; 2011 counts twice: all, and those in this packet."""
    both = Counted(Byte_, Record(cls), packet_count=Byte_)
    return ByVersion({2011: both, 2013: Counted(Byte_, Record(cls))})
