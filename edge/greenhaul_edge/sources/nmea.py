"""NMEA 0183 sentences into positions: RMC and GGA of one moment make one reading."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pynmea2

from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.times import to_time_ms

# A receiver that tells an earlier date has not decoded one, or its week counter rolled over.
DATE_YEAR_MIN = 2024
KNOTS_TO_KMH = 1.852
# So many fixes in a row must agree on UTC within a second before the clock believes them.
STEADY_FIXES = 5
STEADY_MS = 1_000


@dataclass(slots=True)
class NmeaCounts:
    """What an assembler counts."""

    sentences: int = 0
    damaged: int = 0  # wrong checksum, or no sentence at all
    unfixed: int = 0  # moments without a fix: no reading
    implausible_dates: int = 0
    positions: int = 0


class NmeaAssembler:
    """Gathers the sentences of one moment; gives its position once it is complete.

    Receivers send RMC and GGA in either order; a receiver that sends only RMC gets its reading
    when the next moment begins.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._time_of_day: Any = None
        self._rmc: Any = None
        self._gga: Any = None
        self.counts = NmeaCounts()

    def feed(self, line: str, received_time_ms: int) -> list[Position]:
        """The positions a line completes. Never raises for what the receiver sends."""
        try:
            sentence = pynmea2.parse(line.strip(), check=True)
            kind, time_of_day = sentence.sentence_type, getattr(sentence, "timestamp", None)
        except (pynmea2.ParseError, ValueError, AttributeError):
            self.counts.damaged += 1
            return []
        self.counts.sentences += 1
        if kind not in ("RMC", "GGA") or time_of_day is None:
            return []
        found: list[Position] = []
        if time_of_day != self._time_of_day:
            found += self._finish(received_time_ms)
            self._time_of_day = time_of_day
        if kind == "RMC":
            self._rmc = sentence
        else:
            self._gga = sentence
        if self._rmc is not None and self._gga is not None:
            found += self._finish(received_time_ms)
        return found

    def _finish(self, received_time_ms: int) -> list[Position]:
        rmc, gga = self._rmc, self._gga
        self._rmc = self._gga = None
        if rmc is None:
            return []
        try:
            position = self._position(rmc, gga, received_time_ms)
        except (ValueError, TypeError, AttributeError):
            self.counts.damaged += 1
            return []
        if position is not None:
            self.counts.positions += 1
            return [position]
        return []

    def _position(self, rmc: Any, gga: Any, received_time_ms: int) -> Position | None:
        if rmc.status != "A" or not rmc.lat or not rmc.lon or rmc.datestamp is None:
            self.counts.unfixed += 1
            return None
        moment = datetime.combine(rmc.datestamp, rmc.timestamp.replace(tzinfo=None), UTC)
        if moment.year < DATE_YEAR_MIN:
            self.counts.implausible_dates += 1
            return None
        speed_kn = _number(rmc.spd_over_grnd)
        return Position(
            source=self._source,
            device_time_ms=to_time_ms(moment),
            received_time_ms=received_time_ms,
            latitude_deg=rmc.latitude,
            longitude_deg=rmc.longitude,
            speed_kmh=None if speed_kn is None else speed_kn * KNOTS_TO_KMH,
            heading_deg=_number(rmc.true_course),
            is_located=True,
            altitude_m=_number(gga.altitude) if gga else None,
            satellites=_whole(gga.num_sats) if gga else None,
            hdop=_number(gga.horizontal_dil) if gga else None,
            fix_quality=_whole(gga.gps_qual) if gga else None,
        )


class Steadiness:
    """Whether a receiver's time can be believed: one that searches for satellites may jump."""

    def __init__(self) -> None:
        self._offset_ms = self._agreeing = 0

    def take(self, offset_ms: int) -> bool:
        """A fix whose UTC is so far ahead of the monotonic clock; whether enough have agreed."""
        is_steady = abs(offset_ms - self._offset_ms) <= STEADY_MS
        self._agreeing = self._agreeing + 1 if is_steady else 1
        self._offset_ms = offset_ms
        return self._agreeing >= STEADY_FIXES


def _number(value: object) -> float | None:
    return None if value in (None, "") else float(str(value))


def _whole(value: object) -> int | None:
    return None if value in (None, "") else int(str(value))
