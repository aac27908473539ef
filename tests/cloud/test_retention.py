"""What is kept long enough goes; what it once said stays, whatever comes later."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import delete, func, insert, select
from tests.cloud.api_city import square_fence

from greenhaul_cloud.config import RetentionConfig, load_config
from greenhaul_cloud.derive.runner import derive_once
from greenhaul_cloud.derive.trial import try_version
from greenhaul_cloud.housekeeping import retention as module
from greenhaul_cloud.housekeeping.retention import FEED_KEPT_DAYS, Retention, retain
from greenhaul_cloud.housekeeping.worker import HousekeepingWorker
from greenhaul_cloud.store import registry, tables
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.fences import planned_version, put_fence
from greenhaul_cloud.store.kept import positions_kept_from
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import KINDS, BatteryReading
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

MS_PER_DAY = 86_400_000
MINUTE_MS = 60_000
DAYS = 6
INSIDE, OUTSIDE = {"latitude_deg": 33.0}, {"latitude_deg": 33.2}
# Inside every second hour; odd, so that borders of days lie within visits too.
STAY_MS = 61 * MINUTE_MS


def drive(store: Store, kit: Kit) -> None:
    """Six days of a truck that comes and goes, stored day by day, and what they say."""
    kit.register(store)
    start_ms = kit.now_ms - DAYS * MS_PER_DAY
    with store.write() as conn:
        registry.add_vehicle(conn, {"id": "v1"}, start_ms)
        bind(conn, "808:1", "v1", valid_from_ms=0, now_ms=start_ms)
        put_fence(conn, square_fence("centre"), start_ms, "admin")
    for day in range(DAYS):
        from_ms = start_ms + day * MS_PER_DAY
        readings = [
            kit.position("808:1", at_ms, **(INSIDE if at_ms // STAY_MS % 2 else OUTSIDE))
            for at_ms in range(from_ms, from_ms + MS_PER_DAY, MINUTE_MS)
        ]
        outbox = kit.outbox(epoch=100 + day, readings=readings)
        store_blocks(store, [outbox.received(1, len(readings))], from_ms + MS_PER_DAY - 1)
    derive_once(store, kit.now_ms)


def visits(store: Store) -> list[dict[str, Any]]:
    with store.read() as conn:
        query = select(tables.visit).order_by(tables.visit.c.entered_at, tables.visit.c.id)
        return [dict(row) for row in conn.execute(query).mappings()]


def times(store: Store, table: Any = tables.position) -> list[int]:
    with store.read() as conn:
        return sorted(conn.execute(select(table.c.device_time)).scalars())


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several transactions a run, as in a large store."""
    monkeypatch.setattr(module, "SLICE_ROWS", 1_000)
    monkeypatch.setattr(module, "QUARANTINE_SLICE_ROWS", 3)


