"""Sources: the names readings come under, as small integers."""

from collections.abc import Iterable

from sqlalchemy import Connection, and_, bindparam, func, literal, or_, select, update

from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import source
from greenhaul_protocols.bulk import SeriesColumns

# Names in one IN list; both engines take far more, planners slow down.
_NAMES_MAX = 1_000


def source_ids(store: Store, conn: Connection, names: Iterable[str]) -> dict[str, int]:
    """Ids by name; names not seen before are entered."""
    wanted = sorted(set(names))
    found = {name: store.source_ids[name] for name in wanted if name in store.source_ids}
    missing = [name for name in wanted if name not in found]
    committed = _look_up(conn, missing)
    for name, source_id in committed.items():
        store.remember_source(name, source_id)
    new = [name for name in missing if name not in committed]
    if new:
        conn.execute(
            insert_into(conn, source).on_conflict_do_nothing(),
            [{"name": name} for name in new],
        )
    # not remembered yet: this transaction may roll back
    return found | committed | _look_up(conn, new)


def known_ids(store: Store, conn: Connection, names: Iterable[str]) -> dict[str, int]:
    """Ids of those the store knows already."""
    wanted = sorted(set(names))
    found = {name: store.source_ids[name] for name in wanted if name in store.source_ids}
    return found | _look_up(conn, [name for name in wanted if name not in found])


def _look_up(conn: Connection, names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for at in range(0, len(names), _NAMES_MAX):
        query = select(source.c.name, source.c.id)
        query = query.where(source.c.name.in_(names[at : at + _NAMES_MAX]))
        found |= {row.name: row.id for row in conn.execute(query)}
    return found


def note_sources(
    conn: Connection, heard: Iterable[tuple[int, str, SeriesColumns]], now_ms: int
) -> None:
    """Who carried each source last, and up to when it was received; (id, gateway, series)."""
    newest: dict[int, tuple[int, str]] = {}
    for source_id, gateway, series in heard:
        if len(series):
            at = (int(series.received_time_ms.max()), gateway)
            newest[source_id] = max(newest.get(source_id, at), at)
    if not newest:
        return
    stored_at = literal(now_ms, source.c.first_stored_time.type)
    is_newer = or_(
        source.c.last_received_time.is_(None), source.c.last_received_time < bindparam("heard_at")
    )
    conn.execute(
        update(source)
        .where(and_(source.c.id == bindparam("of_source"), is_newer))
        .values(
            gateway_id=bindparam("carried_by"),
            last_received_time=bindparam("heard_at"),
            first_stored_time=func.coalesce(source.c.first_stored_time, stored_at),
        ),
        [
            {"of_source": source_id, "heard_at": at, "carried_by": gateway}
            for source_id, (at, gateway) in sorted(newest.items())
        ],
    )
