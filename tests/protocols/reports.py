"""Location reports of every shape, whole, bent and split, for the readers held equal."""

from typing import Any

from hypothesis import strategies as st

from greenhaul_protocols.catalogue import KIND_OF, Reading
from greenhaul_protocols.jt808 import Header, Item, LocationReport, PartNumber, wrap
from greenhaul_protocols.jt808.border import battery_item
from greenhaul_protocols.jt808.declaration import encode
from greenhaul_protocols.times import parse_time

RECEIVED_MS = parse_time("2026-11-20T07:04:05Z")
Told = dict[str, Any]


def told(reading: Reading) -> Told:
    """A reading in the catalogue's steps."""
    spec = KIND_OF[type(reading)]
    values = {f.name: getattr(reading, f.name) for f in spec.fields}
    return {
        "kind": spec.name,
        "source": reading.source,
        "device_time_ms": reading.device_time_ms,
        "time_quality": int(reading.time_quality),
    } | {
        f.name: values[f.name] if f.is_bytes else f.quantise(values[f.name])
        for f in spec.fields
        if values[f.name] is not None
    }


# Items that some field or reading says, and their sizes.
SAID = [(0x01, 4), (0x02, 2), (0x03, 2), (0x06, 2), (0x30, 1), (0x31, 1), (0xD4, 1), (0xE4, 2)]
SAID += [(0x51, 2), (0x51, 16)]
ITEMS = st.one_of(
    st.sampled_from(SAID).flatmap(
        lambda said: st.builds(
            Item, st.just(said[0]), st.binary(min_size=said[1], max_size=said[1])
        )
    ),
    st.builds(Item, st.integers(0, 255), st.binary(max_size=5)),
    st.just(Item(0x02, b"\x80\x32")),
    st.just(Item(0x51, b"\xff\xff" * 8)),
    st.just(battery_item(55)),
)
REPORTS = st.builds(
    LocationReport,
    alarms=st.integers(0, 0xFFFF_FFFF),
    status=st.integers(0, 0xFFFF_FFFF),
    latitude_deg=st.integers(0, 0xFFFF_FFFF).map(lambda n: n / 1e6)
    | st.floats(0, 90).map(lambda d: round(d, 6)),
    longitude_deg=st.integers(0, 0xFFFF_FFFF).map(lambda n: n / 1e6)
    | st.floats(0, 180).map(lambda d: round(d, 6)),
    altitude_m=st.integers(0, 0xFFFF),
    speed_kmh=st.integers(0, 0xFFFF).map(lambda n: n / 10),
    heading_deg=st.integers(0, 0xFFFF),
    device_time=st.text("0123456789abcdef", min_size=12, max_size=12)
    | st.from_regex(r"\A(00|24|26)(0[0-9]|1[0-3])([0-2][0-9]|3[0-2])[0-2][0-9][0-6]0[0-6]0\Z"),
    items=st.lists(ITEMS, max_size=6).map(tuple),
    cut=st.sampled_from([b"", b"\x01", b"\x30\x05\x01"]),
)
HEADERS = st.sampled_from(
    [
        Header(0x0200, "013912345678", 7, is_2019=False),
        Header(0x0200, "7d7e", 0x7D7E, is_2019=False),
        Header(0x0200, "12345678901234567890", 9, is_2019=True),
        Header(0x0200, "013912345678", 8, is_2019=False, encryption=1),
        Header(0x0200, "013912345678", 8, is_2019=False, part=PartNumber(1, 2)),
        Header(0x0201, "013912345678", 8, is_2019=False),
    ]
)
FRAMES = st.builds(lambda h, report: wrap(h, encode(report, 2013)), HEADERS, REPORTS)
NOISE = st.binary(max_size=60) | st.just(b"\x7e\x7e") | st.just(b"\x7d")
BENT = st.builds(
    lambda frame, at, value: bytes(
        (*frame[: at % len(frame)], value, *frame[at % len(frame) + 1 :])
    ),
    FRAMES,
    st.integers(0, 200),
    st.integers(0, 255),
)
