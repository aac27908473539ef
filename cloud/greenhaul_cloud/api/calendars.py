"""Days off and make-up working days: what hours of rules are read after."""

from datetime import date
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

from greenhaul_cloud.api.context import Context
from greenhaul_cloud.api.guard import Authority, Caller
from greenhaul_cloud.api.problems import Problem
from greenhaul_cloud.api.shapes import Instant, Note, Shape, Wish
from greenhaul_cloud.hours.calendar import DAYS_MAX, CalendarError, YearPlan
from greenhaul_cloud.store import accounts, calendars

router = APIRouter(prefix="/calendar", tags=["fences"])

Days = Annotated[list[date], Field(max_length=DAYS_MAX, default_factory=list)]
Year = Annotated[int, Path(ge=2000, le=2099)]


class YearWish(Wish):
    """A year as a notice orders it; `source` names the notice."""

    days_off: Days
    working_days: Days
    source: Note


class YearShape(Shape):
    """A year of the calendar; who entered it, and when it last changed."""

    year: int
    days_off: list[date]
    working_days: list[date]
    source: str
    changed_at: Instant | None
    changed_by: str


@router.get("", response_model=list[YearShape])
def list_years(context: Context, _caller: Caller) -> object:
    """Every year known. Hours that ask about another year say so in their violations."""
    with context.store.read() as connection:
        rows = calendars.list_years(connection, context.config.derive.calendar)
    return [_shown(row) for row in rows]


@router.put("/{year}", response_model=YearShape)
def put_year(year: Year, wish: YearWish, context: Context, author: Authority) -> object:
    """Enters a year; what was judged by another plan of it is judged anew."""
    name, now_ms = context.config.derive.calendar, context.now_ms()
    try:
        plan = YearPlan.of(year, wish.model_dump(mode="json"))
    except CalendarError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    with context.store.write() as connection:
        if calendars.put_year(connection, name, plan, now_ms, author.name):
            accounts.record(connection, now_ms, author.name, "calendar.put", str(year))
        rows = calendars.list_years(connection, name)
    return next(_shown(row) for row in rows if row["year"] == year)


def _shown(row: Any) -> dict[str, Any]:
    return {**row["plan"], **{name: row[name] for name in ("year", "changed_at", "changed_by")}}
