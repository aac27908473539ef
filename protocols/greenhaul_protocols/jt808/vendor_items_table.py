"""Items that vendors add to location reports, as trackers in the field send them.

Vendors use the same id for different things; the length decides. What is not here keeps its bytes.
"""

from dataclasses import dataclass
from typing import Annotated

from greenhaul_protocols.jt808.declaration import Record
from greenhaul_protocols.jt808.items import Items
from greenhaul_protocols.jt808.layouts import (
    Bcd,
    Byte,
    Byte_,
    Counted,
    Dword_,
    FixedBytes,
    Scaled,
    SignMagnitude,
    Word,
    Word_,
)
from greenhaul_protocols.jt808.notes import Meanings
from greenhaul_protocols.jt808.tables import Entry, Table, entries
from greenhaul_protocols.jt808.texts import Text

# A level that says the battery is being charged.
_CHARGING = Meanings({0xFF: "charging"})


@dataclass(frozen=True, slots=True)
class ChargeState:
    """0xE4: as trackers for electric vehicles send it."""

    charging_flag: Byte
    soc_percent: Byte


@dataclass(frozen=True, slots=True)
class BackupBattery:
    """0xE3: the tracker's own battery."""

    battery_percent: Word
    battery_v: Annotated[float, Scaled("H", per_unit=100)]


@dataclass(frozen=True, slots=True)
class TrackerState:
    """0xEE: radio and power of the tracker."""

    signal_strength: Byte
    supply_mv: Word
    battery_mv: Word
    satellites: Byte


@dataclass(frozen=True, slots=True)
class Temperatures:
    """0x51 with several sensors, in tenths of a degree; bit 15 means minus, FFFF none."""

    tenths_c: Annotated[tuple[int, ...], Counted(None, SignMagnitude())]


# fmt: off
VENDOR_ITEMS = [
    Entry(0x06, "battery_percent", Byte_),
    Entry(0x51, "temperature_c", SignMagnitude(per_unit=10)),
    Entry(0x51, "temperatures", Record(Temperatures), size=16),
    Entry(0x56, "battery_tenths", Word_),  # tenths of a full charge
    Entry(0x57, "behaviour", FixedBytes(8)),
    Entry(0x61, "supply_v", Scaled("H", per_unit=100)),
    Entry(0x68, "battery_percent", Scaled("H", per_unit=100)),
    Entry(0x69, "battery_v", Scaled("H", per_unit=100)),
    Entry(0x82, "supply_v", Scaled("H", per_unit=10)),
    Entry(0xD3, "supply_v", Scaled("H", per_unit=10)),
    Entry(0xD4, "soc_percent", Byte_, notes=(_CHARGING,)),
    Entry(0xD5, "battery_v", Scaled("H", per_unit=100)),
    Entry(0xE1, "battery_percent", Byte_, notes=(_CHARGING,)),
    Entry(0xE3, "backup_battery", Record(BackupBattery), size=4),
    Entry(0xE4, "charge_state", Record(ChargeState), size=2),
    Entry(0xE9, "battery_percent", Byte_, notes=(_CHARGING,)),
    Entry(0xEB, "tracker_items", Items("H", "tracker", size_code="H", size_first=True)),
    Entry(0xEE, "tracker_state", Record(TrackerState), size=6),
    Entry(0xF1, "supply_mv", Dword_),
    Entry(0xF3, "obd_items", Items("H", "obd")),
]

# Items inside 0xEB.
TRACKER_ITEMS: Table = entries([
    Entry(0x002D, "battery_mv", Word_),
    Entry(0x0089, "alarm_bits", Dword_),  # 0 is active
    Entry(0x00A8, "battery_percent", Byte_),
    Entry(0x00B2, "iccid", Bcd(10)),
    Entry(0x00B9, "wifi", Text()),
    Entry(0x00C5, "status_bits", Dword_),
    Entry(0x00CE, "supply_v", Scaled("H", per_unit=100)),
    Entry(0x00E1, "battery_percent", Byte_),
])

# Items inside 0xF3.
OBD_ITEMS: Table = entries([
    Entry(0x0002, "speed_kmh", Scaled("H", per_unit=10)),
    Entry(0x0003, "engine_speed_rpm", Word_),
    Entry(0x0004, "supply_mv", Word_),
    Entry(0x0005, "odometer_km", Scaled("I", per_unit=10)),
    Entry(0x0009, "coolant_raw", Word_),
])
# fmt: on
