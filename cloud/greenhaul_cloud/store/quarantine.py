"""What could not be stored, kept as bytes with its reason, and let in when it can be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select

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
            header.gateway, header.epoch, header.lane,
            self.aside.source, self.aside.reason, self.aside.raw,
            first=header.first + min(numbers), last=header.first + max(numbers),
        )  # fmt: skip


def put_aside(conn: Connection, found: Iterable[Quarantined], now_ms: int) -> None:
    """Keep readings that cannot be stored; the same ones sent again are kept once."""
    _insert(conn, [one.row() for one in found], now_ms)


def keep_damaged(conn: Connection, damaged: Sequence[ReceivedBlock], now_ms: int) -> None:
    """Keep the newest damaged blocks of each gateway as evidence; they have no numbers."""
    rows = [
        _row(one.gateway, 0, one.lane, None, one.fault or "", one.raw, first=0, last=0)
        for one in damaged
    ]
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
    gateway: str, epoch: int, lane: int, source: str | None, reason: str, raw: bytes,
    *, first: int, last: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "gateway_id": gateway,
        "epoch": to_signed(epoch),
        "lane": lane,
        "first": first,
        "last": last,
        "source": None if source is None else source.replace("\0", "\ufffd"),
        "reason": reason.replace("\0", "\ufffd")[:REASON_LENGTH_MAX],
        "digest": to_signed(hash_bytes(raw)),
        "raw": raw,
    }


def _insert(conn: Connection, rows: list[dict[str, Any]], now_ms: int) -> None:
    if rows:
        statement = insert_into(conn, quarantine).values(stored_time=now_ms)
        conn.execute(statement.on_conflict_do_nothing(), rows)
