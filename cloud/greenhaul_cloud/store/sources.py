"""Sources: the names readings come under, as small integers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select

from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.statements import Upsert, insert_into
from greenhaul_cloud.store.tables import source

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


@dataclass(frozen=True, slots=True)
class Carried:
    """That a source was heard: by what gateway, and up to when it was received there."""

    received_ms: int
    gateway: str


_NOTED = Upsert(
    source,
    ["id", "name", "gateway_id", "last_received_time", "first_stored_time"],
    ["id"],
    lambda new: {
        "gateway_id": new.gateway_id,
        "last_received_time": new.last_received_time,
        "first_stored_time": func.coalesce(source.c.first_stored_time, new.first_stored_time),
    },
    lambda new: or_(
        source.c.last_received_time.is_(None),
        source.c.last_received_time < new.last_received_time,
    ),
)


def note_sources(
    conn: Connection, carried: Mapping[str, Carried], ids: Mapping[str, int], now_ms: int
) -> None:
    """Who carried each source last, and up to when it was received."""
    rows = [
        (ids[name], name, one.gateway, one.received_ms, now_ms) for name, one in carried.items()
    ]
    _NOTED.run(conn, sorted(rows))
