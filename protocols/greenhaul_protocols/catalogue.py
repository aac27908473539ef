"""The catalogue: every field of every reading, declared once.

A kind of reading is one frozen dataclass; a field is one annotated line of it. The block codec,
the identity digest, table columns, the API schema, export headers and the documentation derive
from these lines, so *adding a signal is one line here*. Numbers never change their meaning and are
never used again.

Names carry units. A value is kept as an integer in steps of its resolution; `None` means the
source did not say.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from greenhaul_protocols.errors import EncodeError

ValueType = Literal["number", "flag", "text", "json", "blob"]

# Integers travel as 64-bit zigzag and are kept in BIGINT columns.
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class TimeQuality(IntEnum):
    """How a reading's `device_time` is known. Judged once, at the edge; travels with the reading."""

    SOURCE = 0  # the source's own clock: a terminal, a GNSS receiver with a fix
    GATEWAY = 1  # the gateway's clock, mapped for this boot by GNSS, NTP or the cloud's answer
    BOUNDED = 2  # a boot that never learnt the time: lies between its neighbours
    UNUSABLE = 3  # the source's time made no sense, or it said none: the first copy's received time

    @property
    def is_foldable(self) -> bool:
        """Whether tracks, `latest` and folds may use the reading."""
        return self <= TimeQuality.GATEWAY


class Flags(IntFlag):
    """How a reading came. Not part of its identity."""

    BACKLOG = 1  # the terminal marked it as kept while it had no network (0x0704 type 1)


NO_FLAGS = Flags(0)


@dataclass(frozen=True, slots=True)
class Signal:
    """Declares one field of a kind; stands in the field's annotation.

    number: wire field number, unique in the kind. resolution: step of the stored integer, in the
    unit the name ends in; None for text and blobs. minimum, maximum: the plausible range, for
    schema and display: values outside are stored as they came. vss: COVESA VSS path, if any.
    """

    number: int
    resolution: float | None = 1
    minimum: float | None = None
    maximum: float | None = None
    vss: str | None = None
    is_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One timed observation by one source. Times are milliseconds since 1970 UTC."""

    source: str
    device_time_ms: int
    received_time_ms: int
    time_quality: TimeQuality = TimeQuality.SOURCE
    flags: Flags = NO_FLAGS


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One line of the catalogue, ready for use."""

    name: str
    number: int
    value_type: ValueType
    per_unit: int  # stored integer = round(value × per_unit); 1 for text and blobs
    minimum: float | None
    maximum: float | None
    vss: str | None

    @property
    def is_bytes(self) -> bool:
        """Whether the value travels as bytes (text, JSON, blob) and not as an integer."""
        return self.value_type in ("text", "json", "blob")

    @property
    def unit(self) -> str | None:
        """Unit as the name says it, or None for a dimensionless number, a flag or text."""
        last = self.name.rpartition("_")[2]
        return UNITS.get(last) if self.value_type == "number" else None

    def quantise(self, value: Any) -> int:
        """The stored integer for a number or a flag.

        Raises EncodeError for what no integer can hold (NaN, infinity, beyond 64 bits).
        """
        try:
            steps = (
                value if self.per_unit == 1 and type(value) is int else round(value * self.per_unit)
            )
        except (ValueError, OverflowError, TypeError) as error:
            raise EncodeError(f"{self.name}: {value!r} is not a number that can be kept") from error
        if not _INT64_MIN <= steps <= _INT64_MAX:
            raise EncodeError(f"{self.name}: {value!r} does not fit 64 bits at its resolution")
        return int(steps)

    def scale(self, steps: int) -> float | int | bool:
        """The value for a stored integer, in the unit of the name."""
        if self.value_type == "flag":
            return bool(steps)
        return steps if self.per_unit == 1 else steps / self.per_unit

    def to_bytes(self, value: Any) -> bytes:
        """Wire bytes of a text, JSON text or blob."""
        return bytes(value) if self.value_type == "blob" else str(value).encode()

    def from_bytes(self, data: bytes) -> str | bytes:
        """Text or blob of wire bytes; bytes that are not UTF-8 are replaced, never refused."""
        return data if self.value_type == "blob" else data.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class KindSpec:
    """One kind of reading: its number, name, class and fields in order of their numbers."""

    number: int
    name: str
    reading_class: type[Reading]
    fields: tuple[FieldSpec, ...]
    by_number: dict[int, FieldSpec]


