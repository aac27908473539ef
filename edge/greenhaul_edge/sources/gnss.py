"""A GNSS receiver on a serial port. Unplugged, it is opened again when it comes back."""

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import cycle

import serial

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings
from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.nmea import NmeaAssembler, Steadiness
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Position

log = logging.getLogger(__name__)

# NMEA 0183 allows 82 characters; receivers exceed it, noise has no end.
LINE_SIZE_MAX = 256
BAUD_RATES = (9_600, 38_400, 115_200, 4_800, 57_600, 230_400, 460_800)
# A receiver speaks every second; a rate that gives nothing readable for so long is wrong.
AUTO_LINES_MAX = 20
_READ_TIMEOUT_S = 0.5
_REOPEN_S_MIN, _REOPEN_S_MAX = 0.5, 10.0


class GnssSource:
    """Reads one port in its own thread. Readings take the receiver's own time."""

    def __init__(self, name: str, settings: GnssSettings, outbox: Outbox, clock: Clock) -> None:
        self.name, self._settings, self._outbox, self._clock = name, settings, outbox, clock
        self._assembler = NmeaAssembler(f"{outbox.gateway}/{name}")
        self._stop = threading.Event()
        self._opened = self._lost = self._refused = 0
        self._link = "not open yet"
        self._last_ms = 0
        self._steadiness = Steadiness()
        self.beat = Beat()
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Begin; the port may come later."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._stop.set()
        self._thread.join()

    def state(self) -> Mapping[str, str | int]:
        """Port and counters."""
        counts = asdict(self._assembler.counts)
        lost = {"opened": self._opened, "lost": self._lost, "refused": self._refused}
        return {"port": self._settings.port, "link": self._link, **lost, **counts}

    def _run(self) -> None:
        delay_s = _REOPEN_S_MIN
        rates = self._rates()
        while not self._stop.is_set():
            self.beat.note()
            before = self._assembler.counts.sentences
            try:
                self._read(next(rates))
            except (serial.SerialException, OSError) as error:
                self._link = f"gone: {error}"[:200]
                log.info("source=%s %s", self.name, self._link)
                self._lost += 1
            except Exception:
                log.exception("source=%s failed; opening again", self.name)
            was_heard = self._assembler.counts.sentences > before
            delay_s = _REOPEN_S_MIN if was_heard else min(2 * delay_s, _REOPEN_S_MAX)
            self._stop.wait(delay_s)

    def _rates(self) -> Iterator[int]:
        baud = self._settings.baud
        return cycle(BAUD_RATES) if baud == "auto" else cycle((baud,))

    def _read(self, baud: int) -> None:
        """Until the port is gone, the rate proves wrong, or the source is stopped."""
        port = serial.Serial(self._settings.port, baud, timeout=_READ_TIMEOUT_S, exclusive=True)
        with port:
            self._opened += 1
            self._link = f"open at {baud}"
            counts = self._assembler.counts
            heard, lines = counts.sentences, 0
            while not self._stop.is_set():
                self.beat.note()
                line = port.read_until(b"\n", LINE_SIZE_MAX)
                if not line:
                    continue
                lines += 1
                now_ms = self._clock.now_ms()
                for position in self._assembler.feed(line.decode("ascii", "replace"), now_ms):
                    self._deliver(position)
                is_deaf = lines >= AUTO_LINES_MAX and counts.sentences == heard
                if is_deaf and self._settings.baud == "auto":
                    return

    def _deliver(self, position: Position) -> None:
        at_ms = self._clock.monotonic_ms()
        if self._steadiness.take(position.device_time_ms - at_ms):
            self._clock.learn(position.device_time_ms, WallQuality.GNSS, at_ms)
        if 0 <= position.device_time_ms - self._last_ms < self._settings.cadence_s * 1000:
            return
        self._last_ms = position.device_time_ms
        done = self._outbox.append([position], priority=Priority.EVICTABLE)
        if done.done() and done.exception() is not None:
            self._refused += 1
