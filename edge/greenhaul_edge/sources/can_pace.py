"""When a bus's state is worth a reading, and when it is an event (pure).

Every cadence; every second for a while after the charging state or the fault level changed; and
around a fault of level 3 every second, thirty seconds before (from a ring) and after.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from greenhaul_edge.sources.can_state import CanState
from greenhaul_protocols.catalogue import KINDS, Event, Reading, TimeQuality

SECOND_MS = 1_000
# Seconds at 1 Hz after the charging state or the fault level changed.
CHANGE_MS = 10_000
# GB/T 32960 asks for 30 s before and after an alarm of the highest level.
RING_S = 30
FAULT_LEVEL_RING = 3

_BATTERY = next(kind.number for kind in KINDS.values() if kind.name == "battery")
_DRIVE = next(kind.number for kind in KINDS.values() if kind.name == "drive")
# Fields whose change is an event: code when it becomes false or true, or for any change.
_WATCHED: dict[tuple[int, str], tuple[str, ...]] = {
    (_DRIVE, "is_ignition_on"): ("ignition_off", "ignition_on"),
    (_BATTERY, "is_plugged"): ("plug_out", "plug_in"),
    (_BATTERY, "fault_level"): ("fault_level",),
    (_BATTERY, "charging_state"): ("charging_state",),
}
_HURRYING = ((_BATTERY, "fault_level"), (_BATTERY, "charging_state"))


class CanPace:
    """Asked at every turn; says what to keep. Times are monotonic milliseconds."""

    def __init__(self, state: CanState, source: str, cadence_ms: int) -> None:
        self._state, self._source, self._cadence_ms = state, source, cadence_ms
        self._step_ms = min(SECOND_MS, cadence_ms)
        self._due_ms: int | None = None
        self._next_ms: int | None = None
        self._hurry_until_ms = -1
        # What each of the last seconds said and was not sent.
        self._ring: deque[list[Reading]] = deque(maxlen=RING_S * SECOND_MS // self._step_ms)
        self._newest: dict[type[Reading], Reading] = {}  # since the last cadence
        self._known: dict[tuple[int, str], Any] = {}
        self.has_alarm = False  # of the last turn: a fault of the highest level began

    def turn(self, now_ms: int, received_time_ms: int) -> Sequence[Reading]:
        """Readings and events to keep, oldest first. Their times are monotonic."""
        self.has_alarm = False
        events = self._events(now_ms, received_time_ms)
        if self._next_ms is None or self._due_ms is None:
            self._next_ms = now_ms + self._step_ms
            self._due_ms = now_ms + self._cadence_ms
        if now_ms < self._next_ms and not events:
            return ()
        self._next_ms = _after(self._next_ms, now_ms, self._step_ms)
        is_due = now_ms >= self._due_ms
        second = self._state.readings(now_ms, received_time_ms)
        self._ring.append(second)
        self._newest |= {type(one): one for one in second}
        found = self._worth(second, is_due, is_hurried=now_ms <= self._hurry_until_ms)
        if is_due:
            self._due_ms = _after(self._due_ms, now_ms, self._cadence_ms)
        self._state.counts.readings += len(found)
        self._state.counts.events += len(events)
        return [*found, *events]

    def _worth(self, second: list[Reading], is_due: bool, *, is_hurried: bool) -> list[Reading]:
        if self.has_alarm:
            found = [one for earlier in self._ring for one in earlier]
            self._ring.clear()
        elif is_hurried:
            found = list(second)
            second.clear()
        elif is_due:
            found = list(self._newest.values())
            for earlier in self._ring:  # the others stay, for a fault to send
                earlier[:] = [one for one in earlier if one not in found]
        else:
            return []
        self._newest.clear()
        return found

    def _events(self, now_ms: int, received_time_ms: int) -> list[Event]:
        found: list[Event] = []
        for field, codes in _WATCHED.items():
            value = self._state.value(*field, now_ms)
            before = self._known.get(field)
            if value is None or value == before:
                continue
            self._known[field] = value
            is_fault = field[1] == "fault_level" and value >= FAULT_LEVEL_RING
            if before is None and not is_fault:
                continue
            if field in _HURRYING:
                seconds = RING_S * SECOND_MS if is_fault else CHANGE_MS
                self._hurry_until_ms = max(self._hurry_until_ms, now_ms + seconds)
            self.has_alarm |= is_fault
            code = codes[bool(value)] if len(codes) > 1 else codes[0]
            found.append(
                Event(
                    source=self._source,
                    device_time_ms=now_ms,
                    received_time_ms=received_time_ms,
                    time_quality=TimeQuality.GATEWAY,
                    code=code,
                    detail=json.dumps({"from": before, "to": value}),
                )
            )
        return found


def mapped(readings: Sequence[Reading], offset_ms: int) -> list[Reading]:
    """Readings of monotonic time in UTC."""
    return [replace(one, device_time_ms=one.device_time_ms + offset_ms) for one in readings]


def _after(due_ms: int, now_ms: int, step_ms: int) -> int:
    """The first of `due_ms`, `due_ms + step_ms`, … that lies after now."""
    if now_ms < due_ms:
        return due_ms
    return due_ms + ((now_ms - due_ms) // step_ms + 1) * step_ms
