"""The outbox file kept usable: a full disk, a damaged file, and the work that can wait."""

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from greenhaul_edge.outbox import asides
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.recovery import Salvage, is_damage, is_disk_full, replace
from greenhaul_edge.outbox.schema import DamagedFile
from greenhaul_protocols.errors import ConfigError, Unavailable

log = logging.getLogger(__name__)

# A slice of the work that can wait is done this often even when there is no idle moment.
_TIDY_PERIOD_S = 0.5

T = TypeVar("T")


class Clock(Protocol):
    """What the outbox needs of the gateway's clock."""

    def now_ms(self) -> int:
        """UTC as the gateway knows it."""

    @property
    def offset_ms(self) -> int | None:
        """UTC minus monotonic, or None while nobody told."""


class Keeper:
    """Owns the file, and replaces it when it is damaged. One thread uses it."""

    def __init__(self, file: OutboxFile, clock: Clock) -> None:
        self.file = file
        self._clock = clock
        self._salvage = Salvage(file.path)
        self._tidied_s = self._trimmed_s = 0.0
        self._catch_up()

    def do(self, work: Callable[[OutboxFile], T]) -> T:
        """Work on the file; once more after room was made, or on another file after damage.

        Raises Unavailable if that did not help.
        """
        try:
            return work(self.file)
        except (sqlite3.Error, DamagedFile) as error:
            failure = error
        try:
            if is_damage(failure):
                self.replace(failure)
            elif is_disk_full(failure):
                asides.trim(self.file.path, 0)
                self.file.make_way(self._clock.now_ms())
            return work(self.file)
        except (sqlite3.Error, DamagedFile, ConfigError) as error:
            raise Unavailable(f"outbox: {error}") from failure

    def replace(self, why: Exception) -> None:
        """Put the file aside and begin another.

        Raises ConfigError if none can be had now, sqlite3.Error or DamagedFile if it is no better.
        """
        self._salvage.close()
        self._salvage = Salvage(self.file.path)
        self.file = replace(self.file, why, self._clock.now_ms())
        self._catch_up()

    def tidy(self, *, is_idle: bool) -> bool:
        """A slice of the work that can wait; whether there is more of it."""
        now_s = time.monotonic()
        if not is_idle and now_s - self._tidied_s < _TIDY_PERIOD_S:
            return False
        self._tidied_s = now_s
        return self.do(self._tidy)

    def close(self) -> None:
        """Checkpoint and close; what is not yet salvaged is gone on with at the next start."""
        self._salvage.close()
        self.file.close()

    def _tidy(self, file: OutboxFile) -> bool:
        now_ms = self._clock.now_ms()
        has_more = file.tidy(now_ms, is_clock_known=self._clock.offset_ms is not None)
        has_salvaged = self._salvage.step(file, now_ms)
        now_s = time.monotonic()
        if has_salvaged or now_s - self._trimmed_s >= _TIDY_PERIOD_S:
            self._trimmed_s = now_s
            self._trim_asides(file)
        return has_salvaged or has_more

    def _catch_up(self) -> None:
        """Where file after file was spoilt, salvage those that are too many at once."""
        path, now_ms = self.file.path, self._clock.now_ms()
        while len(asides.asides(path, "damaged")) > asides.ASIDES_MAX:
            if not self._salvage.step(self.file, now_ms):
                return  # no room for what is in them

    def _trim_asides(self, file: OutboxFile) -> None:
        """They may have what the bound leaves, and nothing of an outbox that is full."""
        left = file.bounds.database_size_max - file.size
        asides.trim(file.path, 0 if file.is_full else left)
