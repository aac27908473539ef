"""Whether gateways are connected, as the broker tells it."""

from collections.abc import Mapping

from sqlalchemy import insert, or_, update

from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.tables import feed, gateway


def note_presences(store: Store, online: Mapping[str, bool], now_ms: int) -> list[str]:
    """Note which gateways came or went, by id, and tell the streams; those that changed."""
    with store.write() as conn:
        changed = []
        for gateway_id, is_online in sorted(online.items()):
            is_other = or_(gateway.c.is_online.is_(None), gateway.c.is_online != is_online)
            done = conn.execute(
                update(gateway)
                .where(gateway.c.id == gateway_id, is_other)
                .values(is_online=is_online)
            )
            if done.rowcount:
                changed.append(gateway_id)
        if changed:
            store.driver.lock_feed(conn)
            rows = [
                {
                    "at": now_ms,
                    "topic": "gateways",
                    "body": {"gateway_id": gateway_id, "is_online": online[gateway_id]},
                }
                for gateway_id in changed
            ]
            conn.execute(insert(feed), rows)
        return changed