# What the last part of a name means. A name that ends in none of these is dimensionless.
UNITS = {
    "deg": "°",
    "m": "m",
    "km": "km",
    "kmh": "km/h",
    "rpm": "1/min",
    "nm": "N·m",
    "c": "°C",
    "v": "V",
    "a": "A",
    "kw": "kW",
    "kwh": "kWh",
    "kohm": "kΩ",
    "percent": "%",
    "kg": "kg",
    "l": "L",
    "ms": "ms",
    "bytes": "B",
}

R = TypeVar("R", bound="Reading")

KINDS: dict[int, KindSpec] = {}


def kind(number: int, name: str) -> Callable[[type[R]], type[R]]:
    """Enter a reading class into the catalogue under its kind number."""

    def enter(reading_class: type[R]) -> type[R]:
        hints = get_type_hints(reading_class, include_extras=True)
        own = [_field_spec(f.name, hints[f.name]) for f in fields(reading_class)]
        specs = tuple(sorted((s for s in own if s), key=lambda spec: spec.number))
        by_number = {spec.number: spec for spec in specs}
        assert len(by_number) == len(specs), f"{name}: a field number stands twice"
        assert number not in KINDS, f"kind {number} stands twice"
        KINDS[number] = KindSpec(number, name, reading_class, specs, by_number)
        return reading_class

    return enter


def _field_spec(name: str, hint: Any) -> FieldSpec | None:
    if get_origin(hint) is not Annotated:
        return None
    declared, signal = get_args(hint)
    python_type = next(t for t in get_args(declared) if t is not type(None))
    value_type: ValueType = "number"
    if python_type is bool:
        value_type = "flag"
    elif python_type is str:
        value_type = "json" if signal.is_json else "text"
    elif python_type is bytes:
        value_type = "blob"
    per_unit = round(1 / signal.resolution) if signal.resolution else 1
    return FieldSpec(
        name, signal.number, value_type, per_unit, signal.minimum, signal.maximum, signal.vss
    )


# fmt: off
# One line a signal: the table is meant to be read across.

@kind(1, "position")
@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Reading):
    """Where a source was, and what came with the fix."""

    latitude_deg: Annotated[float | None, Signal(1, 1e-7, -90, 90, vss="Vehicle.CurrentLocation.Latitude")] = None
    longitude_deg: Annotated[float | None, Signal(2, 1e-7, -180, 180, vss="Vehicle.CurrentLocation.Longitude")] = None
    altitude_m: Annotated[float | None, Signal(3, 0.1, -500, 9000, vss="Vehicle.CurrentLocation.Altitude")] = None
    speed_kmh: Annotated[float | None, Signal(4, 0.1, 0, 220, vss="Vehicle.Speed")] = None
    heading_deg: Annotated[float | None, Signal(5, 0.1, 0, 360, vss="Vehicle.CurrentLocation.Heading")] = None
    satellites: Annotated[int | None, Signal(6, 1, 0, 255)] = None
    hdop: Annotated[float | None, Signal(7, 0.1, 0, 100)] = None
    fix_quality: Annotated[int | None, Signal(8, 1, 0, 8)] = None  # NMEA 0183 GGA codes
    is_located: Annotated[bool | None, Signal(9)] = None  # the source says it has a fix, and the coordinates are plausible
    odometer_km: Annotated[float | None, Signal(10, 0.1, 0, 6500000, vss="Vehicle.TraveledDistance")] = None
    recorder_speed_kmh: Annotated[float | None, Signal(11, 0.1, 0, 220)] = None
    alarms: Annotated[int | None, Signal(12, 1, 0, 4294967295)] = None  # JT/T 808 0x0200 alarm bits
    status: Annotated[int | None, Signal(13, 1, 0, 4294967295)] = None  # JT/T 808 0x0200 status bits
    fuel_l: Annotated[float | None, Signal(14, 0.1, 0, 6553.5)] = None
    signal_strength: Annotated[int | None, Signal(15, 1, 0, 255)] = None
    accuracy_m: Annotated[float | None, Signal(16, 0.1, 0, 10000, vss="Vehicle.CurrentLocation.HorizontalAccuracy")] = None
    items: Annotated[bytes | None, Signal(17, None)] = None  # additional items not named here, as id-length-value bytes in order


