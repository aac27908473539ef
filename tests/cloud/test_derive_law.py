"""The law: same inputs and as-of, same visits and violations, whatever way they came."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from greenhaul_cloud.derive import folding
from greenhaul_cloud.derive.runner import Deriver, derive_once
from greenhaul_cloud.derive.stored import load_folds
from greenhaul_cloud.hours.calendar import YearPlan
from greenhaul_cloud.store.attributes import Attributes, set_attributes
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.calendars import put_year
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.tables import amendment, dirty, fold_failure, vehicle, violation, visit
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cloud.conftest import Kit

START_MS = 1_800_000_000_000
AS_OF_MS = START_MS + 86_400_000
SOURCE = "808:13912345678"

# about 100 m by 100 m at 33° north
SQUARE = [[112.5, 33.0], [112.50107, 33.0], [112.50107, 33.0009], [112.5, 33.0009], [112.5, 33.0]]


RULES: list[dict[str, Any]] = [
    {"rule": "no_entry"},
    {"rule": "speed_limit", "limit_kmh": 40, "for_s": 10},
]
# START_MS is a Friday, 16:00 in China.
ALL_RULES: list[list[dict[str, Any]]] = [
    RULES,
    [
        {"rule": "no_entry", "hours": "Fr 16:02-16:10; PH off"},
        {"rule": "must_stay", "hours": "16:05-16:15"},
        {"rule": "max_dwell", "limit_s": 60},
        {"rule": "must_visit_by", "hours": "16:04-16:06,16:10-16:11"},
    ],
    [
        {"rule": "allowed_hours", "hours": "Mo-Fr 16:05-16:10"},
        {"rule": "must_stay"},
        {"rule": "min_dwell", "limit_s": 90},
        {"rule": "transit_time", "min_s": 40, "max_s": 200},
        {
            "rule": "speed_limit",
            "limit_kmh": 55,
            "night_limit_kmh": 40,
            "night_hours": "16:08-23:00",
        },
    ],
]


def square_fence(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
        "properties": {
            "id": "square",
            "valid_from": "2014-01-01T00:00:00Z",
            "rules": RULES,
            **properties,
        },
    }


def hovering(kit: Kit, rng: random.Random, size: int, source: str = SOURCE) -> list[Any]:
    """Drives about the square's south edge: in, out, on the edge, silent for minutes."""
    readings, time_ms, north = [], START_MS, -0.0005
    for _ in range(size):
        time_ms += 1000 * rng.choice((1, 5, 10, 10, 10, 20, 40, 130))
        north = min(max(north + 0.0001 * rng.choice((-4, -2, -1, 0, 1, 2, 4)), -0.0006), 0.0008)
        readings.append(
            kit.position(
                source,
                time_ms,
                latitude_deg=33.0 + north,
                longitude_deg=112.5005,
                speed_kmh=rng.choice((0.0, 20.0, 50.0, 60.0)),
            )
        )
    return readings


def prepare(kit: Kit, store: Store) -> None:
    kit.register(store)
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="v1", created_at=START_MS))
        put_fence(conn, square_fence(), START_MS, "test")
        bind(conn, SOURCE, "v1", valid_from_ms=0, now_ms=START_MS)


def findings(store: Store) -> tuple[list[Any], list[Any]]:
    """Everything that stands, without ids and history."""
    unlike = {"id", "visit_id", "changed_at", "amended"}
    with store.read() as conn:
        tables = []
        for table, began in ((visit, visit.c.entered_at), (violation, violation.c.began_at)):
            columns = [column for column in table.columns if column.name not in unlike]
            query = select(*columns).where(table.c.state != "withdrawn")
            tables.append(
                [dict(row) for row in conn.execute(query.order_by(began, *columns[:4])).mappings()]
            )
        return tables[0], tables[1]


