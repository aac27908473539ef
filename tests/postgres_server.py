"""A PostgreSQL of the tests' own, on a socket in a folder; TimescaleDB loaded when it is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_programs() -> Path | None:
    """The folder of initdb and pg_ctl of the newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def has_timescale() -> bool:
    """Whether the PostgreSQL of the tests could have the extension."""
    dsn = os.environ.get("GREENHAUL_TEST_DSN")
    if dsn is None:
        return any(Path("/usr/share/postgresql").glob("*/extension/timescaledb.control"))
    query = "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"
    with psycopg.connect(dsn) as conn:
        return conn.execute(query).fetchone() is not None


@contextmanager
def running(programs: Path, *settings: str) -> Iterator[str]:
    """A server with these settings besides its defaults; its DSN."""
    # not below pytest's folder, which is root's alone
    with tempfile.TemporaryDirectory(prefix="greenhaul-pg-") as name:
        yield from _run(programs, Path(name), settings)


def _run(programs: Path, folder: Path, settings: tuple[str, ...]) -> Iterator[str]:
    prefix: list[str] = []
    if os.geteuid() == 0:  # initdb refuses to run as root
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"

    def run(*command: str) -> None:
        done = subprocess.run(
            [*prefix, *command], check=False, capture_output=True, text=True, cwd=folder
        )
        assert done.returncode == 0, done.stderr

    run(str(programs / "initdb"), "-D", str(data), "-U", "greenhaul", "-A", "trust", "-N")
    options = f"-c listen_addresses='' -k {folder}"
    loaded = ("shared_preload_libraries=timescaledb",) if has_timescale() else ()
    options += "".join(f" -c {setting}" for setting in (*settings, *loaded))
    log = str(folder / "log")
    control = str(programs / "pg_ctl")
    run(control, "-D", str(data), "-o", options, "-l", log, "-w", "start")
    try:
        yield f"postgresql://greenhaul@/postgres?host={folder}"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "-w", "stop")


def make_database(dsn: str, name: str, engine: str = "postgresql") -> str:
    """An empty database of this name; the DSN that leads there."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f'DROP DATABASE IF EXISTS "{name}"')
        conn.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')  # without extensions
    made = re.sub(r"(//[^/]*/)[^?]*", rf"\g<1>{name}", dsn)
    if engine == "timescaledb":
        with psycopg.connect(made, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION timescaledb")
    return made
