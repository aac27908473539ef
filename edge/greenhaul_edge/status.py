"""What the outbox's file says about itself, read beside a running agent or without one."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenhaul_edge.outbox.asides import asides, size_of
from greenhaul_edge.outbox.epochs import text_of
from greenhaul_edge.outbox.receipts import Lane
from greenhaul_edge.outbox.rows import load_lanes, meta
from greenhaul_edge.outbox.schema import DamagedFile, open_to_read
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.times import format_time

_DAY_MS = 86_400_000
# A rate taken from less says nothing about a day.
_RATE_SPAN_MS_MIN = 60_000
_DAYS_SHOWN_MAX = 3_650


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
    oldest_waiting_at: str | None
    waiting_bytes: int  # of what no receipt settled, as held
    appended_bytes_a_day: int | None  # at the rate of the last day; None: too little to tell
    aside_files: int  # put aside because they were damaged
    aside_bytes: int  # theirs; part of the outbox's bound

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
            return _read(connection, asides(path))
        finally:
            connection.close()
    except (sqlite3.Error, DamagedFile) as error:
        raise Unavailable(f"{path}: {error}") from error


def days_left(status: OutboxStatus, size_max: int) -> float | None:
    """Days until an outbox of that size is full at the rate of the last day, if nothing drains it.

    None: more than ten years, or too little to tell.
    """
    if not status.appended_bytes_a_day:
        return None
    days = max(size_max - status.waiting_bytes, 0) / status.appended_bytes_a_day
    return None if days > _DAYS_SHOWN_MAX else round(days, 2)


def read_running(path: Path) -> dict[str, Any] | None:
    """What the running agent left in its status file; None if it does not run."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    pid = found.get("pid") if isinstance(found, dict) else None
    return found if isinstance(pid, int) and Path(f"/proc/{pid}").exists() else None


def _read(connection: sqlite3.Connection, aside: Sequence[Path]) -> OutboxStatus:
    epoch = int(meta(connection, "epoch") or 0)
    rows = connection.execute(
        "SELECT epoch, opened_ms, closed_ms, closed_because FROM epoch ORDER BY epoch = ? DESC, "
        "opened_ms DESC",
        (epoch,),
    ).fetchall()
    held = connection.execute(
        'SELECT total("count"), total(length(body)), min(committed_ms) FROM chunk'
    ).fetchone()
    grace = connection.execute("SELECT total(size) FROM grace").fetchone()
    receipt_ms = meta(connection, "receipt_ms")
    lanes = load_lanes(connection, epoch)
    oldest_ms = _oldest_waiting_ms(connection, lanes)
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
        None if oldest_ms is None else format_time(oldest_ms),
        0 if oldest_ms is None else max(int(held[1]) - int(grace[0]), 0),
        _appended_bytes_a_day(connection),
        len(aside),
        size_of(aside),
    )


def _oldest_waiting_ms(connection: sqlite3.Connection, lanes: dict[int, Lane]) -> int | None:
    """When the first reading that no receipt settled was committed."""
    found: list[int] = []
    for lane in lanes.values():
        if not lane.waiting:
            continue
        settled = next(iter(lane.settled), (0, 0))
        number = settled[1] + 1 if settled[0] == 1 else 1
        row = connection.execute(
            'SELECT committed_ms FROM chunk WHERE lane = ? AND first + "count" > ? '
            "ORDER BY first LIMIT 1",
            (lane.lane, number),
        ).fetchone()
        found += [row[0]] if row else []
    return min(found, default=None)


def _appended_bytes_a_day(connection: sqlite3.Connection) -> int | None:
    """By what the last day left in the file; delivered readings stay in the grace ring so long."""
    row = connection.execute("SELECT max(committed_ms) FROM chunk").fetchone()
    if row[0] is None:
        return None
    size, begin_ms = connection.execute(
        "SELECT total(length(body)), min(committed_ms) FROM chunk WHERE committed_ms >= ?",
        (row[0] - _DAY_MS,),
    ).fetchone()
    span_ms = row[0] - begin_ms
    return None if span_ms < _RATE_SPAN_MS_MIN else round(size * _DAY_MS / span_ms)


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


def as_json(status: OutboxStatus, running: dict[str, Any] | None, size_max: int) -> dict[str, Any]:
    """The object `status --json` prints. `lanes` are those of the open epoch."""
    found = asdict(status)
    for epoch in found["epochs"]:
        epoch["epoch"] = text_of(epoch["epoch"])
    return {
        "gateway": status.gateway,
        "lanes": found["epochs"][0]["lanes"],
        **found,
        "epoch": text_of(status.epoch),
        "days_left": days_left(status, size_max),
        "is_balanced": status.is_balanced,
        "is_running": running is not None,
        "running": running,
    }


def as_text(status: OutboxStatus, running: dict[str, Any] | None, size_max: int) -> str:
    """A page for people."""
    lines = [f"gateway {status.gateway}   epoch {text_of(status.epoch)}"]
    lines += _running_lines(running)
    waiting = sum(lane.waiting for lane in status.epochs[0].lanes)
    days = days_left(status, size_max)
    rate = status.appended_bytes_a_day
    left = "more than ten years" if days is None else f"{days:.1f} days"
    oldest = f", the oldest of {status.oldest_waiting_at}" if status.oldest_waiting_at else ""
    lines += [
        f"waiting: {waiting} readings in {status.waiting_bytes} bytes{oldest}",
        f"holds {status.held_readings} readings in {status.held_bytes} bytes, delivered ones too",
        f"room for {left}" + ("" if rate is None else f" at today's rate, {rate} bytes a day"),
        f"last receipt {status.last_receipt_at or 'never'}",
    ]
    if status.aside_files:
        lines.append(
            f"put aside as damaged: {status.aside_files} files, {status.aside_bytes} bytes"
        )
    lines += [
        f"lane {lane.lane}: {lane.appended} appended, {lane.waiting} waiting"
        for lane in status.epochs[0].lanes
    ]
    for name, state in (running or {}).get("sources", {}).items():
        shown = ", ".join(f"{key} {value}" for key, value in state.items() if value)
        lines.append(f"source {name}: {shown or 'nothing yet'}")
    return "\n".join(lines)


def _running_lines(running: dict[str, Any] | None) -> list[str]:
    if running is None:
        return ["not running"]
    uplink, fault = running["uplink"], running["configuration"]["fault"]
    written = running["written_bytes_a_day"]
    lines = [
        f"running, pid {running['pid']}, clock {running['clock']}{_error_of(running)}",
        f"link: {uplink['link']}   cloud: {uplink['cloud']}",
    ]
    if written is not None:
        lines.append(f"writes {written} bytes a day to the disk")
    if fault:
        lines.append(f"configuration NOT taken, the old one runs: {fault}")
    return lines


def _error_of(running: dict[str, Any]) -> str:
    error_ms = running.get("clock_error_ms")
    return "" if error_ms is None else f" (to {error_ms} ms)"


def as_proof(status: OutboxStatus) -> str:
    """The conservation law, epoch by epoch and lane by lane."""
    lines = []
    for epoch in status.epochs:
        closed = f"closed {epoch.closed_at}: {epoch.closed_because}" if epoch.closed_at else "open"
        lines.append(f"epoch {text_of(epoch.epoch)}  {closed}")
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
