"""A real drive out of a real zone, through the store and the fold."""

from __future__ import annotations

import json
import random
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from greenhaul_cloud.derive.runner import Deriver
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.tables import vehicle, violation, visit
from greenhaul_cloud.store.tracks import read_track
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.times import to_time_ms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store

BLOCK = 60
LEFT_AFTER = 339


def zone_of(path: Path) -> dict[str, Any]:
    polygons = [
        [[[corner["longitude"], corner["latitude"]] for corner in ring]]
        for ring in json.loads(path.read_text())
    ]
    return {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        "properties": {
            "id": "lez",
            "valid_from": "2014-01-01T00:00:00Z",
            "rules": [{"rule": "no_entry"}],
        },
    }


def drive_of(path: Path) -> list[tuple[int, float, float]]:
    """(device_time_ms, latitude_deg, longitude_deg)."""
    rows = []
    for row in json.loads(path.read_text()):
        longitude, latitude = map(float, re.findall(r"[\d.]+", row["point"]))
        moment = datetime.strptime(row["time"], "%Y-%m-%d %H:%M:%S%z")
        rows.append((to_time_ms(moment), latitude, longitude))
    return rows


@pytest.mark.corpus
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_the_munich_drive_is_kept_point_for_point_and_leaves_once(
    kit: Kit, store: Store, shared: Path, is_shuffled: bool
) -> None:
    drive = drive_of(shared / "data" / "tracks" / "barefoot_x0001-001.json")
    readings = [
        kit.position("808:1", time_ms, latitude_deg=latitude, longitude_deg=longitude)
        for time_ms, latitude, longitude in drive
    ]
    kit.register(store)
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="x0001", created_at=kit.now_ms))
        put_fence(conn, zone_of(shared / "data/geo/umweltzone_lez_munich.json"), kit.now_ms, "t")
        bind(conn, "808:1", "x0001", valid_from_ms=0, now_ms=kit.now_ms)
    outbox, deriver = kit.outbox(readings=readings), Deriver(store)
    firsts = list(range(1, len(readings) + 1, BLOCK))
    if is_shuffled:
        random.Random(1).shuffle(firsts)
    for first in firsts:
        last = min(first + BLOCK - 1, len(readings))
        store_blocks(store, [outbox.received(first, last)], kit.now_ms)
        deriver.run(kit.now_ms)
    with store.read() as conn:
        (track,) = read_track(conn, "x0001", 0, kit.now_ms)
        stays = conn.execute(select(visit).where(visit.c.state == "standing")).all()
        broken = conn.execute(select(violation).where(violation.c.state != "withdrawn")).all()
    assert len(track) == len(drive) == 1194
    kept = zip(
        track.device_time_ms.tolist(),
        track.values["latitude_deg"].tolist(),
        track.values["longitude_deg"].tolist(),
        strict=True,
    )
    for (time_ms, latitude, longitude), said in zip(kept, drive, strict=True):
        assert time_ms == said[0]
        assert (latitude, longitude) == pytest.approx(said[1:], abs=0.51e-7)
    (stay,) = stays
    assert (stay.entered_at, stay.entered_by) == (drive[0][0], "first_reading")
    assert stay.left_by == "crossing"
    assert drive[LEFT_AFTER][0] < stay.left_at < drive[LEFT_AFTER + 1][0]
    assert [(one.rule, one.visit_id) for one in broken] == [("no_entry", stay.id)]
