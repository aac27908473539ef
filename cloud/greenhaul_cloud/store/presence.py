"""Whether gateways are connected, as the broker tells it."""

from sqlalchemy import insert, or_, update

from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.tables import feed, gateway


def note_presence(store: Store, gateway_id: str, is_online: bool, now_ms: int) -> bool:
    """Note that a gateway came or went, and tell the streams; False when nothing changed."""
    with store.write() as conn:
        is_other = or_(gateway.c.is_online.is_(None), gateway.c.is_online != is_online)
        changed = conn.execute(
            update(gateway).where(gateway.c.id == gateway_id, is_other).values(is_online=is_online)
        )
        if not changed.rowcount:
            return False
        store.driver.lock_feed(conn)
        body = {"gateway_id": gateway_id, "is_online": is_online}
        conn.execute(insert(feed).values(at=now_ms, topic="gateways", body=body))
        return True
