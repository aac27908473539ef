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
    Dword,
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

    charging_flag: Annotated[Byte, Meanings({0: "charging"})]
    soc_percent: Byte


@dataclass(frozen=True, slots=True)
class BatteryLevel:
    """0x56: in tenths of a full charge."""

    battery_tenths: Byte
    reserved: Byte


@dataclass(frozen=True, slots=True)
class BackupBattery:
    """0xE3: the tracker's own battery."""

    reserved: Byte
    battery_percent: Byte
    battery_v: Annotated[float, Scaled("H", per_unit=100)]


@dataclass(frozen=True, slots=True)
class EngineState:
    """0x91: from the OBD plug. Shares are in 255ths, the coolant is 40 degrees too high."""

    battery_v: Annotated[float, Scaled("H", per_unit=10)]
    engine_speed_rpm: Word
    speed_kmh: Byte
    throttle_255ths: Byte
    load_255ths: Byte
    coolant_raw: Byte
    reserved_1: Word
    fuel_per_100_km_l: Annotated[float, Scaled("H", per_unit=100)]
    reserved_2: Annotated[bytes, FixedBytes(8)]
    fuel_used_l: Annotated[float, Scaled("H", per_unit=100)]


@dataclass(frozen=True, slots=True)
class CellTower:
    """0x00D8 in 0xEB: the cell the tracker is in."""

    mcc: Word
    mnc: Byte
    lac: Word
    cell_id: Dword


@dataclass(frozen=True, slots=True)
class WifiScan:
    """0x00B9 in 0xEB: addresses and signals of access points, by commas."""

    count: Byte
    access_points: Annotated[str, Text()]


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
    Entry(0x56, "battery_level", Record(BatteryLevel), size=2),
    Entry(0x57, "behaviour", FixedBytes(8)),
    Entry(0x61, "supply_v", Scaled("H", per_unit=100)),
    Entry(0x68, "battery_percent", Scaled("H", per_unit=100)),
    Entry(0x69, "battery_v", Scaled("H", per_unit=100)),
    Entry(0x82, "supply_v", Scaled("H", per_unit=10)),
    Entry(0x91, "engine_state", Record(EngineState), size=22),
    Entry(0x94, "vin", Text(), size=17),
    Entry(0xBC, "driver", Text()),
    Entry(0xBD, "driver_id", Text()),
    Entry(0xD3, "supply_v", Scaled("H", per_unit=10)),
    Entry(0xD4, "soc_percent", Byte_, notes=(_CHARGING,)),
    Entry(0xD5, "battery_v", Scaled("H", per_unit=100)),
    Entry(0xE1, "battery_percent", Byte_, notes=(_CHARGING,)),
    Entry(0xE1, "supply_v", Scaled("H", per_unit=10)),
    Entry(0xE3, "backup_battery", Record(BackupBattery), size=4),
    Entry(0xE4, "charge_state", Record(ChargeState), size=2),
    Entry(0xE9, "battery_percent", Byte_, notes=(_CHARGING,)),
    Entry(0xEB, "tracker_items", Items("H", "tracker", size_code="H", size_first=True)),
    Entry(0xEB, "time_zone", Text(), size=9),  # UTC+08:00
    Entry(0xEE, "tracker_state", Record(TrackerState), size=6),
    Entry(0xF1, "supply_mv", Dword_),
    Entry(0xF2, "firmware_version", Text()),
    Entry(0xF3, "obd_items", Items("H", "obd")),
]

# Items inside 0xEB.
TRACKER_ITEMS: Table = entries([
    Entry(0x002D, "battery_mv", Word_),
    Entry(0x002D, "supply_mv", Dword_),
    Entry(0x0089, "alarm_bits", Dword_),  # 0 is active
    Entry(0x00A8, "battery_percent", Byte_),
    Entry(0x00B2, "iccid", Bcd(10)),
    Entry(0x00B9, "wifi", Record(WifiScan)),
    Entry(0x00C5, "status_bits", Dword_),
    Entry(0x00C6, "battery_alarm", Byte_),
    Entry(0x00CE, "supply_v", Scaled("H", per_unit=100)),
    Entry(0x00D8, "cell", Record(CellTower), size=9),
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
