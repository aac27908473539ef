"""Hours in a zone, after days off and make-up working days."""

import itertools
import random
from datetime import date

import numpy as np
import pytest

from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS
from greenhaul_cloud.hours.calendar import (
    CHINA,
    ORDINARY_WEEKS,
    CalendarError,
    YearPlan,
    packaged_plans,
)
from greenhaul_cloud.hours.expression import HoursError, check_hours, open_minutes
from greenhaul_cloud.hours.schedule import schedule_of
from greenhaul_protocols.times import format_time, parse_time

DAY_MS = 86_400_000
EXPRESSIONS = (
    "Mo-Fr 07:00-22:00; PH off",
    "Mo-Fr 22:00-06:00; PH off",
    "Sa-Su,PH 10:00-12:00",
    "PH Mo-Fr 08:00-10:00",
    "07:00-09:00,17:00-19:00",
    "Mo-Fr",
    "24/7",
    "Oct 01-Oct 07 08:00-18:00",
)


@pytest.mark.parametrize(
    ("year", "days_off", "working_days"), [(2024, 28, 8), (2025, 28, 5), (2026, 33, 6)]
)
def test_the_years_are_those_of_the_notices(year: int, days_off: int, working_days: int) -> None:
    plan = next(plan for plan in packaged_plans() if plan.year == year)
    assert (len(plan.days_off), len(plan.working_days)) == (days_off, working_days)
    assert all(day.weekday() >= 5 for day in plan.working_days)
    assert "国办发明电" in plan.source


@pytest.mark.parametrize(
    ("hours", "day", "minutes"),
    [
        ("Mo-Fr 07:00-22:00; PH off", "2025-10-01", []),
        ("Mo-Fr 07:00-22:00; PH off", "2025-10-11", [(420, 1320)]),
        ("mo-fr 07:00-22:00; PH off", "2025-10-11", [(420, 1320)]),
        ("Mo-Fr 22:00-06:00", "2025-09-28", [(1320, 1440)]),
        ("Mo-Fr 22:00-06:00", "2025-10-11", [(0, 360), (1320, 1440)]),
        ("Mo-Fr 22:00-06:00", "2025-10-12", [(0, 360)]),
        ("Sa 10:00-12:00", "2025-10-11", []),
        ("Sa,PH 10:00-12:00", "2025-10-01", [(600, 720)]),
        ("PH Mo-Fr 08:00-10:00", "2025-10-02", [(480, 600)]),
        ("PH Mo-Fr 08:00-10:00", "2025-10-04", []),
        ("Feb Mo-Fr 08:00-09:00", "2024-02-04", [(480, 540)]),
        ("Th-Tu 08:00-10:00", "2025-10-15", []),
    ],
)
def test_a_day_is_what_the_calendar_makes_of_it(
    hours: str, day: str, minutes: list[tuple[int, int]]
) -> None:
    assert open_minutes(check_hours(hours), date.fromisoformat(day), CHINA) == minutes


def test_without_a_calendar_every_week_is_ordinary() -> None:
    hours = "Mo-Fr 07:00-22:00; PH off"
    assert open_minutes(hours, date(2025, 10, 1), ORDINARY_WEEKS) == [(420, 1320)]
    assert open_minutes(hours, date(2025, 10, 11), ORDINARY_WEEKS) == []


@pytest.mark.parametrize("hours", EXPRESSIONS)
def test_answers_do_not_depend_on_what_is_asked(hours: str) -> None:
    rng = random.Random(hours)
    begin_ms = parse_time("2025-09-20T00:00:00+08:00")
    schedule = schedule_of(hours, "Asia/Shanghai", CHINA)
    whole = schedule.within(begin_ms, begin_ms + 30 * DAY_MS)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(whole))
    for _ in range(60):
        low_ms = begin_ms + rng.randrange(29 * 1440) * 60_000
        high_ms = low_ms + rng.randrange(1, 3 * 1440) * 60_000
        high_ms = min(high_ms, begin_ms + 30 * DAY_MS)
        expected = [span for span in whole if span[0] < high_ms and low_ms < span[1]]
        assert schedule.within(low_ms, high_ms) == expected
        assert schedule.is_open(low_ms) == any(a <= low_ms < b for a, b in whole)
        border_ms = schedule.next_border_ms(low_ms)
        borders = [b for span in whole for b in span if b > low_ms]
        assert border_ms == (borders[0] if borders else border_ms)
        times = np.arange(low_ms, high_ms, 977_000)
        assert schedule.are_open(times).tolist() == [schedule.is_open(int(t)) for t in times]


def test_hours_without_an_end_are_always() -> None:
    for hours in ("24/7", "Mo-Su 00:00-24:00", "00:00-24:00"):
        schedule = schedule_of(hours, "Asia/Shanghai", CHINA)
        assert schedule.within(0, 1) == [(ALWAYS_MS, NEVER_MS)]
        assert schedule.next_border_ms(0) == NEVER_MS
    assert schedule_of("24/7; PH off", "Asia/Shanghai", CHINA).next_border_ms(
        parse_time("2025-09-30T00:00:00+08:00")
    ) == parse_time("2025-10-01T00:00:00+08:00")


def test_clocks_that_change_shorten_the_night() -> None:
    schedule = schedule_of("Mo-Su 01:00-04:00", "Europe/Berlin", CHINA)
    [span] = schedule.within(*(parse_time(f"2025-03-30T0{n}:00:00Z") for n in (0, 3)))
    assert [format_time(t) for t in span] == ["2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z"]


def test_unknown_years_are_said_only_of_hours_that_ask() -> None:
    span = parse_time("2026-12-30T00:00:00Z"), parse_time("2027-01-02T00:00:00Z")
    assert schedule_of("Mo-Fr", "Asia/Shanghai", CHINA).unknown_years(*span) == [2027]
    assert schedule_of("07:00-09:00", "Asia/Shanghai", CHINA).unknown_years(*span) == []


@pytest.mark.parametrize(
    "hours",
    ["", "weekdays", "SH off", "Mo[1] 08:00-09:00", "PH +1 day", "17:00+", 'Mo "x"', "é" * 300],
)
def test_what_cannot_be_judged_is_refused(hours: str) -> None:
    with pytest.raises(HoursError):
        check_hours(hours)


@pytest.mark.parametrize(
    "plan",
    [
        {"days_off": ["2024-12-31"]},
        {"days_off": ["2025-02-30"]},
        {"days_off": [["2025-10-08", "2025-10-01"]]},
        {"days_off": ["2025-10-11"], "working_days": ["2025-10-11"]},
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, list[str]]) -> None:
    with pytest.raises(CalendarError):
        YearPlan.of(2025, plan)


def test_a_plan_comes_back_from_its_json() -> None:
    for plan in packaged_plans():
        assert YearPlan.of(plan.year, plan.as_json()) == plan
