"""NMEA 0183 from a serial line: sentences out of noise, then one fix out of a moment's sentences.

    bytes ─► NmeaLine ─► sentences with a good checksum ─► NmeaAssembler ─► Fix, one a moment

A moment (epoch) ends when a sentence tells another time of day, or when the line falls silent.
RMC says whether there is a fix; a receiver without RMC says it by GGA, GNS or GLL.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pynmea2

from greenhaul_protocols.times import to_time_ms

# NMEA 0183 allows 82 characters; receivers exceed it, noise has no end.
LINE_SIZE_MAX = 512
KNOTS_TO_KMH = 1.852

_SENTENCE_SIZE_MAX = 254
_SENTENCE = re.compile(rb"\$([^$*\r\n]{1,250})\*([0-9A-Fa-f]{2})")
_LINE_END = re.compile(rb"[\r\n]+")
# Sentences that tell the time of day, and where.
_TIMED = {"RMC": 0, "GGA": 0, "GNS": 0, "GST": 0, "ZDA": 0, "GLL": 4}
_UNTIMED = frozenset(("VTG", "GSA"))
_LOCATING = ("RMC", "GGA", "GNS", "GLL")  # the first of a moment is believed
# Sentences of one moment may round its time in different ways.
_SAME_MS = 5
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d|60)(?:\.(\d*))?")
_DATE = re.compile(r"(\d\d)(\d\d)(\d\d)")
# GPS began in 1980: a lower year is of this century. (Python's %y turns at 69.)
_FIRST_YEAR = 80
_RMC_DATE, _RMC_MODE = 8, 11
# Letters of mode indicators as GGA's quality. GNS has one a constellation; the best counts.
_MODE_QUALITY = {"A": 1, "D": 2, "P": 3, "R": 4, "F": 5, "E": 6, "M": 7, "S": 8}
_PREFERRED_QUALITY = (4, 5, 3, 2, 1, 6, 7, 8)
# A receiver that sends RMC is believed by RMC: a moment whose RMC was damaged, or cut off, is none.
# After so many moments without one it is a receiver that sends none, and those are believed.
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
        self._has_sentence = False  # the line that is not over yet

    def feed(self, data: bytes) -> Iterator[str]:
        """The sentences that are complete now, without `$` and checksum."""
        *lines, self._rest = _LINE_END.split(self._rest + data)
        for line in lines:
            yield from self._end_line(line)
        if len(self._rest) > LINE_SIZE_MAX:
            # Binary messages have no line ends, and a sentence may follow one: it is kept whole.
            yield from self._sentences(self._rest)
            begin = self._rest.rfind(b"$", -_SENTENCE_SIZE_MAX)
            has_whole = begin >= 0 and _SENTENCE.match(self._rest, begin) is not None
            self._rest = self._rest[begin:] if begin >= 0 and not has_whole else b"\0"

    def finish(self) -> Iterator[str]:
        """What stands at the end of a log without a line end."""
        rest, self._rest = self._rest, b""
        yield from self._end_line(rest)

    def _end_line(self, line: bytes) -> Iterator[str]:
        yield from self._sentences(line)
        self._counts.noise += bool(line) and not self._has_sentence
        self._has_sentence = False

    def _sentences(self, line: bytes) -> Iterator[str]:
        for match in _SENTENCE.finditer(line):
            self._has_sentence = True
            body, said = match.groups()
            checksum = 0
            for byte in body:
                checksum ^= byte
            if checksum == int(said, 16):
                self._counts.sentences += 1
                yield body.decode("latin-1")
            else:
                self._counts.bad_checksums += 1


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
    day_ms: int | None = None  # time of day
    is_timed: bool = False  # has a sentence that can tell the time of day
    sentences: dict[str, Any] = field(default_factory=dict)


class NmeaAssembler:
    """Gathers the sentences of one moment. Never raises for what a receiver sends."""

    def __init__(self, counts: NmeaCounts) -> None:
        self.counts = counts
        self._moment: _Moment | None = None
        self._has_fix = False
        self._has_rmc = False  # ever
        self._without_rmc: list[_Moment] = []  # in a row, not believed yet
        self._sends_rmc = True

    def feed(self, sentence: str, at_ms: int) -> list[Fix]:
        """The fix of the moment before, if this sentence belongs to the next one."""
        try:
            parsed = pynmea2.parse(sentence)
        except (pynmea2.ParseError, ValueError):
            return []  # a vendor's own, or one we have no use for
        kind = getattr(parsed, "sentence_type", "")
        if kind not in _TIMED and kind not in _UNTIMED:
            return []
        day_ms = _day_ms(parsed.data, _TIMED[kind]) if kind in _TIMED else None
        found = self.finish() if kind in _TIMED and self._is_next(kind, day_ms) else []
        if self._moment is None:
            self._moment = _Moment(at_ms)
        if kind in _TIMED:
            self._moment.is_timed = True
            if day_ms is not None and (self._moment.day_ms is None or kind == "RMC"):
                self._moment.day_ms = day_ms
        self._moment.sentences.setdefault(kind, parsed)
        return found

    def _is_next(self, kind: str, day_ms: int | None) -> bool:
        """Whether a timed sentence belongs to another moment. Without satellites, receivers tell
        no time: then a kind that comes again begins the next moment."""
        moment = self._moment
        if moment is None or not moment.is_timed:
            return False
        if day_ms is None or moment.day_ms is None:
            return day_ms is not moment.day_ms or kind in moment.sentences
        apart_ms = abs(day_ms - moment.day_ms)
        return apart_ms > _SAME_MS or (apart_ms > 0 and kind in moment.sentences)

    def finish(self) -> list[Fix]:
        """The moment is over: the line is silent, or the log ends."""
        moment, self._moment = self._moment, None
        if moment is None or not any(kind in moment.sentences for kind in _LOCATING):
            return []
        if "RMC" in moment.sentences:
            self._has_rmc = self._sends_rmc = True
            self._without_rmc.clear()
            return self._believe(moment)
        if not self._sends_rmc:
            return self._believe(moment)
        self._without_rmc.append(moment)
        return self._release() if len(self._without_rmc) >= _WITHOUT_RMC else []

    def end(self) -> list[Fix]:
        """What is left when a log ends: a few moments of a receiver that never sent RMC are its."""
        found = self.finish()
        return found if self._has_rmc else [*found, *self._release()]

    def _release(self) -> list[Fix]:
        self._sends_rmc = False
        held, self._without_rmc = self._without_rmc, []
        return [fix for moment in held for fix in self._believe(moment)]

    def _believe(self, moment: _Moment) -> list[Fix]:
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
    rmc, gga, gns, gll = (moment.sentences.get(kind) for kind in _LOCATING)
    quality = _quality(gga, gns)
    says_status = rmc if rmc is not None else (gll if quality is None else None)
    is_fixed = bool(quality) if says_status is None else says_status.status == "A"
    located = next(one for one in (rmc, gga, gns, gll) if one is not None)
    if not is_fixed or not located.lat or not located.lon:
        return None
    if quality is None and rmc is not None:
        quality = _MODE_QUALITY.get(_field(rmc.data, _RMC_MODE))
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
        told = {_MODE_QUALITY.get(letter) for letter in str(gns.mode_indicator)}
        return next((quality for quality in _PREFERRED_QUALITY if quality in told), 0)
    return None


def _utc_ms(moment: _Moment, rmc: Any) -> int | None:
    """Date and time of day; None if one of them was not told, or cannot be."""
    midnight_ms = _date_ms(rmc, moment.sentences.get("ZDA"))
    if midnight_ms is None or moment.day_ms is None:
        return None
    return midnight_ms + moment.day_ms


def _date_ms(rmc: Any, zda: Any) -> int | None:
    """Midnight of the date RMC tells, else ZDA."""
    date = _DATE.fullmatch(_field(rmc.data, _RMC_DATE)) if rmc is not None else None
    try:
        if date is not None:
            day, month, year = (int(part) for part in date.groups())
            year += 1900 if year >= _FIRST_YEAR else 2000
        elif zda is not None:
            day, month, year = (int(part) for part in zda.data[1:4])
        else:
            return None
        return to_time_ms(datetime(year, month, day, tzinfo=UTC))
    except ValueError:
        return None


def _day_ms(fields: list[str], at: int) -> int | None:
    """HHMMSS.SSS; a leap second is the first of the next day, as in Unix time."""
    match = _TIME_OF_DAY.fullmatch(_field(fields, at))
    if match is None:
        return None
    hours, minutes, seconds = (int(part) for part in match.groups()[:3])
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + int((match[4] or "")[:3].ljust(3, "0"))


def _field(fields: list[str], at: int) -> str:
    return fields[at] if at < len(fields) else ""


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
