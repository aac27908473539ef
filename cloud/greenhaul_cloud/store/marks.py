"""Dirty marks: what the fold has to look at again, written with whatever changed.

Anything with validity in time leaves one in its own transaction: readings for their source,
bindings, attributes and fence versions for their vehicle. A mark widens until a fold takes it;
its revision tells the fold whether it widened meanwhile.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, literal_column, select, tuple_

from greenhaul_cloud.store.statements import Upsert
from greenhaul_cloud.store.tables import binding, dirty
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

Span = tuple[int, int]

# A reading can change which source leads this far around it (architecture, section 3: track).
LEAD_GAP_MS = 30_000
# Marks deleted by one statement; both engines take more parameters.
_MARKS_MAX = 1_000


def _either(condition: ColumnElement[bool], one: Any, other: Any, name: str) -> Any:
    return case((condition, one[name]), else_=other[name])


def _widening(subject: str) -> Upsert:
    return Upsert(
        dirty,
        [subject, "from_time", "to_time", "revision"],
        [subject],
        lambda new: {
            "from_time": _either(new.from_time < dirty.c.from_time, new, dirty.c, "from_time"),
            "to_time": _either(new.to_time > dirty.c.to_time, new, dirty.c, "to_time"),
            # by the clock, so that a mark made anew never looks like one seen before
            "revision": case(
                (new.revision > dirty.c.revision, new.revision),
                else_=dirty.c.revision + literal_column("1"),
            ),
        },
    )


_SOURCES, _VEHICLES = _widening("source_id"), _widening("vehicle_id")


def mark_sources(conn: Connection, spans: Mapping[int, Span], now_ms: int) -> None:
    """New readings of sources between two device times, by source id."""
    reaching = {
        source_id: (max(from_ms - LEAD_GAP_MS, TIME_MS_MIN), min(to_ms + LEAD_GAP_MS, TIME_MS_MAX))
        for source_id, (from_ms, to_ms) in spans.items()
    }
    _SOURCES.run(conn, [(key, *span, now_ms) for key, span in sorted(reaching.items())])


def mark_vehicles(conn: Connection, spans: Mapping[str, Span], now_ms: int) -> None:
    """Something about vehicles changed between two instants, by vehicle id."""
    _VEHICLES.run(conn, [(key, *span, now_ms) for key, span in sorted(spans.items())])


def hand_over_sources(conn: Connection, now_ms: int) -> None:
    """Turn marks of sources into marks of the vehicles they were bound to at those times.

    Marks of unclaimed sources end here: a binding made later marks its vehicle itself.
    """
    marked = conn.execute(
        select(dirty.c.id, dirty.c.revision, dirty.c.source_id, dirty.c.from_time, dirty.c.to_time)
        .where(dirty.c.source_id.is_not(None))
        .order_by(dirty.c.source_id)
    ).all()
    if not marked:
        return
    spans: dict[str, Span] = {}
    by_source = {row.source_id: row for row in marked}
    for bound in conn.execute(
        select(
            binding.c.source_id, binding.c.vehicle_id, binding.c.valid_from, binding.c.valid_to
        ).where(binding.c.source_id.in_(select(dirty.c.source_id)))
    ):
        mark = by_source.get(bound.source_id)
        if mark is None:
            continue
        from_ms = max(mark.from_time, bound.valid_from)
        to_ms = mark.to_time if bound.valid_to is None else min(mark.to_time, bound.valid_to)
        if from_ms <= to_ms:
            before = spans.get(bound.vehicle_id, (from_ms, to_ms))
            spans[bound.vehicle_id] = (min(before[0], from_ms), max(before[1], to_ms))
    mark_vehicles(conn, spans, now_ms)
    forget(conn, [(row.id, row.revision) for row in marked])


def forget(conn: Connection, seen: Sequence[tuple[int, int]]) -> None:
    """Remove the marks, given as (id, revision), that have not widened since they were seen."""
    columns = dirty.c
    for at in range(0, len(seen), _MARKS_MAX):
        is_seen = tuple_(columns.id, columns.revision).in_(seen[at : at + _MARKS_MAX])
        # locked in the order in which marks are written
        order = (columns.source_id, columns.vehicle_id)
        query = select(columns.id).where(is_seen).order_by(*order).with_for_update()
        ids = conn.execute(query).scalars().all()
        conn.execute(delete(dirty).where(columns.id.in_(ids)))
