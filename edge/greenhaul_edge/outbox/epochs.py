"""Epochs: made with the file, closed by a record when the store and the file no longer agree."""

import random
import sqlite3

from greenhaul_edge.outbox.rows import set_meta
from greenhaul_protocols.catalogue import Dropped, TimeQuality
from greenhaul_protocols.topics import LANE_LIVE

# Epochs of this gateway that this file never had and whose end it tells; a broker that brings more
# of them is not to fill the disk.
UNKNOWN_EPOCHS_MAX = 16


def text_of(epoch: int) -> str:
    """16 hex digits: 64 bits are more than a JSON number surely carries."""
    return f"{epoch:016x}"


def open_epoch(connection: sqlite3.Connection, now_ms: int) -> int:
    """A new epoch; its random number."""
    # 63 bits: SQLite's integers are signed.
    epoch = random.SystemRandom().getrandbits(63) or 1
    connection.execute("INSERT INTO epoch (epoch, opened_ms) VALUES (?,?)", (epoch, now_ms))
    set_meta(connection, "epoch", str(epoch))
    return epoch


def close_epoch(connection: sqlite3.Connection, epoch: int, reason: str, now_ms: int) -> None:
    """Remember that an epoch ended, and why; also of one this file never had."""
    connection.execute(
        "INSERT INTO epoch (epoch, opened_ms, closed_ms, closed_because) VALUES (?1,?2,?2,?3) "
        "ON CONFLICT (epoch) DO UPDATE SET closed_ms = ?2, closed_because = ?3",
        (epoch, now_ms, reason),
    )


def is_known(connection: sqlite3.Connection, epoch: int) -> bool:
    """Whether this file had the epoch, or told its end; also once there are too many to tell."""
    known = connection.execute(
        "SELECT count(*), total(epoch = ?) FROM epoch WHERE closed_ms IS NOT NULL OR epoch = ?",
        (epoch, epoch),
    ).fetchone()
    return bool(known[1]) or known[0] > UNKNOWN_EPOCHS_MAX


def renumber(connection: sqlite3.Connection) -> dict[int, int]:
    """Number what is held from 1, lane by lane, in order; how many readings each lane has."""
    connection.execute(
        'UPDATE chunk SET first = numbered.start FROM (SELECT id, 1 - "count" + sum("count") '
        "OVER (PARTITION BY lane ORDER BY first) AS start FROM chunk) AS numbered "
        "WHERE chunk.id = numbered.id"
    )
    held = connection.execute('SELECT lane, sum("count") FROM chunk GROUP BY lane')
    return dict(held.fetchall())


def dropped(gateway: str, epoch: int, lane: int, reason: str, now_ms: int) -> Dropped:
    """The record that closes an epoch: how many readings it lost, nobody knows."""
    return Dropped(
        source=f"{gateway}/outbox",
        device_time_ms=now_ms,
        received_time_ms=now_ms,
        time_quality=TimeQuality.GATEWAY,
        epoch=epoch,
        lane=lane or LANE_LIVE,
        reason=reason,
    )