@pytest.mark.usefixtures("small_slices")
def test_history_stands_when_its_readings_are_gone(
    store: Store, kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    drive(store, kit)
    before, now_ms = visits(store), kit.now_ms
    assert len(before) > 60
    kept_ms = now_ms - 3 * MS_PER_DAY
    assert retain(store, Retention({"position": 3}), now_ms) == {"position": 3 * 1440}
    assert times(store)[0] == kept_ms
    with store.read() as conn:
        assert positions_kept_from(conn) == kept_ms
    # stragglers that contradict what was told, before and just at the border
    stragglers = [
        kit.position("808:1", kept_ms - i * 600_000, **OUTSIDE) for i in range(1, 100)
    ] + [kit.position("808:1", kept_ms - i * 600_000 + 5_000, **INSIDE) for i in range(1, 100)]
    outbox = kit.outbox(epoch=200, readings=stragglers)
    result = store_blocks(store, [outbox.received(1, len(stragglers))], now_ms)
    assert result.stored == len(stragglers)
    with caplog.at_level(logging.INFO):
        derive_once(store, now_ms + 1)
    assert "event=mark_clamped vehicle=v1" in caplog.text
    assert visits(store) == before
    # they are kept as long as anything that came today
    assert retain(store, Retention({"position": 3}), now_ms + 1000) == {}
    assert len(times(store)) == 3 * 1440 + len(stragglers)
    three_days_ms = now_ms + 3 * MS_PER_DAY + 1000
    assert retain(store, Retention({"position": 3}), three_days_ms)["position"] > len(stragglers)
    assert times(store) == []


def test_a_fence_of_the_past_changes_only_what_is_kept(store: Store, kit: Kit) -> None:
    drive(store, kit)
    before, now_ms = visits(store), kit.now_ms
    retain(store, Retention({"position": 3}), now_ms)
    kept_ms = now_ms - 3 * MS_PER_DAY
    elsewhere = square_fence(
        "centre", south_deg=32.0, valid_from=format_time(now_ms - 5 * MS_PER_DAY)
    )
    with store.read() as conn:
        version = planned_version(conn, elsewhere, now_ms)
        assert version is not None
        tried = list(try_version(conn, version, now_ms, "CN"))
    with store.write() as conn:
        put_fence(conn, elsewhere, now_ms, "admin", is_applied=True)
    derive_once(store, now_ms)
    after = {visit["id"]: visit for visit in visits(store)}
    frozen = [visit for visit in before if (visit["left_confirmed_at"] or now_ms) < kept_ms]
    later = [visit for visit in before if visit["entered_at"] > kept_ms]
    assert len(frozen) > 25
    assert len(later) > 25
    assert [after[visit["id"]] for visit in frozen] == frozen
    assert {after[visit["id"]]["state"] for visit in later} == {"withdrawn"}
    withdrawn = {one.id for one in tried if (one.what, one.change) == ("visit", "withdrawn")}
    assert withdrawn == {i for i, visit in after.items() if visit["state"] == "withdrawn"}


def test_settings_that_become_more_patient_bring_nothing_back(store: Store, kit: Kit) -> None:
    now_ms = kit.now_ms
    for days in (3, 10, None, 4):
        retain(store, Retention({"position": days}), now_ms)
        with store.read() as conn:
            assert positions_kept_from(conn) == now_ms - 3 * MS_PER_DAY


@pytest.mark.usefixtures("small_slices")
def test_each_kind_and_the_quarantine_go_by_their_own_days(store: Store, kit: Kit) -> None:
    kit.register(store, "gw-1", ["808:*"])
    for day in range(10):
        at_ms = kit.now_ms - (9 - day) * MS_PER_DAY - 1000
        battery = BatteryReading(
            source="808:1", device_time_ms=at_ms, received_time_ms=at_ms, soc_percent=50.0
        )
        stranger = kit.position("other:1", at_ms)
        readings = [kit.position("808:1", at_ms), battery, stranger]
        outbox = kit.outbox(epoch=day + 1, readings=readings)
        store_blocks(store, [outbox.received(1, 3)], at_ms)
    gone = retain(store, Retention({"battery": 2, "drive": 1}, quarantine=5), kit.now_ms)
    assert gone == {"battery": 8, "quarantine": 5}
    assert (len(times(store)), len(times(store, tables.battery))) == (10, 2)
    with store.read() as conn:
        oldest = conn.execute(select(func.min(tables.quarantine.c.stored_time))).scalar_one()
        assert oldest >= kit.now_ms - 5 * MS_PER_DAY
        # counters and ledgers still say what became of every number
        stored = conn.execute(select(func.sum(tables.lane.c.stored))).scalar_one()
        assert stored == 20
    assert retain(store, Retention({"battery": 2}, quarantine=5), kit.now_ms) == {}


def test_the_feed_forgets_but_never_its_last_number(store: Store, kit: Kit) -> None:
    old_ms = kit.now_ms - (FEED_KEPT_DAYS + 1) * MS_PER_DAY
    rows = [{"at": old_ms, "topic": "visits", "body": {}} for _ in range(5)]
    with store.write() as conn:
        conn.execute(insert(tables.feed), rows)
        last = conn.execute(select(func.max(tables.feed.c.id))).scalar_one()
    assert retain(store, Retention({}), kit.now_ms) == {"feed": 4}
    with store.read() as conn:
        assert conn.execute(select(tables.feed.c.id)).scalars().all() == [last]


def test_sqlite_gives_room_back_to_the_disk(sqlite_store: Store, kit: Kit, tmp_path: Path) -> None:
    drive(sqlite_store, kit)
    with sqlite_store.write() as conn:
        conn.execute(delete(tables.position))
    sqlite_store.tidy()
    full = (tmp_path / "store.db").stat().st_size
    with sqlite_store.read() as conn:
        pages, free, size = (
            conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("page_count", "freelist_count", "page_size")
        )
    assert free <= pages * 0.2
    assert full == pages * size
    assert not (tmp_path / "store.db-wal").stat().st_size


def test_readings_come_in_while_others_go(store: Store, kit: Kit) -> None:
    drive(store, kit)
    outbox = kit.outbox(
        epoch=300, readings=[kit.position("808:2", kit.now_ms + i) for i in range(60)]
    )
    stored: list[int] = []

    def write() -> None:
        blocks = (outbox.received(number, number) for number in range(1, 61))
        stored.extend(store_blocks(store, [block], kit.now_ms).stored for block in blocks)

    writer = threading.Thread(target=write)
    writer.start()
    retain(store, Retention({"position": 1}), kit.now_ms)
    writer.join()
    assert sum(stored) == 60
    assert len(times(store)) == 1440 + 60


def test_the_worker_counts_what_it_deletes(sqlite_store: Store, kit: Kit) -> None:
    drive(sqlite_store, kit)
    seen = CollectorRegistry()
    worker = HousekeepingWorker(
        sqlite_store, Retention({"position": 5}), seen, now_ms=lambda: kit.now_ms
    )
    worker.run_once()  # the first one takes nothing yet
    worker.run_once()
    labels = {"subject": "position"}
    assert seen.get_sample_value("greenhaul_retention_deleted_rows_total", labels) == 1440
    worker.start()
    worker.stop()


def test_a_clock_that_leaps_for_a_while_takes_nothing(sqlite_store: Store, kit: Kit) -> None:
    drive(sqlite_store, kit)
    clock = [kit.now_ms]
    worker = HousekeepingWorker(
        sqlite_store, Retention({"position": 5}), CollectorRegistry(), now_ms=lambda: clock[0]
    )
    worker.run_once()
    worker.run_once()
    kept = len(times(sqlite_store))
    for leapt_ms in (3650 * MS_PER_DAY, 0, 3650 * MS_PER_DAY, 0):
        clock[0] = kit.now_ms + leapt_ms
        worker.run_once()
    assert len(times(sqlite_store)) == kept > 0
    with sqlite_store.read() as conn:
        assert positions_kept_from(conn) == kit.now_ms - 5 * MS_PER_DAY
    for _ in range(2):  # as after a year without a collector
        clock[0] = kit.now_ms + 365 * MS_PER_DAY
        worker.run_once()
    assert len(times(sqlite_store)) == 0


def test_days_are_set_by_kind(tmp_path: Path) -> None:
    assert set(RetentionConfig.model_fields) == {kind.name for kind in KINDS.values()} | {
        "quarantine"
    }
    file = tmp_path / "cloud.toml"
    file.write_text(
        '[store]\nretention_days = 30\n[retention]\nposition = "forever"\nquarantine = 7\n'
    )
    config = load_config(file)
    days = config.retention.days(config.store.retention_days)
    assert (days["position"], days["quarantine"], days["battery"]) == (None, 7, 30)
    assert set(RetentionConfig().days(None).values()) == {None}
