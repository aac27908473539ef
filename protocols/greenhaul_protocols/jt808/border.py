"""The border between what JT/T 808 says and what we say, both ways.

Wire: unsigned degrees, status bits for south and west, GMT+8, items. Readings: signed degrees,
milliseconds of UTC, named signals. Nothing else in greenhaul sees a wire class.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

from greenhaul_protocols.catalogue import (
    BatteryReading,
    CargoReading,
    Flags,
    Position,
    Reading,
    TimeQuality,
    Undecodable,
)
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import clock, layouts
from greenhaul_protocols.jt808.border_events import event_readings, usable_time
from greenhaul_protocols.jt808.events import BadBytes, UnknownMessage
from greenhaul_protocols.jt808.header import Header
from greenhaul_protocols.jt808.items import Item, Items
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.messages_control import VehicleControlAnswer
from greenhaul_protocols.jt808.messages_location import (
    BatchReport,
    LocationAnswer,
    LocationReport,
)
from greenhaul_protocols.jt808.tables import find, item_of
from greenhaul_protocols.jt808.vendor_items_table import ChargeState

PROTOCOL = "jt808"

# No land, no road: a receiver without a fix that says zero, or nearly.
NULL_ISLAND_DEG = 0.01

_LOCATED, _SOUTH, _WEST = 1 << 1, 1 << 2, 1 << 3
_BLIND_AREA = 1
_NO_FLAGS = Flags(0)

# Items that have a field of Position. Id and size: another size is another vendor's item.
_POSITION_ITEMS = {
    (0x01, 4): "odometer_km",
    (0x02, 2): "fuel_l",
    (0x03, 2): "recorder_speed_kmh",
    (0x30, 1): "signal_strength",
    (0x31, 1): "satellites",
}
_TENTHS = frozenset({"odometer_km", "fuel_l", "recorder_speed_kmh"})


class ResendKey(NamedTuple):
    """Equal for a message and its resends."""

    phone: str
    message_id: int
    serial: int
    body_hash: bytes  # 8 bytes


def source_name(phone: str) -> str:
    """Name of a terminal as a source: `808:` and its digits without zeros in front."""
    return "808:" + (phone.lstrip("0") or "0")


def resend_key(header: Header, body: bytes) -> ResendKey:
    """What recognises a message sent again (terminal, message id, serial, hash of the body)."""
    body_hash = blake2b(body, digest_size=8).digest()
    return ResendKey(header.phone.lstrip("0"), header.message_id, header.serial, body_hash)


def readings_of(body: Any, *, source: str, received_time_ms: int) -> list[Reading]:
    """The readings in a message's body, in its order.

    body: a declared message, or what a conversation could not decode (BadBytes, UnknownMessage).
    Messages of the session give none. A report that fails inside a batch becomes one
    Undecodable; its neighbours are not touched.
    """
    match body:
        case LocationReport():
            return _readings_of_report(body, source, received_time_ms, _NO_FLAGS)
        case LocationAnswer(report=report) | VehicleControlAnswer(report=report):
            return _readings_of_report(report, source, received_time_ms, _NO_FLAGS)
        case BatchReport():
            return _readings_of_batch(body, source, received_time_ms)
        case BadBytes(reason=reason, raw=raw) | layouts.Undecodable(reason=reason, raw=raw):
            return [_undecodable(reason, raw, source, received_time_ms)]
        case UnknownMessage(header=header, raw=raw):
            reason = f"unknown message 0x{header.message_id:04X}"
            return [_undecodable(reason, raw, source, received_time_ms)]
    return event_readings(body, source=source, received_time_ms=received_time_ms)


def _readings_of_batch(batch: BatchReport, source: str, received_time_ms: int) -> list[Reading]:
    flags = Flags.BACKLOG if batch.batch_type == _BLIND_AREA else _NO_FLAGS
    readings: list[Reading] = []
    for report in batch.reports:
        if isinstance(report, LocationReport):
            readings += _readings_of_report(report, source, received_time_ms, flags)
        else:
            reason = f"0x0704 report: {report.reason}"
            readings.append(_undecodable(reason, report.raw, source, received_time_ms))
    return readings


def _undecodable(reason: str, raw: bytes, source: str, received_time_ms: int) -> Undecodable:
    return Undecodable(
        source=source,
        device_time_ms=received_time_ms,
        received_time_ms=received_time_ms,
        time_quality=TimeQuality.UNUSABLE,
        protocol=PROTOCOL,
        reason=reason,
        raw=raw,
    )


def signed_deg(unsigned_deg: float, is_negative: bool) -> float:
    """A coordinate with its sign.

    The standard says magnitude and a status bit; some terminals write two's complement instead,
    which no magnitude reaches.
    """
    meant_deg = layouts.signed_deg(unsigned_deg)
    return -meant_deg if is_negative and meant_deg > 0 else meant_deg


def _signed_word(word: int) -> int:
    """A WORD that terminals below sea level fill with two's complement."""
    return word - 0x1_0000 if word & 0x8000 else word


def is_plausible(latitude_deg: float, longitude_deg: float) -> bool:
    """Whether the coordinates lie on Earth and not where receivers without a fix put them."""
    is_null = abs(latitude_deg) < NULL_ISLAND_DEG and abs(longitude_deg) < NULL_ISLAND_DEG
    return abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180 and not is_null