@kind(2, "battery")
@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryReading(Reading):
    """State of the traction battery. Positive current and power charge, as in VSS."""

    soc_percent: Annotated[float | None, Signal(1, 0.1, 0, 100, vss="Vehicle.Powertrain.TractionBattery.StateOfCharge.Current")] = None
    soh_percent: Annotated[float | None, Signal(2, 0.1, 0, 100, vss="Vehicle.Powertrain.TractionBattery.StateOfHealth")] = None
    pack_voltage_v: Annotated[float | None, Signal(3, 0.1, 0, 1500, vss="Vehicle.Powertrain.TractionBattery.CurrentVoltage")] = None
    pack_current_a: Annotated[float | None, Signal(4, 0.1, -2000, 2000, vss="Vehicle.Powertrain.TractionBattery.CurrentCurrent")] = None
    cell_voltage_max_v: Annotated[float | None, Signal(5, 0.001, 0, 15, vss="Vehicle.Powertrain.TractionBattery.CellVoltage.Max")] = None
    cell_voltage_min_v: Annotated[float | None, Signal(6, 0.001, 0, 15, vss="Vehicle.Powertrain.TractionBattery.CellVoltage.Min")] = None
    cell_temperature_max_c: Annotated[float | None, Signal(7, 0.1, -60, 210, vss="Vehicle.Powertrain.TractionBattery.Temperature.Max")] = None
    cell_temperature_min_c: Annotated[float | None, Signal(8, 0.1, -60, 210, vss="Vehicle.Powertrain.TractionBattery.Temperature.Min")] = None
    insulation_kohm: Annotated[int | None, Signal(9, 1, 0, 60000)] = None
    charging_state: Annotated[int | None, Signal(10, 1, 0, 255)] = None  # GB/T 32960 codes: 1 parked charging, 2 driving charging, 3 not charging, 4 complete
    fault_level: Annotated[int | None, Signal(11, 1, 0, 3)] = None
    energy_remaining_kwh: Annotated[float | None, Signal(12, 0.1, 0, 1000)] = None
    charging_power_kw: Annotated[float | None, Signal(13, 0.1, 0, 1000, vss="Vehicle.Powertrain.TractionBattery.Charging.Power")] = None
    range_km: Annotated[float | None, Signal(14, 0.1, 0, 2000)] = None
    is_plugged: Annotated[bool | None, Signal(15, vss="Vehicle.Powertrain.TractionBattery.Charging.IsChargingCableConnected")] = None


@kind(3, "drive")
@dataclass(frozen=True, slots=True, kw_only=True)
class DriveReading(Reading):
    """What the drive train does."""

    speed_kmh: Annotated[float | None, Signal(1, 0.1, 0, 220, vss="Vehicle.Speed")] = None
    odometer_km: Annotated[float | None, Signal(2, 0.1, 0, 6500000, vss="Vehicle.TraveledDistance")] = None
    motor_speed_rpm: Annotated[int | None, Signal(3, 1, -20000, 45531, vss="Vehicle.Powertrain.ElectricMotor.Speed")] = None
    motor_torque_nm: Annotated[float | None, Signal(4, 0.1, -2000, 4553.1, vss="Vehicle.Powertrain.ElectricMotor.Torque")] = None
    motor_temperature_c: Annotated[float | None, Signal(5, 0.1, -40, 210, vss="Vehicle.Powertrain.ElectricMotor.Temperature")] = None
    controller_temperature_c: Annotated[float | None, Signal(6, 0.1, -40, 210)] = None
    gear: Annotated[int | None, Signal(7, 1, -1, 16, vss="Vehicle.Powertrain.Transmission.CurrentGear")] = None
    accelerator_percent: Annotated[float | None, Signal(8, 0.1, 0, 100, vss="Vehicle.Chassis.Accelerator.PedalPosition")] = None
    brake_percent: Annotated[float | None, Signal(9, 0.1, 0, 100, vss="Vehicle.Chassis.Brake.PedalPosition")] = None
    is_ignition_on: Annotated[bool | None, Signal(10)] = None


