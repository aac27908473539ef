"""The vectorised reader of JT/T 808 location reports: thousands of frames as numpy columns.

It says what `jt808.Conversation` and `jt808.border` say, column by column, of frames that are whole
location reports; every other stretch of the stream is named, for the conversation to read. Tests
hold the two equal. numpy comes with the extra `[bulk]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.bulk import Bools, Int64s, NumberColumn, write_series
from greenhaul_protocols.bulk_jt808_items import is_told, read_items
from greenhaul_protocols.catalogue import (
    KIND_OF,
    BatteryReading,
    CargoReading,
    Position,
    TimeQuality,
)
from greenhaul_protocols.fleet_body import blob_column
from greenhaul_protocols.jt808 import border, border_events, clock
from greenhaul_protocols.jt808.items import Items

Bytes = NDArray[np.uint8]

_DELIMITER, _ESCAPE = 0x7E, 0x7D
_LOCATION_REPORT = 0x0200
# Packet item and encryption: such frames are for the conversation.
_SPLIT_OR_ENCRYPTED = 0x3C00
_BODY_SIZE_MIN = 28
_FRAME_SIZE_MIN = 12 + _BODY_SIZE_MIN + 1

_BODY = [
    ("alarms", ">u4"), ("status", ">u4"), ("latitude", ">u4"), ("longitude", ">u4"),
    ("altitude", ">i2"), ("speed", ">u2"), ("heading", ">u2"), ("time", "6u1"),
]  # fmt: skip
_HEAD_2013 = [("id", ">u2"), ("attributes", ">u2"), ("phone", "6u1"), ("serial", ">u2")]
_HEAD_2019 = [
    ("id", ">u2"), ("attributes", ">u2"), ("version", "u1"), ("phone", "10u1"), ("serial", ">u2"),
]  # fmt: skip
# Size of the header to what lies in header and body.
_LAYOUTS = {12: np.dtype(_HEAD_2013 + _BODY), 17: np.dtype(_HEAD_2019 + _BODY)}
_PHONE_SIZE = 10


@dataclass(frozen=True, slots=True)
class ReportColumns:
    """n location reports as columns, in the order of the stream.

    numbers: fields of `Position` that are numbers or flags, in steps of the catalogue.
    """

    spans: Int64s  # (n, 2): where in the data each frame begins and ends, delimiters included
    others: Int64s  # (m, 2): stretches for a Conversation, in order
    rest: int  # the data from here on wait for more
    phones: Bytes  # (n, 10): digits of the terminals in BCD, filled up with zeros in front
    serials: NDArray[np.uint16]
    is_2019: Bools
    device_time_ms: Int64s
    time_quality: NDArray[np.int16]
    numbers: dict[str, NumberColumn]
    battery: dict[str, NumberColumn]  # of BatteryReading; reports without one have none present
    cargo: dict[str, NumberColumn]  # of CargoReading
    content: bytes  # the data without escapes
    item_spans: Int64s  # (n, 2): where in it the additional items are
    has_others: Bools  # whether there are items no column says

    def __len__(self) -> int:
        return len(self.spans)

    def sources(self) -> list[str]:
        """Name of each report's terminal as a source."""
        phones = np.ascontiguousarray(self.phones).view(f"V{_PHONE_SIZE}").reshape(-1)
        distinct, which = np.unique(phones, return_inverse=True)
        names = [border.source_name(phone.tobytes().hex()) for phone in distinct]
        return [names[number] for number in which.tolist()]

    def item_blobs(self) -> list[bytes | None]:
        """`Position.items` of each report: bytes of the items no column of it says."""
        blobs: list[bytes | None] = [None] * len(self)
        layout = Items("B", "location")
        for number in np.flatnonzero(self.has_others).tolist():
            start, end = self.item_spans[number].tolist()
            wire = self.content[start:end]
            items, used = layout.read(wire, 0)
            blobs[number] = border.unnamed_items(items) + wire[used:] or None
        return blobs


