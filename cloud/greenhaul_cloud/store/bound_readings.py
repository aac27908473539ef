"""Readings of a vehicle, of any kind: those of its sources while they were bound to it."""

from operator import itemgetter

from sqlalchemy import Connection, Text, literal, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.pages import Page, PageSpec, key_of, read_page
from greenhaul_cloud.store.tracks import Bound, bound_sources, span_of
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN


def list_bound(
    connection: Connection,
    kind: int,
    vehicle_id: str,
    page: PageSpec,
    *,
    from_ms: int | None,
    to_ms: int | None,
    is_newest_first: bool = True,
) -> Page:
    """Readings with from ≤ device time < to. The caller may see the vehicle.

    Keys are (device time, source id, digest).
    """
    low_ms = TIME_MS_MIN if from_ms is None else from_ms
    high_ms = TIME_MS_MAX if to_ms is None else to_ms
    if page.after is not None:
        last_ms = int(page.after[0])
        if is_newest_first:
            high_ms = min(high_ms, last_ms + 1)
        else:
            low_ms = max(low_ms, last_ms)
    # one at a time, each in the order of its key: together, PostgreSQL would sort all there is
    pages = [
        _read_source(connection, kind, bound, page, (low_ms, high_ms), is_newest_first)
        for bound in bound_sources(connection, vehicle_id, low_ms, high_ms)
    ]
    rows = sorted(
        ((key_of(row), row) for one in pages for row in one.rows),
        key=itemgetter(0),
        reverse=is_newest_first,
    )
    has_more = len(rows) > page.limit or any(one.next_key is not None for one in pages)
    rows = rows[: page.limit]
    return Page([row for _, row in rows], rows[-1][0] if has_more else None)


def _read_source(
    connection: Connection,
    kind: int,
    bound: Bound,
    page: PageSpec,
    span: tuple[int, int],
    is_newest_first: bool,
) -> Page:
    table = tables.readings[kind]
    source_id, low_ms, high_ms = span_of(bound, *span)
    query = select(table, literal(bound.source, Text).label("source")).where(
        table.c.source_id == source_id,
        table.c.device_time >= low_ms,
        table.c.device_time < high_ms,
    )
    key = [table.c.device_time, table.c.source_id, table.c.digest]
    return read_page(connection, query, key, page, is_descending=is_newest_first)
