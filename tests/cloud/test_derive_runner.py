"""When vehicles are folded, from how much, and what becomes of what was said before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select, update

from greenhaul_cloud.derive.runner import Deriver, DeriveResult, derive_once
from greenhaul_cloud.derive.worker import DeriveWorker
from greenhaul_cloud.fold.refold import refold
from greenhaul_cloud.store.attributes import Attributes, set_attributes
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.tables import (
    amendment,
    dirty,
    feed,
    fold_failure,
    fold_state,
    vehicle,
    violation,
    visit,
)
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    import pytest
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

REFOLD = "greenhaul_cloud.derive.folding.refold"
INSIDE, OUTSIDE = 33.0005, 32.99
RING = [[112.5, 33.0], [112.51, 33.0], [112.51, 33.01], [112.5, 33.01], [112.5, 33.0]]


def fence(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [RING]},
        "properties": {
            "id": "centre",
            "valid_from": "2014-01-01T00:00:00Z",
            "rules": [{"rule": "no_entry"}],
            **properties,
        },
    }


class Scene:
    """A store with one fence and one vehicle, whose drives are told in seconds."""

    def __init__(self, kit: Kit, store: Store, **properties: Any) -> None:
        self.kit, self.store, self.deriver = kit, store, Deriver(store)
        kit.register(store)
        with store.write() as conn:
            conn.execute(insert(vehicle).values(id="v1", created_at=kit.now_ms))
            conn.execute(insert(vehicle).values(id="v2", created_at=kit.now_ms))
            put_fence(conn, fence(**properties), kit.now_ms, "test")
            bind(conn, "808:1", "v1", valid_from_ms=0, now_ms=kit.now_ms)

    def drive(self, *steps: tuple[float, float]) -> None:
        """Readings of (seconds, latitude)."""
        said = [
            self.kit.position(
                "808:1",
                self.kit.now_ms + round(s * 1000),
                latitude_deg=north,
                longitude_deg=112.505,
            )
            for s, north in steps
        ]
        outbox = self.kit.outbox(readings=said)
        store_blocks(self.store, [outbox.received(1, len(said))], self.kit.now_ms)

    def at_ms(self, second: float) -> int:
        """A second of the scene as an instant."""
        return self.kit.now_ms + round(second * 1000)

    def fold(self, as_of_s: float = 100_000) -> DeriveResult:
        return self.deriver.run(self.at_ms(as_of_s))

    def visits(self, *columns: str, vehicle_id: str = "v1") -> list[tuple[Any, ...]]:
        """Standing visits; instants in seconds."""
        names = columns or ("entered_at", "left_at")
        with self.store.read() as conn:
            query = select(*(visit.c[name] for name in names)).order_by(visit.c.entered_at)
            query = query.where(visit.c.vehicle_id == vehicle_id, visit.c.state == "standing")
            rows = conn.execute(query).all()
        return [
            tuple(
                (value - self.kit.now_ms) / 1000 if name.endswith("_at") and value else value
                for name, value in zip(names, row, strict=True)
            )
            for row in rows
        ]

    def all(self, table: Any) -> list[Any]:
        with self.store.read() as conn:
            return list(conn.execute(select(table).order_by(table.c.id)).all())


def stay(start_s: float, end_s: float) -> list[tuple[float, float]]:
    """A drive in at `start_s` and out at `end_s`, a reading each 10 s."""
    steps = [(start_s - 10.0, OUTSIDE)]
    steps += [(float(s), INSIDE) for s in range(round(start_s), round(end_s), 10)]
    return [*steps, *((end_s + 10 * i, OUTSIDE) for i in range(6))]


def test_a_visit_grows_and_ends_without_being_amended(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    steps = stay(0, 120)
    scene.drive(*steps[:9])
    scene.fold()
    ((entered, left),) = scene.visits()
    assert -10 < entered < 0
    assert left is None
    scene.drive(*steps[9:])
    scene.fold()
    ((again, left),) = scene.visits()
    assert again == entered
    assert 110 < left < 120
    assert [row.amended for row in scene.all(violation)] == [False]
    assert scene.all(amendment) == []
    told = [(row.topic, row.vehicle_id, row.body) for row in scene.all(feed)]
    visit_id, violation_id = scene.all(visit)[0].id, scene.all(violation)[0].id
    once = [
        ("visits", "v1", {"visit_id": visit_id}),
        ("violations", "v1", {"violation_id": violation_id}),
    ]
    assert told == [*once, *once]


def test_one_late_reading_refolds_its_neighbourhood_alone(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    for hour in range(10):
        start = hour * 3600
        idle = [(float(s), OUTSIDE) for s in range(start + 400, start + 3500, 10)]
        scene.drive(*stay(start, start + 200), *idle)
    scene.fold()
    whole = scene.visits()
    assert len(whole) == 10
    scene.drive((5 * 3600 + 95.0, OUTSIDE))
    result = scene.fold()
    assert scene.visits() == whole
    assert result.readings_read < 600  # of 3,450


def test_late_readings_split_a_visit_and_history_remembers(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 60), (50.0, INSIDE))
    scene.drive(*((float(s), INSIDE) for s in range(160, 200, 10)))
    scene.fold()
    before = {row.id: row for row in scene.all(visit)}
    scene.drive((55.0, INSIDE), (62.0, INSIDE))
    scene.fold()
    assert {row.id for row in scene.all(visit)} >= before.keys()
    first = scene.all(visit)[0]
    assert first.amended
    notes = [row for row in scene.all(amendment) if row.visit_id == first.id]
    assert notes
    assert "left_at" in notes[0].was


def test_a_visit_that_never_was_is_withdrawn_not_deleted(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))
    scene.fold()
    (stood,) = scene.all(visit)
    with store.write() as conn:
        bind(conn, "808:2", "v1", valid_from_ms=0, priority=9, now_ms=kit.now_ms)
    said = [
        kit.position("808:2", kit.now_ms + s * 1000, latitude_deg=OUTSIDE, longitude_deg=112.505)
        for s in range(-40, 260, 10)
    ]
    store_blocks(store, [kit.outbox(readings=said).received(1, len(said))], kit.now_ms)
    scene.fold()
    assert scene.visits() == []
    assert [row.state for row in scene.all(visit)] == ["withdrawn"]
    assert [row.state for row in scene.all(violation)] == ["withdrawn"]
    assert {row.visit_id for row in scene.all(amendment)} == {stood.id, None}
    with store.read() as conn:
        became_nothing = select(amendment).where(amendment.c.became.is_(None))
        assert len(conn.execute(became_nothing).all()) == 2


def test_a_source_that_moves_takes_its_future_along(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 600))
    scene.fold()
    with store.write() as conn:
        bind(conn, "808:1", "v2", valid_from_ms=kit.now_ms + 300_000, now_ms=kit.now_ms)
    scene.fold()
    ((entered, left, left_by),) = scene.visits("entered_at", "left_at", "left_by")
    assert (left, left_by) == (300, "scope")
    ((entered, left, entered_by),) = scene.visits(
        "entered_at", "left_at", "entered_by", vehicle_id="v2"
    )
    assert (entered, entered_by) == (300, "first_reading")
    assert 590 < left < 600


def test_scope_follows_the_attributes_of_the_time(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store, applies_to={"energy": ["diesel"]})
    scene.drive(*stay(0, 600))
    scene.fold()
    assert scene.visits() == []
    with store.write() as conn:
        diesel = Attributes("diesel", None, ())
        set_attributes(conn, "v1", kit.now_ms + 200_000, diesel, kit.now_ms)
        set_attributes(
            conn, "v1", kit.now_ms + 400_000, Attributes("electric", None, ()), kit.now_ms
        )
    scene.fold()
    assert scene.visits("entered_at", "entered_by", "left_at", "left_by") == [
        (200, "scope", 400, "scope")
    ]


def test_past_events_keep_their_version(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 200))
    scene.fold()
    with store.write() as conn:
        later = fence(valid_from=format_time(kit.now_ms + 1_000_000), confirm_s=10)
        put_fence(conn, later, kit.now_ms + 500_000, "test")
    scene.drive(*stay(2000, 2200))
    scene.fold()
    assert [row.fence_version for row in scene.all(visit)] == [1, 2]


def test_readings_ahead_of_the_clock_are_folded_when_it_gets_there(kit: Kit, store: Store) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(100, 300))
    scene.fold(as_of_s=0)
    assert scene.visits() == []
    with store.read() as conn:
        assert conn.execute(select(dirty)).all() == []
        due = conn.execute(select(fold_state.c.due_at)).scalar_one()
    assert due == kit.now_ms + 90_000
    assert scene.fold(as_of_s=50).folded == 0
    scene.fold(as_of_s=150)
    assert [left for _, left in scene.visits()] == [None]
    scene.fold(as_of_s=1000)
    assert len([left for _, left in scene.visits() if left]) == 1


def test_a_fold_that_raises_is_set_aside_and_tried_on_new_data(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))

    def fail(*_args: Any, **_more: Any) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(REFOLD, fail)
        assert scene.fold().failed == 1
        assert scene.fold().failed == 0, "not again and again"
        scene.drive((400.0, OUTSIDE))
        assert scene.fold().failed == 1
    with store.read() as conn:
        query = select(fold_failure.c["count"], fold_failure.c.reason)
        assert tuple(conn.execute(query).one()) == (2, "ZeroDivisionError: a bug")
        assert len(conn.execute(select(dirty)).all()) == 3, "its marks stay"
    assert derive_once(store, kit.now_ms + 10**8).folded == 1, "a restart tries again"
    assert len(scene.visits()) == 1
    with store.read() as conn:
        assert conn.execute(select(fold_failure)).all() == []


def test_a_mark_that_widened_meanwhile_stays(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))

    def widen(*args: Any, **more: Any) -> Any:
        with store.write() as conn:
            conn.execute(update(dirty).values(revision=dirty.c.revision + 1))
        return refold(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(REFOLD, widen)
        scene.fold()
    with store.read() as conn:
        assert len(conn.execute(select(dirty)).all()) == 2, "of the binding, and of the drive"
    scene.fold()
    with store.read() as conn:
        assert conn.execute(select(dirty)).all() == []
    assert len(scene.visits()) == 1


def test_two_processes_never_write_one_fold_twice(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))

    def overtaken(*args: Any, **more: Any) -> Any:
        result = refold(*args, **more)
        with monkeypatch.context() as patch:
            patch.setattr(REFOLD, refold)
            Deriver(store).run(kit.now_ms + 10**8)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(REFOLD, overtaken)
        scene.fold()
    assert len(scene.all(visit)) == len(scene.all(violation)) == 1


def test_the_worker_folds_when_woken(kit: Kit, sqlite_store: Store) -> None:
    scene = Scene(kit, sqlite_store)
    folded = threading.Event()
    registry = CollectorRegistry()
    worker = DeriveWorker(
        sqlite_store,
        registry,
        now_ms=lambda: kit.now_ms + 10**8,
        on_changed=folded.set,
    )
    worker.start()
    scene.drive(*stay(0, 120))
    worker.wake()
    assert folded.wait(10)
    worker.stop()
    assert len(scene.visits()) == 1
    assert registry.get_sample_value("greenhaul_derive_changes_total") == 2


def test_a_backlog_beside_live_readings_leaves_what_lies_between(kit: Kit, store: Store) -> None:
    """Old and new readings in one flush are marked and folded apart."""
    scene = Scene(kit, store)
    day = [(float(s), OUTSIDE) for s in range(-86_400, 0, 60)]
    scene.drive(*day, *stay(0, 120))
    scene.fold(as_of_s=200)
    scene.drive((-80_000.0, INSIDE), (-79_990.0, OUTSIDE), (200.0, OUTSIDE), (210.0, OUTSIDE))
    with store.read() as conn:
        marks = conn.execute(select(dirty.c.from_time, dirty.c.to_time)).all()
    assert sorted((mark.to_time - mark.from_time) / 1000 for mark in marks) == [70, 70]
    result = scene.fold(as_of_s=300)
    assert (result.folded, result.readings_read < 300) == (1, True)
    with store.read() as conn:
        assert conn.execute(select(dirty)).all() == []
    assert len(scene.visits()) == 1


def test_the_worker_says_for_how_long_the_first_waits(kit: Kit, sqlite_store: Store) -> None:
    scene = Scene(kit, sqlite_store)

    def waiting_since_ms() -> int | None:
        return scene.deriver.waiting_since_ms

    assert waiting_since_ms() is None
    scene.drive(*stay(0, 120))
    scene.deriver.run(scene.at_ms(60), lambda: True)
    assert waiting_since_ms() == kit.now_ms, "nobody was folded"
    scene.fold()
    assert waiting_since_ms() is None
