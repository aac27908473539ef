"""Which box a terminal's number belongs to: bound at its first registration, kept on the disk.

A file of its own beside the outbox, so that losing one does not take the other along. It may be
read and changed by another process (`greenhaul-edge terminals`) while the agent runs.
"""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

# A city's trucks twice over; whoever registers made-up numbers fills no disk (some 200 bytes each).
BINDINGS_MAX = 200_000
# Jobs that wait for the disk: every terminal of a large gateway comes back at once.
JOBS_MAX = 50_000
# Another process has the file while it changes one row.
_BUSY_TIMEOUT_S = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS terminal (
    phone TEXT PRIMARY KEY, tag TEXT NOT NULL, maker TEXT NOT NULL, model TEXT NOT NULL,
    terminal_id TEXT NOT NULL, plate_colour INTEGER NOT NULL, plate TEXT NOT NULL,
    bound_ms INTEGER NOT NULL, released_ms INTEGER,
    revision INTEGER NOT NULL DEFAULT 0, heartbeat_s INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID
"""
# So that who was released is found without reading the others.
_INDEX = "CREATE INDEX IF NOT EXISTS released ON terminal (phone) WHERE released_ms IS NOT NULL"
_COLUMNS = (
    "phone, tag, maker, model, terminal_id, plate_colour, plate, bound_ms, released_ms, revision, "
    "heartbeat_s"
)


class Binding(NamedTuple):
    """What is known of a terminal; the columns, in their order."""

    phone: str  # digits without leading zeros
    tag: str  # of maker, terminal id and plate
    maker: str  # empty where only its code was seen: the file was lost meanwhile
    model: str
    terminal_id: str
    plate_colour: int
    plate: str
    bound_ms: int
    released_ms: int | None = None  # since then any box may register
    revision: int = 0  # of its registration: 2011, 2013 or 2019; 0 is not known
    heartbeat_s: int = 0  # its parameter 0x0001; 0 is not known


class Claim(Enum):
    """What becomes of a registration."""

    BOUND = auto()  # this box has the number now, or had it before
    OTHER_BOX = auto()
    OTHER_VEHICLE = auto()
    NO_ROOM = auto()


class _Job(NamedTuple):
    work: Callable[[sqlite3.Connection], object]
    done: Future[object]


class TerminalRegistry:
    """Bindings by number.

    Reads come from the caller's thread at once; changes are committed by a thread of its own,
    those that wait together, so that a slow card holds no other terminal up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._version_seen = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="terminals", daemon=True)

    def open(self) -> None:
        """Open the file. Raises Unavailable."""
        self._connection = _open_or_begin_again(self.path)
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, then close the file."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _reader(self) -> sqlite3.Connection:
        assert self._connection is not None, "not open"
        return self._connection

    def find(self, phone: str) -> Binding | None:
        """The binding of a number, released or not. One thread may call it, once at a time."""
        return _find(self._reader, phone)

    def released(self) -> list[str]:
        """Numbers that no box has any more, if anybody changed the file since this was last called.

        Of the thread that calls `find`. Empty also when nothing changed. Raises Unavailable.
        """
        try:
            (version,) = self._reader.execute("PRAGMA data_version").fetchone()
            if version == self._version_seen:
                return []
            rows = self._reader.execute("SELECT phone FROM terminal WHERE released_ms IS NOT NULL")
            found = [phone for (phone,) in rows]
        except sqlite3.Error as error:
            raise Unavailable(f"terminals: {error}") from error
        self._version_seen = version
        return found

    def bindings(self) -> Iterator[Binding]:
        """All of them, by number."""
        rows = self._reader.execute(f"SELECT {_COLUMNS} FROM terminal ORDER BY phone")  # noqa: S608
        return map(Binding._make, rows)

    def claim(self, wanted: Binding) -> "Future[Claim]":
        """Bind a number to a box, unless another has it; durable once the future is done.

        The future fails with Unavailable if the disk does not take it.
        """
        return self._submit(lambda connection: _claim(connection, wanted))

    def note(self, phone: str, *, revision: int = 0, heartbeat_s: int = 0) -> None:
        """Remember what a bound terminal was found to be."""
        self._submit(
            lambda connection: connection.execute(
                "UPDATE terminal SET revision = iif(?2, ?2, revision), "
                "heartbeat_s = iif(?3, ?3, heartbeat_s) WHERE phone = ?1",
                (phone, revision, heartbeat_s),
            )
        )

    def release(self, phone: str, now_ms: int) -> "Future[bool]":
        """Let any box register with this number; whether one had it."""
        return self._submit(lambda connection: _release(connection, phone, now_ms))

    # The rest runs in the registry's thread.

    def _submit(self, work: Callable[[sqlite3.Connection], object]) -> "Future":  # type: ignore[type-arg]  # the job fills it
        done: Future[object] = Future()
        if self._jobs.qsize() >= JOBS_MAX:
            done.set_exception(Unavailable("terminals: the disk is behind"))
        else:
            self._jobs.put(_Job(work, done))
        return done

    def _run(self) -> None:
        connection = _open(self.path)
        try:
            while (job := self._jobs.get()) is not None:
                jobs = [job]
                is_open = True
                while is_open and not self._jobs.empty():
                    more = self._jobs.get()
                    is_open = more is not None
                    if more is not None:
                        jobs.append(more)
                _commit(connection, jobs)
                if not is_open:
                    return
        finally:
            connection.close()


