"""What stands in the store of vehicles' folds: visits and violations as the fold knows them."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    or_,
    select,
)

from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS
from greenhaul_cloud.fences.rules import RuleName
from greenhaul_cloud.fold.intervals import Certainty, How, Violation, Visit
from greenhaul_cloud.fold.refold import StoredFold
from greenhaul_cloud.store.asking import Asked
from greenhaul_cloud.store.schema import Instant
from greenhaul_cloud.store.tables import violation, visit
from greenhaul_protocols.times import TIME_MS_MIN

# By fence id.
Folds = dict[str, StoredFold[int]]

# A fence that wants visits asks for those of a whole window, and windows may last a year.
WANTING_BACK_MS = 400 * 86_400_000

_VEHICLES = Asked("asked", {"vehicle": Text, "since": Instant, "long_ago": Instant})
_VISITS = Asked("asked", {"vehicle": Text, "visit": BigInteger})
_VIOLATION_COLUMNS = [
    violation.c[name]
    for name in (
        "id", "vehicle_id", "fence_id", "visit_id", "rule", "fence_version", "began_at",
        "ended_at", "certainty", "detail", "window_began_at", "window_ended_at",
    )
]  # fmt: skip


def load_folds(
    conn: Connection, since_ms: Mapping[str, int], wanting: Collection[str] = ()
) -> dict[str, Folds]:
    """What stands of each vehicle, but for what was over and confirmed before an instant of its
    own.

    wanting: fences of which a longer past is needed.
    """
    found: dict[str, dict[str, tuple[list[Any], list[Any]]]] = {key: {} for key in since_ms}
    dialect = conn.dialect.name
    asked = [
        (key, max(from_ms, TIME_MS_MIN), max(from_ms - WANTING_BACK_MS, TIME_MS_MIN))
        for key, from_ms in since_ms.items()
    ]
    vehicles = _VEHICLES.values(conn, asked)
    visits: dict[int, Visit] = {}
    of_visits = []
    query = _visits_query(dialect, frozenset(wanting))
    for row in sorted(conn.execute(query, vehicles), key=lambda row: (row.entered_at, row.id)):
        visits[row.id] = _visit_of(row)
        of_visits.append((row.vehicle_id, row.id))
        held = found[row.vehicle_id].setdefault(row.fence_id, ([], []))
        held[0].append((row.id, visits[row.id]))
    rows = list(conn.execute(_lone_query(dialect), vehicles))
    if of_visits:
        rows += conn.execute(_violations_query(dialect), _VISITS.values(conn, of_visits))
    for row in sorted(rows, key=lambda row: (row.began_at, row.id)):
        entered_ms = None if row.visit_id is None else visits[row.visit_id].entered_ms
        held = found[row.vehicle_id].setdefault(row.fence_id, ([], []))
        held[1].append((row.id, _violation_of(row, entered_ms)))
    return {
        key: {fence_id: StoredFold(*held) for fence_id, held in folds.items()}
        for key, folds in found.items()
    }


def load_all(conn: Connection, vehicle_id: str) -> Folds:
    """Everything that stands of one vehicle."""
    return load_folds(conn, {vehicle_id: ALWAYS_MS})[vehicle_id]


def has_older(conn: Connection, vehicle_id: str, since_ms: int) -> bool:
    """Whether `load_folds` may have left something out."""
    if since_ms <= TIME_MS_MIN:
        return False
    long_ago_ms = max(since_ms - WANTING_BACK_MS, TIME_MS_MIN)
    asked = {"vehicle": vehicle_id, "since": since_ms, "long_ago": long_ago_ms}
    return any(conn.execute(query, asked).first() for query in _OLDER)


def _older(ended_at: Column[int], before: str) -> Select[Any]:
    """One that stands of a vehicle and was over before an instant."""
    columns = ended_at.table.c
    return (
        select(columns.id)
        .where(columns.vehicle_id == bindparam("vehicle"), columns.state != "withdrawn")
        .where(ended_at < bindparam(before, type_=ended_at.type))
        .limit(1)
    )


_OLDER = _older(visit.c.left_confirmed_at, "since"), _older(violation.c.ended_at, "long_ago")


@lru_cache(maxsize=4)
def _visits_query(dialect: str, wanting: frozenset[str]) -> Select[Any]:
    asked = _VEHICLES.table(dialect)
    confirmed_at = visit.c.left_confirmed_at
    reaches = [confirmed_at.is_(None), confirmed_at >= asked.c.since]
    if wanting:
        is_wanting = visit.c.fence_id.in_(sorted(wanting))
        reaches.append(and_(is_wanting, confirmed_at >= asked.c.long_ago))
    is_asked = visit.c.vehicle_id == asked.c.vehicle
    return select(visit).join(asked, is_asked).where(visit.c.state != "withdrawn", or_(*reaches))


@lru_cache(maxsize=2)
def _lone_query(dialect: str) -> Select[Any]:
    """Violations for want of a visit."""
    asked = _VEHICLES.table(dialect)
    ended_at = violation.c.ended_at
    return (
        select(*_VIOLATION_COLUMNS)
        .join(asked, violation.c.vehicle_id == asked.c.vehicle)
        .where(
            violation.c.visit_id.is_(None),
            violation.c.state != "withdrawn",
            or_(ended_at.is_(None), ended_at >= asked.c.long_ago),
        )
    )


@lru_cache(maxsize=2)
def _violations_query(dialect: str) -> Select[Any]:
    """Violations of visits."""
    asked = _VISITS.table(dialect)
    is_asked = and_(
        violation.c.vehicle_id == asked.c.vehicle, violation.c.visit_id == asked.c.visit
    )
    return select(*_VIOLATION_COLUMNS).join(asked, is_asked).where(violation.c.state != "withdrawn")


def _visit_of(row: Any) -> Visit:
    return Visit(
        row.fence_version,
        row.entered_at,
        How(row.entered_by),
        Certainty(row.entered_certainty),
        row.left_at,
        How(row.left_by),
        None if row.left_certainty is None else Certainty(row.left_certainty),
        Certainty(row.certainty),
        row.entered_confirmed_at,
        row.left_confirmed_at,
        tuple((instant_ms, confirmed_ms) for instant_ms, confirmed_ms in row.gaps),
    )


def _violation_of(row: Any, visit_entered_ms: int | None) -> Violation:
    return Violation(
        RuleName(row.rule),
        row.fence_version,
        row.began_at,
        row.ended_at,
        Certainty(row.certainty),
        visit_entered_ms,
        row.detail,
        _window_of(row),
    )


def _window_of(row: Any) -> tuple[int, int] | None:
    """A window for want of a visit; its open ends are kept as null."""
    if row.visit_id is not None:
        return None
    begin_ms, end_ms = row.window_began_at, row.window_ended_at
    return ALWAYS_MS if begin_ms is None else begin_ms, NEVER_MS if end_ms is None else end_ms
