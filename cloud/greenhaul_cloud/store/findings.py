"""Visits and violations as they are read: lists, one by id, what changed since, handling."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, func, insert, or_, select, update

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.scope import EVERYTHING, Scope

_visit = tables.visit.c
_violation = tables.violation.c
_version = tables.fence_version.c
_vehicle = tables.vehicle.c
_feed = tables.feed.c


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """Which visits or violations are wanted; None asks nothing. Times: any part in [from, to)."""

    vehicle_id: str | None = None
    fence_id: str | None = None
    rule: str | None = None
    state: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


def _violations(scope: Scope) -> Select[Any]:
    query = (
        select(
            tables.violation,
            _vehicle.plate,
            _vehicle.enterprise_id,
            _version.feature["properties"]["name"].as_string().label("fence_name"),
        )
        .join(tables.vehicle, _vehicle.id == _violation.vehicle_id)
        .outerjoin(
            tables.fence_version,
            and_(
                _version.fence_id == _violation.fence_id,
                _version.version == _violation.fence_version,
            ),
        )
    )
    return scope.narrow(query, _violation.vehicle_id)


def list_violations(
    connection: Connection, scope: Scope, page: PageSpec, wanted: FindingFilter
) -> Page:
    """Violations, the one that began last first, with plate and the fence's name."""
    query = _violations(scope)
    for name in ("vehicle_id", "fence_id", "rule", "state"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_violation[name] == value)
    if wanted.from_ms is not None:
        query = query.where(
            or_(_violation.ended_at.is_(None), _violation.ended_at >= wanted.from_ms)
        )
    if wanted.to_ms is not None:
        query = query.where(_violation.began_at < wanted.to_ms)
    return read_page(
        connection, query, [_violation.began_at, _violation.id], page, is_descending=True
    )


def find_violation(connection: Connection, scope: Scope, violation_id: int) -> RowMapping | None:
    """A violation, if the caller may see its vehicle."""
    query = _violations(scope).where(_violation.id == violation_id)
    return connection.execute(query).mappings().one_or_none()


def handle_violation(
    connection: Connection, violation_id: int, handling: dict[str, Any], now_ms: int
) -> None:
    """Notes how a violation was handled, what it was before, and tells the streams."""
    was = connection.execute(
        select(_violation.state, _violation.handling, _violation.vehicle_id).where(
            _violation.id == violation_id
        )
    ).one()
    connection.execute(
        update(tables.violation)
        .where(_violation.id == violation_id)
        .values(state="handled", handling=handling, changed_at=now_ms)
    )
    connection.execute(
        insert(tables.amendment).values(
            violation_id=violation_id,
            at=now_ms,
            was={"state": was.state, "handling": was.handling},
            became={"state": "handled", "handling": handling},
            why="handled",
        )
    )
    connection.execute(
        insert(tables.feed).values(
            at=now_ms,
            topic="violations",
            vehicle_id=was.vehicle_id,
            body={"violation_id": violation_id},
        )
    )


def list_visits(
    connection: Connection, scope: Scope, page: PageSpec, wanted: FindingFilter
) -> Page:
    """Visits, the one entered last first."""
    query = scope.narrow(select(tables.visit), _visit.vehicle_id)
    for name in ("vehicle_id", "fence_id", "state"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_visit[name] == value)
    if wanted.from_ms is not None:
        query = query.where(or_(_visit.left_at.is_(None), _visit.left_at >= wanted.from_ms))
    if wanted.to_ms is not None:
        query = query.where(_visit.entered_at < wanted.to_ms)
    return read_page(connection, query, [_visit.entered_at, _visit.id], page, is_descending=True)


def violations_of_visits(
    connection: Connection, visit_ids: Sequence[int]
) -> dict[int, list[RowMapping]]:
    """Violations of visits the caller was allowed to see, in order of their beginning."""
    query = (
        _violations(EVERYTHING)
        .where(_violation.visit_id.in_(visit_ids))
        .order_by(_violation.began_at, _violation.id)
    )
    found: dict[int, list[RowMapping]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["visit_id"], []).append(row)
    return found


# -- streams -------------------------------------------------------------------------------------


def feed_end(connection: Connection) -> int:
    """Number of the newest entry of the feed; 0 when it is empty."""
    return int(connection.execute(select(func.coalesce(func.max(_feed.id), 0))).scalar_one())


def read_feed(connection: Connection, after: int, limit: int) -> Sequence[RowMapping]:
    """At most `limit` entries after a number, in order.

    Writers hold the feed's lock (`Driver.lock_feed`) until they commit, so none comes late with a
    lower number than one already read.
    """
    query = select(tables.feed).where(_feed.id > after).order_by(_feed.id).limit(limit)
    return connection.execute(query).mappings().all()


def violations_by_id(connection: Connection, ids: Iterable[int]) -> dict[int, RowMapping]:
    """Violations of every scope by id, for a stream that sorts out who may see which."""
    query = _violations(EVERYTHING).where(_violation.id.in_(list(ids)))
    return {row["id"]: row for row in connection.execute(query).mappings()}
