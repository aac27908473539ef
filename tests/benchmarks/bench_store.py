"""The store's writer against plainer ways.

The writer is `store_blocks`: it decodes, removes duplicates, and keeps ledgers, `latest`, sources
and marks in the same transaction. The plainer ways only insert the same rows.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.postgres_server import find_programs, has_timescale, make_database, running

from greenhaul_cloud.store.batch import KindBatch
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.gateways import put_gateway
from greenhaul_cloud.store.inspection import ReceivedBlock, receive_block
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.bulk import BytesColumn, NumberColumn
from greenhaul_protocols.bulk_bodies import KindColumns
from greenhaul_protocols.series import Series, encode_body

VEHICLES, GATEWAYS = 2_000, 20
FLUSH = 10_000
FLUSHES = 12
DAY_READINGS, STEP_MS = 8_640, 10_000
START_MS = time.time_ns() // 86_400_000_000_000 * 86_400_000 - 86_400_000
POSITION = 1
# What a JT/T 808 terminal reports: by catalogue number, a value in steps.
STEPS = {1: 329_900_000, 2: 1_125_200_000, 3: 300, 4: 365, 5: 900, 6: 12, 9: 1, 10: 123_456,
         12: 0, 13: 3, 15: 30}  # fmt: skip


def positions(times_ms: np.ndarray, seed: int) -> dict[int, np.ndarray]:
    """Stored steps by field: a truck that moves."""
    random = np.random.default_rng(seed)
    columns = {number: np.full(len(times_ms), value) for number, value in STEPS.items()}
    for number, reach in ((1, 100_000), (2, 100_000), (4, 300), (5, 1_800)):
        columns[number] = columns[number] + random.integers(-reach, reach, len(times_ms))
    columns[10] = columns[10] + np.arange(len(times_ms))
    return columns


def blocks(readings: int, each: int, first_ms: int = START_MS) -> list[ReceivedBlock]:
    """Blocks of `each` readings of one source, as they come from the broker."""
    made, numbers = [], [1] * GATEWAYS
    for i in range(readings // each):
        vehicle, turn = i % VEHICLES, i // VEHICLES
        gateway = vehicle % GATEWAYS
        times = first_ms + (turn * each + np.arange(each)) * STEP_MS
        columns: dict[int, list[int | bytes | None]] = {
            n: list(map(int, c)) for n, c in positions(times, i).items()
        }
        series = Series(f"808:{vehicle}", POSITION, 0, list(range(each)), times.tolist(),
                        times.tolist(), [0] * each, columns)  # fmt: skip
        header = BlockHeader(
            gateway=f"dc-{gateway}", epoch=1, lane=1, first=numbers[gateway], count=each
        )
        numbers[gateway] += each
        made.append(receive_block(f"dc-{gateway}", 1, wrap_block(header, encode_body([series]))))
    return made


def batch_of(flush: int, now_ms: int) -> KindBatch:
    """The same rows as one batch for the driver alone."""
    each = FLUSH // VEHICLES
    return batch_at(START_MS + (flush * each + np.arange(each)) * STEP_MS, now_ms)


def batch_at(times_ms: np.ndarray, now_ms: int, vehicles: int = VEHICLES) -> KindBatch:
    """A position of so many vehicles at each of these times."""
    count = len(times_ms) * vehicles
    times, nothing = np.tile(times_ms, vehicles), np.zeros(count, np.int64)
    there = np.ones(count, np.bool_)
    steps = positions(times, int(times_ms[0] % 2**32))
    columns: dict[int, NumberColumn | BytesColumn] = {
        number: NumberColumn(values, there) for number, values in steps.items()
    }
    readings = KindColumns(POSITION, nothing, nothing, np.arange(count), times, times,
                           np.zeros(count, np.int16), columns)  # fmt: skip
    vehicle = np.repeat(np.arange(vehicles) + 1, len(times_ms))
    return KindBatch(readings, nothing, vehicle, now_ms)


def timed(work: Callable[[], object]) -> float:
    """Seconds it took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """A store with its gateways."""
    store = open_store(url, START_MS)
    for number in range(GATEWAYS):
        put_gateway(store, f"dc-{number}", ["*"], START_MS)
    yield store
    store.close()