def test_one_drive_through_is_one_visit_with_its_violations(kit: Kit, store: Store) -> None:
    prepare(kit, store)
    norths = [-0.0005, -0.0002, 0.0003, 0.0003, 0.0004, 0.0005, 0.0006, 0.0012, 0.002, 0.003, 0.004]
    readings = [
        kit.position(
            SOURCE,
            START_MS + i * 10_000,
            latitude_deg=33.0 + north,
            longitude_deg=112.5005,
            speed_kmh=50.0,
        )
        for i, north in enumerate(norths)
    ]
    outbox = kit.outbox(readings=readings)
    store_blocks(store, [outbox.received(1, len(readings))], START_MS)
    result = derive_once(store, AS_OF_MS)
    assert (result.folded, result.failed) == (1, 0)
    (stay,), violations = findings(store)
    assert (stay["entered_by"], stay["left_by"], stay["certainty"]) == (
        "crossing",
        "crossing",
        "certain",
    )
    assert START_MS + 10_000 < stay["entered_at"] < START_MS + 20_000
    assert [broken["rule"] for broken in violations] == ["no_entry", "speed_limit"]
    assert violations[0]["evidence"]["geometry"]["type"] == "MultiPoint"
    with store.read() as conn:
        assert conn.execute(select(dirty)).all() == []


@pytest.fixture(autouse=True)
def short_look_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drives here last an hour: most folds are to find what stands without its beginning."""
    monkeypatch.setattr(folding, "LOOK_BACK_MS", 900_000)


def test_a_fold_does_not_read_all_that_ever_stood(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty visits in forty hours; the next reading needs none of them, an old one its own."""
    prepare(kit, sqlite_store)
    norths = [-0.0005, -0.0002, 0.0003, 0.0004, 0.0005, 0.0004, 0.0012, 0.002, 0.003, 0.004]
    readings = [
        kit.position(SOURCE, START_MS + hour * 3_600_000 + i * 20_000,
                     latitude_deg=33.0 + north, longitude_deg=112.5005, speed_kmh=20.0)
        for hour in range(40)
        for i, north in enumerate(norths)
    ]  # fmt: skip
    as_of_ms = START_MS + 50 * 3_600_000
    outbox = kit.outbox(readings=readings)
    store_blocks(sqlite_store, [outbox.received(1, len(readings))], START_MS)
    derive_once(sqlite_store, as_of_ms)
    assert len(findings(sqlite_store)[0]) == 40
    loaded: list[int] = []

    def count(*args: Any) -> Any:
        found = load_folds(*args)
        loaded.append(sum(len(held.visits) for held in found["v1"].values()))
        return found

    monkeypatch.setattr(folding, "load_folds", count)
    late = readings[10 * len(norths)].device_time_ms
    for epoch, at_ms in ((2, readings[-1].device_time_ms + 10_000), (3, late + 5_000)):
        new = kit.position(SOURCE, at_ms, latitude_deg=33.0012, longitude_deg=112.5005)
        outbox = kit.outbox(epoch=epoch, readings=[new])
        store_blocks(sqlite_store, [outbox.received(1, 1)], START_MS)
        derive_once(sqlite_store, as_of_ms)
    assert loaded[0] <= 1
    assert len(findings(sqlite_store)[0]) >= 40


@pytest.mark.parametrize("seed", range(3))
def test_any_order_chunking_and_doubling_gives_the_same(
    kit: Kit, sqlite_store: Store, tmp_path: Path, seed: int
) -> None:
    check_law(kit, sqlite_store, tmp_path, seed, 120)


def test_the_law_holds_on_every_engine(kit: Kit, store: Store, tmp_path: Path) -> None:
    check_law(kit, store, tmp_path, 99, 60)


