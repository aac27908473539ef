"""The outbox file: how it is opened, which tables it has, what its versions are.

meta       one row a setting: gateway, epoch, times, store revisions
epoch      one row an epoch; all but one are closed
lane       numbers, marks, ranges and counters, per epoch and lane
chunk      readings: one row a commit, numbered `first` to `first` + `count` - 1
grace      ranges in order of delivery: which chunks are deleted first
unclocked  readings stamped by a boot's clock that nobody has mapped to UTC yet; `first` is 0
copy       when the first copy of a message of unusable time was received

Rows whose damage would lose readings silently carry a CRC: chunk, unclocked, lane and meta. chunk
and unclocked have the same columns in the same order, because salvage finds their records by that
shape in pages that no b-tree leads to any more.
"""

import sqlite3
from pathlib import Path
from zlib import crc32

from greenhaul_protocols.errors import ConfigError, DecodeError

VERSION = 2
# Programs from this version on may open a file of this version as it is; a newer program that
# only adds tables or columns leaves it alone, and so does not lock out the one before it.
OPENS_FROM = 2
PAGE_SIZE = 4096

# WAL pages before a checkpoint, and what is left of the WAL after one: a megabyte.
_WAL_PAGES, WAL_SIZE_MAX = 256, 1 << 20

# The order matters: auto_vacuum set after WAL is silently ignored and the file never shrinks.
# NORMAL instead of FULL loses what was acknowledged in a power cut; tests show it.
_PRAGMAS = (
    f"page_size={PAGE_SIZE}",
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "synchronous=FULL",
    f"wal_autocheckpoint={_WAL_PAGES}",
    f"journal_size_limit={WAL_SIZE_MAX}",
    "busy_timeout=5000",
    "temp_store=MEMORY",
    "cache_size=-2000",
)
# Read back after opening: without these the file grows for ever, or a power cut loses what was
# acknowledged.
_DEMANDED = {"auto_vacuum": 2, "synchronous": 2, "journal_mode": "wal", "page_size": PAGE_SIZE}

_ROW = """(
    id INTEGER PRIMARY KEY NOT NULL,
    lane INTEGER NOT NULL,
    first INTEGER NOT NULL,
    "count" INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
)"""
# The first covers what is read at start; the second has rowids in order of commit.
_INDEXES = """
CREATE INDEX chunk_by_number ON chunk (lane, first, "count");
CREATE INDEX chunk_evictable ON chunk (priority) WHERE priority = 0;
"""
_TABLES = f"""
CREATE TABLE meta ("key" TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER);
CREATE TABLE epoch (
    epoch INTEGER PRIMARY KEY, opened_ms INTEGER, closed_ms INTEGER, closed_because TEXT);
CREATE TABLE lane (
    epoch INTEGER, lane INTEGER, next INTEGER NOT NULL, sent_mark INTEGER NOT NULL,
    stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, quarantined INTEGER NOT NULL,
    dropped INTEGER NOT NULL, settled BLOB NOT NULL, gone BLOB NOT NULL, crc INTEGER,
    PRIMARY KEY (epoch, lane));
CREATE TABLE chunk {_ROW};
CREATE TABLE grace (
    id INTEGER PRIMARY KEY, lane INTEGER, first INTEGER, last INTEGER, delivered_ms INTEGER,
    size INTEGER);
CREATE TABLE unclocked {_ROW};
CREATE TABLE copy (id INTEGER PRIMARY KEY, "key" BLOB, received_ms INTEGER);
CREATE UNIQUE INDEX copy_by_key ON copy ("key");
{_INDEXES}
"""
# Rows of version 1 have no CRC, or one of their body only; readers take both.
_FROM_VERSION_1 = f"""\
ALTER TABLE meta ADD COLUMN crc INTEGER;
ALTER TABLE lane ADD COLUMN crc INTEGER;
ALTER TABLE unclocked RENAME TO unclocked_1;
CREATE TABLE unclocked {_ROW};
INSERT INTO unclocked SELECT id, 1, 0, 1, priority, boot, 0, 0, 0, crc32(body), body
    FROM unclocked_1;
DROP TABLE unclocked_1;
DROP INDEX chunk_by_number;
DROP INDEX chunk_evictable;
{_INDEXES}
"""  # noqa: S608
_OPENS_FROM = f"INSERT OR REPLACE INTO meta (\"key\", value) VALUES ('opens_from', '{OPENS_FROM}');"  # noqa: S608
# What brings a file of each version to this one; 0 is a new file.
_STEPS = {0: _TABLES, 1: _FROM_VERSION_1}


class DamagedFile(DecodeError):
    """The file contradicts itself: put it aside, salvage what it holds."""


class NewerFile(DecodeError):
    """The file was written by a newer program in a way this one cannot read: carry it over."""


def open_file(path: Path) -> sqlite3.Connection:
    """The one connection that writes. Explicit transactions; any thread may own it.

    Raises ConfigError if a new file cannot be made durable here; DamagedFile, NewerFile or
    sqlite3.Error otherwise: what it means, `recovery` knows.
    """
    is_new = not path.exists() or not path.stat().st_size
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _make_tables(connection, path)
        _check_pragmas(connection, path, is_new=is_new)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads, beside the one that writes. Keep its transactions short.

    Raises sqlite3.OperationalError if there is no such file.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5,
    )


def check_structure(connection: sqlite3.Connection) -> None:
    """Let SQLite compare tables and indexes, page by page. Raises DamagedFile, sqlite3.Error."""
    said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if said != "ok":
        raise DamagedFile(str(said).replace("\n", " ")[:200])


def _check_pragmas(connection: sqlite3.Connection, path: Path, *, is_new: bool) -> None:
    for pragma, demanded in _DEMANDED.items():
        found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found == demanded:
            continue
        said = f"PRAGMA {pragma} is {found}, must be {demanded}"
        if not is_new:
            raise DamagedFile(said)
        raise ConfigError(f"{path}: {said}; the file system does not support it")


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    if version > VERSION:
        row = connection.execute("SELECT value FROM meta WHERE \"key\" = 'opens_from'").fetchone()
        if row is None or not row[0].isdigit() or int(row[0]) > VERSION:
            raise NewerFile(f"{path}: outbox version {version}; this program knows {VERSION}")
        return
    connection.create_function("crc32", 1, crc32, deterministic=True)
    steps = _STEPS.get(version)
    if steps is None:
        raise DamagedFile(f"outbox version {version}")
    # Plain SQL: sqlite-utils would cost every agent 4 MB, and 30 more where numpy is installed.
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;{steps}{_OPENS_FROM}PRAGMA user_version={VERSION};COMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
