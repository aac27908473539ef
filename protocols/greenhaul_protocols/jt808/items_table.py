"""Additional items of location reports: id and length to name, layout, unit.

Vendors use ids of the standard with other lengths, and the same id for different things: the
length decides, and an item without an entry keeps its bytes.
"""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.bits_table import (
    ABNORMAL_DRIVING_BITS,
    CHANNEL_BITS,
    IO_BITS,
    STORAGE_FAULT_BITS,
    VEHICLE_SIGNAL_BITS,
    VIDEO_ALARM_BITS,
)
from greenhaul_protocols.jt808.declaration import Record
from greenhaul_protocols.jt808.layouts import (
    Byte,
    Byte_,
    Dword,
    Dword_,
    FixedBytes,
    Scaled,
    SignMagnitude,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import Meanings
from greenhaul_protocols.jt808.safety_items_table import SAFETY_ITEMS
from greenhaul_protocols.jt808.tables import Entry, Table, entries
from greenhaul_protocols.jt808.vendor_items_table import VENDOR_ITEMS

AREA_TYPES = Meanings({0: "none", 1: "circle", 2: "rectangle", 3: "polygon", 4: "route"})


@dataclass(frozen=True, slots=True)
class OverspeedAnywhere:
    """0x11 without an area."""

    area_type: Annotated[Byte, AREA_TYPES]


@dataclass(frozen=True, slots=True)
class OverspeedArea:
    """0x11: where the speed limit is broken."""

    area_type: Annotated[Byte, AREA_TYPES]
    area_id: Dword


@dataclass(frozen=True, slots=True)
class AreaCrossing:
    """0x12: into or out of an area or route."""

    area_type: Annotated[Byte, AREA_TYPES]
    area_id: Dword
    direction: Annotated[Byte, Meanings({0: "in", 1: "out"})]


@dataclass(frozen=True, slots=True)
class SegmentTime:
    """0x13: too long or too short on a segment. 2011 types the last one WORD, its length BYTE."""

    segment_id: Dword
    duration_s: Word
    result: Annotated[Byte, Meanings({0: "too short", 1: "too long"})]


@dataclass(frozen=True, slots=True)
class AbnormalDriving:
    """0x18 as its table has it: 3 bytes, though the text says 2."""

    behaviours: Annotated[Word, ABNORMAL_DRIVING_BITS]
    fatigue_percent: Byte


@dataclass(frozen=True, slots=True)
class AnalogInputs:
    """0x2B: bits 0-15 are AD0, 16-31 AD1."""

    ad1: Word
    ad0: Word


# fmt: off
LOCATION_ITEMS: Table = entries(
    [
        Entry(0x01, "odometer_km", Scaled("I", per_unit=10)),
        Entry(0x02, "fuel_l", Scaled("H", per_unit=10)),
        Entry(0x03, "recorder_speed_kmh", Scaled("H", per_unit=10)),
        Entry(0x04, "alarm_event_id", Word_, since=2013),
        # Pa per tyre, front to rear, left to right; unused FF.
        Entry(0x05, "tyre_pressures", FixedBytes(30), since=2019),
        Entry(0x06, "compartment_temperature_c", SignMagnitude(), since=2019),
        Entry(0x11, "overspeed_area", Record(OverspeedAnywhere), size=1),
        Entry(0x11, "overspeed_area", Record(OverspeedArea), size=5),
        Entry(0x12, "area_crossing", Record(AreaCrossing), size=6),
        Entry(0x13, "segment_time", Record(SegmentTime), size=7),
        Entry(0x25, "vehicle_signals", Dword_, since=2013, notes=(VEHICLE_SIGNAL_BITS,)),
        Entry(0x2A, "io_status", Word_, since=2013, notes=(IO_BITS,)),
        Entry(0x2B, "analog_inputs", Record(AnalogInputs), size=4, since=2013),
        Entry(0x30, "signal_strength", Byte_, since=2013),
        Entry(0x31, "satellites", Byte_, since=2013),
        Entry(0xE0, "custom_size", Byte_, since=2013),  # length of the custom items that follow
    ],
    # JT/T 1078-2016
    [
        Entry(0x14, "video_alarms", Dword_, notes=(VIDEO_ALARM_BITS,)),
        Entry(0x15, "video_lost_channels", Dword_, notes=(CHANNEL_BITS,)),
        Entry(0x16, "video_covered_channels", Dword_, notes=(CHANNEL_BITS,)),
        Entry(0x17, "storage_faults", Word_, notes=(STORAGE_FAULT_BITS,)),
        Entry(0x18, "abnormal_driving", Word_, notes=(ABNORMAL_DRIVING_BITS,)),
        Entry(0x18, "abnormal_driving", Record(AbnormalDriving), size=3),
    ],
    SAFETY_ITEMS,
    VENDOR_ITEMS,
)
# fmt: on
