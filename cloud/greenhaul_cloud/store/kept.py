"""Since when readings of a kind are kept: what was deleted before it cannot be folded again."""

from sqlalchemy import Connection, select

from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import kept_from
from greenhaul_protocols.catalogue import KIND_OF, KindSpec, Position

_POSITION = KIND_OF[Position]


def put_kept_from(conn: Connection, kind: KindSpec, from_ms: int) -> None:
    """Say, before they are deleted, that readings before an instant are going; never goes back."""
    statement = insert_into(conn, kept_from).values(kind=kind.number, from_time=from_ms)
    later = statement.excluded.from_time > kept_from.c.from_time
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["kind"], set_={"from_time": statement.excluded.from_time}, where=later
        )
    )


def positions_kept_from(conn: Connection) -> int | None:
    """Since when positions are kept; None when none were ever deleted."""
    query = select(kept_from.c.from_time).where(kept_from.c.kind == _POSITION.number)
    found = conn.execute(query).scalar()
    return None if found is None else int(found)
