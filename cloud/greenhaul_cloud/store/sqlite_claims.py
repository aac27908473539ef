"""Claims as locks on bytes of a file beside the database, which holds nothing.

The kernel gives them back when their holder ends. They are of the open file (`F_OFD_SETLK`), so two
holders in one process are two, and another descriptor that closes takes nothing away.
"""

import fcntl
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

from greenhaul_cloud.store.claims import Space
from greenhaul_protocols.errors import Unavailable

# struct flock on 64-bit Linux: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi")
_SPACE_BITS = 32


class SqliteClaims:
    """Byte i of a space is its key i."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-claims")
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._held: set[tuple[Space, int]] = set()

    def renew(self) -> None:
        """As `Claims.renew`: the kernel takes nothing from who lives."""

    def take(self, space: Space, keys: Iterable[int]) -> set[int]:
        """As `Claims.take`."""
        with self._lock:
            wanted = set(keys)
            for key in wanted:
                if (space, key) not in self._held and self._set(fcntl.F_WRLCK, space, key):
                    self._held.add((space, key))
            return {key for key in wanted if (space, key) in self._held}

    def leave(self, space: Space, keys: Iterable[int]) -> None:
        """As `Claims.leave`."""
        with self._lock:
            for key in set(keys):
                if (space, key) in self._held:
                    self._held.discard((space, key))
                    self._set(fcntl.F_UNLCK, space, key)

    def found(self, space: Space, first: int, last: int) -> set[int]:
        """As `Claims.found`; makes no file for it."""
        with self._lock:
            ours = {key for held, key in self._held if held is space and first <= key <= last}
            if self._descriptor is None and not self._path.exists():
                return ours
            return ours | self._others(space, first, last)

    def close(self) -> None:
        """As `Claims.close`."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            self._held.clear()
            if descriptor is not None:
                os.close(descriptor)

    def _others(self, space: Space, first: int, last: int) -> set[int]:
        """Keys that other holders have, a run of one holder's at a time."""
        begin = at = _offset(space, first)
        end, found = _offset(space, last) + 1, set[int]()
        while at < end:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, end - at, 0)
            answer = fcntl.fcntl(self._file(), fcntl.F_OFD_GETLK, asked)
            kind, _, start, length, _ = _FLOCK.unpack(answer)
            if kind == fcntl.F_UNLCK:
                break
            keys = range(max(start, at), min(start + length, end))
            found.update(first + key - begin for key in keys)
            at = start + length
        return found

    def _set(self, kind: int, space: Space, key: int) -> bool:
        wanted = _FLOCK.pack(kind, os.SEEK_SET, _offset(space, key), 1, 0)
        try:
            fcntl.fcntl(self._file(), fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Unavailable(f"store: {self._path}: {error.strerror}") from error
        return True

    def _file(self) -> int:
        if self._descriptor is None:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o644)
            except OSError as error:
                raise Unavailable(f"store: {self._path}: {error.strerror}") from error
        return self._descriptor


def _offset(space: Space, key: int) -> int:
    return (space << _SPACE_BITS) + key