@pytest.mark.parametrize("seed", range(4))
def test_inputs_of_every_kind_may_come_in_any_order(
    kit: Kit, sqlite_store: Store, tmp_path: Path, seed: int
) -> None:
    """Readings of two sources, a binding that moves, attributes, fence versions, the calendar."""
    rng = random.Random(seed)
    rules = ALL_RULES[seed % len(ALL_RULES)]
    sources = {name: hovering(kit, rng, 70, name) for name in (SOURCE, "gw-1/gnss")}
    middle_ms = START_MS + 600_000

    def say(readings: list[Any]) -> Callable[[Store], None]:
        outbox = kit.outbox(readings=readings, epoch=rng.getrandbits(60))
        block = outbox.received(1, len(readings))
        return lambda store: void(store_blocks(store, [block], START_MS))

    def write(function: Any, *args: Any, **more: Any) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            with store.write() as conn:
                function(conn, *args, **more)

        return run

    def versions(store: Store) -> None:
        for at_ms, confirm_s in ((START_MS, 30), (middle_ms - 200_000, 10)):
            with store.write() as conn:
                feature = square_fence(
                    valid_from=format_time(at_ms),
                    confirm_s=confirm_s,
                    rules=rules,
                    applies_to={"energy": ["diesel"]},
                )
                put_fence(conn, feature, at_ms, "test")

    diesel, electric = Attributes("diesel", None, ()), Attributes("electric", None, ())
    span = {"valid_from_ms": 0, "valid_to_ms": middle_ms}
    moved = {"valid_from_ms": middle_ms, "valid_to_ms": middle_ms * 2}
    steps = [
        *(say(sources[name][i : i + 10]) for name in sources for i in range(0, 70, 10)),
        write(bind, SOURCE, "v1", priority=3, now_ms=START_MS, **span),
        write(bind, SOURCE, "v2", now_ms=START_MS, **moved),
        write(bind, "gw-1/gnss", "v1", valid_from_ms=0, now_ms=START_MS),
        write(set_attributes, "v1", 0, diesel, START_MS),
        write(set_attributes, "v1", middle_ms + 300_000, electric, START_MS),
        write(set_attributes, "v2", 0, diesel, START_MS),
        versions,
        write(put_year, "CN", YearPlan.of(2027, {"days_off": ["2027-01-15"]}), START_MS, "test"),
    ]

    def play(store: Store, *, folds: float) -> tuple[list[Any], list[Any]]:
        kit.register(store)
        with store.write() as conn:
            for vehicle_id in ("v1", "v2"):
                conn.execute(insert(vehicle).values(id=vehicle_id, created_at=START_MS))
        deriver = Deriver(store)
        for step in steps:
            step(store)
            if rng.random() < folds:
                deriver.run(AS_OF_MS)
        assert deriver.run(AS_OF_MS).failed == 0
        return findings(store)

    whole = open_store(f"sqlite:///{tmp_path}/whole.db", START_MS)
    expected = play(whole, folds=0)
    whole.close()
    assert expected[0]
    rng.shuffle(steps)
    assert play(sqlite_store, folds=0.7) == expected


def void(_result: object) -> None:
    """A step says nothing."""


def check_law(kit: Kit, store: Store, tmp_path: Path, seed: int, size: int) -> None:
    rng = random.Random(seed)
    readings = hovering(kit, rng, size)
    whole = open_store(f"sqlite:///{tmp_path}/whole.db", START_MS)
    prepare(kit, whole)
    store_blocks(whole, [kit.outbox(readings=readings).received(1, len(readings))], START_MS)
    derive_once(whole, AS_OF_MS)
    expected = findings(whole)
    whole.close()
    assert expected[0], "the drive enters the square"

    prepare(kit, store)
    mixed = readings + rng.sample(readings, len(readings) * 3 // 10)
    rng.shuffle(mixed)
    outbox, at, deriver = kit.outbox(readings=mixed), 0, Deriver(store)
    while at < len(mixed):
        count = min(rng.choice((1, 2, 5, 20)), len(mixed) - at)
        store_blocks(store, [outbox.received(at + 1, at + count)], START_MS + at)
        at += count
        if rng.random() < 0.5:
            deriver.run(AS_OF_MS)
    deriver.run(AS_OF_MS)
    assert findings(store) == expected
    with store.read() as conn:
        assert conn.execute(select(fold_failure)).all() == []
        assert conn.execute(select(amendment)).first() is not None
