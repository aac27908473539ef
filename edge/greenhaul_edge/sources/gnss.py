"""A GNSS receiver: on a serial port, or behind gpsd. Unplugged, it is found again."""

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Protocol

import serial

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings
from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.gnss_time import Steadiness, judge
from greenhaul_edge.sources.gnss_watch import FixChange, FixWatch
from greenhaul_edge.sources.gpsd import GpsdInput, is_gpsd
from greenhaul_edge.sources.nmea import Fix, NmeaAssembler, NmeaCounts, NmeaLine
from greenhaul_edge.sources.serial_ports import find_port
from greenhaul_edge.supervision import Beat
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Event, Position, Reading, TimeQuality

log = logging.getLogger(__name__)

# Most receivers speak at the first, modems and multi-band ones at the next.
BAUD_RATES = (9_600, 115_200, 38_400, 4_800, 57_600, 230_400, 460_800, 19_200)
# A rate is wrong, or the receiver was switched to another, that has given nothing readable in two
# whole bursts (receivers speak once a second, sleepy ones every five; the first may have been cut
# by our coming), or for so long without a pause.
DEAF_BURSTS, DEAF_S = 2, 3.0
# Silence that ends a moment: at 4,800 baud two sentences of one moment follow within 20 ms; at
# 10 Hz the next moment's time ends it.
SILENCE_S = 0.2
READ_SIZE_MAX = 4096
# A receiver plugged in again is to be read within five seconds.
_REOPEN_S_MIN, _REOPEN_S_MAX = 0.1, 2.0


@dataclass(slots=True)
class LinkCounts:
    """How the way to the receiver fared."""

    opened: int = 0
    lost: int = 0
    refused: int = 0  # readings the outbox did not take
    by_gateway_clock: int = 0  # fixes whose own time could not be
    baud: int = 0  # at which sentences came last; 0: none yet, or not a serial line


class GnssInput(Protocol):
    """A way to a receiver."""

    def fixes(self) -> Generator[list[Fix], None, None]:
        """What came, at least one list a second; ends when another rate is to be tried.

        Raises OSError when the receiver is gone.
        """


