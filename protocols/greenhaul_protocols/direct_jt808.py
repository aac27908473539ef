"""Location reports read straight to the bytes a commit keeps: no objects in between.

The declared reader makes a dozen objects of a report, which the commit takes apart again. This one
says what `jt808.Conversation` and `jt808.border` say of frames that are whole, plain location
reports of usable time, and nothing of any other, for the conversation to read. Tests hold the two
equal. It needs the standard library only; `bulk_jt808.py` reads thousands of frames at once.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

from greenhaul_protocols.catalogue import KIND_OF, BatteryReading, CargoReading, Position
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.fleet_body import (
    blob_column,
    number_column,
    written_series,
    written_time,
)
from greenhaul_protocols.jt808 import border, border_events, clock
from greenhaul_protocols.jt808.framing import checksum, unescape

_LOCATION_REPORT = b"\x02\x00"
# Packet item and encryption: such frames are for the conversation.
_SPLIT_OR_ENCRYPTED, _BODY_SIZE = 0x3C00, 0x03FF
_BODY_SIZE_MIN = 28
_FRAME_SIZE_MIN = 12 + _BODY_SIZE_MIN + 1
# By the size of the header: phone, serial, then alarms to time.
_LAYOUTS = {
    12: struct.Struct(">4x6sHIIIIHHH6s"),
    17: struct.Struct(">5x10sHIIIIHHH6s"),
}
_SOUTH, _WEST = 1 << 2, 1 << 3
_DEGREE = 1_000_000
_NULL_ISLAND = round(border.NULL_ISLAND_DEG * _DEGREE)

_FIELDS = {field.name: field.number for field in KIND_OF[Position].fields}
_LATITUDE, _LONGITUDE, _ALTITUDE = (
    _FIELDS[name] for name in ("latitude_deg", "longitude_deg", "altitude_m")
)
_SPEED, _HEADING, _IS_LOCATED = (
    _FIELDS[name] for name in ("speed_kmh", "heading_deg", "is_located")
)
_ALARMS, _STATUS, _FUEL, _ITEMS = (
    _FIELDS[name] for name in ("alarms", "status", "fuel_l", "items")
)
# Items by id and size to the field that says them, in the steps of the catalogue.
_ITEM_FIELDS = {
    0x0104: _FIELDS["odometer_km"],
    0x0202: _FUEL,
    0x0302: _FIELDS["recorder_speed_kmh"],
    0x3001: _FIELDS["signal_strength"],
    0x3101: _FIELDS["satellites"],
}
_TEMPERATURE, _TEMPERATURE_TENTHS, _TEMPERATURES = 0x0602, 0x5102, 0x5110
_COMPARTMENTS_MAX, _NO_SENSOR = 4, b"\xff\xff"
_LEVEL, _CHARGE_STATE = 0xD401, 0xE402
_OTHER_KINDS = frozenset((_TEMPERATURE, _TEMPERATURE_TENTHS, _TEMPERATURES, _LEVEL, _CHARGE_STATE))


class DirectReport(NamedTuple):
    """One location report."""

    phone: bytes  # as in the header: 6 bytes of BCD, or 10 in the shape of 2019
    serial: int
    alarms: int
    device_time_ms: int
    # Of each reading the wire bytes of its `Series`, but for source and number. The first is the
    # position's, the others are batteries' and compartments'.
    series: list[bytes]


def read_report(piece: bytes, received_time_ms: int) -> DirectReport | None:
    """What stands between two delimiters; None if it is for the conversation."""
    if b"\x7d" in piece:
        try:
            piece = unescape(piece)
        except DecodeError:
            return None
    size = len(piece)
    if size < _FRAME_SIZE_MIN or piece[:2] != _LOCATION_REPORT:
        return None
    attributes = piece[2] << 8 | piece[3]
    body_size = attributes & _BODY_SIZE
    layout = _LAYOUTS.get(size - 1 - body_size)
    is_plain = layout and body_size >= _BODY_SIZE_MIN and not attributes & _SPLIT_OR_ENCRYPTED
    if layout is None or not is_plain or checksum(piece):
        return None
    phone, serial, alarms, status, latitude, longitude, altitude, speed, heading, digits = (
        layout.unpack_from(piece)
    )
    timed = _device_time(digits)
    if timed is None or timed[0] > received_time_ms + border_events.TIME_AHEAD_MS_MAX:
        return None
    device_time_ms, device_time = timed
    latitude, longitude = _signed(latitude, status & _SOUTH), _signed(longitude, status & _WEST)
    columns = [
        number_column(_LATITUDE, latitude * 10),
        number_column(_LONGITUDE, longitude * 10),
        _column(_ALTITUDE, (altitude - 0x1_0000 if altitude & 0x8000 else altitude) * 10),
        _column(_SPEED, speed),
        _column(_HEADING, heading * 10),
        _column(_IS_LOCATED, int(bool(status & 2) and _is_plausible(latitude, longitude))),
        _column(_ALARMS, alarms),
        _column(_STATUS, status),
    ]
    others = _read_items(piece, layout.size, columns) if body_size > _BODY_SIZE_MIN else ()
    received_time = _received_time(received_time_ms)
    series = [written_series(1, device_time, columns, received_time)]
    for kind, others_columns in others:
        series.append(written_series(kind, device_time, others_columns, received_time))
    return DirectReport(phone, serial, alarms, device_time_ms, series)


def _read_items(piece: bytes, at: int, columns: list[bytes]) -> list[tuple[int, list[bytes]]]:
    """Append the columns the items say; kinds and columns of the readings they make besides."""
    seen: list[int] = []
    unnamed = b""
    others: list[tuple[int, list[bytes]]] = []
    end = len(piece) - 1
    while at + 2 <= end:
        size = piece[at + 1]
        behind = at + 2 + size
        if behind > end:
            break
        code = piece[at] << 8 | size
        field = _ITEM_FIELDS.get(code)
        # The first of a repeated item; fuel with bit 15 is a share of the tank with some.
        is_share = field == _FUEL and piece[at + 2] & 0x80
        if field is not None and field not in seen and not is_share:
            seen.append(field)
            columns.append(_column(field, int.from_bytes(piece[at + 2 : behind])))
        else:
            unnamed += piece[at:behind]
            if code in _OTHER_KINDS:
                others += _other_reading(code, piece[at + 2 : behind])
        at = behind
    unnamed += piece[at:end]
    if unnamed:
        columns.append(blob_column(_ITEMS, unnamed))
    return others


def _other_reading(code: int, raw: bytes) -> list[tuple[int, list[bytes]]]:
    """Kind and columns of what a vendor's item says, if it says anything."""
    if code in (_LEVEL, _CHARGE_STATE):
        # FF: charging, the level is not known
        columns = [_column(_SOC, raw[-1] * 10)] if raw[-1] <= 100 else []
        return [(_BATTERY, columns)] if columns else []
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)][:_COMPARTMENTS_MAX]
    unit = 10 if code == _TEMPERATURE else 1
    columns = [
        _column(field, _sign_magnitude(word) * unit)
        for field, word in zip(_COMPARTMENTS, words, strict=False)
        if word != _NO_SENSOR or code == _TEMPERATURE
    ]
    return [(_CARGO, columns)] if columns else []


