"""What folds say, written together: one short transaction, under the vehicles' locks."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert

from greenhaul_cloud.derive.cases import states_of
from greenhaul_cloud.derive.folding import Folded
from greenhaul_cloud.derive.inputs import FenceSet
from greenhaul_cloud.derive.results import FoldWriter
from greenhaul_cloud.store.asking import among
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.marks import forget
from greenhaul_cloud.store.statements import Upsert, insert_into
from greenhaul_cloud.store.tables import feed, fold_failure, fold_state

REASON_LENGTH_MAX = 500

_STATES = Upsert(
    fold_state,
    ["vehicle_id", "as_of", "due_at"],
    ["vehicle_id"],
    lambda new: {"as_of": new.as_of, "due_at": new.due_at},
)


def write_folds(store: Store, folds: Sequence[Folded], fences: FenceSet, now_ms: int) -> int:
    """Write those that no other process came before; how many rows the streams were told.

    A mark goes only if it has not widened since its fold saw it.
    """
    by_id = {fold.case.vehicle_id: fold for fold in folds}
    with store.write() as conn:
        locked = store.driver.lock_vehicles(conn, sorted(by_id))
        states = states_of(conn, sorted(locked))
        as_of_ms = {vehicle_id: state.as_of_ms for vehicle_id, state in states.items()}
        # every writer takes vehicles in one order
        ours = [
            by_id[key]
            for key in sorted(locked)
            if as_of_ms.get(key) == by_id[key].case.last_as_of_ms
        ]
        news = [row for fold in ours for row in _write(conn, fold, fences, now_ms)]
        _STATES.run(conn, [(f.case.vehicle_id, f.case.as_of_ms, f.due_ms) for f in ours])
        names = [fold.case.vehicle_id for fold in ours]
        conn.execute(delete(fold_failure).where(among(conn, fold_failure.c.vehicle_id, names)))
        forget(conn, [(mark.mark_id, mark.revision) for fold in ours for mark in fold.case.marks])
        if news:
            store.driver.lock_feed(conn)
            conn.execute(insert(feed), news)
        return len(news)


def _write(conn: Connection, fold: Folded, fences: FenceSet, now_ms: int) -> list[dict[str, Any]]:
    writer = FoldWriter(conn, fold.case.vehicle_id, fences, now_ms)
    for fence_id, result in fold.result.fences.items():
        writer.write(fence_id, result)
    return writer.news()


def note_failure(store: Store, vehicle_id: str, error: Exception, now_ms: int) -> None:
    """Keep, for people, why a vehicle's fold raised, and how often."""
    reason = f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX]
    with store.write() as conn:
        values = {"failed_at": now_ms, "reason": reason}
        conn.execute(
            insert_into(conn, fold_failure)
            .values(vehicle_id=vehicle_id, count=1, **values)
            .on_conflict_do_update(
                index_elements=["vehicle_id"],
                set_={**values, "count": fold_failure.c.count + 1},
            )
        )
