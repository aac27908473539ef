"""Sixty cases of rules, worked out by hand: in order, shuffled, and split across restarts.

A truck crosses the edge of a square at the minutes a case names; readings come a minute apart, half
a minute beside the full ones. Times are Shanghai's, `+1` the day after the case's; an interval that
is only possible ends in `?`, one not ended yet in `…`.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.cloud.fold_cases import SQUARE, Kept, degrees, fence

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fold.fold import fold
from greenhaul_cloud.fold.intervals import Certainty, Violation
from greenhaul_cloud.fold.track import Track
from greenhaul_cloud.fold.windows import windows_of

SHANGHAI = ZoneInfo("Asia/Shanghai")
WEEKDAYS = "Mo-Fr 07:00-22:00"
WORKING = f"{WEEKDAYS}; PH off"


def no_entry(hours: str | None = None) -> dict[str, Any]:
    return {"rule": "no_entry", "hours": hours}


def allowed(hours: str) -> dict[str, Any]:
    return {"rule": "allowed_hours", "hours": hours}


def must_stay(hours: str | None = None) -> dict[str, Any]:
    return {"rule": "must_stay", "hours": hours}


def visit_by(hours: str) -> dict[str, Any]:
    return {"rule": "must_visit_by", "hours": hours}


def dwell(least_or_most: str, limit_s: float, hours: str | None = None) -> dict[str, Any]:
    return {"rule": f"{least_or_most}_dwell", "limit_s": limit_s, "hours": hours}


def speed(limit_kmh: float, **more: Any) -> dict[str, Any]:
    return {"rule": "speed_limit", "limit_kmh": limit_kmh, **more}


def transit(**limits: float) -> dict[str, Any]:
    return {"rule": "transit_time", **limits}


@dataclass(frozen=True)
class Case:
    """A day, a rule, stays as (entry, exit), what they break; `seen`: from when to when readings
    come; `speeds`: (from, km/h), in force until the next; `as_of`: later than the last reading."""

    day: str
    rule: dict[str, Any]
    stays: Sequence[tuple[str, str]]
    broken: Sequence[str]
    seen: tuple[str, str] = ("06:00", "11:30")
    speeds: Sequence[tuple[str, float]] = ()
    as_of: str | None = None
    silent: tuple[str, str] | None = None


WEDNESDAY, SATURDAY = "2025-10-15", "2025-10-18"
NATIONAL, MADE_UP, MADE_UP_SUNDAY = "2025-10-01", "2025-10-11", "2025-09-28"
MORNING = ("08:00", "09:00")
LATE = ("20:00", "23:00")
NIGHTS = "Mo-Fr 22:00-06:00"

CASES = [
    # no_entry
    Case(WEDNESDAY, no_entry(), [MORNING], ["no_entry 08:00-09:00"]),
    Case(WEDNESDAY, no_entry(), [], []),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [MORNING], ["no_entry 08:00-09:00"]),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("06:30", "07:30")], ["no_entry 07:00-07:30"]),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("21:30", "22:30")], ["no_entry 21:30-22:00"], LATE),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("20:10", "20:50"), ("22:10", "22:50")],
         ["no_entry 20:10-20:50"], LATE),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("06:30", "07:00")], []),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("22:00", "22:30")], [], LATE),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("21:00", "+1 08:00")],
         ["no_entry 21:00-22:00", "no_entry +1 07:00-+1 08:00"], ("20:00", "+1 09:00")),
    Case(SATURDAY, no_entry(WEEKDAYS), [MORNING], []),
    Case(NATIONAL, no_entry(WEEKDAYS), [MORNING], ["no_entry 08:00-09:00"]),
    Case(NATIONAL, no_entry(WORKING), [MORNING], []),
    Case("2025-09-30", no_entry(WORKING), [("21:00", "+1 08:00")], ["no_entry 21:00-22:00"],
         ("20:00", "+1 09:00")),
    Case(MADE_UP, no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case(MADE_UP_SUNDAY, no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2025-01-26", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2025-02-08", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2025-04-27", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2025-01-28", no_entry(WORKING), [MORNING], []),
    Case("2025-01-27", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2025-02-04", no_entry(WORKING), [MORNING], []),
    Case("2025-05-05", no_entry(WORKING), [MORNING], []),
    Case("2025-06-02", no_entry(WORKING), [MORNING], []),
    Case("2025-10-08", no_entry(WORKING), [MORNING], []),
    Case("2025-10-09", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case(MADE_UP, no_entry("Mo 08:00-08:30; Tu-Fr 10:00-11:00"), [MORNING],
         ["no_entry 08:00-08:30"]),
    Case(MADE_UP, no_entry("Sa 08:00-09:00"), [MORNING], []),
    Case(NATIONAL, no_entry("Sa,Su,PH 08:00-08:15"), [MORNING], ["no_entry 08:00-08:15"]),
    Case(NATIONAL, no_entry("24/7"), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2026-02-14", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2024-02-09", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case("2024-10-12", no_entry(WORKING), [MORNING], ["no_entry 08:00-09:00"]),
    Case(MADE_UP, no_entry(NIGHTS), [("21:00", "+1 07:00")], ["no_entry 22:00-+1 06:00"],
         ("20:00", "+1 08:00")),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("06:30", "23:30")], ["no_entry 07:00-…?"],
         ("06:00", "06:50"), as_of="07:10"),
    Case(WEDNESDAY, no_entry(WEEKDAYS), [("06:30", "23:30")], ["no_entry 07:00-…"],
         ("06:00", "07:05"), as_of="07:10"),
    # allowed_hours
    Case(WEDNESDAY, allowed("Mo-Fr 08:30-17:00"), [MORNING], ["allowed_hours 08:00-08:30"]),
    Case(WEDNESDAY, allowed(WEEKDAYS), [MORNING], []),
    Case(WEDNESDAY, allowed("08:10-08:20,08:40-08:50"), [MORNING],
         ["allowed_hours 08:00-08:10", "allowed_hours 08:20-08:40", "allowed_hours 08:50-09:00"]),
    Case(NATIONAL, allowed(WORKING), [MORNING], ["allowed_hours 08:00-09:00"]),
    Case(MADE_UP, allowed(WORKING), [MORNING], []),
    # must_stay
    Case(WEDNESDAY, must_stay("08:00-10:00"), [("07:00", "11:00")], []),
    Case(WEDNESDAY, must_stay("08:00-10:00"), [("07:00", "08:30"), ("09:00", "11:00")],
         ["must_stay 08:30-09:00"]),
    Case(WEDNESDAY, must_stay("08:00-10:00"), [], ["must_stay 08:00-10:00"]),
    Case(WEDNESDAY, must_stay(), [("07:00", "11:00")], ["must_stay 06:00:30-07:00",
                                                        "must_stay 11:00-…"]),
    Case(NATIONAL, must_stay("Mo-Fr 08:00-10:00; PH off"), [], []),
    # max_dwell, min_dwell
    Case(WEDNESDAY, dwell("max", 1800), [MORNING], ["max_dwell 08:30-09:00"]),
    Case(WEDNESDAY, dwell("max", 3600), [MORNING], []),
    Case(WEDNESDAY, dwell("max", 1800, "08:20-08:55"), [MORNING], ["max_dwell 08:50-08:55"]),
    Case(WEDNESDAY, dwell("max", 1800), [("08:00", "10:00")], ["max_dwell 08:30-…?"],
         ("07:00", "08:20"), as_of="08:30"),
    Case(WEDNESDAY, dwell("min", 3601), [MORNING], ["min_dwell 09:00-09:00"]),
    Case(WEDNESDAY, dwell("min", 3600), [MORNING], []),
    Case(WEDNESDAY, dwell("min", 7200, "10:00-12:00"), [MORNING], []),
    Case(WEDNESDAY, dwell("min", 7200), [("05:00", "06:30")], ["min_dwell 06:30-06:30?"]),
    # must_visit_by
    Case(WEDNESDAY, visit_by("08:00-10:00"), [MORNING], []),
    Case(WEDNESDAY, visit_by("09:00-10:00"), [MORNING], ["must_visit_by 10:00-10:00"]),
    Case(WEDNESDAY, visit_by("08:55-10:00"), [MORNING], []),
    Case(WEDNESDAY, visit_by("10:00-11:00"), [], ["must_visit_by 11:00-11:00"],
         silent=("10:10", "10:20")),
    Case(WEDNESDAY, visit_by("10:00-11:00"), [], ["must_visit_by 11:00-11:00?"],
         ("06:00", "10:30"), as_of="11:00"),
    Case(MADE_UP, visit_by("Mo-Fr 10:00-11:00"), [], ["must_visit_by 11:00-11:00"]),
    # speed_limit
    Case(WEDNESDAY, speed(50), [MORNING], ["speed_limit 08:20-08:30"],
         speeds=[("00:00", 30), ("08:20", 70), ("08:30", 30)]),
    Case(WEDNESDAY, speed(60, night_limit_kmh=40, night_hours="22:00-06:00"), [("21:00", "22:30")],
         ["speed_limit 22:00-22:30"], LATE, speeds=[("00:00", 50)]),
    Case(WEDNESDAY, speed(60, night_limit_kmh=40), [("21:00", "22:30")],
         ["speed_limit 21:00-22:30"], LATE, speeds=[("00:00", 80)]),
    # transit_time
    Case(WEDNESDAY, transit(min_s=3700), [MORNING], ["transit_time 09:00-09:00"]),
    Case(WEDNESDAY, transit(max_s=1800), [MORNING], ["transit_time 08:30-09:00"]),
    Case(WEDNESDAY, transit(min_s=3600, max_s=3600), [MORNING], []),
]  # fmt: skip


def at(day: str, text: str) -> int:
    """A time of a case as an instant."""
    days, _, clock = text.rpartition(" ")
    moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=SHANGHAI)
    return round((moment + timedelta(int(days or 0))).timestamp() * 1000)


def said(day: str, time_ms: int | None) -> str:
    """An instant as a case writes it."""
    if time_ms is None:
        return "…"
    moment = datetime.fromtimestamp(time_ms / 1000, SHANGHAI)
    days = (moment.date() - datetime.fromisoformat(day).date()).days
    clock = f"{moment:%H:%M:%S}".removesuffix(":00")
    return f"+{days} {clock}" if days else clock


def readings_of(case: Case) -> Track:
    """Readings half a minute beside the full ones: so the edge is crossed at full minutes."""
    first_ms, last_ms = (at(case.day, text) for text in case.seen)
    time_ms = np.arange(first_ms + 30_000, last_ms, 60_000)
    if case.silent:
        low_ms, high_ms = (at(case.day, text) for text in case.silent)
        time_ms = time_ms[(time_ms < low_ms) | (time_ms > high_ms)]
    is_inside = np.zeros(len(time_ms), bool)
    for entry, leaving in case.stays:
        is_inside |= (time_ms > at(case.day, entry)) & (time_ms < at(case.day, leaving))
    speed_kmh = np.full(len(time_ms), np.nan)
    for since, value in case.speeds:
        speed_kmh[time_ms > at(case.day, since)] = value
    points = [degrees(50, 50 if inside else -50) for inside in is_inside]
    return Track.of(
        time_ms,
        [latitude for _, latitude in points],
        [longitude for longitude, _ in points],
        speed_kmh=speed_kmh,
        digest=np.arange(len(time_ms)),
    )


def lines_of(case: Case, violations: Sequence[Violation]) -> list[str]:
    """Violations as a case writes them."""
    return [
        f"{v.rule.value} {said(case.day, v.began_ms)}-{said(case.day, v.ended_ms)}"
        + ("?" if v.certainty is Certainty.POSSIBLE else "")
        for v in violations
    ]


def batches(track: Track, manner: str) -> Iterator[Track]:
    """Readings as they come: all in order, or shuffled in six parts, some twice."""
    order = list(range(len(track)))
    if manner == "shuffled":
        random.Random(len(order)).shuffle(order)
    size = len(order) // 6 + 1
    for begin in range(0, len(order), size):
        yield track.take(np.array(order[max(begin - size // 3, 0) : begin + size]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.day} {case.rule['rule']}")
def test_every_case_in_order_shuffled_and_split_across_restarts(case: Case) -> None:
    one = fence(SQUARE, rules=[case.rule], confirm_s=0, hysteresis_m=0)
    track = readings_of(case)
    as_of_ms = int(track.device_time_ms[-1])
    if case.as_of:
        as_of_ms = at(case.day, case.as_of)
    found = fold(track, one, as_of_ms=as_of_ms)
    assert lines_of(case, found.violations) == list(case.broken)
    for manner in ("split", "shuffled"):
        kept = Kept()
        for batch in batches(track, manner):
            # nothing but what is stored outlives a batch
            index, windows = FenceIndex(one.versions), {"f": windows_of(one)}
            kept.track = kept.track.joined(batch)
            changes = [(t, t) for t in batch.device_time_ms.tolist()]
            kept.fold_in([*changes, (as_of_ms, as_of_ms)], windows, index, as_of_ms)
        assert kept.says() == (list(found.visits), list(found.violations))


def test_there_are_enough_cases_of_every_rule() -> None:
    rules = [case.rule["rule"] for case in CASES]
    assert len(CASES) >= 60
    assert {rule: rules.count(rule) > 1 for rule in rules} == dict.fromkeys(rules, True)
    assert len(set(rules)) == 8


def test_a_violation_says_that_its_year_is_unknown() -> None:
    case = Case("2027-10-05", no_entry(WORKING), [MORNING], [])
    one = fence(SQUARE, rules=[case.rule], confirm_s=0, hysteresis_m=0)
    track = readings_of(case)
    [violation] = fold(track, one, as_of_ms=int(track.device_time_ms[-1])).violations
    assert violation.detail == {"calendar_unknown": [2027]}


def test_absence_names_the_window_it_was_wanted_in() -> None:
    case = Case(WEDNESDAY, visit_by("10:00-11:00"), [], [])
    one = fence(SQUARE, rules=[case.rule], confirm_s=0, hysteresis_m=0)
    track = readings_of(case)
    [violation] = fold(track, one, as_of_ms=int(track.device_time_ms[-1])).violations
    assert violation.visit_entered_ms is None
    assert violation.window == (at(WEDNESDAY, "10:00"), at(WEDNESDAY, "11:00"))
