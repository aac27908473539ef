"""Years of the calendar: those a release brings, and those people enter before it does."""

from sqlalchemy import Connection, RowMapping, func, select

from greenhaul_cloud.hours.calendar import Calendar, YearPlan, packaged_plans
from greenhaul_cloud.store.marks import mark_vehicles
from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import calendar_year, vehicle
from greenhaul_protocols.times import TIME_MS_MAX, parse_time

# Who entered what a release brings; such a year follows the release, others stay as entered.
PACKAGED_BY = "(greenhaul)"

# Local days begin and end up to this long before and after those of UTC, and nights reach over.
_MARGIN_MS = 2 * 86_400_000


def put_year(conn: Connection, name: str, plan: YearPlan, now_ms: int, user: str) -> bool:
    """Enters a year and marks every vehicle over it; whether that changed anything."""
    held = conn.execute(
        select(calendar_year.c.plan).where(
            calendar_year.c.calendar == name, calendar_year.c.year == plan.year
        )
    ).scalar()
    if held == plan.as_json():
        return False
    _write(conn, name, plan, now_ms, user)
    begin_ms = parse_time(f"{plan.year:04}-01-01T00:00:00Z") - _MARGIN_MS
    end_ms = parse_time(f"{plan.year:04}-12-31T00:00:00Z") + _MARGIN_MS
    if begin_ms <= now_ms:
        span = (begin_ms, min(end_ms, TIME_MS_MAX))
        vehicles = conn.execute(select(vehicle.c.id)).scalars()
        mark_vehicles(conn, dict.fromkeys(vehicles, span), now_ms)
    return True


def _write(conn: Connection, name: str, plan: YearPlan, now_ms: int, user: str) -> None:
    newest = conn.execute(select(func.max(calendar_year.c.changed_at))).scalar() or 0
    changed_at_ms = max(newest + 1, now_ms)
    values = {"plan": plan.as_json(), "changed_at": changed_at_ms, "changed_by": user}
    conn.execute(
        insert_into(conn, calendar_year)
        .values(calendar=name, year=plan.year, **values)
        .on_conflict_do_update(index_elements=["calendar", "year"], set_=values)
    )


def seed_calendar(conn: Connection, name: str, now_ms: int) -> None:
    """Brings the years of this release in, unless somebody entered them otherwise."""
    held = list_years(conn, name)
    entered = {row["year"] for row in held if row["changed_by"] != PACKAGED_BY}
    for plan in packaged_plans(name):
        if plan.year in entered:
            continue
        if held:
            put_year(conn, name, plan, now_ms, PACKAGED_BY)
        else:
            # nothing was ever judged otherwise: `load_calendar` said the same all along
            _write(conn, name, plan, now_ms, PACKAGED_BY)


def list_years(conn: Connection, name: str) -> list[RowMapping]:
    """Every year held, in order."""
    query = select(calendar_year).where(calendar_year.c.calendar == name)
    return list(conn.execute(query.order_by(calendar_year.c.year)).mappings())


def load_calendar(conn: Connection, name: str) -> Calendar:
    """The calendar as it is now; before it is seeded, that of the release."""
    plans = {plan.year: plan for plan in packaged_plans(name)}
    for row in list_years(conn, name):
        plans[row["year"]] = YearPlan.of(row["year"], row["plan"])
    return Calendar.of(name, plans.values())


def calendar_state(conn: Connection) -> tuple[int, int]:
    """Changes with every change of any calendar."""
    query = select(func.count(), func.max(calendar_year.c.changed_at))
    count, changed_at = conn.execute(query).one()
    return int(count), int(changed_at or 0)
