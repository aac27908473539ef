"""Files put aside because they were damaged: their names, and how much room they may have.

They are part of the outbox's own bound and the first to go when it needs room: a salvaged one is
kept only for people to look at. One that is not yet salvaged is never deleted: it may hold the only
copy of readings. Such a one stands beside the bound for as long as its salvage takes.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

# As many as somebody may want to look at. Of the damaged ones no more wait to be salvaged before
# anything else is done.
ASIDES_MAX = 8
# What SQLite keeps beside a database. The database comes last, since salvage looks for it.
_PARTS = ("-shm", "-wal", "")


def asides(path: Path, state: str = "*") -> list[Path]:
    """Files put aside for the outbox at `path`, oldest first.

    state: `damaged` (to be salvaged) or `salvaged`.
    """
    found = path.parent.glob(f"{path.name}.{state}-*")
    return sorted((one for one in found if one.name.rpartition("-")[2].isdigit()), key=_put_ms)


def size_of(files: Iterable[Path]) -> int:
    """Bytes that databases and what belongs to them take."""
    return sum(_size(one.with_name(one.name + part)) for one in files for part in _PARTS)


def free_name(path: Path, now_ms: int) -> Path:
    """A name nothing was put aside under yet: a clock may stand still, or go back."""
    taken = {_put_ms(one) for one in asides(path)}
    return path.with_name(f"{path.name}.damaged-{max({now_ms, *(one + 1 for one in taken)})}")


def rename(old: Path, new: Path) -> None:
    """Rename a database with what belongs to it, if it is there."""
    for part in _PARTS:
        one = old.with_name(old.name + part)
        if one.exists():
            one.rename(new.with_name(new.name + part))
    sync_folder(new.parent)


def trim(path: Path, size_max: int) -> None:
    """Delete the oldest salvaged files while they are too many, or all asides larger than this."""
    kept, salvaged = asides(path), asides(path, "salvaged")
    while salvaged and (len(salvaged) > ASIDES_MAX or size_of(kept) > size_max):
        oldest = salvaged.pop(0)
        kept.remove(oldest)
        log.warning("deleted to make room, salvaged before: %s", oldest.name)
        # The database first: without it the rest is nobody's.
        for part in reversed(_PARTS):
            oldest.with_name(oldest.name + part).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _put_ms(aside: Path) -> int:
    return int(aside.name.rpartition("-")[2])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
