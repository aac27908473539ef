"""Vehicles folded together: each as if it were alone, whatever becomes of the others."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select
from tests.cloud import fold_cases

from greenhaul_cloud.derive import cases, folding, runner
from greenhaul_cloud.derive.inputs import FenceShelf
from greenhaul_cloud.derive.results import FoldWriter
from greenhaul_cloud.derive.runner import Deriver, derive_once
from greenhaul_cloud.derive.writing import write_folds
from greenhaul_cloud.fold.refold import refold
from greenhaul_cloud.store import marks
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.tables import (
    amendment,
    dirty,
    fold_failure,
    fold_state,
    vehicle,
    violation,
    visit,
)
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit

LONG_AGO = "2014-01-01T00:00:00Z"
START_MS = 1_800_000_000_000
AS_OF_MS = START_MS + 86_400_000
VEHICLES = 8
INSIDE, OUTSIDE, FAR = 33.0005, 32.999, 32.9
RING = [[112.5, 33.0], [112.501, 33.0], [112.501, 33.001], [112.5, 33.001], [112.5, 33.0]]


def prepare(kit: Kit, store: Store, *, vehicles: int = VEHICLES) -> None:
    """Vehicles with a source each, the first with two, and one fence."""
    kit.register(store)
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [RING]},
        "properties": {
            "id": "square",
            "valid_from": LONG_AGO,
            "rules": [{"rule": "no_entry"}, {"rule": "speed_limit", "limit_kmh": 50.2}],
        },
    }
    with store.write() as conn:
        for number in range(vehicles):
            conn.execute(insert(vehicle).values(id=f"v{number}", created_at=START_MS))
        put_fence(conn, feature, START_MS, "test")
        for number in range(vehicles):
            bind(conn, f"808:{number}", f"v{number}", valid_from_ms=0, now_ms=START_MS)
        bind(conn, "gw/gnss", "v0", valid_from_ms=0, priority=7, now_ms=START_MS)


def tours(kit: Kit, rng: random.Random) -> list[Any]:
    """Trucks far away, that come by, enter, stay, leave and fall silent; each in its own way."""
    readings = []
    for source in (*(f"808:{number}" for number in range(VEHICLES)), "gw/gnss"):
        time_ms = START_MS
        for _ in range(9):
            place = rng.choice((FAR, FAR, OUTSIDE, INSIDE))
            for _ in range(rng.choice((2, 4, 8))):
                time_ms += 1000 * rng.choice((5, 10, 10, 20, 20, 130, 1300))
                north = place + rng.choice((0, 0.0001, 0.0002))
                readings.append(
                    kit.position(source, time_ms, latitude_deg=north, longitude_deg=112.5005,
                                 speed_kmh=rng.choice((0.0, 20.0, 50.2, 60.3)), heading_deg=12.3)
                )  # fmt: skip
    return readings


def say(kit: Kit, store: Store, readings: list[Any], epoch: int) -> None:
    outbox = kit.outbox(epoch=epoch, readings=readings)
    store_blocks(store, [outbox.received(1, len(readings))], START_MS)


def findings(store: Store) -> list[Any]:
    """Everything that stands, without ids and history."""
    unlike = {"id", "visit_id", "changed_at", "amended"}
    found = []
    with store.read() as conn:
        for table in (visit, violation):
            columns = [column for column in table.columns if column.name not in unlike]
            rows = conn.execute(select(*columns).where(table.c.state != "withdrawn")).mappings()
            found.append(sorted(json.dumps(dict(row), sort_keys=True) for row in rows))
    return found


@pytest.mark.parametrize(("seed", "held"), [(1, 200_000), (6, 60), (3, 0)])
def test_each_of_a_group_is_folded_as_if_alone(
    kit: Kit, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, held: int
) -> None:
    """In any order, in pieces, with tracks held for all, for a few at a time, and for none."""
    rng = random.Random(seed)
    readings = tours(kit, rng)
    whole = open_store(f"sqlite:///{tmp_path}/whole.db", START_MS)
    prepare(kit, whole)
    say(kit, whole, readings, 1)
    with monkeypatch.context() as patch:
        patch.setattr(folding, "_quiet_of", lambda *_: {})
        derive_once(whole, AS_OF_MS)
    expected = findings(whole)
    whole.close()
    assert len(expected[0]) > VEHICLES

    monkeypatch.setattr(folding, "LOOK_BACK_MS", 600_000)
    monkeypatch.setattr(marks, "_MARKS_HANDED_OVER", 2)
    for limit in ("HELD_MAX", "VEHICLE_MAX", "UNCHANGED_MAX"):
        monkeypatch.setattr(cases, limit, held)
    prepare(kit, store)
    quiet: set[str] = set()
    quiet_of = folding._quiet_of

    def note(*args: Any) -> dict[str, int]:
        found = quiet_of(*args)
        quiet.update(found)
        return found

    monkeypatch.setattr(folding, "_quiet_of", note)
    # mostly in order, as from a live fleet, with stragglers
    readings.sort(key=lambda reading: reading.device_time_ms + rng.choice((0, 0, 0, 900_000)))
    deriver = Deriver(store)
    size = len(readings) // 8 + 1
    for epoch, at in enumerate(range(0, len(readings), size), 1):
        say(kit, store, readings[at : at + size], epoch)
        deriver.run(max(reading.device_time_ms for reading in readings[: at + size]))
    assert deriver.run(AS_OF_MS).failed == 0
    assert findings(store) == expected
    assert bool(quiet) == (held > 0)
    with store.read() as conn:
        assert conn.execute(select(dirty)).all() == []


def by(kit: Kit, number: int, *steps: tuple[float, float]) -> list[Any]:
    """Readings (seconds, latitude) of one vehicle."""
    return [
        kit.position(f"808:{number}", START_MS + round(s * 1000), latitude_deg=north,
                     longitude_deg=112.5005)
        for s, north in steps
    ]  # fmt: skip


STAY = ((0.0, OUTSIDE), (10.0, INSIDE), (60.0, INSIDE), (70.0, OUTSIDE), (130.0, OUTSIDE))


def test_a_fold_that_raises_is_set_aside_alone(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(kit, store, vehicles=4)
    say(kit, store, [one for number in range(4) for one in by(kit, number, *STAY)], 1)
    asked = []

    def fail_once(*args: Any, **more: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            raise ZeroDivisionError("a bug")
        return refold(*args, **more)

    monkeypatch.setattr(folding, "refold", fail_once)
    result = Deriver(store).run(AS_OF_MS)
    assert (result.folded, result.failed, result.set_aside) == (3, 1, 1)
    with store.read() as conn:
        assert len(conn.execute(select(visit)).all()) == 3
        (failed,) = conn.execute(select(fold_failure.c.vehicle_id)).scalars()
        assert failed not in conn.execute(select(fold_state.c.vehicle_id)).scalars().all()
        assert set(conn.execute(select(dirty.c.vehicle_id)).scalars()) == {failed}


def test_what_cannot_be_written_holds_up_no_other(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(kit, store, vehicles=4)
    say(kit, store, [one for number in range(4) for one in by(kit, number, *STAY)], 1)
    write = FoldWriter.write

    def refuse(self: Any, *args: Any) -> None:
        if self._vehicle_id == "v2":
            raise ZeroDivisionError("a bug")
        write(self, *args)

    monkeypatch.setattr(FoldWriter, "write", refuse)
    result = Deriver(store).run(AS_OF_MS)
    assert (result.folded, result.failed) == (3, 1)
    with store.read() as conn:
        assert set(conn.execute(select(visit.c.vehicle_id)).scalars()) == {"v0", "v1", "v3"}
        assert conn.execute(select(fold_failure.c.vehicle_id)).scalars().all() == ["v2"]


def test_a_fold_that_looks_back_farther_than_was_loaded_loads_the_rest(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of one arm of a U and to the edge of the other, where no reading is an anchor."""
    monkeypatch.setattr(folding, "LOOK_BACK_MS", 900_000)
    arms = ((0, 0), (300, 0), (300, 100), (200, 100), (200, 20), (100, 20), (100, 100), (0, 100))
    kit.register(sqlite_store)
    with sqlite_store.write() as conn:
        conn.execute(insert(vehicle).values(id="v0", created_at=START_MS))
        put_fence(conn, fold_cases.feature(arms, valid_from=LONG_AGO), START_MS, "test")
        bind(conn, "808:0", "v0", valid_from_ms=0, now_ms=START_MS)

    def drive(epoch: int, *steps: tuple[float, float]) -> None:
        readings = []
        for second, east_m in steps:
            longitude_deg, latitude_deg = fold_cases.degrees(east_m, 70)
            place = {"latitude_deg": latitude_deg, "longitude_deg": longitude_deg}
            readings.append(kit.position("808:0", START_MS + round(second * 1000), **place))
        say(kit, sqlite_store, readings, epoch)
        assert derive_once(sqlite_store, AS_OF_MS).folded == 1

    at_the_edge = [(160.0 + 100 * n, 205.0 + n % 2) for n in range(30)]
    drive(1, (0, -60), (30, 50), (80, 50), *at_the_edge)
    drive(2, (3_200, 205))
    with sqlite_store.read() as conn:
        (left_at,) = conn.execute(select(visit.c.left_at)).scalars()
        assert left_at < START_MS + 160_000
        assert conn.execute(select(amendment)).all() == []


