"""Letting quarantined readings in, once their source is granted or their kind is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from greenhaul_cloud.store.bodies import Parsed
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.faults import Cause
from greenhaul_cloud.store.grants import is_granted
from greenhaul_cloud.store.insertion import insert_readings
from greenhaul_cloud.store.inspection import Accepted, inspect, inspect_series, receive_block
from greenhaul_cloud.store.marks import mark_sources
from greenhaul_cloud.store.settling import Ledger, load_ledgers, lock_epochs, save_ledgers
from greenhaul_cloud.store.tables import gateway, quarantine
from greenhaul_protocols.errors import DecodeError, Rejected
from greenhaul_protocols.series import parse_body

# Entries let in by one transaction: some megabytes; the intake waits no longer than for a flush.
ENTRIES_MAX = 100


@dataclass(frozen=True, slots=True)
class Released:
    """What came of a release: how many entries, and readings the store did not have."""

    entries: int
    readings: int
    duplicates: int


def release_quarantine(store: Store, quarantine_id: int, now_ms: int) -> Released:
    """Store the readings of one entry. Their numbers stay counted as quarantined.

    Raises Rejected, saying why, when they still cannot be stored.
    """
    with store.write() as conn:
        query = select(quarantine).where(quarantine.c.id == quarantine_id)
        row = conn.execute(query.with_for_update()).one_or_none()
        if row is None:
            raise Rejected(f"quarantine entry {quarantine_id} is not known")
        if row.released_at is not None:
            raise Rejected("it was released before")
        return _release(store, conn, [row], now_ms)


def grant_sources(store: Store, gateway_id: str, patterns: Sequence[str], now_ms: int) -> Released:
    """Let a gateway carry exactly these sources, and let in what waited for it.

    Raises Rejected for an unknown gateway.
    """
    with store.write() as conn:
        changed = conn.execute(
            update(gateway).where(gateway.c.id == gateway_id).values(sources=list(patterns))
        )
        if not changed.rowcount:
            raise Rejected(f"gateway {gateway_id!r} is not known")
    total, after = Released(0, 0, 0), 0
    while True:
        with store.write() as conn:
            rows = _waiting(conn, gateway_id, after)
            if not rows:
                return total
            after = rows[-1].id
            granted = [row for row in rows if is_granted(gateway_id, patterns, row.source)]
            done = _release(store, conn, [row for row in granted if _is_storable(row)], now_ms)
        total = Released(
            total.entries + done.entries,
            total.readings + done.readings,
            total.duplicates + done.duplicates,
        )


def _waiting(conn: Connection, gateway_id: str, after: int) -> Sequence[Any]:
    query = select(quarantine).where(
        quarantine.c.gateway_id == gateway_id,
        quarantine.c.id > after,
        quarantine.c.source.is_not(None),
        quarantine.c.released_at.is_(None),
    )
    return conn.execute(query.order_by(quarantine.c.id).limit(ENTRIES_MAX).with_for_update()).all()


def _is_storable(row: Any) -> bool:
    try:
        series = _series_of(row)
        judged = inspect_series(series, [0] * len(series), [row.gateway_id], None)
    except (Rejected, DecodeError):
        return False
    return not judged.aside


def _release(store: Store, conn: Connection, rows: Sequence[Any], now_ms: int) -> Released:
    accepted = _accepted(conn, rows)
    if not accepted:
        return Released(0, 0, 0)
    done = insert_readings(store, conn, accepted, now_ms)
    for drop in done.drops:
        key = (drop.gateway, drop.epoch)
        lock_epochs(conn, [key], now_ms)
        lane = (*key, drop.lane)
        ledger = load_ledgers(conn, [key]).get(lane, Ledger())
        ledger.drop(drop.first, drop.last)
        save_ledgers(conn, {lane: ledger})
    conn.execute(
        update(quarantine)
        .where(quarantine.c.id.in_([row.id for row in rows]))
        .values(released_at=now_ms)
    )
    mark_sources(conn, done.spans, now_ms)
    duplicates = sum(len(numbers) for _, numbers in done.known)
    total = sum(len(one.readings) for one in accepted)
    return Released(len(rows), total - duplicates, duplicates)


def _accepted(conn: Connection, rows: Sequence[Any]) -> list[Accepted]:
    """The readings of entries. Raises Rejected when some still cannot be stored."""
    gateways = [row.gateway_id for row in rows]
    query = select(gateway.c.id, gateway.c.sources).where(gateway.c.id.in_(gateways))
    grants: dict[str, list[str]] = {name: [] for name in gateways}
    grants |= {row.id: row.sources for row in conn.execute(query)}
    series: list[Parsed] = []
    block_of: list[int] = []
    for i, row in enumerate(rows):
        found = _series_of(row)
        series += found
        block_of += [i] * len(found)
    try:
        judged = inspect_series(series, block_of, gateways, grants)
    except DecodeError as error:
        raise Rejected(str(error)) from error
    for _, aside in judged.aside:
        if aside.fault.cause is Cause.GRANT:
            raise Rejected(f"{aside.fault.words}; grant it first")
        raise Rejected(aside.fault.words)
    return judged.accepted


def _series_of(row: Any) -> list[Parsed]:
    """The series of an entry. Raises Rejected when its bytes still cannot be read."""
    if row.first == 0:
        raise Rejected("a damaged block settles nothing; its gateway sends the readings again")
    raw: bytes = row.raw
    if row.source is None:
        received = receive_block(row.gateway_id, row.lane, raw)
        assert received.block is not None, "what is damaged has been rejected"
        aside = inspect([received]).aside
        if aside:
            raise Rejected(aside[0][1].fault.words)
        raw = received.block.inflate()
    try:
        return parse_body(raw)
    except DecodeError as error:
        raise Rejected(str(error)) from error
