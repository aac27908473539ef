"""Quarantine is a waiting room: what can be stored later is let in, and counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from greenhaul_cloud.store.inspection import receive_block
from greenhaul_cloud.store.releasing import grant_sources, release_quarantine
from greenhaul_cloud.store.settling import receipt_for
from greenhaul_cloud.store.tables import dirty, latest, position, quarantine, source
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.series import encode_body, to_series

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


def quarantined(store: Store) -> list[int]:
    with store.read() as conn:
        return list(conn.execute(select(quarantine.c.id).order_by(quarantine.c.id)).scalars())


def test_what_was_not_granted_comes_in_when_it_is(kit: Kit, store: Store) -> None:
    kit.register(store, sources=())
    said = [kit.position(f"808:{i % 2}", kit.now_ms + i, speed_kmh=1.5) for i in range(6)]
    store_blocks(store, [kit.outbox(readings=said).received(1, 6)], kit.now_ms)
    assert len(quarantined(store)) == 2
    with pytest.raises(Rejected, match="not granted"):
        release_quarantine(store, quarantined(store)[0], kit.now_ms)
    released = grant_sources(store, "gw-1", ["808:0"], kit.now_ms)
    assert (released.entries, released.readings, released.duplicates) == (1, 3, 0)
    released = grant_sources(store, "gw-1", ["808:*"], kit.now_ms)
    assert (released.entries, released.readings) == (1, 3)
    with store.read() as conn:
        rows = conn.execute(select(position.c.device_time, position.c.speed_kmh)).all()
        assert sorted(tuple(row) for row in rows) == [(kit.now_ms + i, 1.5) for i in range(6)]
        assert len(conn.execute(select(latest)).all()) == 2
        assert len(conn.execute(select(dirty)).all()) == 2
        assert set(conn.execute(select(source.c.gateway_id)).scalars()) == {"gw-1"}
    with store.write() as conn:
        receipt = receipt_for(conn, "gw-1", kit.epoch, store.store_id, kit.now_ms)
    (lane,) = receipt.lanes
    assert (lane.settled, lane.stored, lane.quarantined) == (((1, 6),), 0, 6)
    assert lane.refused == ()
    with pytest.raises(Rejected, match="before"):
        release_quarantine(store, quarantined(store)[0], kit.now_ms)


def test_what_is_still_not_decodable_stays(kit: Kit, store: Store) -> None:
    kit.register(store)
    series = to_series([kit.position("808:1", kit.now_ms)])
    series[0].numbers = [1]
    header = BlockHeader(gateway="gw-1", epoch=kit.epoch, lane=1, first=1, count=1)
    broken = wrap_block(header, encode_body(series))
    store_blocks(store, [receive_block("gw-1", 1, broken)], kit.now_ms)
    store_blocks(store, [receive_block("gw-1", 1, b"damaged")], kit.now_ms)
    whole, damaged = quarantined(store)
    with pytest.raises(Rejected, match="numbers of the body"):
        release_quarantine(store, whole, kit.now_ms)
    with pytest.raises(Rejected, match="sends the readings again"):
        release_quarantine(store, damaged, kit.now_ms)
    with pytest.raises(Rejected, match="not known"):
        release_quarantine(store, 10**6, kit.now_ms)
    with pytest.raises(Rejected, match="not known"):
        grant_sources(store, "gw-9", ["*"], kit.now_ms)
