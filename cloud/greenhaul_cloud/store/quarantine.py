"""What could not be stored, kept as bytes with its reason, and let in when it can be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select

from greenhaul_cloud.store.faults import Fault
from greenhaul_cloud.store.inspection import ReceivedBlock, SetAside
from greenhaul_cloud.store.settling import to_signed
from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import quarantine
from greenhaul_protocols.block import BlockHeader
from greenhaul_protocols.identity import hash_bytes

# Damaged blocks settle nothing, so their bytes are only evidence: a broken link makes thousands.
DAMAGED_HELD_MAX = 100
REASON_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Settled readings of a block that lie in quarantine."""

    header: BlockHeader
    aside: SetAside

    def row(self) -> dict[str, Any]:
        """As it is kept: with the lowest and the highest of its numbers."""
        header, numbers = self.header, self.aside.numbers or [0]
        return _row(
            header.gateway,
            header.lane,
            self.aside.fault,
            self.aside.raw,
            epoch=header.epoch,
            source=self.aside.source,
            first=header.first + min(numbers),
            last=header.first + max(numbers),
            count=len(self.aside.numbers),
        )


def put_aside(conn: Connection, found: Iterable[Quarantined], now_ms: int) -> None:
    """Keep readings that cannot be stored; the same ones sent again are kept once."""
    _insert(conn, [one.row() for one in found], now_ms)


def keep_damaged(conn: Connection, damaged: Sequence[ReceivedBlock], now_ms: int) -> None:
    """Keep the newest damaged blocks of each gateway as evidence; they have no numbers."""
    rows = [_row(one.gateway, one.lane, one.fault, one.raw) for one in damaged]
    _insert(conn, rows, now_ms)
    for gateway in sorted({one.gateway for one in damaged}):
        held = select(quarantine.c.id).where(
            quarantine.c.gateway_id == gateway, quarantine.c.first == 0
        )
        newest = held.order_by(quarantine.c.id.desc()).limit(DAMAGED_HELD_MAX)
        oldest = conn.execute(select(func.min(newest.subquery().c.id))).scalar()
        conn.execute(
            delete(quarantine).where(
                quarantine.c.gateway_id == gateway,
                quarantine.c.first == 0,
                quarantine.c.id < oldest,
            )
        )


def _row(
    gateway: str,
    lane: int,
    fault: Fault | None,
    raw: bytes,
    *,
    epoch: int = 0,
    source: str | None = None,
    first: int = 0,
    last: int = 0,
    count: int = 0,
) -> dict[str, Any]:
    return {
        "gateway_id": gateway,
        "epoch": to_signed(epoch),
        "lane": lane,
        "first": first,
        "last": last,
        "count": count,
        "source": None if source is None else source.replace("\0", "\ufffd"),
        "reason": str(fault or "").replace("\0", "\ufffd")[:REASON_LENGTH_MAX],
        "digest": to_signed(hash_bytes(raw)),
        "raw": raw,
    }


def _insert(conn: Connection, rows: list[dict[str, Any]], now_ms: int) -> None:
    if rows:
        statement = insert_into(conn, quarantine).values(stored_time=now_ms)
        conn.execute(statement.on_conflict_do_nothing(), rows)
