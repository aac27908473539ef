"""Opening the outbox always succeeds: what is damaged is put aside, never deleted, and salvaged.

    outbox.sqlite              what is written now
    outbox.epoch               the epoch that file had when it was last opened
    outbox.sqlite.damaged-T    put aside at T; its readings are on their way into the new epoch
    outbox.sqlite.salvaged-T   put aside at T; everything readable in it was appended again

Salvage goes on in the writer's idle moments. It may be interrupted at any point: what is still
called damaged is searched again from where the new file says it was searched to.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from greenhaul_edge.outbox.asides import asides, free_name, rename, sync_folder
from greenhaul_edge.outbox.ballast import ballast_for
from greenhaul_edge.outbox.chunks import Row
from greenhaul_edge.outbox.epochs import text_of
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.salvage import RawPages
from greenhaul_edge.outbox.schema import DamagedFile, NewerFile
from greenhaul_edge.outbox.wal import generation_of, read_wal, unread_commits
from greenhaul_protocols.errors import ConfigError

log = logging.getLogger(__name__)

# Files up to this size are compared page by page before they are used; larger ones meanwhile.
CHECKED_AT_OPEN_MAX = 8 << 20
# Readings and bytes that one transaction of the salvage appends at most, and pages it searches.
_ROWS_MAX, _SIZE_MAX, _PLACES_MAX = 200, 1 << 20, 512

# What says nothing about the file: rights, locks and room are somebody's to mend.
_ENVIRONMENT = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_NOLFS,
}  # fmt: skip


def open_outbox(
    path: Path, gateway: str, boot: int, now_ms: int, bounds: Bounds, live_lanes: int = 1
) -> OutboxFile:
    """The outbox of a gateway; a new one with a new epoch if the file is damaged.

    Raises ConfigError if the file belongs to another gateway or cannot be made durable.
    """

    def make() -> OutboxFile:
        return OutboxFile(
            path, gateway, boot=boot, now_ms=now_ms, bounds=bounds, live_lanes=live_lanes
        )

    tail = _Tail(path)
    try:
        file = make()
    except (sqlite3.Error, DamagedFile, NewerFile) as error:
        file = _make_another(path, error, now_ms, make, tail.wal)
    else:
        try:
            tail.take(file, now_ms)
            if file.size <= CHECKED_AT_OPEN_MAX:
                file.check(now_ms)
        except (sqlite3.Error, DamagedFile) as error:
            file = replace(file, error, now_ms)
    _note_epoch(file, now_ms)
    return file


def replace(file: OutboxFile, why: Exception, now_ms: int) -> OutboxFile:
    """Another file with a new epoch, after damage was found while `file` was in use.

    Raises ConfigError if there is none to be had now.
    """

    def make() -> OutboxFile:
        return OutboxFile(
            file.path,
            file.gateway,
            boot=file.boot,
            now_ms=now_ms,
            bounds=file.bounds,
            live_lanes=file.live_lanes,
            judge=file.judge,
        )

    aside = free_name(file.path, now_ms)
    if file.path.exists():
        log.error("outbox damaged (%s): put aside as %s; starting a new one", why, aside)
        # Renamed while it is open, SQLite does not move its WAL into it when it is closed.
        rename(file.path, aside)
    file.close()
    try:
        found = make()
    except (sqlite3.Error, DamagedFile) as error:
        raise ConfigError(f"{file.path}: {error}") from error
    _note_epoch(found, now_ms)
    return found


def is_damage(error: Exception) -> bool:
    """Whether an error of the file means that it is not what was written."""
    if isinstance(error, DamagedFile | NewerFile):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python's own word: what SQLite gave it as text is none
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF not in _ENVIRONMENT and not is_disk_full(error)


def is_disk_full(error: Exception) -> bool:
    """Whether there was no room; writing past a quota is an I/O error to SQLite."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN) or code in (
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    )