def _readings_of_report(
    report: LocationReport, source: str, received_time_ms: int, flags: Flags
) -> list[Reading]:
    time_ms, quality = usable_time(report.device_time, received_time_ms)
    status = report.status
    latitude_deg = signed_deg(report.latitude_deg, bool(status & _SOUTH))
    longitude_deg = signed_deg(report.longitude_deg, bool(status & _WEST))
    named, others, readings = _sort_items(report.items)
    if report.cut:
        others += report.cut
    how: dict[str, Any] = {
        "source": source,
        "device_time_ms": time_ms,
        "received_time_ms": received_time_ms,
        "time_quality": quality,
        "flags": flags,
    }
    position = Position(
        **how,
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        altitude_m=_signed_word(report.altitude_m),
        speed_kmh=report.speed_kmh,
        heading_deg=report.heading_deg,
        is_located=bool(status & _LOCATED) and is_plausible(latitude_deg, longitude_deg),
        alarms=report.alarms,
        status=status,
        items=others or None,
        **named,
    )
    return [position, *(make(**how) for make in readings)]


_Make = Callable[..., Reading]


def _sort_items(items: tuple[Item, ...]) -> tuple[dict[str, Any], bytes, list[_Make]]:
    """Fields of Position, the other items as bytes in order, and readings of other kinds.

    The first of a repeated id becomes the field; the others stay among the items. Items that
    become another reading stay too, so that a position alone can be sent on whole.
    """
    named: dict[str, Any] = {}
    others = bytearray()
    readings: list[_Make] = []
    for item in items:
        item_id, raw = item
        name = _POSITION_ITEMS.get((item_id, len(raw)))
        # Fuel with bit 15 is a share of the tank with some terminals: not litres.
        if name and name not in named and not (name == "fuel_l" and raw[0] & 0x80):
            number = int.from_bytes(raw, "big")
            named[name] = number / 10 if name in _TENTHS else number
            continue
        others += bytes((item_id, len(raw))) + raw
        other = _OTHER_READINGS.get(item_id)
        make = other(item) if other else None
        if make:
            readings.append(make)
    return named, bytes(others), readings


def unnamed_items(items: tuple[Item, ...]) -> bytes:
    """The bytes of the items that no field of Position says, in order."""
    return _sort_items(items)[1]


# FFFF of a sensor that is not there, as bit 15 means minus.
_NO_SENSOR_C = -3276.7


def _cargo(item: Item) -> _Make | None:
    found = find(LOCATION_ITEMS, item, 2019)
    if found is None or found[0].name != "compartment_temperature_c":
        return None
    temperature_c = found[1]
    return lambda **how: CargoReading(**how, compartment_temperature_1_c=temperature_c)


def _temperatures(item: Item) -> _Make | None:
    """Refrigerated bodies: one sensor, or eight of which a truck's four compartments have room."""
    found = find(LOCATION_ITEMS, item, 2019)
    if found is None:
        return None
    entry, value = found
    told_c = (value,) if entry.name == "temperature_c" else [t / 10 for t in value.tenths_c]
    known = {
        f"compartment_temperature_{number}_c": one_c
        for number, one_c in enumerate(told_c[:4], start=1)
        if one_c > _NO_SENSOR_C
    }
    return (lambda **how: CargoReading(**how, **known)) if known else None


def _battery(item: Item) -> _Make | None:
    found = find(LOCATION_ITEMS, item, 2019)
    if found is None:
        return None
    value = found[1]
    soc_percent = value.soc_percent if isinstance(value, ChargeState) else value
    if soc_percent > 100:  # FF: charging, the level is not known
        return None
    return lambda **how: BatteryReading(**how, soc_percent=soc_percent)


_OTHER_READINGS: dict[int, Callable[[Item], _Make | None]] = {
    0x06: _cargo,
    0x51: _temperatures,
    0xD4: _battery,
    0xE4: _battery,
}


def location_report_of(position: Position, *, extra_items: tuple[Item, ...] = ()) -> LocationReport:
    """The report a terminal would send for a position.

    status defaults to what the coordinates and is_located say; its bits 1 to 3 always follow
    them. Fields the position lacks are zero, as a terminal sends them. Raises EncodeError.
    """
    latitude_deg = position.latitude_deg or 0.0
    longitude_deg = position.longitude_deg or 0.0
    status = (position.status or 0) & ~(_LOCATED | _SOUTH | _WEST)
    status |= _LOCATED if position.is_located else 0
    status |= _SOUTH if latitude_deg < 0 else 0
    status |= _WEST if longitude_deg < 0 else 0
    items = [
        item_of(LOCATION_ITEMS, name, value)
        for name in _POSITION_ITEMS.values()
        if (value := getattr(position, name)) is not None
    ]
    others, used = Items("B", "location").read(position.items or b"", 0)
    return LocationReport(
        alarms=position.alarms or 0,
        status=status,
        latitude_deg=abs(latitude_deg),
        longitude_deg=abs(longitude_deg),
        altitude_m=round(position.altitude_m or 0) & 0xFFFF,
        speed_kmh=position.speed_kmh or 0.0,
        heading_deg=round(position.heading_deg or 0) % 360,
        device_time=clock.digits_of(position.device_time_ms),
        items=(*items, *others, *extra_items),
        cut=(position.items or b"")[used:],
    )


def battery_item(soc_percent: float) -> Item:
    """The vendor item that carries a state of charge. Raises EncodeError outside 0 to 100 %."""
    if not 0 <= soc_percent <= 100:
        raise EncodeError(f"soc_percent: {soc_percent} is outside 0 to 100")
    return item_of(LOCATION_ITEMS, "soc_percent", round(soc_percent))
