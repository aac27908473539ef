"""A store with a little of everything, and all that a store holds: to compare whole stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from greenhaul_cloud.store.tables import metadata
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.catalogue import BatteryReading, Event

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


def fill(store: Store, kit: Kit, count: int = 50) -> None:
    """Readings of several kinds of two sources, and one in quarantine."""
    kit.register(store, "gw-1", ["808:*"])
    at_ms = kit.now_ms - 3_600_000
    times: dict[str, Any] = {"device_time_ms": at_ms, "received_time_ms": at_ms}
    detail = '{"车": "\\u0000", "at": 1e22}'
    readings = [
        *(kit.position("808:1", at_ms + i * 1000, speed_kmh=i / 10) for i in range(count)),
        kit.position("808:2", at_ms, items=b"\0\xff"),
        BatteryReading(source="808:1", soc_percent=71.5, **times),
        Event(source="808:1", code="parameters", detail=detail, raw=b"\0\x7e", **times),
        kit.position("somebody-else", at_ms),
    ]
    outbox = kit.outbox(readings=readings)
    result = store_blocks(store, [outbox.received(1, len(readings))], kit.now_ms)
    assert (result.stored, result.quarantined) == (count + 3, 1)


def rows_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, in order of their keys."""
    with store.read() as conn:
        return {
            table.name: [
                dict(row)
                for row in conn.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in metadata.sorted_tables
        }
