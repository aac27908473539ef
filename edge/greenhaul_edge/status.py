"""What the outbox's file says about itself, read beside a running agent or without one."""

import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenhaul_edge.outbox.receipts import Lane
from greenhaul_edge.outbox.rows import load_lanes, meta
from greenhaul_edge.outbox.schema import DamagedFile, open_to_read
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.times import format_time


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane's account: appended = stored + duplicate + quarantined + dropped + waiting."""

    lane: int
    appended: int
    settled: int
    waiting: int
    stored: int
    duplicate: int
    quarantined: int
    dropped: int
    next: int
    sent_mark: int

    @property
    def is_balanced(self) -> bool:
        """Whether the conservation law holds."""
        named = self.stored + self.duplicate + self.quarantined + self.dropped
        return self.appended == named + self.waiting


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """One epoch; only the open one has no `closed_at`."""

    epoch: int
    opened_at: str
    closed_at: str | None
    closed_because: str | None
    lanes: tuple[LaneStatus, ...]


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The whole file at one moment."""

    gateway: str
    epoch: int
    epochs: tuple[EpochStatus, ...]  # the open one first
    held_readings: int
    held_bytes: int
    unclocked_batches: int
    oldest_at: str | None  # when the oldest waiting or kept reading was committed
    last_receipt_at: str | None

    @property
    def is_balanced(self) -> bool:
        """Whether the law holds in the open epoch; closed ones state their unknown."""
        return all(lane.is_balanced for lane in self.epochs[0].lanes)


def read_outbox(path: Path) -> OutboxStatus:
    """The file's account. Raises Unavailable if there is none or it cannot be read."""
    if not path.is_file():
        raise Unavailable(f"{path}: there is no outbox yet")
    try:
        connection = open_to_read(path)
        try:
            connection.execute("BEGIN")
            return _read(connection)
        finally:
            connection.close()
    except (sqlite3.Error, DamagedFile) as error:
        raise Unavailable(f"{path}: {error}") from error


def read_running(path: Path) -> dict[str, Any] | None:
    """What the running agent left in its status file; None if it does not run."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    pid = found.get("pid") if isinstance(found, dict) else None
    return found if isinstance(pid, int) and Path(f"/proc/{pid}").exists() else None


def _read(connection: sqlite3.Connection) -> OutboxStatus:
    epoch = int(meta(connection, "epoch") or 0)
    rows = connection.execute(
        "SELECT epoch, opened_ms, closed_ms, closed_because FROM epoch ORDER BY epoch = ? DESC, "
        "opened_ms DESC",
        (epoch,),
    ).fetchall()
    held = connection.execute(
        'SELECT total("count"), total(length(body)), min(committed_ms) FROM chunk'
    ).fetchone()
    receipt_ms = meta(connection, "receipt_ms")
    return OutboxStatus(
        meta(connection, "gateway") or "",
        epoch,
        tuple(
            EpochStatus(
                number,
                format_time(opened_ms),
                None if closed_ms is None else format_time(closed_ms),
                because,
                tuple(map(_lane_status, load_lanes(connection, number).values())),
            )
            for number, opened_ms, closed_ms, because in rows
        ),
        int(held[0]),
        int(held[1]),
        connection.execute("SELECT count(*) FROM unclocked").fetchone()[0],
        None if held[2] is None else format_time(held[2]),
        None if receipt_ms is None else format_time(int(receipt_ms)),
    )


def _lane_status(lane: Lane) -> LaneStatus:
    return LaneStatus(
        lane=lane.lane,
        appended=lane.appended,
        settled=lane.settled.total,
        waiting=lane.waiting,
        stored=lane.stored,
        duplicate=lane.duplicate,
        quarantined=lane.quarantined,
        dropped=lane.dropped,
        next=lane.next,
        sent_mark=lane.sent_mark,
    )


def as_json(status: OutboxStatus, running: dict[str, Any] | None) -> dict[str, Any]:
    """The object `status --json` prints. `lanes` are those of the open epoch."""
    found = asdict(status)
    return {
        "gateway": status.gateway,
        "epoch": status.epoch,
        "lanes": found["epochs"][0]["lanes"],
        **found,
        "is_balanced": status.is_balanced,
        "is_running": running is not None,
        "running": running,
    }


def as_text(status: OutboxStatus, running: dict[str, Any] | None) -> str:
    """A page for people."""
    lines = [f"gateway {status.gateway}   epoch {status.epoch:016x}"]
    if running is None:
        lines.append("not running")
    else:
        uplink = running["uplink"]
        lines.append(f"running, pid {running['pid']}, clock {running['clock']}")
        lines.append(f"link: {uplink['link']}   cloud: {uplink['cloud']}")
    lines += [
        f"holds {status.held_readings} readings in {status.held_bytes} bytes",
        f"oldest of {status.oldest_at or '-'}",
        f"last receipt {status.last_receipt_at or 'never'}",
    ]
    lines += [
        f"lane {lane.lane}: {lane.appended} appended, {lane.waiting} waiting"
        for lane in status.epochs[0].lanes
    ]
    for name, state in (running or {}).get("sources", {}).items():
        shown = ", ".join(f"{key} {value}" for key, value in state.items() if value)
        lines.append(f"source {name}: {shown or 'nothing yet'}")
    return "\n".join(lines)


def as_proof(status: OutboxStatus) -> str:
    """The conservation law, epoch by epoch and lane by lane."""
    lines = []
    for epoch in status.epochs:
        closed = f"closed {epoch.closed_at}: {epoch.closed_because}" if epoch.closed_at else "open"
        lines.append(f"epoch {epoch.epoch:016x}  {closed}")
        for lane in epoch.lanes:
            if epoch.closed_at:
                verdict = f"unknown: {lane.waiting}, appended again in a later epoch"
            else:
                verdict = "holds" if lane.is_balanced else "DOES NOT HOLD"
            lines.append(
                f"  lane {lane.lane}: appended {lane.appended} = stored {lane.stored} + duplicate "
                f"{lane.duplicate} + quarantined {lane.quarantined} + dropped {lane.dropped} + "
                f"waiting {lane.waiting}   {verdict}"
            )
    return "\n".join(lines)
