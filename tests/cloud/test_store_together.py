"""Several collectors at one store: nobody waits in a circle, nothing is counted twice."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from greenhaul_cloud.store.settling import receipt_for
from greenhaul_cloud.store.tables import dirty, latest, position
from greenhaul_cloud.store.write import store_blocks

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store
    from greenhaul_protocols.receipt import LaneState, Receipt

READINGS, SOURCES, COLLECTORS = 240, 9, 4


def test_collectors_share_gateways_sources_and_readings(kit: Kit, store: Store) -> None:
    """Every collector gets every block, in an order of its own; nothing has to be tried again."""
    readings = [kit.position(f"808:{i % SOURCES}", kit.now_ms + i * 100) for i in range(READINGS)]
    outboxes = [kit.outbox(f"gw-{n}", readings=readings[:: 1 if n else -1]) for n in range(2)]
    for outbox in outboxes:
        kit.register(store, outbox.gateway)

    def collect(seed: int) -> list[Receipt]:
        rng = random.Random(seed)
        receipts: list[Receipt] = []
        cuts = [(o, f) for o in outboxes for f in range(1, READINGS + 1, 20)]
        rng.shuffle(cuts)
        while cuts:
            flush = [cuts.pop() for _ in range(min(len(cuts), rng.randrange(1, 5)))]
            blocks = [outbox.received(first, first + 19) for outbox, first in flush]
            receipts += store_blocks(store, blocks, kit.now_ms).receipts.values()
        return receipts

    with ThreadPoolExecutor(COLLECTORS) as pool:
        receipts = [one for found in pool.map(collect, range(COLLECTORS)) for one in found]
    with store.write() as conn:
        lanes: list[LaneState] = []
        for outbox in outboxes:
            receipt = receipt_for(conn, outbox.gateway, kit.epoch, store.store_id, kit.now_ms)
            lanes += receipt.lanes
        assert conn.execute(select(func.count()).select_from(position)).scalar_one() == READINGS
        assert len(conn.execute(select(latest)).all()) == SOURCES
        assert len(conn.execute(select(dirty)).all()) == SOURCES
    assert [lane.settled for lane in lanes] == [((1, READINGS),)] * 2
    assert [lane.stored + lane.duplicate for lane in lanes] == [READINGS] * 2
    assert sum(lane.stored for lane in lanes) == READINGS
    by_gateway: dict[str, list[Receipt]] = {}
    for one in receipts:
        by_gateway.setdefault(one.gateway, []).append(one)
    for mine in by_gateway.values():
        mine.sort(key=lambda one: one.revision)
        assert len({one.revision for one in mine}) == len(mine)
        totals = [sum(b - a + 1 for a, b in one.lanes[0].settled) for one in mine]
        assert totals == sorted(totals), "a newer receipt never settles less"
