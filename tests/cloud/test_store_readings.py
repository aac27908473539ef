"""Readings in their tables: nothing lost to a column's width, an odd date or a null."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, text
from sqlalchemy.engine import make_url

from greenhaul_cloud.store import postgres
from greenhaul_cloud.store.batch import KindBatch
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.tables import latest, position, readings, vehicle
from greenhaul_cloud.store.tracks import bound_sources, load_track
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.bulk import BytesColumn, NumberColumn
from greenhaul_protocols.bulk_bodies import KindColumns
from greenhaul_protocols.catalogue import KINDS, Event
from greenhaul_protocols.identity import digests
from greenhaul_protocols.series import to_series
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

DAY_MS = 86_400_000


def _put(store: Store, kit: Kit, found: list[Any], now_ms: int | None = None) -> Any:
    outbox = kit.outbox(readings=found)
    return store_blocks(store, [outbox.received(1, len(found))], now_ms or kit.now_ms)


def test_what_a_column_cannot_hold_goes_to_extra(kit: Kit, store: Store) -> None:
    kit.register(store)
    usual = kit.position("808:1", kit.now_ms, satellites=12, speed_kmh=36.6, odometer_km=1.1)
    absurd = kit.position(
        "808:1",
        kit.now_ms + 1,
        satellites=70_000,
        speed_kmh=1e9,
        odometer_km=-1e15,
        alarms=2**63 - 1,
    )
    assert _put(store, kit, [usual, absurd]).stored == 2
    assert _put(store, kit, [usual, absurd]).duplicate == 0  # the numbers are settled
    columns = position.c
    query = select(
        columns.satellites, columns.speed_kmh, columns.odometer_km, columns.alarms, columns.extra,
        columns.digest,
    ).order_by(columns.device_time)  # fmt: skip
    with store.read() as conn:
        one, other = conn.execute(query).all()
        newest = conn.execute(select(latest)).mappings().one()
    assert one[:5] == (12, 36.6, 1.1, None, None)
    assert other[:4] == (None, None, None, 2**63 - 1)
    assert json.loads(other.extra) == {"4": 10_000_000_000, "6": 70_000, "10": -(10**16)}
    (series,) = to_series([usual, absurd])
    assert [one.digest, other.digest] == digests(series)
    assert (newest["satellites"], newest["alarms"]) == (None, 2**63 - 1)


def test_odd_dates_are_read_like_the_rest(kit: Kit, store: Store) -> None:
    """1970, 2099 and the ends of the calendar, among today's: stored once, on the track."""
    kit.register(store)
    now_ms = kit.now_ms
    times = [TIME_MS_MIN, 0, now_ms - 401 * DAY_MS, now_ms - DAY_MS, now_ms, now_ms + 3 * DAY_MS,
             now_ms + 4 * DAY_MS, 4_070_908_800_000, TIME_MS_MAX]  # fmt: skip
    found = [kit.position("808:1", at) for at in times]
    assert _put(store, kit, found).stored == len(times)
    again = kit.outbox(epoch=7, readings=found[::-1])
    assert store_blocks(store, [again.received(1, len(times))], now_ms).duplicate == len(times)
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="v", created_at=now_ms))
        bind(conn, "808:1", "v", valid_from_ms=TIME_MS_MIN, now_ms=now_ms)
    with store.read() as conn:
        track = load_track(conn, bound_sources(conn, "v"), TIME_MS_MIN, TIME_MS_MAX)
        count = conn.execute(select(func.count()).select_from(position)).scalar_one()
    assert track.device_time_ms.tolist() == times[:-1]  # the last instant has no "before"
    assert count == len(times)


def test_a_date_is_the_same_reading_on_either_side_of_the_window(kit: Kit, store: Store) -> None:
    """What was far ahead is sent again when its day has come; what was new, when it is old."""
    kit.register(store)
    ahead = kit.now_ms + 10 * DAY_MS
    found = [kit.position("808:1", ahead), kit.position("808:1", kit.now_ms)]
    assert _put(store, kit, found).stored == 2
    for epoch, later_ms in ((2, 9 * DAY_MS), (3, 500 * DAY_MS)):
        outbox = kit.outbox(epoch=epoch, readings=found)
        result = store_blocks(store, [outbox.received(1, 2)], kit.now_ms + later_ms)
        assert (result.stored, result.duplicate) == (0, 2)


def test_postgres_keeps_odd_dates_apart(kit: Kit, migrated_postgres: Store) -> None:
    kit.empty(migrated_postgres)
    kit.register(migrated_postgres)
    found = [kit.position("808:1", at) for at in (0, kit.now_ms, 4_070_908_800_000)]
    _put(migrated_postgres, kit, found)
    with migrated_postgres.read() as conn:
        parts = {
            part: conn.execute(text(f"SELECT count(*) FROM position_{part}")).scalar_one()
            for part in ("main", "odd")
        }
    assert parts == {"main": 1, "odd": 2}


_NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-(10**6), 10**6))
_BLOBS = st.one_of(st.none(), st.binary(max_size=5))