@kind(4, "cargo")
@dataclass(frozen=True, slots=True, kw_only=True)
class CargoReading(Reading):
    """What happens to the load."""

    compartment_temperature_1_c: Annotated[float | None, Signal(1, 0.1, -60, 100)] = None
    compartment_temperature_2_c: Annotated[float | None, Signal(2, 0.1, -60, 100)] = None
    compartment_temperature_3_c: Annotated[float | None, Signal(3, 0.1, -60, 100)] = None
    compartment_temperature_4_c: Annotated[float | None, Signal(4, 0.1, -60, 100)] = None
    is_door_open: Annotated[bool | None, Signal(5)] = None
    load_kg: Annotated[int | None, Signal(6, 1, 0, 100000)] = None


@kind(5, "event")
@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Reading):
    """Something happened."""

    code: Annotated[str | None, Signal(1, None)] = None
    detail: Annotated[str | None, Signal(2, None, is_json=True)] = None
    raw: Annotated[bytes | None, Signal(3, None)] = None


@kind(6, "undecodable")
@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable(Reading):
    """Bytes a source sent that its standard does not allow, kept whole."""

    protocol: Annotated[str | None, Signal(1, None)] = None
    reason: Annotated[str | None, Signal(2, None)] = None
    raw: Annotated[bytes | None, Signal(3, None)] = None


@kind(7, "dropped")
@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Reading):
    """Readings the edge had to give up: numbers `first` to `last` of a lane, or an unknown count."""

    epoch: Annotated[int | None, Signal(1, 1)] = None
    lane: Annotated[int | None, Signal(2, 1)] = None
    first: Annotated[int | None, Signal(3, 1)] = None
    last: Annotated[int | None, Signal(4, 1)] = None
    from_time_ms: Annotated[int | None, Signal(5, 1)] = None
    to_time_ms: Annotated[int | None, Signal(6, 1)] = None
    reason: Annotated[str | None, Signal(7, None)] = None


@kind(9, "media_part")
@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPart(Reading):
    """A piece of a photo, sound or video. All pieces have the device time of the whole."""

    media_id: Annotated[int | None, Signal(1, 1)] = None  # the source's own number, may come again
    part_number: Annotated[int | None, Signal(2, 1)] = None  # from 1
    part_total: Annotated[int | None, Signal(3, 1)] = None
    media_type: Annotated[int | None, Signal(4, 1, 0, 255)] = None  # JT/T 808 codes: 0 image, 1 audio, 2 video
    media_format: Annotated[int | None, Signal(5, 1, 0, 255)] = None  # JT/T 808 codes: 0 JPEG, 1 TIF, 2 MP3, 3 WAV, 4 WMV
    event_code: Annotated[int | None, Signal(6, 1, 0, 255)] = None  # JT/T 808 codes: 0 command, 1 timed, 2 robbery, …
    channel: Annotated[int | None, Signal(7, 1, 0, 255)] = None
    size_bytes: Annotated[int | None, Signal(8, 1)] = None  # of the whole; None where only the last part tells
    data: Annotated[bytes | None, Signal(9, None)] = None


# fmt: on

KIND_OF: dict[type[Reading], KindSpec] = {spec.reading_class: spec for spec in KINDS.values()}
