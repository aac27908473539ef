"""What a PUT of a fence makes: a version, other attributes, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert, select

from greenhaul_cloud.derive.inputs import FenceShelf
from greenhaul_cloud.fences.feature import FeatureError
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.fences import (
    BACKDATED_MS_MAX,
    end_fence,
    fences_state,
    find_fence,
    list_fences,
    list_versions,
    load_fences,
    put_fence,
)
from greenhaul_cloud.store.pages import PageSpec
from greenhaul_cloud.store.tables import dirty, vehicle
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

RING = [[112.5, 33.0], [112.6, 33.0], [112.6, 33.1], [112.5, 33.1], [112.5, 33.0]]


def area(size: float = 0.1, **properties: Any) -> dict[str, Any]:
    ring = [[112.5 + size * (x > 112.5), 33.0 + size * (y > 33.0)] for x, y in RING]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"id": "centre", "rules": [{"rule": "no_entry"}], **properties},
    }


def put(store: Store, feature: dict[str, Any], now_ms: int) -> tuple[int, bool]:
    with store.write() as conn:
        done = put_fence(conn, feature, now_ms, "somebody")
    return done.version, done.is_new_version


def test_only_what_is_judged_makes_a_version(kit: Kit, store: Store) -> None:
    now_ms = kit.now_ms
    assert put(store, area(), now_ms) == (1, True)
    with store.read() as conn:
        state = fences_state(conn)
    assert put(store, area(), now_ms + 1) == (1, False)
    assert put(store, area(version=1), now_ms + 1) == (1, False)  # as the API shows it
    with store.read() as conn:
        assert fences_state(conn) == state
    assert put(store, area(note="drawn by Lin"), now_ms + 1) == (1, False)
    assert put(store, area(name="城区", severity="info"), now_ms + 2) == (1, False)
    with store.read() as conn:
        assert fences_state(conn) != state
        held = find_fence(conn, "centre")
    assert held is not None
    assert held["feature"]["properties"]["name"] == "城区"
    assert held["valid_from"] == now_ms
    changes = [
        area(0.2),
        area(0.2, rules=[{"rule": "speed_limit", "limit_kmh": 30}]),
        area(0.2, applies_to={"energy": ["diesel"]}),
        area(0.2, confirm_s=10),
    ]
    for i, feature in enumerate(changes):
        assert put(store, feature, now_ms + 10 + i) == (2 + i, True)
    with store.read() as conn:
        fence = load_fences(conn)["centre"]
        assert [v.valid_from_ms - now_ms for v in fence.versions] == [0, 10, 11, 12, 13]
        assert [row["version"] for row in list_fences(conn, PageSpec(10, None)).rows] == [5]
        page = list_versions(conn, "centre", PageSpec(10, None))
        assert [row["version"] for row in page.rows] == [5, 4, 3, 2, 1]


def test_a_feature_that_was_read_and_changed_begins_now(kit: Kit, store: Store) -> None:
    put(store, area(valid_from="2014-01-01T00:00:00Z"), kit.now_ms)
    with store.read() as conn:
        held = find_fence(conn, "centre")
    assert held is not None
    edited = {**held["feature"], "geometry": area(0.2)["geometry"]}
    assert put(store, edited, kit.now_ms + 5) == (2, True)
    with store.read() as conn:
        newest = find_fence(conn, "centre")
    assert newest is not None
    assert newest["valid_from"] == kit.now_ms + 5


def test_the_past_is_changed_by_dry_run_and_apply_alone(kit: Kit, store: Store) -> None:
    put(store, area(), kit.now_ms - 2 * BACKDATED_MS_MAX)
    early = area(0.2, valid_from=format_time(kit.now_ms - BACKDATED_MS_MAX - 1))
    with pytest.raises(Rejected, match="dry-run"):
        put(store, early, kit.now_ms)
    late = area(0.2, valid_from=format_time(kit.now_ms - BACKDATED_MS_MAX))
    assert put(store, late, kit.now_ms) == (2, True)


def test_a_new_fence_changes_the_past_by_apply_alone(kit: Kit, store: Store) -> None:
    long_ago = format_time(kit.now_ms - BACKDATED_MS_MAX - 1)
    # nobody was about: nothing that was told changes
    assert put(store, area(id="first", valid_from=long_ago), kit.now_ms) == (1, True)
    kit.register(store)
    said = [kit.position("808:1", kit.now_ms)]
    store_blocks(store, [kit.outbox(readings=said).received(1, 1)], kit.now_ms)
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="v", created_at=kit.now_ms))
        bind(conn, "808:1", "v", valid_from_ms=0, now_ms=kit.now_ms)
    late = area(id="second", valid_from=long_ago)
    with pytest.raises(Rejected, match=r"'second'.*dry-run"):
        put(store, late, kit.now_ms)
    with store.write() as conn:
        done = put_fence(conn, late, kit.now_ms, "somebody", is_applied=True)
    assert done.is_new_fence
    assert put(store, area(id="third"), kit.now_ms) == (1, True)


def test_an_edit_loads_the_fence_that_changed_and_keeps_the_others(kit: Kit, store: Store) -> None:
    shelf = FenceShelf()
    for name in ("b", "a", "c"):
        put(store, area(id=name), kit.now_ms)
    with store.read() as conn:
        before = shelf.take(conn).fences
        assert shelf.take(conn).fences is before
    put(store, area(0.2, id="b"), kit.now_ms + 1)
    put(store, area(id="d"), kit.now_ms + 2)
    with store.write() as conn:
        end_fence(conn, "c", kit.now_ms + 3, kit.now_ms + 3)
    with store.read() as conn:
        after = shelf.take(conn)
        assert after.fences == load_fences(conn)
    assert list(after.fences) == ["a", "b", "c", "d"]
    assert after.fences["a"] is before["a"]
    assert [v.version for v in after.fences["b"].versions] == [1, 2]
    assert after.fences["c"].versions[0].valid_to_ms == kit.now_ms + 3
    assert after.index.slot_of.keys() == {("a", 1), ("b", 1), ("b", 2), ("c", 1), ("d", 1)}


def test_a_feature_that_cannot_be_honoured_leaves_nothing(kit: Kit, store: Store) -> None:
    with pytest.raises(FeatureError):
        put(store, area(rules=[{"rule": "no_such"}]), kit.now_ms)
    with store.read() as conn:
        assert find_fence(conn, "centre") is None


def test_vehicles_with_positions_since_then_are_marked(kit: Kit, store: Store) -> None:
    kit.register(store)
    said = [kit.position(f"808:{i}", kit.now_ms + i * 1000) for i in range(3)]
    store_blocks(store, [kit.outbox(readings=said).received(1, 3)], kit.now_ms)
    with store.write() as conn:
        for i in range(3):
            conn.execute(insert(vehicle).values(id=f"v{i}", created_at=kit.now_ms))
            bind(conn, f"808:{i}", f"v{i}", valid_from_ms=0, now_ms=kit.now_ms)
        conn.execute(delete(dirty))
        put_fence(conn, area(valid_from=format_time(kit.now_ms + 1000)), kit.now_ms, "x")
        marks = conn.execute(select(dirty.c.vehicle_id, dirty.c.from_time)).all()
    assert sorted(tuple(row) for row in marks) == [
        ("v1", kit.now_ms + 1000),
        ("v2", kit.now_ms + 1000),
    ]


def test_a_fence_can_end(kit: Kit, store: Store) -> None:
    put(store, area(), kit.now_ms)
    with store.write() as conn:
        assert end_fence(conn, "centre", kit.now_ms + 1000, kit.now_ms + 500)
        assert not end_fence(conn, "nowhere", kit.now_ms, kit.now_ms)
    with store.read() as conn:
        ((from_ms, to_ms, version),) = load_fences(conn)["centre"].validity()
    assert (from_ms, to_ms, version.version) == (kit.now_ms, kit.now_ms + 1000, 1)
