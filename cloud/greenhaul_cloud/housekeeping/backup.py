"""A store as one file, taken while it works; and a store made from it.

SQLite: the file is the database itself, a snapshot by its online backup. PostgreSQL: a ZIP of
`manifest.json` and one binary COPY a table, all of one snapshot; it needs no client programs, and
comes back into a database with or without TimescaleDB.

A restored store is the same store as it was before (`store_id`): gateways learn from its receipts
what it lacks, and send it again from what they still keep.
"""

import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, is_zipfile

from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from greenhaul_cloud.housekeeping.copying import (
    copy_in,
    copy_out,
    sequences_of,
    set_sequences,
    tables_of,
)
from greenhaul_cloud.housekeeping.progress import Progress
from greenhaul_cloud.store.engine import Store, empty_database, migrate, open_store
from greenhaul_cloud.store.migrating import revision_of, upgrade
from greenhaul_protocols.errors import ConfigError, Rejected, Unavailable
from greenhaul_protocols.times import format_time

FORMAT = "greenhaul-backup-1"
MANIFEST = "manifest.json"
# A manifest names tables and columns; a larger one is not ours.
MANIFEST_SIZE_MAX = 1_000_000
_SQLITE_MAGIC = b"SQLite format 3\0"
# Half the size at four times the speed of zlib's default.
_ZIP_LEVEL = 1


def back_up(store: Store, path: Path, now_ms: int, progress: Progress) -> None:
    """Write a snapshot of the store into a new file; the store works on meanwhile.

    Raises ConfigError when the file exists or cannot be written, Unavailable.
    """
    if path.exists():
        raise ConfigError(f"{path}: exists already; a backup overwrites nothing")
    # who reads a backup reads everything
    with _written_whole(path, mode=0o600) as unfinished, store.read() as conn:
        BACKUPS[conn.dialect.name](conn, unfinished, now_ms, progress)


def restore(url: str, path: Path, now_ms: int, progress: Progress) -> None:
    """Make the store at `url` from a backup, and bring it to this version's schema.

    Raises ConfigError when there is a store already, Rejected for a file that is no whole backup
    of this engine, Unavailable.
    """
    engine = make_url(url).get_backend_name()
    found = _engine_of(path)
    if found != engine:
        raise ConfigError(
            f"{path}: a backup of {found}, and store.url is {engine}; "
            "restore it as what it was, then greenhaul-cloud move-store"
        )
    RESTORES[engine](url, path, progress)
    migrate(url)
    open_store(url, now_ms).close()


def _engine_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if head == _SQLITE_MAGIC:
        return "sqlite"
    if is_zipfile(path):
        return "postgresql"
    raise Rejected(f"{path}: no backup of greenhaul, or half of one")


@contextmanager
def _written_whole(path: Path, mode: int) -> Iterator[Path]:
    """A path to write to; the file is there only once all of it is on the disk."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode))
        yield unfinished
        _sync(unfinished)
        unfinished.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# -- SQLite ----------------------------------------------------------------------------------------


def _back_up_sqlite(conn: Connection, path: Path, _now_ms: int, _progress: Progress) -> None:
    held: Any = conn.connection.driver_connection
    try:
        with closing(sqlite3.connect(path)) as copy:
            # in one step: a step by step copy begins anew whenever somebody writes
            held.backup(copy)
            # one file, not a file and its log
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:  # of either file
        raise Unavailable(f"{path}: {error}") from error
    finally:
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def _restore_sqlite(url: str, path: Path, _progress: Progress) -> None:
    target = Path(make_url(url).database or "")
    for name in (target.name, f"{target.name}-wal"):
        if target.with_name(name).exists():
            raise ConfigError(
                f"store.url: {target.with_name(name)} is there; move it away (all of "
                f"{target.name}*) before something else takes its place"
            )
    if not target.parent.is_dir():
        raise ConfigError(f"store.url: folder of {target} does not exist")
    with _written_whole(target, mode=0o666) as unfinished:
        shutil.copyfile(path, unfinished)
        _require_sound(unfinished, path)


def _require_sound(copy: Path, path: Path) -> None:
    try:
        with closing(sqlite3.connect(copy)) as conn:
            (said,) = conn.execute("PRAGMA integrity_check(1)").fetchone()
            conn.execute("SELECT store_id FROM store_identity").fetchone()
    except sqlite3.Error as error:
        raise Rejected(f"{path}: no backup of greenhaul, or a damaged one: {error}") from error
    if said != "ok":
        raise Rejected(f"{path}: damaged: {said}")


# -- PostgreSQL ------------------------------------------------------------------------------------


def _back_up_postgres(conn: Connection, path: Path, now_ms: int, progress: Progress) -> None:
    found, tables = tables_of(conn), []
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=_ZIP_LEVEL) as archive:
        for name, columns in found.items():
            with archive.open(_entry(name), "w", force_zip64=True) as entry:
                rows = copy_out(conn, name, columns, entry, progress)
            tables.append({"name": name, "columns": columns, "rows": rows})
        manifest = {
            "format": FORMAT,
            "taken_at": format_time(now_ms),
            "schema": revision_of(conn),
            "tables": tables,
            "sequences": sequences_of(conn, found),
        }
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))


def _restore_postgres(url: str, path: Path, progress: Progress) -> None:
    try:
        with ZipFile(path) as archive, empty_database(url) as conn:
            manifest = _manifest(archive, path)
            upgrade(conn, manifest["schema"])
            for table in manifest["tables"]:
                with archive.open(_entry(table["name"])) as entry:
                    rows = copy_in(conn, table["name"], table["columns"], entry, progress)
                if rows != table["rows"]:
                    raise Rejected(f"{path}: {rows} rows of {table['name']}, not {table['rows']}")
            set_sequences(conn, manifest["sequences"])
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise Rejected(f"{path}: damaged, or no backup of greenhaul: {error}") from error


def _manifest(archive: ZipFile, path: Path) -> Any:
    if archive.getinfo(MANIFEST).file_size > MANIFEST_SIZE_MAX:
        raise Rejected(f"{path}: no backup of greenhaul")
    manifest = json.loads(archive.read(MANIFEST))
    if manifest["format"] != FORMAT:
        raise Rejected(f"{path}: of format {manifest['format']!r}; this version reads {FORMAT}")
    return manifest


def _entry(table: str) -> str:
    return f"{table}.copy"


BACKUPS: dict[str, Callable[[Connection, Path, int, Progress], None]] = {
    "sqlite": _back_up_sqlite,
    "postgresql": _back_up_postgres,
}
RESTORES: dict[str, Callable[[str, Path, Progress], None]] = {
    "sqlite": _restore_sqlite,
    "postgresql": _restore_postgres,
}
