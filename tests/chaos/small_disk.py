"""A file system of our own that can be filled."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(size: int, test: pytest.FixtureRequest, *, as_root: bool = False) -> Iterator[Path]:
    """A tmpfs; who may not mount gets the whole test run in a name space where he may.

    as_root: root of such a name space would not do.
    """
    with tempfile.TemporaryDirectory(prefix="greenhaul-disk-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # pytest's own folders are root's alone
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            _run_inside(test, done.stderr, as_root=as_root)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def _run_inside(test: pytest.FixtureRequest, reason: str, *, as_root: bool) -> None:
    if as_root:
        pytest.skip(f"needs to mount a tmpfs: {reason}")
    again = [sys.executable, "-m", "pytest", "-q", str(test.path), "-k", test.node.name]
    inside = subprocess.run(["unshare", "-rm", *again], capture_output=True, text=True)
    assert inside.returncode == 0, reason + inside.stdout + inside.stderr
    pytest.skip("was run, and passed, in a name space where a tmpfs can be mounted")


def fill(folder: Path) -> Path:
    """Leave no byte free; the file that takes them."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    if file.write(os.urandom(size)) < size:
                        break
            except OSError:  # full: smaller pieces may still fit
                continue
    return path