def write_answers(reports: ReportColumns, at: Sequence[int], serials: Sequence[int]) -> list[bytes]:
    """The general answers, result 0, to the reports at these places; serials: of the answers."""
    frames: list[bytes] = [b""] * len(at)
    places, shapes = np.array(at, np.int64), reports.is_2019[list(at)]
    for is_2019, head in ((False, b"\x80\x01\x00\x05"), (True, b"\x80\x01\x40\x05\x01")):
        chosen = np.flatnonzero(shapes == is_2019)
        if len(chosen) == 0:
            continue
        phones = reports.phones[places[chosen]][:, 0 if is_2019 else 4 :]
        size = len(head) + phones.shape[1]
        content = np.zeros((len(chosen), size + 8), np.uint8)
        content[:, : len(head)] = np.frombuffer(head, np.uint8)
        content[:, len(head) : size] = phones
        words = (np.array(serials, np.uint16)[chosen], reports.serials[places[chosen]])
        for offset, word in zip((size, size + 2), words, strict=True):
            content[:, offset], content[:, offset + 1] = word >> 8, word & 0xFF
        content[:, size + 4] = _LOCATION_REPORT >> 8
        content[:, -1] = np.bitwise_xor.reduce(content, axis=1)
        for number, frame in zip(chosen.tolist(), _framed(content), strict=True):
            frames[number] = frame
    return frames


def _framed(content: Bytes) -> list[bytes]:
    """Frames of (n, k) contents with their checksums."""
    count, size = content.shape
    wire = np.zeros((count, 2 * size + 2), np.uint8)
    is_there = np.zeros(wire.shape, np.bool_)
    is_escaped = (content == _ESCAPE) | (content == _DELIMITER)
    wire[:, 0] = wire[:, -1] = _DELIMITER
    wire[:, 1:-1:2] = np.where(is_escaped, _ESCAPE, content)
    wire[:, 2:-1:2] = content - _ESCAPE + 1  # 7D is 7D 01, 7E is 7D 02
    is_there[:, 0] = is_there[:, -1] = is_there[:, 1:-1:2] = True
    is_there[:, 2:-1:2] = is_escaped
    flat = wire[is_there].tobytes()
    ends = np.cumsum(is_there.sum(axis=1)).tolist()
    return [flat[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def write_readings(reports: ReportColumns, received_time_ms: int) -> list[list[bytes]]:
    """Of each report the wire bytes of its readings' `Series`, but for source and number.

    The position's first, then the battery's and the cargo's if the report tells any. Only for
    reports of usable time.
    """
    written: list[list[bytes]] = [[] for _ in range(len(reports))]
    for cls, columns in {
        Position: reports.numbers,
        BatteryReading: reports.battery,
        CargoReading: reports.cargo,
    }.items():
        at = np.arange(len(reports)) if cls is Position else np.flatnonzero(is_told(columns))
        if len(at) == 0:
            continue
        fields = {field.name: field.number for field in KIND_OF[cls].fields}
        series = write_series(
            KIND_OF[cls].number,
            reports.device_time_ms[at],
            np.full(len(at), received_time_ms, np.int64),
            {
                fields[name]: NumberColumn(column.values[at], column.present[at])
                for name, column in columns.items()
            },
        )
        for place, one in zip(at.tolist(), series, strict=True):
            written[place].append(one)
    (items,) = (field.number for field in KIND_OF[Position].fields if field.name == "items")
    for own, blob in zip(written, reports.item_blobs(), strict=True):
        if blob is not None:
            own[0] += blob_column(items, blob)
    return written


def read_reports(data: bytes, *, received_time_ms: int) -> ReportColumns:
    """The location reports in a stretch of a stream. Never raises for what a peer sends.

    Stretches of some 256 KiB are read fastest. The rest goes before the next stretch; one longer
    than a frame can be is for a Conversation.
    """
    wire = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(wire == _DELIMITER)
    if len(marks) == 0:
        marks = np.zeros(0, np.int64)
        return _columns(data, wire, marks, marks, marks, np.zeros((0, 2), np.int64), 0, 0)
    content, starts, ends, is_escaped_well = _unescaped(wire, marks)
    found = _whole_reports(content, starts, ends, is_escaped_well)
    is_other = (marks[1:] - marks[:-1] > 1) & ~found
    others = np.stack([marks[:-1][is_other], marks[1:][is_other] + 1], axis=1)
    if marks[0] > 0:
        others = np.concatenate([np.array([[0, marks[0] + 1]], np.int64), others])
    at = np.flatnonzero(found)
    spans = np.stack([marks[at], marks[at + 1] + 1], axis=1)
    return _columns(
        content.tobytes(), content, starts[at], ends[at], spans, others,
        int(marks[-1]), received_time_ms,
    )  # fmt: skip


def _unescaped(wire: Bytes, marks: Int64s) -> tuple[Bytes, Int64s, Int64s, Bools]:
    """The data without escapes; where each piece between marks begins and ends in it; whether its
    escapes are right."""
    starts, ends = marks[:-1] + 1, marks[1:]
    escapes = np.flatnonzero(wire[:-1] == _ESCAPE)
    if len(escapes) == 0 and (len(wire) == 0 or wire[-1] != _ESCAPE):
        return wire, starts, ends, np.ones(len(starts), np.bool_)
    following = wire[escapes + 1]
    is_right = (following == 1) | (following == 2)
    right, wrong = escapes[is_right], escapes[~is_right]
    content = wire.copy()
    content[right] += following[is_right] - 1  # 7D 01 is 7D, 7D 02 is 7E
    keep = np.ones(len(wire), np.bool_)
    keep[right + 1] = False
    well = np.searchsorted(wrong, starts) == np.searchsorted(wrong, ends)
    dropped = right + 1
    starts = starts - np.searchsorted(dropped, starts)
    ends = ends - np.searchsorted(dropped, ends)
    return content[keep], starts, ends, well


def _whole_reports(content: Bytes, starts: Int64s, ends: Int64s, is_well: Bools) -> Bools:
    """Which pieces are location reports: right checksum, right length, whole, plain."""
    sizes = ends - starts
    found = is_well & (sizes >= _FRAME_SIZE_MIN)
    at = np.flatnonzero(found)
    if len(at) == 0:
        return found
    start, end = starts[at], ends[at]
    bounds = np.stack([start, end], axis=1).reshape(-1)
    is_right = np.bitwise_xor.reduceat(content, bounds)[::2] == 0
    attributes = content[start + 2].astype(np.int64) << 8 | content[start + 3]
    body_size = attributes & 0x3FF
    head_size = sizes[at] - 1 - body_size
    is_report = (content[start] == _LOCATION_REPORT >> 8) & (content[start + 1] == 0)
    is_plain = attributes & _SPLIT_OR_ENCRYPTED == 0
    fits = (head_size == 12) | (head_size == 17)
    found[at] = is_right & is_report & is_plain & fits & (body_size >= _BODY_SIZE_MIN)
    return found


def _columns(
    content: bytes,
    wire: Bytes,
    starts: Int64s,
    ends: Int64s,
    spans: Int64s,
    others: Int64s,
    rest: int,
    received_time_ms: int,
) -> ReportColumns:
    count = len(starts)
    head_sizes = ends - starts - 1
    if count:
        head_sizes -= (wire[starts + 2].astype(np.int64) << 8 | wire[starts + 3]) & 0x3FF
    fixed, phones, serials = _fixed_fields(wire, starts, head_sizes)
    item_spans = np.stack([starts + head_sizes + _BODY_SIZE_MIN, ends - 1], axis=1)
    items, has_others = read_items(wire, item_spans)
    device_time_ms, quality = _usable_times(fixed["time"], received_time_ms)
    keep: Bools | slice = slice(None)
    if items.is_repeated.any():
        # A second battery or cargo item in one report makes a second reading: rare.
        keep = ~items.is_repeated
        others = np.concatenate([others, spans[items.is_repeated]])
        others = others[np.argsort(others[:, 0], kind="stable")]
    position, battery, cargo = (
        {
            name: NumberColumn(column.values[keep], column.present[keep])
            for name, column in columns.items()
        }
        for columns in (_position_numbers(fixed) | items.position, items.battery, items.cargo)
    )
    return ReportColumns(
        spans.reshape(-1, 2)[keep],
        others,
        rest,
        phones[keep],
        serials[keep],
        head_sizes[keep] == 17,
        device_time_ms[keep],
        quality[keep],
        position,
        battery,
        cargo,
        content,
        item_spans[keep],
        has_others[keep],
    )


def _fixed_fields(
    wire: Bytes, starts: Int64s, head_sizes: Int64s
) -> tuple[NDArray[np.void], Bytes, NDArray[np.uint16]]:
    """What lies at the same place in every report: body, terminal, serial."""
    count = len(starts)
    fixed = np.zeros(count, np.dtype(_BODY))
    phones = np.zeros((count, _PHONE_SIZE), np.uint8)
    serials = np.zeros(count, np.uint16)
    for head_size, layout in _LAYOUTS.items():
        at = np.flatnonzero(head_sizes == head_size)
        if len(at) == 0:
            continue
        rows = np.lib.stride_tricks.sliding_window_view(wire, layout.itemsize)[starts[at]]
        records = rows.reshape(-1).view(layout)
        whole = slice(None) if len(at) == count else at
        for name, _ in _BODY:
            fixed[name][whole] = records[name]
        phone = records["phone"]
        phones[whole, _PHONE_SIZE - phone.shape[1] :] = phone
        serials[whole] = records["serial"]
    return fixed, phones, serials


def _position_numbers(fixed: NDArray[np.void]) -> dict[str, NumberColumn]:
    """What every report says, in steps of the catalogue."""
    status = fixed["status"].astype(np.int64)
    latitude = _signed(fixed["latitude"], status & 1 << 2)
    longitude = _signed(fixed["longitude"], status & 1 << 3)
    null = border.NULL_ISLAND_DEG * 1_000_000
    is_null = (np.abs(latitude) < null) & (np.abs(longitude) < null)
    is_plausible = (np.abs(latitude) <= 90_000_000) & (np.abs(longitude) <= 180_000_000) & ~is_null
    present = np.ones(len(fixed), np.bool_)
    values = {
        "latitude_deg": latitude * 10,
        "longitude_deg": longitude * 10,
        "altitude_m": fixed["altitude"].astype(np.int64) * 10,
        "speed_kmh": fixed["speed"].astype(np.int64),
        "heading_deg": fixed["heading"].astype(np.int64) * 10,
        "is_located": (is_plausible & (status & 1 << 1 != 0)).astype(np.int64),
        "alarms": fixed["alarms"].astype(np.int64),
        "status": status,
    }
    return {name: NumberColumn(column, present) for name, column in values.items()}


def _signed(magnitudes: NDArray[np.uint32], is_negative: Int64s) -> Int64s:
    """Millionths of a degree with their sign; some terminals write two's complement instead."""
    values = magnitudes.astype(np.int64)
    signed = np.where(is_negative != 0, -values, values)
    return np.where(values >= 1 << 31, values - (1 << 32), signed)


def _usable_times(digits: Bytes, received_time_ms: int) -> tuple[Int64s, NDArray[np.int16]]:
    """(n,) device times of (n, 6) BCD digits, and their quality: as `border_events.usable_time`."""
    high, low = digits >> 4, digits & 0x0F
    is_time = ((high < 10) & (low < 10)).all(axis=1)
    # Two digits that are no time must not index anything.
    values = np.where(is_time, (high * 10 + low).T, 0).astype(np.int64)
    year, month, day, hour, minute, second = values
    is_time &= (month >= 1) & (month <= 12) & (hour <= 23) & (minute <= 59) & (second <= 59)
    month = np.where(is_time, month, 1)
    first = _MONTH_STARTS[year * 12 + month - 1]
    is_time &= (day >= 1) & (first + day <= _MONTH_STARTS[year * 12 + month])
    day_ms = (first + day - 1) * 86_400_000
    time_ms = day_ms + ((hour * 60 + minute) * 60 + second) * 1000 - clock.GMT_PLUS_8_MS
    is_time &= time_ms >= border_events.TIME_MS_MIN
    is_time &= time_ms <= received_time_ms + border_events.TIME_AHEAD_MS_MAX
    quality = np.where(is_time, TimeQuality.SOURCE, TimeQuality.UNUSABLE).astype(np.int16)
    return np.where(is_time, time_ms, received_time_ms), quality


# Days since 1970 of the first of each month from 2000-01 to 2100-01.
_MONTH_STARTS = np.array(
    [
        (date(2000 + number // 12, number % 12 + 1, 1) - date(1970, 1, 1)).days
        for number in range(100 * 12 + 1)
    ],
    np.int64,
)
