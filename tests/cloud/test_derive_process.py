"""The fold in a process of its own, beside a collector that leaves it to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import insert, select
from tests.process_chain import until

from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.tables import vehicle, visit
from greenhaul_protocols.topics import up_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cloud.conftest import Kit
    from tests.conftest import Broker

RING = [[112.5, 33.0], [112.51, 33.0], [112.51, 33.01], [112.5, 33.01], [112.5, 33.0]]
FENCE = {
    "type": "Feature",
    "geometry": {"type": "Polygon", "coordinates": [RING]},
    "properties": {
        "id": "f",
        "valid_from": "2014-01-01T00:00:00Z",
        "rules": [{"rule": "no_entry"}],
    },
}


@contextmanager
def running(folder: Path, part: str) -> Iterator[str]:
    """A part of the cloud as a process; the address of its health. It must end well."""
    ready = folder / f"{part}.ready"
    command = [sys.executable, "-m", "greenhaul_cloud.main", part, "-c", "cloud.toml"]
    with (folder / f"{part}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready)], cwd=folder, stdout=log, stderr=log
        )
    try:
        until(ready.exists, part)
        told: str = json.loads(ready.read_text())["metrics"]
        yield told.removesuffix("/metrics")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert b"Traceback" not in (folder / f"{part}.log").read_bytes()


def test_what_one_process_stores_another_folds(kit: Kit, mosquitto: Broker, tmp_path: Path) -> None:
    (tmp_path / "cloud.toml").write_text(
        f'[store]\nurl = "sqlite:///c.db"\n[broker]\nport = {mosquitto.port}\n'
        '[collector]\nlisten = "127.0.0.1:0"\n[derive]\nin_collector = false\n'
    )
    start_ms = 1_700_000_000_000
    store = open_store(f"sqlite:///{tmp_path}/c.db", start_ms)
    kit.register(store, "gw-d")
    with store.write() as conn:
        conn.execute(insert(vehicle).values(id="v", created_at=start_ms))
        put_fence(conn, FENCE, start_ms, "test")
        bind(conn, "808:1", "v", valid_from_ms=0, now_ms=start_ms)
    place = {"latitude_deg": 33.005, "longitude_deg": 112.505}
    readings = [kit.position("808:1", start_ms + n * 10_000, **place) for n in range(10)]
    block = kit.outbox(gateway="gw-d", readings=readings).block(1, len(readings))

    def entered() -> list[int]:
        with store.read() as conn:
            return list(conn.execute(select(visit.c.entered_at)).scalars())

    with ExitStack() as stack:
        stack.callback(store.close)
        collector, fold = (stack.enter_context(running(tmp_path, p)) for p in ("collect", "derive"))
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect(mosquitto.host, mosquitto.port)
        client.loop_start()
        client.publish(up_topic("gw-d", 1), block, qos=1).wait_for_publish(20)
        client.loop_stop()
        client.disconnect()
        until(lambda: entered() == [start_ms], "the visit")
        assert "greenhaul_derive" not in httpx.get(f"{collector}/metrics", timeout=20).text
        shown = httpx.get(f"{fold}/metrics", timeout=20).text
        assert "greenhaul_derive_lag_seconds" in shown
        assert "greenhaul_intake" not in shown
        assert httpx.get(f"{fold}/readyz", timeout=20).status_code == 200
