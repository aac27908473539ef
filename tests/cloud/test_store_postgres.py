"""PostgreSQL's ways of taking rows: straight into the table, or through a staging table."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Date,
    Double,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    event,
    select,
)
from tests.postgres_server import make_database

from greenhaul_cloud.store import postgres
from greenhaul_cloud.store.engine import Store, migrate, open_store
from greenhaul_cloud.store.postgres import PostgresDriver
from greenhaul_cloud.store.postgres_arrays import array_data
from greenhaul_cloud.store.schema import Instant
from greenhaul_cloud.store.tables import position
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.times import to_time_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine
    from tests.cloud.conftest import Kit

SOURCE = "808:13912345678"


@dataclass
class Collector:
    """A process's view of the store, and how often it began anew with a batch."""

    store: Store
    begun_anew: int = 0

    def hear(self, _conn: object, _name: object, _context: object) -> None:
        self.begun_anew += 1


@pytest.fixture
def collectors(kit: Kit, postgres_dsn: str) -> Iterator[list[Collector]]:
    """Two that have met no known reading yet."""
    url = make_database(postgres_dsn, "greenhaul_test_collectors")
    migrate(url)
    found = [Collector(open_store(url, kit.now_ms)) for _ in range(2)]
    for one in found:
        event.listen(one.store._engine, "rollback_savepoint", one.hear)
    kit.register(found[0].store)
    yield found
    for one in found:
        one.store.close()


def identities(store: Store) -> list[tuple[int, int]]:
    with store.read() as conn:
        query = select(position.c.source_id, position.c.device_time)
        return sorted((row.source_id, row.device_time) for row in conn.execute(query))


def test_what_is_known_is_found_on_either_way(
    kit: Kit, collectors: list[Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New ones go straight in; after known ones a few batches are staged, then it is tried anew."""
    monkeypatch.setattr(postgres, "STAGED_AFTER_KNOWN", 2)
    one = collectors[0]
    said = [kit.position(SOURCE, kit.now_ms + i * 1000) for i in range(60)]

    def put(low: int, high: int) -> tuple[int, int]:
        # numbers of their own, so that only the store can know the readings
        block = kit.outbox(readings=said[low:high], epoch=put_count.pop()).received(1, high - low)
        done = store_blocks(one.store, [block], kit.now_ms)
        return done.stored, done.duplicate

    put_count = list(range(100, 120))
    assert [put(0, 10), put(10, 20)] == [(10, 0), (10, 0)]
    assert one.begun_anew == 0
    assert put(15, 25) == (5, 5)
    assert one.begun_anew == 1
    assert [put(25, 30), put(30, 35)] == [(5, 0), (5, 0)]
    assert put(0, 35) == (0, 35)
    assert one.begun_anew == 2, "two batches were staged, the third was tried"
    assert put(20, 40) == (5, 15)
    assert one.begun_anew == 2, "staged, and known ones among them again"
    assert [put(40, 45), put(45, 50), put(50, 60)] == [(5, 0), (5, 0), (10, 0)]
    assert one.begun_anew == 2
    assert len(identities(one.store)) == 60


@pytest.mark.parametrize("staged", [0, 3])
def test_two_collectors_with_the_same_readings_store_each_once(
    kit: Kit, collectors: list[Collector], monkeypatch: pytest.MonkeyPatch, staged: int
) -> None:
    """Both try to put the same rows straight in, at the same time."""
    monkeypatch.setattr(postgres, "STAGED_AFTER_KNOWN", staged)
    said = [kit.position(f"808:{i % 5}", kit.now_ms + i * 100) for i in range(400)]

    def collect(collector: Collector, epoch: int) -> int:
        outbox = kit.outbox(readings=said, epoch=epoch)
        cuts = list(range(1, len(said), 40))
        random.Random(epoch).shuffle(cuts)
        return sum(
            store_blocks(collector.store, [outbox.received(cut, cut + 39)], kit.now_ms).stored
            for cut in cuts
        )

    with ThreadPoolExecutor(2) as pool:
        stored = sum(pool.map(collect, collectors, (1, 2)))
    assert stored == len(said)
    assert len(identities(collectors[0].store)) == len(said)
    assert sum(one.begun_anew for one in collectors) > 0


def test_batches_in_doubt_are_staged(kit: Kit, collectors: list[Collector]) -> None:
    """Odd dates, and dates that were odd when they came, are looked for in both tables."""
    store, year_ms = collectors[0].store, 365 * 86_400_000
    said = [kit.position(SOURCE, kit.now_ms + i * year_ms) for i in range(3)]
    block = kit.outbox(readings=said).received(1, 3)
    assert store_blocks(store, [block], kit.now_ms).stored == 3
    later = kit.outbox(readings=said, epoch=2).received(1, 3)
    # two years on, all three belong into the main table
    assert store_blocks(store, [later], kit.now_ms + 2 * year_ms).duplicate == 3
    assert len(identities(store)) == 3


# -- arrays ----------------------------------------------------------------------------------------

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    BigInteger: st.integers(-(2**63), 2**63 - 1),
    Integer: st.integers(-(2**31), 2**31 - 1),
    SmallInteger: st.integers(-(2**15), 2**15 - 1),
    Boolean: st.booleans(),
    Double: st.floats(allow_nan=False),
    REAL: st.integers(-999_999, 999_999).map(lambda steps: steps / 10),
    Text: st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    LargeBinary: st.binary(),
    Date: st.dates().map(date.isoformat),
    Instant: st.integers(-62_135_596_800_000, 253_402_300_799_999),
}
COLUMNS = st.sampled_from(list(VALUES)).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.lists(st.none() | VALUES[kind], min_size=1, max_size=20)
    )
)


@pytest.fixture(scope="module")
def engine(postgres_dsn: str) -> Iterator[Engine]:
    made = PostgresDriver().create_engine(postgres_dsn)
    yield made
    made.dispose()


@given(column=COLUMNS)
def test_an_array_comes_back_as_it_was_sent(engine: Engine, column: tuple[Any, list[Any]]) -> None:
    kind, values = column
    with engine.connect() as conn:
        cast = "timestamptz" if kind is Instant else kind().compile(engine.dialect)
        query = f"SELECT unnest(%(sent)s::{cast}[])"
        found = conn.exec_driver_sql(query, {"sent": array_data(kind(), values)}).scalars().all()
    assert [_plain(value) for value in found] == values


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_time_ms(value)
    return value.isoformat() if isinstance(value, date) else value
