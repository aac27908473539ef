"""Deleting what has been kept long enough, a slice at a time, and saying so before it goes.

What is deleted cannot be folded again. So the instant from which readings of a kind are kept is
committed first (`kept_from`), and folds take nothing before it; it never goes back, even if the
settings become more patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, func, select

from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.kept import put_kept_from
from greenhaul_cloud.store.tables import feed, kept_from, quarantine
from greenhaul_protocols.catalogue import KINDS, KindSpec

MS_PER_DAY = 86_400_000
# Rows of one transaction: the intake waits for it no longer than for a flush.
SLICE_ROWS = 5_000
# Entries of the quarantine carry up to 64 KiB each.
QUARANTINE_SLICE_ROWS = 200
# Streams resume after a weekend, webhooks after a week's outage; nobody after a month.
FEED_KEPT_DAYS = 30
# Collectors run every hour; a weekend without any is no leap.
LEAP_MS = 3 * MS_PER_DAY


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that readings are kept, by kind, and entries of the quarantine; None keeps them all."""

    by_kind: Mapping[str, int | None]
    quarantine: int | None = None


def announce(store: Store, retention: Retention) -> None:
    """Let an engine that deletes by itself know how long; once a start. Raises Unavailable."""
    with store.write() as conn:
        for kind in KINDS.values():
            store.driver.expect_retention(conn, kind, retention.by_kind.get(kind.name))


def leaps(store: Store, retention: Retention, now_ms: int) -> bool:
    """Whether a run at this instant would take far more than the time since the last one.

    A machine that starts with its clock in the next decade would delete everything. Raises
    Unavailable.
    """
    with store.read() as conn:
        rows = conn.execute(select(kept_from.c.kind, kept_from.c.from_time))
        kept = {number: int(from_ms) for number, from_ms in rows}
    return any(
        kind.number not in kept or now_ms - days * MS_PER_DAY - kept[kind.number] > LEAP_MS
        for kind in KINDS.values()
        if (days := retention.by_kind.get(kind.name)) is not None
    )


def retain(store: Store, retention: Retention, now_ms: int) -> dict[str, int]:
    """Delete what is older; how many rows of what. Raises Unavailable.

    May be run by several at once, and be cut short at any moment: the next run goes on.
    """
    gone: dict[str, int] = {}
    for kind in KINDS.values():
        days = retention.by_kind.get(kind.name)
        if days is None:
            continue
        before_ms = now_ms - days * MS_PER_DAY
        with store.write() as conn:
            put_kept_from(conn, kind, before_ms)
        gone[kind.name] = _delete_readings(store, kind, before_ms)
    if retention.quarantine is not None:
        before_ms = now_ms - retention.quarantine * MS_PER_DAY
        gone["quarantine"] = _delete_quarantined(store, before_ms)
    gone["feed"] = _delete_feed(store, now_ms - FEED_KEPT_DAYS * MS_PER_DAY)
    store.tidy()
    return {name: count for name, count in gone.items() if count}


def _delete_readings(store: Store, kind: KindSpec, before_ms: int) -> int:
    total = 0
    while True:
        with store.write() as conn:
            count = store.driver.delete_before(conn, kind, before_ms, SLICE_ROWS)
        if not count:
            return total
        total += count


def _delete_quarantined(store: Store, before_ms: int) -> int:
    columns, total = quarantine.c, 0
    old = select(columns.id).where(columns.stored_time < before_ms)
    old = old.order_by(columns.stored_time).limit(QUARANTINE_SLICE_ROWS)
    while True:
        with store.write() as conn:
            count = conn.execute(delete(quarantine).where(columns.id.in_(old))).rowcount
        if not count:
            return total
        total += count


def _delete_feed(store: Store, before_ms: int) -> int:
    columns, total = feed.c, 0
    # the newest row stays: a stream tells by its number that this is still the same feed
    newest = select(func.max(columns.id)).scalar_subquery()
    old = select(columns.id).where(columns.at < before_ms, columns.id < newest).limit(SLICE_ROWS)
    while True:
        with store.write() as conn:
            count = conn.execute(delete(feed).where(columns.id.in_(old))).rowcount
        if not count:
            return total
        total += count
