"""Dirty marks: what the fold has to look at again, written with whatever changed.

Anything with validity in time leaves one in its own transaction: readings for their source,
bindings, attributes and fence versions for their vehicle. A mark widens until a fold takes it;
its revision tells the fold whether it widened meanwhile. What is new and what is old stand in marks
of their own: a truck that sends yesterday's readings beside today's has nothing folded between.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    literal_column,
    select,
)

from greenhaul_cloud.store.asking import Asked, among
from greenhaul_cloud.store.statements import Upsert
from greenhaul_cloud.store.tables import binding, dirty
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

Span = tuple[int, int]
Subject = TypeVar("Subject", int, str)

# A reading can change which source leads this far around it (architecture, section 3: track).
LEAD_GAP_MS = 30_000
# Changes nearer to each other than this are marked as one: folds would share their readings.
APART_MS = 300_000
# Marks of sources handed over at a time, some milliseconds; far more than one source has.
_MARKS_HANDED_OVER = 250

# A subject's marks: one of what reaches into the last hour, and of what lies before a few, by the
# hour in which it begins. More would be looked up more often than they spare readings.
_RECENT_MS = _CELL_MS = 3_600_000
_OLD_SLOTS = 3


def _slot_of(span: Span, now_ms: int) -> int:
    return 0 if span[1] >= now_ms - _RECENT_MS else 1 + span[0] // _CELL_MS % _OLD_SLOTS


def _either(condition: ColumnElement[bool], one: Any, other: Any, name: str) -> Any:
    return case((condition, one[name]), else_=other[name])


def _least(new: Any, name: str) -> Any:
    return _either(new[name] < dirty.c[name], new, dirty.c, name)


def _widening(subject: str) -> Upsert:
    return Upsert(
        dirty,
        [subject, "slot", "from_time", "to_time", "revision", "marked_at"],
        [subject, "slot"],
        lambda new: {
            "from_time": _least(new, "from_time"),
            "to_time": _either(new.to_time > dirty.c.to_time, new, dirty.c, "to_time"),
            # by the clock, so that a mark made anew never looks like one seen before
            "revision": case(
                (new.revision > dirty.c.revision, new.revision),
                else_=dirty.c.revision + literal_column("1"),
            ),
            "marked_at": _least(new, "marked_at"),
        },
    )


_SEEN = Asked("seen", {"id": BigInteger, "revision": BigInteger})
_SOURCES, _VEHICLES = _widening("source_id"), _widening("vehicle_id")


def mark_sources(conn: Connection, spans: Mapping[int, Iterable[Span]], now_ms: int) -> None:
    """New readings of sources between device times, by source id."""
    marks = (
        (key, max(low - LEAD_GAP_MS, TIME_MS_MIN), min(high + LEAD_GAP_MS, TIME_MS_MAX), now_ms)
        for key, held in spans.items()
        for low, high in held
    )
    _SOURCES.run(conn, _rows(marks, now_ms))


def mark_vehicles(conn: Connection, spans: Mapping[str, Span], now_ms: int) -> None:
    """Something about vehicles changed between two instants, by vehicle id."""
    marks = ((key, low, high, now_ms) for key, (low, high) in spans.items())
    _VEHICLES.run(conn, _rows(marks, now_ms))


def _rows(
    marks: Iterable[tuple[Subject, int, int, int]], now_ms: int
) -> list[tuple[Subject, int, int, int, int, int]]:
    """Marks (subject, from, to, made) as rows in the order of their locks, a slot once."""
    held: dict[tuple[Subject, int], tuple[int, int, int]] = {}
    for subject, *mark in marks:
        from_ms, to_ms, made_ms = mark
        key = subject, _slot_of((from_ms, to_ms), now_ms)
        low, high, first_ms = held.get(key, mark)
        held[key] = min(low, from_ms), max(high, to_ms), min(first_ms, made_ms)
    return [
        (subject, slot, low, high, now_ms, first_ms)
        for (subject, slot), (low, high, first_ms) in sorted(held.items())
    ]


def hand_over_sources(conn: Connection, now_ms: int, from_id: int = 0) -> int | None:
    """Turn marks of sources into marks of the vehicles they were bound to at those times.

    Marks of unclaimed sources end here: a binding made later marks its vehicle itself. Takes some,
    from a source id on, for who would widen them waits until this is committed; from which id on
    there may be more, None when there are none.
    """
    columns = dirty.c
    # one that another transaction has locked is about to widen: it is taken next time
    chosen = select(columns.id).where(columns.source_id >= from_id)
    chosen = chosen.order_by(columns.source_id).limit(_MARKS_HANDED_OVER)
    taken = delete(dirty).where(columns.id.in_(chosen.with_for_update(skip_locked=True)))
    marked = conn.execute(taken.returning(*columns)).all()
    if not marked:
        return None
    by_source: dict[int, list[Any]] = {}
    for row in marked:
        by_source.setdefault(row.source_id, []).append(row)
    marks = []
    for bound in conn.execute(
        select(
            binding.c.source_id, binding.c.vehicle_id, binding.c.valid_from, binding.c.valid_to
        ).where(among(conn, binding.c.source_id, by_source))
    ):
        until_ms = TIME_MS_MAX if bound.valid_to is None else bound.valid_to
        for mark in by_source.get(bound.source_id, []):
            from_ms, to_ms = max(mark.from_time, bound.valid_from), min(mark.to_time, until_ms)
            if from_ms <= to_ms:
                marks.append((bound.vehicle_id, from_ms, to_ms, mark.marked_at))
    _VEHICLES.run(conn, _rows(marks, now_ms))
    return max(by_source) if len(marked) >= _MARKS_HANDED_OVER else None


def forget(conn: Connection, seen: Sequence[tuple[int, int]]) -> None:
    """Remove the marks, given as (id, revision), that have not widened since they were seen."""
    columns = dirty.c
    asked = _SEEN.table(conn.dialect.name)
    is_seen = and_(columns.id == asked.c.id, columns.revision == asked.c.revision)
    # one that another transaction has locked is about to widen, and stays
    query = select(columns.id).join(asked, is_seen).with_for_update(of=dirty, skip_locked=True)
    ids = conn.execute(query, _SEEN.values(conn, seen)).scalars().all()
    conn.execute(delete(dirty).where(among(conn, columns.id, ids)))
