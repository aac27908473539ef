"""A PostgreSQL to be killed, frozen, and started again on what its disk holds."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from tests.postgres_server import find_programs, make_database

START_S = 30.0
# psycopg would wait for a frozen server for ever.
_PROBE = "connect_timeout=2"


class Database:
    """A server on a socket in a folder. small_disk: where the store's tables lie, if not there."""

    def __init__(self, programs: Path, folder: Path, small_disk: Path | None = None) -> None:
        self._programs, self.folder, self._data = programs, folder, folder / "data"
        self._prefix: list[str] = []
        if os.geteuid() == 0:  # initdb and postgres refuse to run as root
            self._prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            for path in filter(None, (folder, small_disk)):
                shutil.chown(path, "postgres", "postgres")
        self._process: subprocess.Popen[bytes] | None = None
        command = [str(programs / "initdb"), "-D", str(self._data), "-U", "greenhaul"]
        made = subprocess.run(
            [*self._prefix, *command, "-A", "trust", "-N", "--wal-segsize=1"],
            capture_output=True,
            text=True,
            cwd=folder,
        )
        assert made.returncode == 0, made.stderr
        self.start()
        if small_disk is not None:
            self._move_new_databases_to(small_disk)
        self.url = make_database(self.dsn, "greenhaul")

    @property
    def dsn(self) -> str:
        """Of the database everybody has."""
        return f"postgresql://greenhaul@/postgres?host={self.folder}"

    def start(self) -> None:
        """Returns when it answers; after a kill it recovers first."""
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-k", str(self.folder)]
        settings = ("listen_addresses=", "max_wal_size=32MB", "min_wal_size=2MB", "jit=off")
        for setting in settings:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, *command], stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert time.monotonic() < deadline, self.log
            assert self._process.poll() is None, self.log
            time.sleep(0.05)  # nothing announces that recovery is over

    def kill(self) -> None:
        """As a power cut would: every process of it at once."""
        assert self._process is not None
        self._signal(signal.SIGKILL)
        self._process.wait()
        # it would not start while a process of the same number as the dead one's lives
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (self.folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def freeze(self) -> None:
        """As a machine that pages itself to death: it answers nobody, and ends nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def cut_connections(self) -> int:
        """End every other session, as a firewall or an administrator does; how many."""
        with psycopg.connect(self.dsn, autocommit=True) as session:
            found = session.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone()
        assert found is not None
        return int(found[0])

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows of a query on the store's database."""
        with psycopg.connect(self.url, autocommit=True) as session:
            return session.execute(query.encode()).fetchall()

    @property
    def log(self) -> str:
        """What the server said."""
        return (self.folder / "log").read_text()

    def close(self) -> None:
        """Stop for good."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for pid in (self._process.pid, *self._children()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _move_new_databases_to(self, folder: Path) -> None:
        """What is full then is the disk of the tables; a full disk of the log ends the server."""
        with psycopg.connect(self.dsn, autocommit=True) as session:
            session.execute(f"CREATE TABLESPACE small LOCATION '{folder}'".encode())
            session.execute(b"ALTER ROLE greenhaul SET default_tablespace = small")

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        with suppress(FileNotFoundError):
            return [
                int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            ]
        return []

    def _answers(self) -> bool:
        try:
            with psycopg.connect(f"{self.dsn}&{_PROBE}"):
                return True
        except psycopg.OperationalError:
            return False


@contextmanager
def database(small_disk: Path | None = None) -> Iterator[Database]:
    """A server of the test's own."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: install it")
    # not below pytest's folder, which is root's alone
    with tempfile.TemporaryDirectory(prefix="greenhaul-pg-") as name:
        server = Database(programs, Path(name), small_disk)
        try:
            yield server
        finally:
            server.close()
