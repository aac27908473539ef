"""The collector follows trucks that say whither, and doubts what no reading saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select
from tests.cloud.fold_cases import degrees, feature

from greenhaul_cloud.derive.runner import Deriver
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.tables import vehicle, visit
from greenhaul_cloud.store.write import store_blocks

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

CORNER = ((-9, -9), (15, -9), (15, 15), (-9, 15))


@pytest.mark.parametrize(
    ("path", "duration_s", "found"),
    [
        ("curve", 30, [("crossing", "possible", "possible")]),  # 0.04 m/s² of 30 s are 36 m
        ("curve", 10, [("crossing", "certain", "certain")]),
        ("straight", 10, []),
    ],
)
def test_a_truck_that_turns_is_followed_around_the_corner(
    kit: Kit, store: Store, path: str, duration_s: int, found: list[tuple[str, str, str]]
) -> None:
    """From the west heading east, to the south heading south, past a fence at the corner."""
    began_ms = kit.now_ms - 3_600_000
    readings = []
    for time_s, place, heading_deg in ((0, (-50, 20), 90), (duration_s, (20, -50), 180)):
        longitude_deg, latitude_deg = degrees(*place)
        readings.append(
            kit.position(
                "808:1", began_ms + time_s * 1000, latitude_deg=latitude_deg,
                longitude_deg=longitude_deg, speed_kmh=720 / duration_s,
                heading_deg=float(heading_deg),
            )
        )  # fmt: skip
    fence = feature(
        CORNER, confirm_s=0, hysteresis_m=0, path=path, valid_from="2000-01-01T00:00:00Z"
    )
    kit.register(store)
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="v", created_at=kit.now_ms))
        put_fence(conn, fence, kit.now_ms, "t")
        bind(conn, "808:1", "v", valid_from_ms=0, now_ms=kit.now_ms)
    store_blocks(store, [kit.outbox(readings=readings).received(1, 2)], kit.now_ms)
    Deriver(store).run(kit.now_ms)
    with store.read() as conn:
        stays = conn.execute(select(visit).where(visit.c.state == "standing")).all()
    said = [(one.entered_by, one.entered_certainty, one.left_certainty) for one in stays]
    assert said == found
