"""A district's SQLite store becomes a city's: every row into an empty PostgreSQL, or none.

Nobody writes to the old store meanwhile (collectors wait, gateways keep), and both sides are read
and compared before anything is committed. It stays the same store to its gateways.
"""

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.engine import make_url

from greenhaul_cloud.housekeeping.copying import set_sequences
from greenhaul_cloud.housekeeping.filling import RowBatch
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.store.engine import empty_database, migrate, open_store
from greenhaul_cloud.store.migrating import upgrade
from greenhaul_cloud.store.postgres import PostgresDriver
from greenhaul_cloud.store.schema import Serial
from greenhaul_cloud.store.tables import metadata, readings
from greenhaul_protocols.catalogue import KINDS
from greenhaul_protocols.errors import ConfigError, Rejected

# Rows held at a time: some 20 MB.
GROUP_ROWS = 20_000

_KINDS = {table.name: KINDS[number] for number, table in readings.items()}
Sum = tuple[int, int]  # how many rows, and the sum of their digests


def move_store(source_url: str, target_url: str, now_ms: int, progress: Progress) -> dict[str, int]:
    """Move everything; how many rows of each table.

    Raises ConfigError for other engines, no store, or a target that is not empty, Rejected when
    the two do not agree afterwards (nothing is committed then), Unavailable.
    """
    engines = [make_url(url).get_backend_name() for url in (source_url, target_url)]
    if engines != ["sqlite", "postgresql"]:
        raise ConfigError(
            f"a store moves from sqlite to postgresql, not from {' to '.join(engines)}"
        )
    source = open_store(source_url, now_ms, may_make=False)
    try:
        with source.write() as old, empty_database(target_url) as new:
            upgrade(new)
            sums = {
                table.name: _move(old, new, table, now_ms, progress)
                for table in metadata.sorted_tables
            }
            set_sequences(new, _last_ids(old))
            for table in metadata.sorted_tables:
                progress.show(f"checking {table.name}", sums[table.name][0])
                found = _sum_of(new, table)
                if found != sums[table.name]:
                    raise Rejected(
                        f"{table.name}: {sums[table.name][0]} rows went, {found[0]} came, or they "
                        "differ; nothing was kept"
                    )
    finally:
        source.close()
    migrate(target_url)
    return {name: count for name, (count, _) in sums.items()}


def _move(old: Connection, new: Connection, table: Table, now_ms: int, progress: Progress) -> Sum:
    count, total = 0, 0
    names = [column.name for column in table.columns]
    kind = _KINDS.get(table.name)
    driver = PostgresDriver()
    for rows in _groups(old, table):
        if kind is None:
            new.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        else:
            columns = dict(zip(names, zip(*rows, strict=True), strict=True))
            driver.insert_new(new, RowBatch(kind, columns, now_ms))
        count += len(rows)
        total += sum(map(_digest, rows))
        progress.show(table.name, count)
    return count, total % 2**64


def _sum_of(conn: Connection, table: Table) -> Sum:
    count, total = 0, 0
    for rows in _groups(conn, table):
        count += len(rows)
        total += sum(map(_digest, rows))
    return count, total % 2**64


def _groups(conn: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    found = conn.execute(select(table), execution_options={"yield_per": GROUP_ROWS})
    for rows in found.partitions():
        yield [tuple(row) for row in rows]


def _digest(row: tuple[Any, ...]) -> int:
    """64 bits of a row's values, whatever engine they came from; sums do not ask for an order."""
    said = repr([_plain(value) for value in row])
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest())


def _plain(value: Any) -> Any:
    if isinstance(value, (dict, list)):  # JSONB sorts keys, and writes 1e22 as a whole number
        return json.dumps(_floats(value), sort_keys=True)
    return value


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_number else value


def _last_ids(conn: Connection) -> dict[str, int]:
    """The highest number of each table that numbers its rows itself."""
    found = {}
    for table in metadata.sorted_tables:
        column = table.columns.get("id")
        if column is None or column.type is not Serial:
            continue
        last = conn.execute(select(func.max(column))).scalar()
        if last is not None:
            found[table.name] = int(last)
    return found