class GnssSource:
    """Reads one receiver in its own thread. Readings take the receiver's own time."""

    def __init__(self, name: str, settings: GnssSettings, outbox: Outbox, clock: Clock) -> None:
        self.name, self._settings, self._outbox, self._clock = name, settings, outbox, clock
        self.beat = Beat()
        self._counts, self._links = NmeaCounts(), LinkCounts()
        self._stop = threading.Event()
        self._link = "not open yet"
        self._last_ms: int | None = None
        self._steadiness = Steadiness()
        self._watch = FixWatch()
        self._heard_ms = clock.monotonic_ms()  # a sentence; before the first, our own start
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self) -> None:
        """Begin; the receiver may come later."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def state(self) -> Mapping[str, str | int]:
        """Port and counters."""
        about: dict[str, str | int] = {"port": self._settings.port, "link": self._link}
        about["silent_s"] = (self._clock.monotonic_ms() - self._heard_ms) // 1000
        return about | asdict(self._links) | asdict(self._counts)

    def _run(self) -> None:
        delay_s = _REOPEN_S_MIN
        baud = self._settings.baud
        rates = Rates(BAUD_RATES if baud == "auto" else (baud,))
        while not self._stop.is_set():
            before = self._counts.sentences
            try:
                self._read(rates.now)
                rates.turn(was_right=self._counts.sentences > before)
                delay_s = 0.0
            except OSError as error:  # serial.SerialException is one
                self._link = f"gone: {error}"[:200]
                log.info("source=%s %s", self.name, self._link)
                self._links.lost += 1
                was_heard = self._counts.sentences > before
                delay_s = _REOPEN_S_MIN if was_heard else min(2 * delay_s + 0.1, _REOPEN_S_MAX)
            except Exception:
                log.exception("source=%s failed; opening again", self.name)
                delay_s = _REOPEN_S_MAX
            self.beat.note()
            self._stop.wait(delay_s)

    def _read(self, baud: int) -> None:
        """Until the receiver is gone, the rate proves wrong, or the source is stopped."""
        port = self._settings.port
        if is_gpsd(port):
            receiver: GnssInput = GpsdInput(port, self._counts, self._clock.monotonic_ms)
            link = "open"
        else:
            is_found = self._settings.baud != "auto"
            receiver = SerialInput(
                find_port(port), baud, self._counts, self._clock.monotonic_ms, is_found=is_found
            )
            link = f"open at {baud}"
        with closing(receiver.fixes()) as fixes:
            next(fixes)  # opens it
            self._links.opened += 1
            self._link = link
            sentences, unfixed = self._counts.sentences, self._counts.unfixed
            for found in fixes:
                self.beat.note()
                for fix in found:
                    self._deliver(fix)
                    self._tell(self._watch.take_fix(fix.at_ms))
                if self._counts.unfixed > unfixed:
                    unfixed = self._counts.unfixed
                    self._tell(self._watch.take_none(self._clock.monotonic_ms()))
                if self._counts.sentences > sentences:
                    sentences = self._counts.sentences
                    self._heard_ms = self._clock.monotonic_ms()
                    self._links.baud = 0 if is_gpsd(port) else baud
                if self._stop.is_set():
                    return

    def _deliver(self, fix: Fix) -> None:
        clock = self._clock
        offset_ms = clock.offset_ms
        received_time_ms = clock.now_ms()
        time_of_fix = judge(
            fix.utc_ms,
            received_time_ms if offset_ms is None else fix.at_ms + offset_ms,
            is_mapped=offset_ms is not None,
            is_plausible=clock.is_plausible,
        )
        self._teach(fix, time_of_fix.may_teach)
        device_time_ms, is_unclocked = time_of_fix.device_time_ms, False
        if device_time_ms is None:
            self._links.by_gateway_clock += 1
            offset_ms = clock.offset_ms
            is_unclocked = offset_ms is None
            device_time_ms = fix.at_ms + (offset_ms or 0)
        if time_of_fix.quality is TimeQuality.SOURCE and not self._is_due(device_time_ms):
            return
        position = Position(
            source=f"{self._outbox.gateway}/{self.name}",
            device_time_ms=device_time_ms,
            received_time_ms=received_time_ms,
            time_quality=time_of_fix.quality,
            **fix.values,
        )
        self._keep(position, is_unclocked=is_unclocked)

    def _tell(self, change: FixChange | None) -> None:
        if change is None:
            return
        offset_ms = self._clock.offset_ms
        event = Event(
            source=f"{self._outbox.gateway}/{self.name}",
            device_time_ms=change.at_ms + (offset_ms or 0),
            received_time_ms=self._clock.now_ms(),
            time_quality=TimeQuality.GATEWAY,
            code=change.code,
            detail=json.dumps({"without_fix_s": change.without_ms / 1000}),
        )
        self._keep(event, is_unclocked=offset_ms is None)

    def _keep(self, reading: Reading, *, is_unclocked: bool) -> None:
        done = self._outbox.append(
            [reading],
            priority=Priority.EVICTABLE,
            is_urgent=isinstance(reading, Event),
            is_unclocked=is_unclocked,
        )
        if done.done() and done.exception() is not None:
            self._links.refused += 1

    def _teach(self, fix: Fix, may_teach: bool) -> None:
        if not may_teach or fix.utc_ms is None:
            self._steadiness.forget()
        elif self._steadiness.take(fix.utc_ms - fix.at_ms):
            self._clock.learn(fix.utc_ms, WallQuality.GNSS, fix.at_ms)

    def _is_due(self, device_time_ms: int) -> bool:
        """Whether the cadence asks for a reading of this moment."""
        last_ms, cadence_ms = self._last_ms, self._settings.cadence_s * 1000
        if last_ms is not None and 0 <= device_time_ms - last_ms < cadence_ms:
            return False
        self._last_ms = device_time_ms
        return True


class Rates:
    """Which baud rate to try: in turn, and from the first again after one that had been right."""

    def __init__(self, rates: tuple[int, ...]) -> None:
        self._rates = rates
        self._left = [*rates]

    @property
    def now(self) -> int:
        """The rate to try."""
        return self._left[0]

    def turn(self, *, was_right: bool) -> None:
        """The present one is wrong, now."""
        wrong = self._left.pop(0)
        if was_right:
            self._left = [one for one in self._rates if one != wrong]
        if not self._left:
            self._left = [*self._rates]


class SerialInput:
    """NMEA 0183 on a serial port."""

    def __init__(
        self,
        port: str,
        baud: int,
        counts: NmeaCounts,
        read_ms: Callable[[], int],
        *,
        is_found: bool,
    ) -> None:
        self._port, self._baud, self._counts, self._read_ms = port, baud, counts, read_ms
        self._is_found = is_found  # the rate is told: stay, whatever comes

    def fixes(self) -> Generator[list[Fix], None, None]:
        """As GnssInput says. The first list is empty and says that the port is open."""
        counts = self._counts
        line, assembler = NmeaLine(counts), NmeaAssembler(counts)
        with serial.Serial(self._port, self._baud, timeout=SILENCE_S, exclusive=True) as port:
            yield []
            heard, deaf_since_s, bursts, is_burst = counts.sentences, time.monotonic(), 0, False
            while True:
                try:
                    data = port.read(1)
                    data += port.read(min(port.in_waiting, READ_SIZE_MAX)) if data else b""
                except OSError:
                    yield assembler.finish()
                    raise
                at_ms = self._read_ms()
                found = [fix for one in line.feed(data) for fix in assembler.feed(one, at_ms)]
                if not data:
                    found += assembler.finish()
                yield found
                bursts += is_burst and not data
                if counts.sentences > heard or not (data or is_burst):
                    deaf_since_s = time.monotonic()
                if counts.sentences > heard:
                    heard, bursts = counts.sentences, 0
                is_burst = bool(data)
                is_deaf = bursts >= DEAF_BURSTS or time.monotonic() - deaf_since_s > DEAF_S
                if is_deaf and not self._is_found:
                    return
