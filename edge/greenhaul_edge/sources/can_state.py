"""The newest value of every mapped field of a bus, and the readings they make (pure)."""

import struct
from dataclasses import dataclass, field
from typing import Any

from cantools.database.errors import Error as CantoolsError

from greenhaul_edge.sources.can_mapping import CanMapping, Key, MappedMessage, Target
from greenhaul_edge.sources.can_transport import (
    IsoTpTransport,
    J1939Transport,
    is_transport,
    pgn_of,
)
from greenhaul_protocols.catalogue import KINDS, Reading, TimeQuality

# Distinct unknown ids kept for `doctor`; a bus has some hundreds.
UNKNOWN_IDS_MAX = 1_000


@dataclass(slots=True)
class CanCounts:
    """What a CAN source counts."""

    frames: int = 0
    unmapped: int = 0
    unchanged: int = 0  # said what was known: not decoded again
    undecodable: int = 0
    broken: int = 0  # long messages of which a frame was missed
    readings: int = 0
    events: int = 0


@dataclass(slots=True)
class _Value:
    value: Any
    at_ms: int
    age_ms_max: int


@dataclass(slots=True)
class _Seen:
    """A message's bits as they were last, and the values they gave."""

    bits: int | None = None
    size: int = 0
    values: list[_Value] = field(default_factory=list)


