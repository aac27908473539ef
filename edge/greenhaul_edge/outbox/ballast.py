"""Room on the disk: a file that is given up when nothing else can be, and how much may be used."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from greenhaul_edge.outbox.schema import WAL_SIZE_MAX


@dataclass(slots=True)
class Ballast:
    """A file without content. On a full disk not even a DELETE can be committed: then it goes."""

    path: Path
    size: int

    @property
    def held(self) -> int:
        """Bytes the file occupies."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def release(self) -> bool:
        """Give it up; whether there was one."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def rebuild(self) -> bool:
        """Make it again if the disk has twice the room; whether it is there."""
        if self.held >= self.size:
            return True
        if free_size(self.path.parent) < 2 * self.size:
            return False
        try:
            file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(file, 0, self.size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            self.release()
            return False
        finally:
            os.close(file)
        return True


def ballast_for(folder: Path, size: int) -> Ballast:
    """The ballast of an outbox; smaller on a disk of which it would be more than an eighth."""
    disk = os.statvfs(folder)
    return Ballast(folder / "ballast", min(size, disk.f_blocks * disk.f_frsize // 8))


def free_size(folder: Path) -> int:
    """Bytes that may still be written to a disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def growth_left(database: Path, ballast: Ballast) -> int:
    """Bytes by which the database may grow; less than 0 if WAL and ballast want for room."""
    try:
        wal = database.with_name(database.name + "-wal").stat().st_size
    except OSError:
        wal = 0
    wanting = max(WAL_SIZE_MAX - wal, 0) + max(ballast.size - ballast.held, 0)
    return free_size(database.parent) - wanting
