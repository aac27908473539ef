"""A period of a store as Parquet files, one a kind, and their rows back into a store.

`{kind}.parquet` has the columns of the kind's table, its source by name and instants as UTC
milliseconds, sorted by source, device_time and digest; `quarantine.parquet` has what came in the
period and could not be stored; `source.parquet` who carried the sources of all these last.
Nothing is rounded or left out: what is read back is what was there, `stored_time` and `extra` too.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, select
from sqlalchemy.types import BigInteger, Boolean, Integer, LargeBinary, SmallInteger, Text

from greenhaul_cloud.arrow import load_arrow
from greenhaul_cloud.housekeeping.filling import fill_quarantine, fill_readings
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.schema import Instant
from greenhaul_cloud.store.sources import source_ids
from greenhaul_cloud.store.tables import quarantine, readings, source
from greenhaul_protocols.catalogue import KINDS
from greenhaul_protocols.errors import ConfigError, Rejected

# Rows held at a time, rows of a row group and of a transaction of reading back: some 30 MB.
GROUP_ROWS = 50_000
FORMAT = "greenhaul-archive-1"
_FORMAT_KEY = b"greenhaul"
_QUARANTINE = quarantine.name

Rows = Iterator[tuple[Any, ...]]


def write_archive(
    store: Store, folder: Path, from_ms: int, to_ms: int | None, progress: Progress
) -> dict[str, int]:
    """Write what has from ≤ device time < to, of one snapshot, into a new folder.

    Rows by file, but for the one that only says who carried these. to_ms None: without end. Raises
    ConfigError when the folder exists or pyarrow is not installed, Unavailable.
    """
    load_arrow()
    with _new_folder(folder) as unfinished, store.read() as conn:
        sources = sorted(map(tuple, conn.execute(select(source.c.name, source.c.id))))
        heard: set[str] = set()
        rows = {}
        for kind in KINDS.values():
            table = readings[kind.number]
            found = _readings(conn, table, sources, from_ms, to_ms, heard)
            rows[kind.name] = _write(unfinished, table, found, progress)
        entries = _streamed(conn, _quarantined(from_ms, to_ms))
        rows[_QUARANTINE] = _write(unfinished, quarantine, entries, progress)
        _write(unfinished, source, _carriers(conn, heard), progress)
    return rows


def read_archive(store: Store, folder: Path, now_ms: int, progress: Progress) -> dict[str, int]:
    """Put an archive's rows into the store, by identity; how many it did not have, by file.

    New positions leave marks for the fold, sources say who carried them. Raises Rejected for what
    is no archive, Unavailable.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    if not any((folder / f"{kind.name}.parquet").exists() for kind in KINDS.values()):
        raise Rejected(f"{folder}: no archive of greenhaul: no kind of reading in it")
    rows: dict[str, int] = {}
    carriers = {
        name: gateway
        for columns in _groups(folder, source)
        for name, gateway in zip(columns["name"], columns["gateway_id"], strict=True)
    }
    for kind in KINDS.values():
        table = readings[kind.number]
        for columns in _groups(folder, table):
            names = columns.pop("source")
            with store.write() as conn:
                ids = source_ids(store, conn, set(names))
                columns["source_id"] = [ids[name] for name in names]
                gateways = {ids[name]: carriers[name] for name in ids.keys() & carriers.keys()}
                new = fill_readings(store, conn, kind, columns, gateways, now_ms)
            rows[kind.name] = rows.get(kind.name, 0) + len(new)
            progress.show(kind.name, rows[kind.name])
    for columns in _groups(folder, quarantine):
        entries = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        with store.write() as conn:
            rows[_QUARANTINE] = rows.get(_QUARANTINE, 0) + fill_quarantine(conn, entries)
    return rows


# -- out of the store ------------------------------------------------------------------------------


def _readings(
    conn: Connection,
    table: Table,
    sources: Sequence[tuple[str, int]],
    from_ms: int,
    to_ms: int | None,
    heard: set[str],
) -> Rows:
    """By source and time: a range of the key each, so that nothing is sorted. heard: filled."""
    at = table.c.device_time
    within = _within(at, from_ms, to_ms)
    for name, source_id in sources:
        query = (
            select(*(table.c[column] for column in _columns(table) if column != "source"))
            .where(table.c.source_id == source_id, within)
            .order_by(at, table.c.digest)
        )
        for row in _streamed(conn, query):
            heard.add(name)
            yield (name, *row)