@st.composite
def _batches(draw: st.DrawFn) -> KindBatch:
    """Rows of any kind, with any of its fields here and there, and one nobody knows."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    count = draw(st.integers(1, 5))
    columns: dict[int, NumberColumn | BytesColumn] = {}
    specs = draw(st.lists(st.sampled_from(KINDS[kind].fields), unique_by=lambda one: one.number))
    for spec in specs:
        if spec.is_bytes:
            columns[spec.number] = BytesColumn([draw(_BLOBS) for _ in range(count)])
            continue
        values = [draw(_NUMBERS) for _ in range(count)]
        there = np.array([value is not None for value in values], np.bool_)
        columns[spec.number] = NumberColumn(
            np.array([value or 0 for value in values], np.int64), there
        )
    columns[99] = BytesColumn([draw(_BLOBS) for _ in range(count)])
    times = [draw(st.integers(TIME_MS_MIN, TIME_MS_MAX)) for _ in range(count)]
    time_ms, nothing = np.array(times, np.int64), np.zeros(count, np.int64)
    quality = np.zeros(count, np.int16)
    found = KindColumns(
        kind, nothing, nothing, np.arange(count), time_ms, time_ms, quality, columns
    )
    return KindBatch(found, nothing, nothing + 1, draw(st.integers(0, 2 * 10**12)))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_rows_come_back_as_they_were_put(
    kit: Kit, engine: str, request: pytest.FixtureRequest
) -> None:
    """Of PostgreSQL's binary COPY every null, width and text; of SQLite the same values."""
    name = "migrated_postgres" if engine == "postgresql" else "sqlite_store"
    store: Store = request.getfixturevalue(name)
    kit.empty(store)

    @settings(max_examples=60)
    @given(_batches())
    def put_and_read(batch: KindBatch) -> None:
        table = readings[batch.kind.number]
        names = [column.name for column in batch.columns]
        query = select(*(table.c[name] for name in names))
        query = query.order_by(table.c.device_time, table.c.digest)
        with store.write() as conn:
            assert store.driver.insert_new(conn, batch).all()
            found = conn.execute(query).all()
            assert not store.driver.insert_new(conn, batch).any()
            conn.rollback()
        wanted = sorted(batch.rows, key=lambda row: row[1:3])
        assert [_comparable(row) for row in found] == [_comparable(row) for row in wanted]

    put_and_read()


def _comparable(row: Any) -> list[Any]:
    """PostgreSQL's REAL is told in six digits; the steps it stands for are the same."""
    return [round(value, 3) if isinstance(value, float) and abs(value) < 1e6 else value
            for value in row]  # fmt: skip


def test_a_sparse_index_is_made_anew(
    kit: Kit, migrated_postgres: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources that grow side by side leave pages half full."""
    monkeypatch.setattr(postgres, "REINDEX_BYTES_MIN", 0)
    kit.empty(migrated_postgres)
    count, nothing = 2_000, np.zeros(2_000, np.int64)
    source = np.repeat(np.arange(20) + 1, 100)
    for turn in range(10):
        times = kit.now_ms + np.tile(np.arange(100) + turn * 100, 20)
        found = KindColumns(
            1, nothing, nothing, np.arange(count), times, times, np.zeros(count, np.int16), {}
        )
        with migrated_postgres.write() as conn:
            migrated_postgres.driver.insert_new(conn, KindBatch(found, nothing, source, kit.now_ms))
    size = text("SELECT pg_relation_size('pk_position_main')")
    with migrated_postgres.write() as conn:
        conn.execute(text("ANALYZE position_main"))
        before = conn.execute(size).scalar_one()
    migrated_postgres.tidy()
    with migrated_postgres.read() as conn:
        assert conn.execute(size).scalar_one() < 0.75 * before


def test_an_index_that_was_cut_short_is_dropped_by_one_collector(
    kit: Kit, migrated_postgres: Store, postgres_dsn: str
) -> None:
    """As a REINDEX leaves it when its session ends; here by readings that contradict it."""
    kit.empty(migrated_postgres)
    kit.register(migrated_postgres)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms + i) for i in range(2)])
    store_blocks(migrated_postgres, [outbox.received(1, 2)], kit.now_ms)
    url = make_url(postgres_dsn).set(database="greenhaul_test")
    name, lock = "pk_position_main_ccnew", (postgres._LOCK_TIDY,)
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as other:
        with pytest.raises(psycopg.errors.UniqueViolation):
            other.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON position_main (source_id)")
        other.execute("SELECT pg_advisory_lock(%s, 0)", lock)
        for is_left in (True, False):
            migrated_postgres.tidy()
            found = other.execute("SELECT 1 FROM pg_class WHERE relname = %s", (name,)).fetchall()
            assert bool(found) is is_left
            other.execute("SELECT pg_advisory_unlock(%s, 0)", lock)


def test_collectors_wait_for_each_other_near_the_windows_borders(
    kit: Kit, migrated_postgres: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    lock: Callable[[Any, int], None] = postgres._lock

    def note(conn: Any, lock_class: int) -> None:
        taken.append(lock_class)
        lock(conn, lock_class)

    monkeypatch.setattr(postgres, "_lock", note)
    kit.empty(migrated_postgres)
    kit.register(migrated_postgres)
    _put(migrated_postgres, kit, [kit.position("808:1", kit.now_ms)])
    assert postgres._LOCK_ODD not in taken
    near = kit.now_ms - postgres.ODD_BEFORE_DAYS * DAY_MS + DAY_MS // 4
    event = Event(source="808:1", device_time_ms=near, received_time_ms=near, code="x")
    outbox = kit.outbox(epoch=9, readings=[event])
    store_blocks(migrated_postgres, [outbox.received(1, 1)], kit.now_ms)
    assert postgres._LOCK_ODD in taken
