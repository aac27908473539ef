"""NMEA 0183 logs: one point an RMC sentence, with the altitude of the GGA of the same second.

Only what a replay needs; the edge's receiver input understands more.
"""

import re
from datetime import UTC, datetime, timedelta

from greenhaul_protocols.times import to_time_ms
from greenhaul_sim.tracks.point import LocalTimes, Track, TrackPoint, Unreadable

_KMH_PER_KNOT = 1.852
_SENTENCE = re.compile(r"\$([A-Z]{2})(RMC|GGA),([^*\r\n]*)(?:\*([0-9A-Fa-f]{2}))?")

# Two digits of year: receivers count from 1980.
_CENTURY_TURNS_AT = 80


def read_nmea(name: str, text: str, times: LocalTimes) -> Track:  # noqa: ARG001
    """A receiver's log; other sentences and noise between them are passed over."""
    altitudes: dict[str, float] = {}
    rows: list[tuple[int, list[str]]] = []
    unreadable: list[Unreadable] = []
    number = 0
    for found in _SENTENCE.finditer(text):
        sentence, fields = found[2], found[3].split(",")
        is_right = found[4] is not None and _checksum(found[0]) == int(found[4], 16)
        if sentence == "GGA":
            if is_right and len(fields) > 8 and fields[8]:
                altitudes[fields[0]] = float(fields[8])
            continue
        number += 1
        if not is_right:
            unreadable.append(Unreadable(number, "checksum wrong or missing"))
        elif len(fields) < 9 or fields[1] != "A":
            unreadable.append(Unreadable(number, "receiver has no fix"))
        else:
            rows.append((number, fields))
    points = []
    for number, fields in rows:
        try:
            points.append(_point(number, fields, altitudes.get(fields[0])))
        except ValueError as error:
            unreadable.append(Unreadable(number, f"not a point: {error}"))
    return Track(name, tuple(points), tuple(unreadable))


def _checksum(sentence: str) -> int:
    total = 0
    for character in sentence[1 : sentence.rindex("*")].encode("ascii", "replace"):
        total ^= character
    return total


def _point(number: int, fields: list[str], altitude_m: float | None) -> TrackPoint:
    clock, _, latitude, north, longitude, east, knots, course, date = fields[:9]
    return TrackPoint(
        number,
        _time_ms(date, clock),
        _degrees(latitude, 2, north == "S"),
        _degrees(longitude, 3, east == "W"),
        altitude_m=altitude_m,
        speed_kmh=float(knots) * _KMH_PER_KNOT if knots else None,
        heading_deg=float(course) if course else None,
    )


def _time_ms(date: str, clock: str) -> int:
    year = int(date[4:6])
    year += 1900 if year >= _CENTURY_TURNS_AT else 2000
    midnight = datetime(year, int(date[2:4]), int(date[0:2]), tzinfo=UTC)
    # A leap second reads as 60: a span added to midnight takes it.
    return to_time_ms(
        midnight
        + timedelta(hours=int(clock[0:2]), minutes=int(clock[2:4]), seconds=float(clock[4:]))
    )


def _degrees(text: str, digits: int, is_negative: bool) -> float:
    degrees = int(text[:digits]) + float(text[digits:]) / 60
    return -degrees if is_negative else degrees