_BATTERY, _CARGO = KIND_OF[BatteryReading].number, KIND_OF[CargoReading].number
(_SOC,) = (one.number for one in KIND_OF[BatteryReading].fields if one.name == "soc_percent")
_COMPARTMENTS = [
    one.number
    for one in KIND_OF[CargoReading].fields
    if one.name.startswith("compartment_temperature_")
]


def _sign_magnitude(word: bytes) -> int:
    value = int.from_bytes(word)
    return -(value & 0x7FFF) if value & 0x8000 else value


def _signed(magnitude: int, is_negative: int) -> int:
    """Millionths of a degree with their sign; some terminals write two's complement instead."""
    if magnitude >> 31:
        return magnitude - (1 << 32)
    return -magnitude if is_negative else magnitude


def _is_plausible(latitude: int, longitude: int) -> bool:
    is_null = abs(latitude) < _NULL_ISLAND and abs(longitude) < _NULL_ISLAND
    return abs(latitude) <= 90 * _DEGREE and abs(longitude) <= 180 * _DEGREE and not is_null


# Values that come again and again: of a parked truck, or of thousands that report in one second.
# Peers choose them, so the caches are bounded: half a megabyte each at most.
_CACHED_MAX = 4096
_column = lru_cache(_CACHED_MAX)(number_column)
_received_time = lru_cache(16)(written_time)


@lru_cache(_CACHED_MAX)
def _device_time(digits: bytes) -> tuple[int, bytes] | None:
    """A time in BCD, and as it is written; None if it is none, or before any terminal."""
    time_ms = clock.time_ms_of(digits.hex())
    if time_ms is None or time_ms < border_events.TIME_MS_MIN:
        return None
    return time_ms, written_time(time_ms)
