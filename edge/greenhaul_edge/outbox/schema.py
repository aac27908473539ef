"""The outbox file: how it is opened, which tables it has, what its versions are.

meta       one row a setting: gateway, times, store revisions
epoch      one row an epoch; all but one are closed
lane       numbers, marks, ranges and counters, per epoch and lane
chunk      readings: one row a commit, numbered `first` to `first` + `count` - 1
grace      ranges in order of delivery: which chunks are deleted first
unclocked  readings stamped by a boot's clock that nobody has mapped to UTC yet
copy       when the first copy of a message of unusable time was received
"""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from greenhaul_protocols.errors import ConfigError

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 1

# WAL pages before a checkpoint, and what is left of the WAL after one: a megabyte.
_WAL_PAGES, _WAL_SIZE_MAX = 256, 1 << 20

# The order matters: auto_vacuum set after WAL is silently ignored and the file never shrinks.
_PRAGMAS = (
    "page_size=4096",
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "synchronous=FULL",
    f"wal_autocheckpoint={_WAL_PAGES}",
    f"journal_size_limit={_WAL_SIZE_MAX}",
    "busy_timeout=5000",
    "temp_store=MEMORY",
    "cache_size=-2000",
)
# Read back after opening: without these the file grows for ever, or a power cut loses what was
# acknowledged.
_DEMANDED = {"auto_vacuum": 2, "synchronous": 2, "journal_mode": "wal"}


def open_file(path: Path) -> sqlite3.Connection:
    """The one connection that writes. Explicit transactions; any thread may own it.

    Raises ConfigError if the file cannot be made durable here or is of a newer version,
    sqlite3.DatabaseError if it is damaged.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _make_tables(connection, path)
        _check_pragmas(connection, path)
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


def _check_pragmas(connection: sqlite3.Connection, path: Path) -> None:
    for pragma, demanded in _DEMANDED.items():
        found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found != demanded:
            raise ConfigError(
                f"{path}: PRAGMA {pragma} is {found}, must be {demanded}; "
                "the file system does not support it, or another program made this file"
            )


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ConfigError(f"{path}: outbox version {version}; this program knows {VERSION}")
    if version == VERSION:
        return
    # Only here: it costs every process 4 MB, and 30 more where numpy is installed.
    from sqlite_utils import Database

    connection.execute("BEGIN IMMEDIATE")
    try:
        _version_1(Database(connection))
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version_1(database: "Database") -> None:
    database.create_table("meta", {"key": str, "value": str}, pk="key", not_null={"value"})
    database.create_table(
        "epoch",
        {"epoch": int, "opened_ms": int, "closed_ms": int, "closed_because": str},
        pk="epoch",
    )
    numbers = ("next", "sent_mark", "stored", "duplicate", "quarantined", "dropped")
    database.create_table(
        "lane",
        {"epoch": int, "lane": int, **dict.fromkeys(numbers, int), "settled": bytes, "gone": bytes},
        pk=("epoch", "lane"),
        not_null={*numbers, "settled", "gone"},
    )
    chunk = {"id": int, "lane": int, "first": int, "count": int, "priority": int, "boot": int}
    chunk |= {"from_ms": int, "to_ms": int, "committed_ms": int, "crc": int}
    database.create_table("chunk", {**chunk, "body": bytes}, pk="id", not_null={*chunk, "body"})
    database.create_table(
        "grace",
        {"id": int, "lane": int, "first": int, "last": int, "delivered_ms": int, "size": int},
        pk="id",
    )
    database.create_table(
        "unclocked", {"id": int, "boot": int, "priority": int, "body": bytes}, pk="id"
    )
    database.create_table("copy", {"id": int, "key": bytes, "received_ms": int}, pk="id")
    for statement in (
        "CREATE UNIQUE INDEX chunk_by_number ON chunk (lane, first)",
        "CREATE INDEX chunk_evictable ON chunk (lane, first) WHERE priority = 0",
        "CREATE UNIQUE INDEX copy_by_key ON copy (key)",
    ):
        database.conn.execute(statement)
