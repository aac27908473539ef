"""Values that a message's declaration allows, for generated tests."""

from typing import Any

from hypothesis import strategies as st

from greenhaul_protocols.jt808 import messages_control
from greenhaul_protocols.jt808.declaration import (
    Record,
    places_of,
)
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    BitFields,
    Bytes,
    Counted,
    FixedBytes,
    Layout,
    Number,
    Scaled,
    SignMagnitude,
    Sized,
)
from greenhaul_protocols.jt808.notes import CountOf
from greenhaul_protocols.jt808.texts import FixedText, Text

_UNSIGNED_MAX = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFF_FFFF}
_GBK = st.characters(codec="gbk")


def texts(size_max: int) -> st.SearchStrategy[str]:
    return st.text(_GBK, max_size=size_max).filter(
        lambda text: text == text.lstrip("\0").rstrip("\0 ") and len(text.encode("gbk")) <= size_max
    )


def values(layout: Layout) -> st.SearchStrategy[Any]:
    """Values a layout can carry, found from the layout alone."""
    match layout:
        case Number(code=code):
            return st.integers(0, _UNSIGNED_MAX[code])
        case BitFields(code=code):
            return st.integers(0, _UNSIGNED_MAX[code]).map(layout.from_wire)
        case Scaled(code=code, per_unit=per_unit):
            return st.integers(0, _UNSIGNED_MAX[code]).map(lambda n: n / per_unit)
        case SignMagnitude(per_unit=per_unit):
            return st.integers(-0x7FFF, 0x7FFF).map(lambda n: n if per_unit == 1 else n / per_unit)
        case Bcd(size=size):
            return st.text("0123456789abcdef", min_size=2 * size, max_size=2 * size)
        case FixedText(size=size):
            return texts(size)
        case FixedBytes(size=size):
            return st.binary(min_size=size, max_size=size)
        case Text(size_max=size_max):
            return texts(min(size_max or 40, 40))
        case Bytes():
            return st.binary(max_size=40)
        case Items(id_code=code):
            item = st.builds(Item, st.integers(0, _UNSIGNED_MAX[code]), st.binary(max_size=12))
            return st.lists(item, max_size=5).map(tuple)
        case Counted(of=Record(cls=messages_control.VehicleCommand)):
            # A vendor's argument runs to the end: only the last command may have one.
            command = messages_control.VehicleCommand
            doors = st.builds(command, st.just(messages_control.DOOR), st.integers(0, 255))
            vendors = st.builds(command, st.integers(2, 0xFFFF), st.none(), st.binary(max_size=9))
            return st.tuples(doors, st.one_of(doors, vendors))
        case Counted(of=of):
            return st.lists(values(of), max_size=4).map(tuple)
        case Sized(of=of):
            return values(of)
        case Record(cls=cls, revision=revision):
            assert revision is not None
            return messages(cls, revision)
    raise AssertionError(f"no values for {layout!r}")


@st.composite
def messages(draw: st.DrawFn, cls: Any, revision: int) -> Any:
    found: dict[str, Any] = {}
    has_ended = False
    for place in places_of(cls, revision):
        is_absent = place.layout is None or (
            place.when is not None and not place.when.holds(found[place.when.field])
        )
        if is_absent:
            found[place.name] = place.default
        elif place.name == "cut":
            # What reading stops before: half an item.
            found["cut"] = draw(st.sampled_from([b"", b"\xf6", b"\xf6\x04\x01", b"\x01\xff"]))
        elif place.is_optional and (has_ended or draw(st.booleans())):
            has_ended, found[place.name] = True, None
        else:
            assert place.layout is not None
            of_place = values(place.layout)
            found[place.name] = draw(of_place.filter(bool) if place.is_optional else of_place)
    for place in places_of(cls, revision):
        for note in place.notes:
            if isinstance(note, CountOf):
                found[place.name] = len(found[note.field])
    return cls(**found)
