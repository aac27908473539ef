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
    """A server on a socket in a folder. `data`: where the files are, if not in the folder."""

    def __init__(self, programs: Path, folder: Path, data: Path | None = None) -> None:
        self._programs, self.folder, self._data = programs, folder, data or folder / "data"
        self._prefix: list[str] = []
        if os.geteuid() == 0:  # initdb and postgres refuse to run as root
            self._prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            for path in {folder, self._data.parent}:
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
        for pid in (self._process.pid, *self._children()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        for name in ("postmaster.pid", f"../{self.folder.name}/.s.PGSQL.5432.lock"):
            (self._data / name).unlink(missing_ok=True)

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
def database(data: Path | None = None) -> Iterator[Database]:
    """A server of the test's own."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: install it")
    # not below pytest's folder, which is root's alone
    with tempfile.TemporaryDirectory(prefix="greenhaul-pg-") as name:
        server = Database(programs, Path(name), data)
        try:
            yield server
        finally:
            server.close()
