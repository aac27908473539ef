"""Opening the outbox always succeeds: a damaged file is put aside, never deleted."""

import logging
import sqlite3
from pathlib import Path

from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.room import Bounds
from greenhaul_protocols.errors import ConfigError

log = logging.getLogger(__name__)

_SUFFIXES = ("", "-wal", "-shm")


def open_outbox(path: Path, gateway: str, boot: int, now_ms: int, bounds: Bounds) -> OutboxFile:
    """The outbox of a gateway; a new one with a new epoch if the file is damaged.

    Raises ConfigError if the file belongs to another gateway or cannot be made durable.
    """
    try:
        file = OutboxFile(path, gateway, boot=boot, now_ms=now_ms, bounds=bounds)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"{path}: {error}") from error
    except sqlite3.DatabaseError:
        aside = path.with_name(f"{path.name}.damaged-{now_ms}")
        log.exception("outbox damaged: put aside as %s; starting a new one", aside)
        for suffix in _SUFFIXES:
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        file = OutboxFile(path, gateway, boot=boot, now_ms=now_ms, bounds=bounds)
    return file
