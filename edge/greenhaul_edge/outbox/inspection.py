"""What lies in an outbox, read beside a running agent or without one. Changes nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from greenhaul_edge.outbox.asides import asides
from greenhaul_edge.outbox.chunks import ROW_COLUMNS, Row
from greenhaul_edge.outbox.rows import load_ledger, meta
from greenhaul_edge.outbox.salvage import RawPages
from greenhaul_edge.outbox.schema import DamagedFile, check_structure, open_to_read
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.errors import DecodeError, Unavailable
from greenhaul_protocols.ranges import Pair
from greenhaul_protocols.series import decode_body

# Rows read in one transaction: a reader that holds one for long makes the WAL grow.
_ROWS_READ = 50


@dataclass(frozen=True, slots=True)
class LaneContents:
    """What of a lane lies in the file."""

    lane: int
    rows: int
    readings: int
    size: int  # bytes of the rows' bodies
    from_ms: int  # earliest and latest device time
    to_ms: int
    waiting: tuple[Pair, ...]  # numbers no receipt settled


@dataclass(frozen=True, slots=True)
class Contents:
    """What `outbox ls` shows."""

    gateway: str
    epoch: int
    lanes: tuple[LaneContents, ...]
    unclocked_rows: int
    asides: tuple[Path, ...]


@dataclass(slots=True)
class Verdict:
    """What `outbox verify` found."""

    rows: int = 0
    readings: int = 0
    faults: list[str] = field(default_factory=list)


def contents_of(path: Path) -> Contents:
    """Lanes, ranges and what was put aside. Raises Unavailable if the file cannot be read."""
    with _reading(path) as connection:
        gateway = meta(connection, "gateway") or ""
        ledger = load_ledger(connection, gateway)
        found = connection.execute(
            'SELECT lane, count(*), sum("count"), sum(length(body)), min(from_ms), max(to_ms) '
            "FROM chunk GROUP BY lane ORDER BY lane"
        ).fetchall()
        unclocked = connection.execute("SELECT count(*) FROM unclocked").fetchone()[0]
        lanes = tuple(
            LaneContents(
                lane, rows, readings, size, from_ms, to_ms, tuple(ledger.lane(lane).unsettled())
            )
            for lane, rows, readings, size, from_ms, to_ms in found
        )
        return Contents(gateway, ledger.epoch, lanes, unclocked, tuple(asides(path)))


def verify(path: Path) -> Verdict:
    """Compare all that was written with what can be read. Raises Unavailable."""
    verdict = Verdict()
    try:
        with _reading(path) as connection:
            check_structure(connection)
            load_ledger(connection, meta(connection, "gateway") or "")
        for row in rows_of(path):
            verdict.rows += 1
            verdict.readings += row.readings
            if not row.is_intact:
                last = row.first + row.readings - 1
                verdict.faults.append(f"lane {row.lane}: readings {row.first} to {last}")
    except (sqlite3.Error, DamagedFile) as error:
        verdict.faults.append(str(error))
    verdict.faults += [f"{one.name}: not yet salvaged" for one in asides(path, "damaged")]
    return verdict


def rows_of(path: Path) -> Iterator[Row]:
    """Every row in order of its commit, unclocked ones last. Raises Unavailable, sqlite3.Error."""
    for table in ("chunk", "unclocked"):
        at = 0
        while True:
            with _reading(path) as connection:
                rows = connection.execute(
                    f"SELECT {ROW_COLUMNS}, id FROM {table} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
                    (at, _ROWS_READ),
                ).fetchall()
            if not rows:
                break
            yield from (Row.read(columns) for *columns, _ in rows)
            at = rows[-1][-1]


def salvaged_rows_of(path: Path) -> Iterator[Row]:
    """Every row that can be found in the pages of a file, whole or not."""
    with closing(RawPages(path)) as raw:
        seen: set[tuple[int, int, int]] = set()
        for place in range(raw.places):
            for row in raw.rows(place):
                key = (row.crc, row.first, row.committed_ms)
                if key not in seen:
                    yield row
                if place < raw.frames:
                    seen.add(key)


def readings_of(row: Row) -> Iterator[tuple[int, Reading]]:
    """A row's readings with their numbers, in order; none of a row that is damaged."""
    if not row.is_intact:
        return
    found: list[tuple[int, Reading]] = []
    for series in decode_body(row.body):
        try:
            numbers = [row.first + number for number in series.numbers]
            found += zip(numbers, series.readings(), strict=True)
        except DecodeError:
            continue  # of a kind that a newer version knows
    yield from sorted(found, key=lambda pair: pair[0])


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads, for as long as the block lasts."""
    if not path.is_file():
        raise Unavailable(f"{path}: there is no outbox yet")
    with closing(open_to_read(path)) as connection:
        yield connection
