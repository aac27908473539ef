"""A CAN bus, listened to: signals by DBC and mapping file, one reading a cadence."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import can

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings
from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can_mapping import SignalCollector, load_mapping
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.catalogue import Reading

log = logging.getLogger(__name__)

_READ_TIMEOUT_S = 0.2
_REOPEN_S_MIN, _REOPEN_S_MAX = 0.5, 10.0
# A signal not heard for so many cadences is left out of the reading.
_CADENCES_KEPT = 3


class CanSource:
    """Reads one bus in its own thread, and never writes to it.

    Readings are stamped by the gateway's clock; until it is mapped to UTC they wait in the outbox.
    """

    def __init__(self, name: str, settings: CanSettings, outbox: Outbox, clock: Clock) -> None:
        self.name, self._settings, self._outbox, self._clock = name, settings, outbox, clock
        self._mapping = load_mapping(settings.mapping)
        self._collector = SignalCollector(
            self._mapping,
            f"{outbox.gateway}/{name}",
            round(_CADENCES_KEPT * settings.cadence_s * 1000),
        )
        self._stop = threading.Event()
        self._opened = self._lost = self._refused = 0
        self._link = "not open yet"
        self.beat = Beat()
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Begin; the bus may come later."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the bus."""
        self._stop.set()
        self._thread.join()

    def state(self) -> Mapping[str, str | int]:
        """Bus and counters."""
        lost = {"opened": self._opened, "lost": self._lost, "refused": self._refused}
        counts = asdict(self._collector.counts)
        return {"channel": self._settings.channel, "link": self._link, **lost, **counts}

    def _run(self) -> None:
        delay_s = _REOPEN_S_MIN
        while not self._stop.is_set():
            self.beat.note()
            before = self._collector.counts.frames
            try:
                self._listen()
            except (can.CanError, OSError, ValueError) as error:
                self._link = f"gone: {error}"[:200]
                log.info("source=%s %s", self.name, self._link)
                self._lost += 1
            except Exception:
                log.exception("source=%s failed; opening again", self.name)
            was_heard = self._collector.counts.frames > before
            delay_s = _REOPEN_S_MIN if was_heard else min(2 * delay_s, _REOPEN_S_MAX)
            self._stop.wait(delay_s)

    def _listen(self) -> None:
        settings = self._settings
        arguments: dict[str, Any] = {"channel": settings.channel, "interface": settings.interface}
        if settings.bitrate is not None:
            arguments["bitrate"] = settings.bitrate
        arguments["can_filters"] = [
            {"can_id": frame_id, "can_mask": 0x1FFFFFFF if is_extended else 0x7FF}
            | {"extended": is_extended}
            for frame_id, is_extended in self._mapping.frame_ids
        ]
        with can.Bus(**arguments) as bus:
            self._opened += 1
            self._link = "open"
            cadence_ms = round(settings.cadence_s * 1000)
            due_ms = self._clock.monotonic_ms() + cadence_ms
            while not self._stop.is_set():
                self.beat.note()
                message = bus.recv(_READ_TIMEOUT_S)
                now_ms = self._clock.monotonic_ms()
                if message is not None and not (message.is_error_frame or message.is_remote_frame):
                    data = bytes(message.data)
                    self._collector.take(
                        message.arbitration_id, message.is_extended_id, data, now_ms
                    )
                if now_ms >= due_ms:
                    due_ms += max(1, (now_ms - due_ms) // cadence_ms + 1) * cadence_ms
                    self._deliver(self._collector.readings(now_ms, self._clock.now_ms()))

    def _deliver(self, readings: list[Reading]) -> None:
        if not readings:
            return
        offset_ms = self._clock.offset_ms
        if offset_ms is not None:
            readings = [
                replace(one, device_time_ms=one.device_time_ms + offset_ms) for one in readings
            ]
        done = self._outbox.append(
            readings, priority=Priority.EVICTABLE, is_unclocked=offset_ms is None
        )
        if done.done() and done.exception() is not None:
            self._refused += 1
