"""Gateways and the ledgers of their lanes."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.releasing import grant_sources
from greenhaul_cloud.store.scope import Scope
from greenhaul_cloud.store.statements import insert_into

_gateway = tables.gateway.c
_epoch = tables.gateway_epoch.c
_lane = tables.lane.c


def list_gateways(connection: Connection, scope: Scope, page: PageSpec) -> Page:
    """Gateways by id: infrastructure, so only for callers who see everything."""
    return read_page(connection, scope.narrow_whole(select(tables.gateway)), [_gateway.id], page)


def find_gateway(connection: Connection, scope: Scope, gateway_id: str) -> RowMapping | None:
    """A gateway, if the caller may see it."""
    query = scope.narrow_whole(select(tables.gateway)).where(_gateway.id == gateway_id)
    return connection.execute(query).mappings().one_or_none()


def put_gateway(store: Store, gateway_id: str, sources: Sequence[str], now_ms: int) -> bool:
    """Lets a gateway carry these sources (a final * matches any rest); whether it is new.

    What waited in quarantine for a grant of a known gateway is let in.
    """
    with store.write() as connection:
        row = {"id": gateway_id, "sources": list(sources), "created_at": now_ms}
        statement = insert_into(connection, tables.gateway).values(row).on_conflict_do_nothing()
        if connection.execute(statement).rowcount:
            return True
    grant_sources(store, gateway_id, sources, now_ms)
    return False


def ledgers(
    connection: Connection, gateway_ids: Sequence[str]
) -> dict[str, dict[int, tuple[RowMapping, list[RowMapping]]]]:
    """By gateway and epoch: the epoch's row and the rows of its lanes, in order."""
    found: dict[str, dict[int, tuple[RowMapping, list[RowMapping]]]] = {}
    epochs = (
        select(tables.gateway_epoch)
        .where(_epoch.gateway_id.in_(gateway_ids))
        .order_by(_epoch.first_block_time, _epoch.epoch)
    )
    for row in connection.execute(epochs).mappings():
        found.setdefault(row["gateway_id"], {})[row["epoch"]] = (row, [])
    lanes = select(tables.lane).where(_lane.gateway_id.in_(gateway_ids)).order_by(_lane.lane)
    for row in connection.execute(lanes).mappings():
        entry = found.get(row["gateway_id"], {}).get(row["epoch"])
        if entry is not None:
            entry[1].append(row)
    return found


def activity(connection: Connection) -> dict[str, dict[str, Any]]:
    """By gateway: the figures a stream shows when they change."""
    found: dict[str, dict[str, Any]] = {
        row["id"]: {
            "id": row["id"],
            "is_online": row["is_online"],
            "last_block_at": row["last_block_time"],
            "stored": 0,
            "duplicate": 0,
            "quarantined": 0,
            "dropped": 0,
        }
        for row in connection.execute(select(tables.gateway)).mappings()
    }
    for row in connection.execute(select(tables.lane)).mappings():
        figures = found.get(row["gateway_id"])
        if figures is not None:
            for counter in ("stored", "duplicate", "quarantined", "dropped"):
                figures[counter] += row[counter]
    return found


def lane_figures(row: RowMapping) -> dict[str, Any]:
    """The ledger of a lane, its settled ranges as a list of [first, last]."""
    settled = json.loads(row["settled"])
    return {**row, "settled": settled, "through": settled[-1][1] if settled else 0}