def test_a_turn_folds_those_that_wait_longest_with_what_came_meanwhile(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "VEHICLES_MAX", 3)
    prepare(kit, store)
    deriver = Deriver(store)
    while deriver.run(START_MS).has_more:
        pass
    say(kit, store, [one for number in range(VEHICLES) for one in by(kit, number, *STAY[:3])], 1)
    first = deriver.run(AS_OF_MS)
    assert (first.marked, first.folded, first.has_more) == (VEHICLES, 3, True)
    say(kit, store, [one for number in range(VEHICLES) for one in by(kit, number, *STAY[3:])], 2)
    folded = []
    while True:
        result = deriver.run(AS_OF_MS)
        folded.append(result.folded)
        if not result.has_more:
            break
    assert folded == [3, 2], "those that waited, each once"
    with store.read() as conn:
        left = conn.execute(select(visit.c.vehicle_id).where(visit.c.left_at.is_not(None)))
        assert len(left.all()) == VEHICLES - 3
        assert len(conn.execute(select(dirty)).all()) == 3
    assert deriver.run(AS_OF_MS).folded == 3, "those that were folded before"
    with store.read() as conn:
        assert conn.execute(select(dirty)).all() == []
        assert not conn.execute(select(visit).where(visit.c.left_at.is_(None))).all()