def _carriers(conn: Connection, heard: set[str]) -> Rows:
    query = select(source.c.name, source.c.gateway_id).order_by(source.c.name)
    for name, gateway in _streamed(conn, query.where(source.c.gateway_id.is_not(None))):
        if name in heard:
            yield name, gateway


def _within(at: ColumnElement[Any], from_ms: int, to_ms: int | None) -> ColumnElement[bool]:
    return at >= from_ms if to_ms is None else and_(at >= from_ms, at < to_ms)


def _quarantined(from_ms: int, to_ms: int | None) -> Select[Any]:
    columns = quarantine.c
    return (
        select(*(columns[name] for name in _columns(quarantine)))
        .where(_within(columns.stored_time, from_ms, to_ms))
        .order_by(columns.source, columns.stored_time, columns.id)
    )


def _streamed(conn: Connection, query: Select[Any]) -> Rows:
    for row in conn.execute(query, execution_options={"yield_per": GROUP_ROWS}):
        yield tuple(row)


def _write(folder: Path, table: Table, rows: Rows, progress: Progress) -> int:
    pa, parquet = load_arrow()
    schema = _schema(table)
    count = 0
    with parquet.ParquetWriter(
        folder / f"{table.name}.parquet", schema, compression="zstd"
    ) as file:
        for group in _grouped(rows):
            columns = zip(schema, zip(*group, strict=True), strict=True)
            arrays = [pa.array(values, field.type) for field, values in columns]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(group)
            progress.show(table.name, count)
    return count


def _grouped(rows: Rows) -> Iterator[list[tuple[Any, ...]]]:
    group: list[tuple[Any, ...]] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; it is there under its name only when it is whole."""
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; an archive overwrites nothing")
    unfinished = folder.with_name(f"{folder.name}.part")
    try:
        rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        yield unfinished
        unfinished.rename(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror or error}") from error
    finally:
        rmtree(unfinished, ignore_errors=True)


# -- the files -------------------------------------------------------------------------------------


def _columns(table: Table) -> list[str]:
    """Columns of a file: who and when come first, numbers of the store's own not at all."""
    if table is quarantine:
        return [column.name for column in table.columns if column.name != "id"]
    if table is source:
        return ["name", "gateway_id"]
    names = [column.name for column in table.columns if column.name != "source_id"]
    first = ("device_time", "digest")
    return ["source", *first, *(name for name in names if name not in first)]


def _schema(table: Table) -> Any:
    pa, _ = load_arrow()
    types = {
        Instant: pa.timestamp("ms", tz="UTC"), BigInteger: pa.int64(), Integer: pa.int32(),
        SmallInteger: pa.int16(), Boolean: pa.bool_(), Text: pa.string(), LargeBinary: pa.binary(),
    }  # fmt: skip
    fields = []
    for name in _columns(table):
        column_type = type(table.c[name].type) if name in table.c else Text
        # numbers in steps: SQLite keeps 64 bits of them whatever a column is called
        fields.append(pa.field(name, types.get(column_type, pa.float64())))
    return pa.schema(fields, metadata={_FORMAT_KEY: FORMAT.encode()})


def _groups(folder: Path, table: Table) -> Iterator[dict[str, list[Any]]]:
    """Columns of each row group of a file, by name; nothing when there is no such file."""
    pa, parquet = load_arrow()
    path = folder / f"{table.name}.parquet"
    if not path.exists():
        return
    known = _schema(table)
    try:
        with parquet.ParquetFile(path) as file:
            said = file.schema_arrow
            if (said.metadata or {}).get(_FORMAT_KEY) != FORMAT.encode():
                raise Rejected(f"{path}: not of format {FORMAT}")
            strange = sorted(set(said.names) - set(known.names))
            if strange:
                raise Rejected(
                    f"{path}: has {', '.join(strange)}, which this version does not know"
                )
            for number in range(file.num_row_groups):
                group = file.read_row_group(number)
                yield {name: _plain(group.column(name), known.field(name)) for name in said.names}
    except pa.ArrowException as error:
        raise Rejected(f"{path}: {error}") from error


def _plain(column: Any, field: Any) -> list[Any]:
    pa, _ = load_arrow()
    if pa.types.is_timestamp(field.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values
