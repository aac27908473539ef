"""The demo's folder: emptied at each start, and only if it is a demo's."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenhaul_protocols.errors import ConfigError

_MARK = "this-folder-is-emptied-by-greenhaul-sim-demo"


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder nobody else uses as long as the context lasts.

    Raises ConfigError if it holds something a demo did not write, or another demo runs in it.
    """
    mark = path / _MARK
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(path.iterdir()):
            raise ConfigError(f"--state {path}: is not empty and not a demo's; name another folder")
        lock = mark.open("a")
    except OSError as error:
        raise ConfigError(f"--state {path}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"--state {path}: another demo runs there; name another") from None
        for entry in path.iterdir():
            if entry.name == _MARK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        yield path.resolve()