def _commit(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
    """One transaction for all of them; what a job found is said after the commit."""
    try:
        with _transaction(connection):
            found = [job.work(connection) for job in jobs]
    except sqlite3.Error as error:
        log.exception("terminals: %d changes failed", len(jobs))
        for job in jobs:
            job.done.set_exception(Unavailable(f"terminals: {error}"))
        return
    for job, result in zip(jobs, found, strict=True):
        job.done.set_result(result)


def _claim(connection: sqlite3.Connection, wanted: Binding) -> Claim:
    known = _find(connection, wanted.phone)
    if known is None:
        (count,) = connection.execute("SELECT count(*) FROM terminal").fetchone()
        if count >= BINDINGS_MAX:
            return Claim.NO_ROOM
    elif known.released_ms is None:
        is_same_box = (known.maker, known.terminal_id) == (wanted.maker, wanted.terminal_id)
        if known.tag != wanted.tag:
            return Claim.OTHER_VEHICLE if is_same_box else Claim.OTHER_BOX
        if known.maker and known.revision == wanted.revision and known.model == wanted.model:
            return Claim.BOUND  # nothing to write: a terminal may register at every start
        wanted = wanted._replace(bound_ms=known.bound_ms, heartbeat_s=known.heartbeat_s)
    marks = ",".join("?" * len(wanted))
    connection.execute(
        f"INSERT OR REPLACE INTO terminal ({_COLUMNS}) VALUES ({marks})",  # noqa: S608
        wanted,
    )
    return Claim.BOUND


def _release(connection: sqlite3.Connection, phone: str, now_ms: int) -> bool:
    # The row stays: the code of the box that had the number must not bind it again.
    changed = connection.execute(
        "UPDATE terminal SET released_ms = ? WHERE phone = ? AND released_ms IS NULL",
        (now_ms, phone),
    )
    return changed.rowcount > 0


def _find(connection: sqlite3.Connection, phone: str) -> Binding | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM terminal WHERE phone = ?",  # noqa: S608
        (phone,),
    ).fetchone()
    return row and Binding._make(row)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_SCHEMA)
        connection.execute(_INDEX)
        connection.execute("SELECT count(*) FROM terminal").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_or_begin_again(path: Path) -> sqlite3.Connection:
    """A damaged file is put aside, never a reason not to start: codes prove terminals without it.

    Raises Unavailable if the folder cannot be written.
    """
    try:
        try:
            return _open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = _free_name(path)
            log.error("%s is damaged (%s); kept as %s", path.name, error, aside.name)  # noqa: TRY400
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            return _open(path)
    except (sqlite3.OperationalError, OSError) as error:
        raise Unavailable(f"{path}: {error}") from error


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside
