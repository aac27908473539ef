"""The other half of the border: messages that are no location become events and media parts.

An event's detail says the message's fields in JSON, its raw blob has the bytes the fields do not
say. What is too large for one reading is several, numbered in order.
"""

import json
from collections.abc import Iterator
from typing import Any

from greenhaul_protocols.catalogue import Event, MediaPart, Reading, TimeQuality
from greenhaul_protocols.errors import EncodeError
from greenhaul_protocols.jt808 import clock
from greenhaul_protocols.jt808.declaration import REVISIONS, encode
from greenhaul_protocols.jt808.describe import body_json
from greenhaul_protocols.jt808.layouts import Undecodable
from greenhaul_protocols.jt808.messages import ParameterAnswer, ParameterAnswerShortIds
from greenhaul_protocols.jt808.messages_areas import AreaAnswer
from greenhaul_protocols.jt808.messages_control import TerminalAttributes, UpgradeResult
from greenhaul_protocols.jt808.messages_information import (
    EventReport,
    InformationDemand,
    QuestionAnswer,
)
from greenhaul_protocols.jt808.messages_media import (
    MediaData,
    MediaEvent,
    MediaSearchAnswer,
    PhotoResult,
)
from greenhaul_protocols.jt808.messages_records import (
    CanReport,
    CompressedReport,
    DriverIdentity,
    DriverIdentity2011,
    PassThroughUp,
    RecorderData,
    TerminalKey,
    Waybill,
)

# Outside these a terminal's time is unusable: before 2000-01-01 UTC, or this far in our future.
TIME_MS_MIN = 946_684_800_000
TIME_AHEAD_MS_MAX = 5 * 60_000

# Bytes of one reading: a block has 64 KiB, and the details want room beside the blob.
RAW_SIZE_MAX = 32 * 1024
DETAIL_SIZE_MAX = 16 * 1024

EVENT_CODES: dict[type[Any], str] = {
    EventReport: "driver_event",
    QuestionAnswer: "question_answer",
    InformationDemand: "information_demand",
    ParameterAnswer: "parameters",
    ParameterAnswerShortIds: "parameters",
    TerminalAttributes: "attributes",
    UpgradeResult: "upgrade_result",
    AreaAnswer: "areas",
    RecorderData: "recorder_data",
    Waybill: "waybill",
    DriverIdentity: "driver",
    DriverIdentity2011: "driver",
    CanReport: "can_frames",
    MediaEvent: "media_event",
    MediaSearchAnswer: "media_list",
    PhotoResult: "photo_result",
    PassThroughUp: "pass_through",
    CompressedReport: "compressed",
    TerminalKey: "terminal_key",
}

_DAY_MS = 86_400_000


def usable_time(digits: str, received_time_ms: int) -> tuple[int, TimeQuality]:
    """Device time of YYMMDDhhmmss in GMT+8; the received time if the digits make no sense.

    Age alone never makes a time unusable.
    """
    time_ms = clock.time_ms_of(digits)
    if time_ms is None or not TIME_MS_MIN <= time_ms <= received_time_ms + TIME_AHEAD_MS_MAX:
        return received_time_ms, TimeQuality.UNUSABLE
    return time_ms, TimeQuality.SOURCE


def time_of_day(digits: str, received_time_ms: int) -> tuple[int, TimeQuality]:
    """The last instant before the receipt that had this hhmmss and four digits of milliseconds in
    GMT+8: a report sent after midnight may be of the day before."""
    of_day_ms = clock.time_of_day_ms(digits)
    if of_day_ms is None:
        return received_time_ms, TimeQuality.UNUSABLE
    latest_ms = received_time_ms + TIME_AHEAD_MS_MAX
    since_ms = (latest_ms + clock.GMT_PLUS_8_MS - of_day_ms) % _DAY_MS
    return latest_ms - since_ms, TimeQuality.SOURCE


def event_readings(message: Any, *, source: str, received_time_ms: int) -> list[Reading]:
    """Events or media parts of a message; none if it says nothing to keep."""
    time_ms, quality = _time_of(message, received_time_ms)
    how = {
        "source": source,
        "device_time_ms": time_ms,
        "received_time_ms": received_time_ms,
        "time_quality": quality,
    }
    if isinstance(message, MediaData):
        return list(_media_parts(message, how))
    for cls in type(message).__mro__:
        if cls in EVENT_CODES:
            return list(_events(message, EVENT_CODES[cls], how))
    return []


def _time_of(message: Any, received_time_ms: int) -> tuple[int, TimeQuality]:
    """A message without a time of its own has that of its receipt: of its first copy, if it is
    resent, which is what UNUSABLE asks the edge for."""
    match message:
        case DriverIdentity(card_time=digits):
            return usable_time(digits, received_time_ms)
        case MediaData(location=location) if location is not None:
            return usable_time(location.device_time, received_time_ms)
        case CanReport(first_frame_time=digits):
            return time_of_day(digits, received_time_ms)
    return received_time_ms, TimeQuality.UNUSABLE


def _events(message: Any, code: str, how: dict[str, Any]) -> Iterator[Event]:
    detail = body_json(message, REVISIONS[-1])
    if isinstance(message, CanReport):
        frames = message.frames  # the last may be what a terminal cut off
        raw = b"".join(f.raw if isinstance(f, Undecodable) else encode(f, 2019) for f in frames)
        del detail["frames"]
    else:
        raw = getattr(message, "data", None) or b""
        detail.pop("data", None)
    if len(json.dumps(detail)) > DETAIL_SIZE_MAX:
        raw = _whole(message)
        detail = {name: v for name, v in detail.items() if not isinstance(v, list | str)}
    pieces = _pieces(raw)
    for number, piece in enumerate(pieces, start=1):
        if len(pieces) > 1:
            detail |= {"part_number": number, "part_total": len(pieces)}
        text = json.dumps(detail, ensure_ascii=False, separators=(",", ":"))
        yield Event(**how, code=code, detail=text, raw=piece or None)


def _whole(message: Any) -> bytes:
    """The message's body in the first edition that can carry it."""
    for revision in reversed(REVISIONS):
        try:
            return encode(message, revision)
        except EncodeError:
            continue
    raise AssertionError("what was decoded can be encoded")


def _media_parts(message: MediaData, how: dict[str, Any]) -> Iterator[MediaPart]:
    data = message.data
    if message.location is not None:
        # Some terminals repeat the 36 bytes before the data in every packet.
        data = data.replace(_whole(message)[:36], b"")
    pieces = _pieces(data)
    first, total, size = 1, len(pieces), len(data)
    said_size: int | None = size
    if message.packet_total is not None and message.packet_number is not None and total == 1:
        # 2011 numbers the packets in the body, and each is a message of its own.
        first, total, said_size = message.packet_number, message.packet_total, None
    for number, piece in enumerate(pieces, start=first):
        yield MediaPart(
            **how,
            media_id=message.media_id,
            part_number=number,
            part_total=total,
            media_type=message.media_type,
            media_format=message.media_format,
            event_code=message.event,
            channel=message.channel,
            size_bytes=said_size,
            data=piece,
        )


def _pieces(raw: bytes) -> list[bytes]:
    return [raw[at : at + RAW_SIZE_MAX] for at in range(0, len(raw), RAW_SIZE_MAX)] or [b""]
