"""What a terminal's bytes ask for: readings to commit together, and answers for afterwards."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from greenhaul_protocols.catalogue import Event, Reading, TimeQuality, Undecodable
from greenhaul_protocols.jt808 import Received

# Raw bytes in one reading; a split message that is not decodable can have megabytes.
RAW_SIZE_MAX = 32 * 1024


@dataclass(slots=True)
class Delivery:
    """Readings to commit together; `answers` may be written once they are."""

    readings: list[Reading] = field(default_factory=list)
    answers: bytes = b""
    copy_key: bytes | None = None
    is_alarm: bool = False
    is_rubbish: bool = False  # nobody resends it: may be evicted
    registration: Received | None = None  # to be decided; `registered` then makes the answer
    logout: Received | None = None  # to be made durable; `logged_out` then makes the answer


def kept_whole(event: Received, source: str, received_time_ms: int) -> Event:
    """A message we acknowledge but make no reading of: nothing acknowledged is thrown away."""
    return Event(
        source=source,
        device_time_ms=received_time_ms,
        received_time_ms=received_time_ms,
        time_quality=TimeQuality.GATEWAY,
        code=f"jt808.0x{event.header.message_id:04X}",
        raw=event.raw,
    )


def pieces(reading: Reading) -> Iterator[Reading]:
    """The reading, or several where its raw bytes are more than a block carries."""
    raw = getattr(reading, "raw", None) or b""
    if len(raw) <= RAW_SIZE_MAX:
        yield reading
        return
    for at in range(0, len(raw), RAW_SIZE_MAX):
        piece = raw[at : at + RAW_SIZE_MAX]
        where = f"bytes {at} to {at + len(piece) - 1} of {len(raw)}"
        if isinstance(reading, Undecodable):
            yield replace(reading, reason=f"{reading.reason} ({where})", raw=piece)
        elif isinstance(reading, Event):
            yield replace(reading, detail=json.dumps({"part": where}), raw=piece)


def is_plain(delivery: Delivery) -> bool:
    """Whether a delivery needs no treatment of its own."""
    return bool(delivery.readings) and delivery.copy_key is None and not delivery.is_rubbish


def merge(deliveries: list[Delivery]) -> list[Delivery]:
    """Neighbours that need no treatment of their own as one: one wait for one commit."""
    merged: list[Delivery] = []
    for delivery in deliveries:
        last = merged[-1] if merged else None
        if last and is_plain(last) and is_plain(delivery):
            last.readings += delivery.readings
            last.answers += delivery.answers
            last.is_alarm |= delivery.is_alarm
        else:
            merged.append(delivery)
    return merged
