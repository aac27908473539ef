"""NMEA 0183 from a serial line: sentences out of noise, then one fix out of a moment's sentences.

    bytes ─► NmeaLine ─► sentences with a good checksum ─► NmeaAssembler ─► Fix, one a moment

A moment (epoch) ends when a sentence tells another time of day, or when the line falls silent.
RMC says whether there is a fix; a receiver without RMC says it by GGA or GNS.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import pynmea2

from greenhaul_protocols.times import to_time_ms

# NMEA 0183 allows 82 characters; receivers exceed it, noise has no end.
LINE_SIZE_MAX = 512
KNOTS_TO_KMH = 1.852

_SENTENCE = re.compile(rb"\$([^$*\r\n]{1,250})\*([0-9A-Fa-f]{2})")
_LINE_END = re.compile(rb"[\r\n]+")
_TIMED = frozenset(("RMC", "GGA", "GNS", "GST", "ZDA", "GLL"))
_UNTIMED = frozenset(("VTG", "GSA"))
# Letters of GNS's mode indicator, one a constellation, as GGA's quality; the best counts.
_GNS_QUALITY = {"A": 1, "D": 2, "P": 3, "R": 4, "F": 5, "E": 6, "M": 7, "S": 8}
_PREFERRED_QUALITY = (4, 5, 3, 2, 1, 6, 7, 8)
# A receiver that sends RMC is believed by RMC: a moment whose RMC was damaged, or cut off, is none.
# After so many moments without one it is a receiver that sends none.
_WITHOUT_RMC = 5
_COORDINATE = re.compile(r"(\d{1,3})(\d\d(?:\.\d*)?)")


@dataclass(slots=True)
class NmeaCounts:
    """What a line gave so far."""

    sentences: int = 0  # with a good checksum
    bad_checksums: int = 0
    noise: int = 0  # lines without any sentence: comments, binary protocols, halves
    unreadable: int = 0  # sentences whose checksum is right and whose fields are not
    fixes: int = 0
    unfixed: int = 0  # moments without a fix: no reading
    fixes_lost: int = 0  # how often a fix was followed by a moment without one


class NmeaLine:
    """Cuts what comes from a line into sentences with a good checksum."""

    def __init__(self, counts: NmeaCounts) -> None:
        self._counts = counts
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The sentences that are complete now, without `$` and checksum."""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        if len(self._rest) > LINE_SIZE_MAX:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            if line:
                yield from self._sentences(line)

    def finish(self) -> Iterator[str]:
        """What stands at the end of a log without a line end."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._sentences(rest)

    def _sentences(self, line: bytes) -> Iterator[str]:
        found = 0
        for match in _SENTENCE.finditer(line):
            found += 1
            body, said = match.groups()
            checksum = 0
            for byte in body:
                checksum ^= byte
            if checksum == int(said, 16):
                self._counts.sentences += 1
                yield body.decode("latin-1")
            else:
                self._counts.bad_checksums += 1
        self._counts.noise += not found


@dataclass(frozen=True, slots=True)
class Fix:
    """What a receiver said of one moment.

    utc_ms: as the receiver tells it, None if it told no date. at_ms: monotonic, when the moment's
    first sentence came. values: fields of `catalogue.Position`.
    """

    utc_ms: int | None
    at_ms: int
    values: dict[str, Any]


@dataclass(slots=True)
class _Moment:
    at_ms: int
    time_of_day: time | None = None
    is_timed: bool = False  # has a sentence that can tell the time of day
    sentences: dict[str, Any] = field(default_factory=dict)


class NmeaAssembler:
    """Gathers the sentences of one moment. Never raises for what a receiver sends."""

    def __init__(self, counts: NmeaCounts) -> None:
        self.counts = counts
        self._moment: _Moment | None = None
        self._has_fix = False
        self._without_rmc = 0  # moments in a row

    def feed(self, sentence: str, at_ms: int) -> list[Fix]:
        """The fix of the moment before, if this sentence belongs to the next one."""
        try:
            parsed = pynmea2.parse(sentence)
        except (pynmea2.ParseError, ValueError):
            return []  # a vendor's own, or one we have no use for
        kind = getattr(parsed, "sentence_type", "")
        if kind not in _TIMED and kind not in _UNTIMED:
            return []
        found = self.finish() if kind in _TIMED and self._is_next(kind, parsed.timestamp) else []
        if self._moment is None:
            self._moment = _Moment(at_ms)
        if kind in _TIMED:
            self._moment.is_timed = True
            if isinstance(parsed.timestamp, time):
                self._moment.time_of_day = parsed.timestamp
        self._moment.sentences.setdefault(kind, parsed)
        return found

    def _is_next(self, kind: str, told: object) -> bool:
        """Whether a timed sentence belongs to another moment. Without satellites, receivers tell
        no time: then a kind that comes again begins the next moment."""
        moment = self._moment
        if moment is None or not moment.is_timed:
            return False
        time_of_day = told if isinstance(told, time) else None
        is_again = time_of_day is None and kind in moment.sentences
        return is_again or time_of_day != moment.time_of_day

    def finish(self) -> list[Fix]:
        """The moment is over: the line is silent, or the log ends."""
        moment, self._moment = self._moment, None
        if moment is None or not {"RMC", "GGA", "GNS"} & moment.sentences.keys():
            return []
        self._without_rmc = 0 if "RMC" in moment.sentences else self._without_rmc + 1
        if 0 < self._without_rmc < _WITHOUT_RMC:
            return []
        try:
            fix = _fix(moment)
        except (ValueError, TypeError, OverflowError):
            self.counts.unreadable += 1
            return []
        if fix is None:
            self.counts.unfixed += 1
            self.counts.fixes_lost += self._has_fix
        else:
            self.counts.fixes += 1
        self._has_fix = fix is not None
        return [fix] if fix else []


def _fix(moment: _Moment) -> Fix | None:
    rmc, gga, gns = (moment.sentences.get(kind) for kind in ("RMC", "GGA", "GNS"))
    quality = _quality(gga, gns)
    if (rmc.status != "A") if rmc else not quality:
        return None
    located = next(one for one in (rmc, gga, gns) if one is not None)
    if not located.lat or not located.lon:
        return None
    values = {
        "latitude_deg": _degrees(located.lat, located.lat_dir, "NS", 90),
        "longitude_deg": _degrees(located.lon, located.lon_dir, "EW", 180),
        "is_located": True,
        "fix_quality": quality,
        **_motion(rmc, moment.sentences.get("VTG")),
        **_precision(gga, gns, moment.sentences.get("GSA"), moment.sentences.get("GST")),
    }
    return Fix(_utc_ms(moment, rmc), moment.at_ms, values)


def _quality(gga: Any, gns: Any) -> int | None:
    if gga is not None:
        return _whole(gga.gps_qual)
    if gns is not None:
        told = {_GNS_QUALITY.get(letter) for letter in str(gns.mode_indicator)}
        return next((quality for quality in _PREFERRED_QUALITY if quality in told), 0)
    return None


def _utc_ms(moment: _Moment, rmc: Any) -> int | None:
    zda = moment.sentences.get("ZDA")
    day = rmc.datestamp if rmc else None
    if not isinstance(day, date) and zda is not None and _whole(zda.year):
        day = date(*(int(part) for part in (zda.year, zda.month, zda.day)))
    if not isinstance(day, date) or moment.time_of_day is None:
        return None
    return to_time_ms(datetime.combine(day, moment.time_of_day.replace(tzinfo=None), UTC))


def _motion(rmc: Any, vtg: Any) -> dict[str, float | None]:
    speed_kn = _number(rmc.spd_over_grnd) if rmc else None
    heading_deg = _number(rmc.true_course) if rmc else None
    if speed_kn is None and vtg is not None:
        speed_kn = _number(vtg.spd_over_grnd_kts)
    if heading_deg is None and vtg is not None:
        heading_deg = _number(vtg.true_track)
    speed_kmh = None if speed_kn is None else speed_kn * KNOTS_TO_KMH
    return {"speed_kmh": speed_kmh, "heading_deg": heading_deg}


def _precision(gga: Any, gns: Any, gsa: Any, gst: Any) -> dict[str, float | int | None]:
    fixed = gga or gns
    hdop = None
    if fixed is not None:
        hdop = _number(gga.horizontal_dil if gga else gns.hdop)
    if hdop is None and gsa is not None:
        hdop = _number(gsa.hdop)
    errors_m = (
        [_number(gst.std_dev_latitude), _number(gst.std_dev_longitude)] if gst is not None else []
    )
    known_m = [one for one in errors_m if one is not None]
    return {
        "altitude_m": _number(fixed.altitude) if fixed is not None else None,
        "satellites": _whole(fixed.num_sats) if fixed is not None else None,
        "hdop": hdop,
        "accuracy_m": math.hypot(*known_m) if len(known_m) == 2 else None,
    }


def _degrees(value: object, direction: object, directions: str, largest: int) -> float:
    """DDDMM.MMM with its letter. Raises ValueError."""
    match = _COORDINATE.fullmatch(str(value))
    if match is None or direction not in tuple(directions) or float(match[2]) >= 60:
        raise ValueError(f"{value} {direction} is no coordinate")
    degrees = int(match[1]) + float(match[2]) / 60
    if degrees > largest:
        raise ValueError(f"{value} is beyond {largest} degrees")
    return degrees if direction == directions[0] else -degrees


def _number(value: object) -> float | None:
    if value in (None, ""):
        return None
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError(f"{value} is no measurement")
    return number


def _whole(value: object) -> int | None:
    return None if value in (None, "") else int(str(value))