def in_batches(store: Store, received: Sequence[ReceivedBlock], each: int) -> list[float]:
    """Seconds of each flush of FLUSH readings."""
    now_ms = time.time_ns() // 1_000_000
    count = FLUSH // each
    return [
        timed(lambda at=at: store_blocks(store, received[at : at + count], now_ms))  # type: ignore[misc]
        for at in range(0, len(received), count)
    ]


def by_driver(store: Store, batches: Sequence[KindBatch]) -> list[float]:
    """Seconds of each batch through the driver and its commit, with nothing beside it."""

    def write(batch: KindBatch) -> None:
        with store.write() as conn:
            store.driver.insert_new(conn, batch)

    return [timed(lambda batch=batch: write(batch)) for batch in batches]  # type: ignore[misc]


def by_rows(store: Store, batch: KindBatch, count: int, a_commit: int) -> float:
    """Rows a second of the plain way: `INSERT … ON CONFLICT`, so many rows a commit."""
    table = "position" if store.driver.is_shared is False else "position_main"
    names = [column.name for column in batch.columns]
    rows = [dict(zip(names, row, strict=True)) for row in batch.rows[:count]]
    is_postgres = table == "position_main"
    marks = ", ".join(
        f"to_timestamp(:{name} / 1000.0)" if is_postgres and name.endswith("_time") else f":{name}"
        for name in names
    )
    statement = text(
        f'INSERT INTO "{table}" ({", ".join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING'
    )

    def write() -> None:
        for at in range(0, len(rows), a_commit):
            with store.write() as conn:
                conn.execute(statement, rows[at : at + a_commit])

    return len(rows) / timed(write)


def show(what: str, figure: str, ratio: str = "") -> None:
    """One line."""
    print(f"{what:<58} {figure:>20}  {ratio}", flush=True)


def bench_writer(engine: str, url: str) -> None:
    """The writer of one engine against plainer ways."""
    with opened(url) as store:
        ten, one = blocks(FLUSH * FLUSHES, 10), blocks(FLUSH, 1, START_MS - 86_400_000)
        in_batches(store, ten[: FLUSH // 10], 10)  # names, plans
        rate = FLUSH / statistics.median(in_batches(store, ten[FLUSH // 10 :], 10))
        single = FLUSH / statistics.median(in_batches(store, one, 1))
        # the last of all: after it the next batches are expected to have known readings, too
        again = FLUSH / statistics.median(in_batches(store, ten[: 3 * FLUSH // 10], 10))
    with opened(url) as store:
        now_ms = time.time_ns() // 1_000_000
        with store.write() as conn:
            for table in ("position_main",) if store.driver.is_shared else ("position",):
                conn.execute(text(f"DELETE FROM {table}"))
        batches = [batch_of(flush, now_ms) for flush in range(FLUSHES + 3)]
        alone = FLUSH / statistics.median(by_driver(store, batches[:FLUSHES]))
        row = by_rows(store, batches[FLUSHES], 500, 1)
        many = by_rows(store, batches[FLUSHES + 1], FLUSH, 1_000)
        base = f"readings/s; one row a commit {row:,.0f}, executemany {many:,.0f}"
        show(f"{engine}: insert alone, 10k", f"{alone:,.0f}",
             f"{base}: × {alone / row:.0f}, × {alone / many:.1f}")  # fmt: skip
        show(f"{engine}: writer, blocks of 10", f"{rate:,.0f}",
             f"× {rate / row:.0f}, × {rate / many:.1f}")  # fmt: skip
        show(
            f"{engine}: writer, all known already", f"{again:,.0f}", f"× {again / rate:.2f} of new"
        )
        show(f"{engine}: writer, blocks of 1", f"{single:,.0f}", f"× {single / row:.0f}")


def main() -> None:
    """Every engine there is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["sqlite", "postgresql", "timescaledb"])
    options = parser.parse_args()
    engines = ["sqlite", "postgresql", *(["timescaledb"] if has_timescale() else [])]
    programs = find_programs()
    for engine in engines if options.only is None else [options.only]:
        with tempfile.TemporaryDirectory() as folder:
            if engine == "sqlite":
                bench_writer(engine, f"sqlite:///{folder}/writer.db")
                continue
        if programs is None:
            print(f"{engine}: no PostgreSQL here")
            continue
        with running(programs, "shared_buffers=512MB", "max_wal_size=4GB") as dsn:
            bench_writer(engine, make_database(dsn, "writer", engine))


if __name__ == "__main__":
    main()