def test_vehicles_another_process_has_folded_meanwhile_are_not_folded_again(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "VEHICLES_MAX", 3)
    prepare(kit, store)
    derive_once(store, START_MS)
    say(kit, store, [one for number in range(VEHICLES) for one in by(kit, number, *STAY)], 1)
    ours = Deriver(store)
    assert ours.run(AS_OF_MS).has_more
    others = derive_once(store, AS_OF_MS + 1_000)
    assert others.marked <= VEHICLES - 3
    left = ours.run(AS_OF_MS + 5_000)
    assert (left.folded, left.elsewhere, left.has_more) == (0, VEHICLES - 3, False)


def test_a_stop_ends_a_group_of_long_folds_and_keeps_what_was_done(
    kit: Kit, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("VEHICLE_MAX", "UNCHANGED_MAX"):
        monkeypatch.setattr(cases, limit, 0)
    prepare(kit, store)
    derive_once(store, START_MS)
    say(kit, store, [one for number in range(VEHICLES) for one in by(kit, number, *STAY)], 1)
    began: list[int] = []

    def begin(*args: Any, **more: Any) -> Any:
        began.append(1)
        return refold(*args, **more)

    monkeypatch.setattr(folding, "refold", begin)
    stopped = Deriver(store).run(AS_OF_MS, lambda: len(began) >= 3)
    assert (stopped.folded, stopped.has_more) == (3, True)
    with store.read() as conn:
        assert len(conn.execute(select(visit)).all()) == 3
    assert Deriver(store).run(AS_OF_MS).folded == VEHICLES - 3


def test_of_two_folds_of_one_snapshot_one_is_written_whatever_the_clock(
    kit: Kit, store: Store
) -> None:
    """A claim lost without noticing, on a host whose clock is behind that of the last fold."""
    prepare(kit, store, vehicles=1)
    derive_once(store, AS_OF_MS)
    say(kit, store, by(kit, 0, *STAY), 1)
    behind_ms = AS_OF_MS - 60_000
    with store.write() as conn:
        marks.hand_over_sources(conn, behind_ms)
    fences = FenceShelf().take
    folds = []
    for _ in range(2):
        with store.read() as conn:
            fence_set = fences(conn)
            opened = cases.open_cases(conn, ["v0"], fence_set, behind_ms)
            folds.append(list(folding.fold_cases(conn, opened, fence_set)))
    for fold in folds:
        assert all(isinstance(one, folding.Folded) for one in fold)
        write_folds(store, fold, fence_set, behind_ms)  # type: ignore[arg-type]  # asserted
    with store.read() as conn:
        assert len(conn.execute(select(visit)).all()) == 1
        assert len(conn.execute(select(violation)).all()) == 1


def test_a_reading_that_does_not_lead_is_no_reason_to_see_nothing(kit: Kit, store: Store) -> None:
    """A fence put later, between two readings of the source that leads and within one of its
    segments; the last reading before is the lesser source's."""
    prepare(kit, store, vehicles=1)
    leads, lesser = (
        [
            kit.position(source, START_MS + 20_000 * n + after_ms, latitude_deg=33.5,
                         longitude_deg=112.5 + 0.004 * (n + after_ms / 20_000), speed_kmh=67.0)
            for n in range(20)
        ]
        for source, after_ms in (("gw/gnss", 0), ("808:0", 10_000))
    )  # fmt: skip
    say(kit, store, [*leads, *lesser], 1)
    derive_once(store, START_MS + 200_000)
    west, east = 112.5 + 0.004 * 4.88 - 0.0008, 112.5 + 0.004 * 4.88 + 0.0004
    ring = [[west, 33.49], [east, 33.49], [east, 33.51], [west, 33.51], [west, 33.49]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "id": "thin",
            "valid_from": format_time(START_MS + 95_000),
            "confirm_s": 0,
            "hysteresis_m": 0,
            "rules": [{"rule": "no_entry"}],
        },
    }
    with store.write() as conn:
        put_fence(conn, feature, START_MS + 200_000, "test")
    derive_once(store, START_MS + 200_001)
    with store.read() as conn:
        assert conn.execute(select(visit.c.fence_id)).scalars().all() == ["thin"]


def test_readings_ahead_of_the_clock_are_neither_read_nor_forgotten(kit: Kit, store: Store) -> None:
    prepare(kit, store, vehicles=2)
    ahead_s = 30 * 86_400.0
    stay_ahead = [(ahead_s + second, north) for second, north in STAY]
    say(kit, store, by(kit, 0, *stay_ahead), 1)
    say(kit, store, by(kit, 1, *((second, FAR) for second, _ in stay_ahead)), 2)
    derive_once(store, START_MS)
    for number in range(2):
        say(kit, store, by(kit, number, (1.0, FAR), (2.0, FAR)), 3 + number)
    assert derive_once(store, START_MS + 10_000).readings_read == 2 * 2
    with store.read() as conn:
        assert conn.execute(select(visit)).all() == []
        due = conn.execute(select(fold_state.c.due_at)).scalars().all()
        assert due == [START_MS + ahead_s * 1000] * 2
    assert derive_once(store, START_MS + int(ahead_s * 1000) + 200_000).folded == 2
    with store.read() as conn:
        assert conn.execute(select(visit.c.vehicle_id)).scalars().all() == ["v0"]