class CanState:
    """Decodes what changed, remembers when each value was heard last.

    Times are milliseconds of the boot's monotonic clock. A value older than its signal's `stale_s`,
    or than `age_ms_max`, is no longer said.
    """

    def __init__(self, mapping: CanMapping, source: str, age_ms_max: int) -> None:
        self._mapping, self._source, self._age_ms_max = mapping, source, age_ms_max
        self.counts = CanCounts()
        self.heard_ms: dict[Key, int] = {}  # mapped messages: when heard last
        self.unknown_ids: set[Key] = set()
        self.known_ids: set[Key] = set()  # of the DBC files, and heard
        self._valued: set[str] = set()  # MESSAGE.SIGNAL that gave a value since the start
        self._transport = J1939Transport()
        self._isotp = IsoTpTransport()
        self._seen: dict[int, _Seen] = {}
        self._values: dict[tuple[int, str], _Value] = {}
        self._changed: dict[int, int] = {}  # kind: time of its newest value

    def take(self, frame_id: int, is_extended: bool, data: bytes, at_ms: int) -> None:
        """A data frame from the bus."""
        self.counts.frames += 1
        if self._mapping.is_by_pgn:
            self._take_j1939(frame_id, is_extended, data, at_ms)
        elif self._mapping.settings.transport == "isotp":
            self._take_isotp((frame_id, is_extended), data, at_ms)
        else:
            self._take_message((frame_id, is_extended), data, at_ms)

    def value(self, kind: int, name: str, now_ms: int) -> Any:
        """A field's value now, None if it is stale or was never heard."""
        one = self._values.get((kind, name))
        return one.value if one and now_ms - one.at_ms <= one.age_ms_max else None

    def never_heard(self) -> list[str]:
        """Mapped messages that have not come since the start; of those that have, `MESSAGE.SIGNAL`
        for each mapped signal that never said a value."""
        found = []
        for key, messages in self._mapping.by_key.items():
            for one in messages:
                if key not in self.heard_ms:
                    found.append(one.message.name)
                    continue
                names = {f"{one.message.name}.{target.signal.name}" for target in one.targets}
                found += names - self._valued
        return sorted(found)

    def stale_fields(self, now_ms: int) -> list[str]:
        """Fields that were heard and no longer are."""
        return sorted(
            f"{KINDS[kind].name}.{name}"
            for (kind, name), one in list(self._values.items())
            if now_ms - one.at_ms > one.age_ms_max
        )

    def readings(
        self,
        now_ms: int,
        received_time_ms: int,
        time_quality: TimeQuality = TimeQuality.GATEWAY,
    ) -> list[Reading]:
        """One reading a kind that heard something since it was asked last."""
        found: list[Reading] = []
        for kind, at_ms in self._changed.items():
            values = {
                name: one.value
                for (of_kind, name), one in self._values.items()
                if of_kind == kind and now_ms - one.at_ms <= one.age_ms_max
            }
            if values:
                found.append(
                    KINDS[kind].reading_class(
                        source=self._source,
                        device_time_ms=at_ms,
                        received_time_ms=received_time_ms,
                        time_quality=time_quality,
                        **values,
                    )
                )
        self._changed.clear()
        return found

    def _take_j1939(self, frame_id: int, is_extended: bool, data: bytes, at_ms: int) -> None:
        pgn, address = pgn_of(frame_id), frame_id & 0xFF
        if is_extended and is_transport(frame_id):
            whole = self._transport.take(frame_id, data)
            self.counts.broken = self._transport.broken
            if whole is None:
                return
            pgn, address, data = whole
        believed = self._mapping.settings.source_addresses
        if not is_extended or (believed and address not in believed):
            self._count_unmapped((frame_id, is_extended))
            return
        self._take_message((pgn, True), data, at_ms)

    def _take_isotp(self, key: Key, data: bytes, at_ms: int) -> None:
        if key not in self._mapping.by_key:
            self._count_unmapped(key)
            return
        payload = self._isotp.take(key[0], data)
        self.counts.broken = self._isotp.broken
        if payload is None:
            return
        if self._mapping.settings.has_length_byte:
            payload = bytes((len(payload) & 0xFF,)) + payload
        self._take_message(key, payload, at_ms)

    def _take_message(self, key: Key, data: bytes, at_ms: int) -> None:
        messages = self._mapping.by_key.get(key)
        if messages is None:
            self._count_unmapped(key)
            return
        if key not in self.heard_ms:
            self.known_ids.add(key)
        self.heard_ms[key] = at_ms
        for one in messages:
            self._decode(one, data, at_ms)

    def _decode(self, mapped: MappedMessage, data: bytes, at_ms: int) -> None:
        size = mapped.message.length
        bits = int.from_bytes(data[:size].ljust(size, b"\0"), "big") & mapped.mask
        seen = self._seen.setdefault(id(mapped), _Seen())
        if seen.bits == bits and seen.size == len(data):
            self.counts.unchanged += 1
        else:
            values = self._values_of(mapped, data, at_ms)
            if values is None:
                self.counts.undecodable += 1
                return
            seen.bits, seen.size, seen.values = bits, len(data), values
        for value in seen.values:
            value.at_ms = at_ms
        if seen.values:
            for target in mapped.targets:
                self._changed[target.kind.number] = at_ms

    def _values_of(self, mapped: MappedMessage, data: bytes, at_ms: int) -> list[_Value] | None:
        """The values a message has now; None if it has none of the mapped signals."""
        try:
            raws = mapped.message.decode(
                data, decode_choices=False, scaling=False, allow_truncated=True
            )
        except CantoolsError:
            # A multiplexer's page that the DBC file does not know is somebody else's.
            return [] if mapped.message.is_multiplexed() else None
        except (ValueError, KeyError, IndexError, struct.error):
            return None
        found: list[_Value] = []
        has_any = mapped.message.is_multiplexed()
        for target in mapped.targets:
            raw = raws.get(target.signal.name)
            if raw is None:
                continue
            has_any = True
            value = _scaled(target, raw)
            key = target.kind.number, target.spec.name
            if value is None:
                # It says now that it does not know: what it said before no longer holds.
                self._values.pop(key, None)
                continue
            age_ms = (
                self._age_ms_max
                if target.settings.stale_s is None
                else round(target.settings.stale_s * 1000)
            )
            self._values[key] = one = _Value(value, at_ms, age_ms)
            self._valued.add(f"{mapped.message.name}.{target.signal.name}")
            found.append(one)
        return found if has_any else None

    def _count_unmapped(self, key: Key) -> None:
        self.counts.unmapped += 1
        if key in self._mapping.known_ids:
            self.known_ids.add(key)
        elif len(self.unknown_ids) < UNKNOWN_IDS_MAX:
            self.unknown_ids.add(key)


def _scaled(target: Target, raw: float) -> Any:
    """The field's value, or None for one that says: not available."""
    settings = target.settings
    if target.sentinel is not None and raw >= target.sentinel:
        return None
    signal = target.signal.conversion.raw_to_scaled(raw, decode_choices=False)
    if signal in settings.invalid:
        return None
    if settings.minimum is not None and signal < settings.minimum:
        return None
    if settings.maximum is not None and signal > settings.maximum:
        return None
    if target.codes is not None:
        value = target.codes.get(signal)
        if value is None:
            return None
    else:
        value = signal * settings.scale + settings.offset
    if target.spec.value_type == "flag":
        return bool(value)
    return round(value) if target.spec.per_unit == 1 else value
