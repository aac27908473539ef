"""Bindings, and the track they make of several sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import delete, insert, select

from greenhaul_cloud.store import tracks
from greenhaul_cloud.store.bindings import bind, end_binding
from greenhaul_cloud.store.bound_readings import list_bound
from greenhaul_cloud.store.leading import leading
from greenhaul_cloud.store.pages import PageSpec
from greenhaul_cloud.store.tables import binding, dirty, position, source, vehicle
from greenhaul_cloud.store.tracks import (
    bound_sources,
    first_from,
    last_before,
    load_track,
    read_track,
)
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import TimeQuality
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.times import TIME_MS_MAX

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


def times(*seconds: float) -> Any:
    return np.array([round(s * 1000) for s in seconds], np.int64)


def chosen(*sources: Any) -> list[list[float]]:
    masks = leading(sources)
    return [(t[mask] / 1000).tolist() for t, mask in zip(sources, masks, strict=True)]


def test_the_best_source_without_a_gap_leads() -> None:
    best, other = times(0, 10, 20, 100, 110), times(5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 105, 115)
    leads = [0, 10, 20, 100, 110]
    assert chosen(best, other) == [leads, [25, 35, 45, 55, 65, 75, 85, 95, 115]]


def test_a_lone_reading_yields_to_a_steady_source_of_lower_rank() -> None:
    assert chosen(times(50), times(30, 45, 60)) == [[], [30, 45, 60]]


def test_where_all_have_gaps_readings_count_where_they_are() -> None:
    assert chosen(times(0, 60, 120), times(25, 60, 95)) == [[0, 60, 120], [25, 95]]


def test_exactly_thirty_seconds_is_no_gap() -> None:
    assert chosen(times(0, 30), times(15)) == [[0, 30], []]
    assert chosen(times(0, 30.001), times(15)) == [[0, 30.001], [15]]


def test_a_new_reading_changes_who_leads_no_farther_than_a_mark_reaches() -> None:
    rng = np.random.default_rng(7)
    for _ in range(300):
        sources = [np.unique(rng.integers(0, 300, rng.integers(1, 12))) * 1000 for _ in range(3)]
        which, at = int(rng.integers(3)), int(rng.integers(0, 300)) * 1000
        more = list(sources)
        more[which] = np.unique(np.append(more[which], at))
        before = {(i, t) for i, one in enumerate(chosen(*sources)) for t in one}
        after = {(i, t) for i, one in enumerate(chosen(*more)) for t in one}
        assert all(abs(t * 1000 - at) <= 30_000 for _, t in before ^ after)


def prepare(kit: Kit, store: Store, *vehicles: str) -> None:
    kit.register(store)
    with store.write() as conn:
        for vehicle_id in vehicles:
            conn.execute(insert(vehicle).values(id=vehicle_id, created_at=kit.now_ms))


def send(kit: Kit, store: Store, name: str, *seconds: float, **values: Any) -> None:
    said = [kit.position(name, kit.now_ms + round(s * 1000), **values) for s in seconds]
    outbox = kit.outbox(readings=said)
    store_blocks(store, [outbox.received(1, len(said))], kit.now_ms)


def test_a_track_follows_its_bindings(kit: Kit, store: Store) -> None:
    prepare(kit, store, "v1", "v2")
    send(kit, store, "808:1", *range(0, 100, 10))
    send(kit, store, "gw-1/gnss", *range(5, 105, 10), speed_kmh=7.0)
    send(kit, store, "808:1", 33, is_located=False)
    send(kit, store, "808:1", 34, time_quality=TimeQuality.BOUNDED)
    with store.write() as conn:
        bind(conn, "808:1", "v1", valid_from_ms=0, priority=5, now_ms=kit.now_ms)
        bind(conn, "gw-1/gnss", "v1", valid_from_ms=0, now_ms=kit.now_ms)
        bind(conn, "808:1", "v2", valid_from_ms=kit.now_ms + 50_000, now_ms=kit.now_ms)

    def seconds_of(vehicle_id: str, low: float = 0, high: float = 1000) -> list[float]:
        from_ms, to_ms = kit.now_ms + round(low * 1000), kit.now_ms + round(high * 1000)
        with store.read() as conn:
            found = load_track(conn, bound_sources(conn, vehicle_id), from_ms, to_ms)
        seconds: list[float] = ((found.device_time_ms - kit.now_ms) / 1000).tolist()
        return seconds

    assert seconds_of("v2") == [50, 60, 70, 80, 90]
    assert seconds_of("v1") == [0, 10, 20, 30, 40, 45, 55, 65, 75, 85, 95]
    assert seconds_of("v1", 5, 45) == [10, 20, 30, 40]
    with store.read() as conn:
        bounds = bound_sources(conn, "v1")
        assert [bound.source for bound in bounds] == ["808:1", "gw-1/gnss"]
        assert last_before(conn, bounds, kit.now_ms + 50_000) == kit.now_ms + 45_000
        assert first_from(conn, bounds, kit.now_ms + 50_000) == kit.now_ms + 55_000
        assert first_from(conn, bounds, kit.now_ms + 96_000) is None
        assert last_before(conn, bounds, kit.now_ms) is None
        track = load_track(conn, bounds, kit.now_ms, TIME_MS_MAX)
    assert track.values["speed_kmh"][-1] == 7.0
    assert np.isnan(track.values["speed_kmh"][0])
    assert [track.sources[i] for i in track.source[[0, -1]]] == ["808:1", "gw-1/gnss"]


def test_a_streamed_track_is_the_whole_track(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "CHUNK_READINGS", 7)
    prepare(kit, store, "v1")
    rng = np.random.default_rng(3)
    for name in ("808:1", "808:2"):
        send(kit, store, name, *np.unique(rng.integers(0, 900, 60)).tolist())
    send(kit, store, "808:2", *[100] * 1, speed_kmh=3.0)
    with store.write() as conn:
        bind(conn, "808:1", "v1", valid_from_ms=0, priority=1, now_ms=kit.now_ms)
        bind(conn, "808:2", "v1", valid_from_ms=kit.now_ms + 300_000, now_ms=kit.now_ms)
    with store.read() as conn:
        whole = load_track(conn, bound_sources(conn, "v1"), kit.now_ms, kit.now_ms + 900_000)
        chunks = list(read_track(conn, "v1", kit.now_ms, kit.now_ms + 900_000))
    assert len(chunks) > 5
    for name in ("device_time_ms", "digest"):
        parts = [getattr(chunk, name) for chunk in chunks]
        assert np.array_equal(np.concatenate(parts), getattr(whole, name))
    names = [chunk.sources[i] for chunk in chunks for i in chunk.source]
    assert names == [whole.sources[i] for i in whole.source]


@pytest.mark.parametrize("is_newest_first", [True, False])
def test_readings_of_several_sources_page_through_in_one_order(
    kit: Kit, store: Store, is_newest_first: bool
) -> None:
    prepare(kit, store, "v1")
    for name in ("808:1", "808:2", "808:3"):
        send(kit, store, name, *range(0, 100, 10))
    with store.write() as conn:
        for name, from_s, to_s in (("808:1", 0, 60), ("808:2", 30, None), ("808:1", 80, None)):
            bind(
                conn, name, "v1", valid_from_ms=kit.now_ms + from_s * 1000,
                valid_to_ms=None if to_s is None else kit.now_ms + to_s * 1000, now_ms=kit.now_ms,
            )  # fmt: skip

    def pages(limit: int) -> list[list[Any]]:
        found, spec = [], PageSpec(limit)
        while True:
            with store.read() as conn:
                page = list_bound(
                    conn, 1, "v1", spec, from_ms=kit.now_ms + 10_000, to_ms=kit.now_ms + 90_000,
                    is_newest_first=is_newest_first,
                )  # fmt: skip
            told = [((row["device_time"] - kit.now_ms) // 1000, row["source"]) for row in page.rows]
            found.append(told)
            if page.next_key is None:
                return found
            spec = PageSpec(limit, page.next_key)

    [whole] = pages(100)
    first = [(s, "808:1") for s in (10, 20, 30, 40, 50, 80)]
    assert sorted(whole) == sorted(first + [(s, "808:2") for s in range(30, 90, 10)])
    assert [s for s, _ in whole] == sorted((s for s, _ in whole), reverse=is_newest_first)
    for limit in (1, 2, 3, 5, 11, 12):
        parts = pages(limit)
        assert [row for page in parts for row in page] == whole
        assert all(len(page) == limit for page in parts[:-1])


def test_a_long_track_is_loaded_whole_however_many_rows_at_a_time(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(kit, store, "v1")
    rng = np.random.default_rng(5)
    for speed in range(9):  # as many readings of some instants
        send(kit, store, "808:1", *rng.integers(0, 6, 4).tolist(), 7, speed_kmh=float(speed))
    send(kit, store, "808:1", *range(8, 40))
    with store.write() as conn:
        bind(conn, "808:1", "v1", valid_from_ms=0, now_ms=kit.now_ms)
    tables = []
    for rows_max in (10_000, 1, 2, 5, 9):
        monkeypatch.setattr(tracks, "ROWS_MAX", rows_max)
        with store.read() as conn:
            tables.append(load_track(conn, bound_sources(conn, "v1"), 0, TIME_MS_MAX))
    whole, *others = tables
    assert len(whole) > 50
    for other in others:
        assert np.array_equal(other.device_time_ms, whole.device_time_ms)
        assert np.array_equal(other.digest, whole.digest)
        assert np.array_equal(other.values["speed_kmh"], whole.values["speed_kmh"], equal_nan=True)


def test_claiming_re_keys_nothing(kit: Kit, store: Store) -> None:
    prepare(kit, store, "v1")
    send(kit, store, "808:1", 1, 2, 3)
    with store.read() as conn:
        before = conn.execute(select(position)).all()
    with store.write() as conn:
        bind(conn, "808:1", "v1", valid_from_ms=0, now_ms=kit.now_ms)
    with store.read() as conn:
        assert conn.execute(select(position)).all() == before


def test_a_source_is_bound_to_one_vehicle_at_a_time(kit: Kit, store: Store) -> None:
    prepare(kit, store, "v1", "v2")
    with store.write() as conn:
        first = bind(conn, "808:9", "v1", valid_from_ms=1000, now_ms=kit.now_ms)  # early
        bind(conn, "808:9", "v2", valid_from_ms=5000, valid_to_ms=9000, now_ms=kit.now_ms)
        assert conn.execute(select(source.c.first_stored_time)).scalar_one() is None
    refused = [
        ({"valid_from_ms": 6000}, "is bound to vehicle 'v2'"),
        ({"valid_from_ms": 500, "valid_to_ms": 2000}, "is bound to vehicle 'v1'"),
        ({"valid_from_ms": 9000, "valid_to_ms": 9000}, "later than valid_from"),
    ]
    for span, says in refused:
        with pytest.raises(Rejected, match=says), store.write() as conn:
            bind(conn, "808:9", "v1", now_ms=kit.now_ms, **span)
    with pytest.raises(Rejected, match="not known"), store.write() as conn:
        bind(conn, "808:9", "v3", valid_from_ms=9000, now_ms=kit.now_ms)
    with store.read() as conn:
        query = select(binding.c.vehicle_id, binding.c.valid_from, binding.c.valid_to)
        rows = conn.execute(query.order_by(binding.c.id)).all()
    assert [tuple(row) for row in rows] == [("v1", 1000, 5000), ("v2", 5000, 9000)]
    with pytest.raises(Rejected, match="another vehicle"), store.write() as conn:
        end_binding(conn, first, 6000, kit.now_ms)
    with store.write() as conn:
        end_binding(conn, first, 3000, kit.now_ms)


def test_bindings_mark_what_they_change(kit: Kit, store: Store) -> None:
    prepare(kit, store, "v1", "v2")
    with store.write() as conn:
        first = bind(conn, "808:9", "v1", valid_from_ms=1000, now_ms=kit.now_ms)
        conn.execute(delete(dirty))
        bind(conn, "808:9", "v2", valid_from_ms=5000, valid_to_ms=9000, now_ms=kit.now_ms)
        marks = {
            row.vehicle_id: (row.from_time, row.to_time) for row in conn.execute(select(dirty))
        }
        assert marks == {"v1": (5000, TIME_MS_MAX), "v2": (5000, 9000)}
        conn.execute(delete(dirty))
        end_binding(conn, first, 4000, kit.now_ms)
        mark = conn.execute(select(dirty)).one()
        assert (mark.vehicle_id, mark.from_time, mark.to_time) == ("v1", 4000, 5000)