class Salvage:
    """Appends what put-aside files hold, a slice at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: RawPages | None = None
        self._name = ""
        self._seen: set[tuple[int, int, int]] = set()  # rows of the WAL; the database repeats them
        self._place = self._rows = self._readings = 0

    def step(self, file: OutboxFile, now_ms: int) -> bool:
        """Search some pages; whether there is more to do. It waits while the outbox is full."""
        raw = self._raw or self._begin(file)
        if raw is None or (file.is_full and self._rows):
            return False
        found: list[Row] = []
        size, end = 0, min(self._place + _PLACES_MAX, raw.places)
        while self._place < end and len(found) < _ROWS_MAX and size < _SIZE_MAX:
            rows = list(self._new_rows(raw, self._place))
            found += rows
            size += sum(len(row.body) for row in rows)
            self._place += 1
        if found:
            file.adopt(found, now_ms, salvaged=(self._name, self._place))
            self._rows += len(found)
            self._readings += sum(row.readings for row in found)
        if self._place >= raw.places:
            self._end()
        return True

    def close(self) -> None:
        """Let go of the file; the next start goes on."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def _begin(self, file: OutboxFile) -> RawPages | None:
        waiting = asides(self._path, "damaged")
        if not waiting:
            return None
        self._name = waiting[0].name
        self._raw = raw = RawPages(waiting[0])
        self._rows = self._readings = 0
        self._seen.clear()
        self._place = file.salvaged_to(self._name)
        for place in range(min(self._place, raw.frames)):
            list(self._new_rows(raw, place))
        return raw

    def _new_rows(self, raw: RawPages, place: int) -> Iterator[Row]:
        for row in raw.rows(place):
            key = (row.crc, row.first, row.committed_ms)
            if key not in self._seen:
                yield row
            if place < raw.frames:
                self._seen.add(key)

    def _end(self) -> None:
        log.warning("salvaged %s: rows=%d readings=%d", self._name, self._rows, self._readings)
        self.close()
        aside = self._path.with_name(self._name)
        rename(aside, aside.with_name(self._name.replace(".damaged-", ".salvaged-")))


class _Tail:
    """A WAL as it was before SQLite opened it: SQLite takes what it can, and forgets the rest."""

    def __init__(self, path: Path) -> None:
        self.wal = read_wal(path)

    def take(self, file: OutboxFile, now_ms: int) -> None:
        """Append what was forgotten. Raises DamagedFile if that would leave a gap."""
        taken = file.frames_taken() if self.wal else 0
        own = generation_of(self.wal)
        places: dict[Row, list[int]] = {}
        with closing(RawPages(file.path)) as raw:
            for place in range(taken, raw.frames if self.wal else 0):
                for row in raw.rows(place):
                    # Unclocked rows have no numbers that tell old ones from lost ones.
                    if row.first or place in own:
                        places.setdefault(row, []).append(place)
        lost = sorted(file.unknown_rows(list(places)), key=lambda row: (row.lane, row.first))
        if not lost:
            return
        # A single commit is what a power cut tears: nobody was told of it, nothing was sent.
        commits = unread_commits(self.wal)
        if commits > 1 and not _follow_on(file, lost):
            raise DamagedFile(f"the WAL lost {commits} commits")
        log.warning("outbox: %d rows taken from the torn end of the WAL", len(lost))
        file.adopt(lost, now_ms, were_sent=True)


def _follow_on(file: OutboxFile, rows: list[Row]) -> bool:
    """Whether the rows go on where the file ends, so that they get the numbers they had."""
    next_numbers = {lane.lane: lane.next for lane in file.ledger.lanes.values()}
    for row in rows:
        if row.first and row.first != next_numbers.get(row.lane, 1):
            return False
        next_numbers[row.lane] = row.first + row.readings
    return True


def _make_another(
    path: Path, error: Exception, now_ms: int, make: Callable[[], OutboxFile], wal: bytes = b""
) -> OutboxFile:
    if not is_damage(error) and is_disk_full(error):
        ballast_for(path.parent, 0).release()
    elif is_damage(error) and os.access(path.parent, os.W_OK):
        aside = free_name(path, now_ms)
        log.error("outbox damaged (%s): put aside as %s; starting a new one", error, aside)
        rename(path, aside)
        aside_wal = aside.with_name(f"{aside.name}-wal")
        if wal and not aside_wal.exists():  # SQLite emptied and deleted it when it closed
            with suppress(OSError):
                aside_wal.write_bytes(wal)
    try:
        return make()
    except (sqlite3.Error, DamagedFile, NewerFile) as again:
        raise ConfigError(f"{path}: {again}") from again


def _note_epoch(file: OutboxFile, now_ms: int) -> None:
    """Remember the epoch beside the file; if it was another, say that the other has ended."""
    marker = file.path.with_suffix(".epoch")
    text = text_of(file.ledger.epoch)
    try:
        before = marker.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        before = ""
    if before == text:
        return
    if re.fullmatch("[0-9a-f]{16}", before):
        file.close_unknown_epoch(int(before, 16), "outbox damaged, deleted or replaced", now_ms)
    draft = marker.with_suffix(".epoch-new")
    try:
        with draft.open("w", encoding="ascii") as writing:
            writing.write(text)
            writing.flush()
            os.fsync(writing.fileno())
        draft.replace(marker)
        sync_folder(marker.parent)
    except OSError as error:
        log.warning("%s: %s", marker, error)
