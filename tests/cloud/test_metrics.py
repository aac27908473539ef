"""Every stage says what it does, in Prometheus' own format, also where there is no API."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families
from tests.cloud.api_city import City
from tests.process_chain import until

from greenhaul_cloud.main import main
from greenhaul_protocols.topics import up_topic

if TYPE_CHECKING:
    from tests.cloud.conftest import Kit
    from tests.conftest import Broker

# What an operator watches, stage by stage; new ones may come, these stay.
STAGES = {
    "intake": ["blocks", "readings", "damaged_blocks", "quarantined_readings", "flush_seconds",
               "queued_messages", "connected", "store_retries", "overruns", "receipts",
               "misdirected"],
    "derive": ["folds", "marked_vehicles", "set_aside_vehicles", "turn_seconds",
               "lag_seconds", "last_turn_timestamp_seconds"],
    "retention": ["deleted_rows", "last_run_timestamp_seconds"],
}  # fmt: skip


def families(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name and labels. The parser raises for what Prometheus would not read."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        samples = found.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in samples, key
            samples[key] = sample.value
    return found


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=20, verify=False)


def test_a_collector_alone_answers_for_every_stage(
    mosquitto: Broker, tmp_path: Path, kit: Kit
) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text(
        f'[store]\nurl = "sqlite:///c.db"\n[broker]\nport = {mosquitto.port}\n'
        '[collector]\nlisten = "127.0.0.1:0"\n'
    )
    assert main(["gateway", "add", "gw-m", "--sources", "808:*", "-c", str(config)]) == 0
    ready = tmp_path / "ready"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "greenhaul_cloud.main", "collect", "-c", str(config),
             "--ready-file", str(ready)],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(ready.exists, "the collector")
        told = json.loads(ready.read_text())
        assert told["api"] is None
        url = told["metrics"].removesuffix("/metrics")
        assert get(f"{url}/healthz").json() == {"status": "ok"}
        assert get(f"{url}/readyz").status_code == 200
        assert get(f"{url}/api/v1/vehicles").status_code == 404
        assert get(told["metrics"]).headers["content-type"].startswith("text/plain; version=")
        readings = [
            kit.position("808:1", 1_700_000_000_000),
            kit.position("other:1", 1_700_000_000_000),
            kit.position("808:1", 1_700_000_001_000, latitude_deg=112.5),
        ]
        block = kit.outbox(gateway="gw-m", readings=readings).block(1, 3)
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect(mosquitto.host, mosquitto.port)
        client.loop_start()
        for raw in (block, block[:-3]):
            client.publish(up_topic("gw-m", 1), raw, qos=1).wait_for_publish(20)
        client.loop_stop()
        client.disconnect()

        def counted() -> dict[tuple[str, ...], float]:
            return families(get(told["metrics"]).text)["greenhaul_intake_damaged_blocks"]

        until(lambda: any(key[0].endswith("_total") for key in counted()), "the damaged block")
        found = families(get(told["metrics"]).text)
        for stage, names in STAGES.items():
            for name in names:
                assert f"greenhaul_{stage}_{name}" in found, (stage, name)
        outcomes = found["greenhaul_intake_readings"]
        assert outcomes["greenhaul_intake_readings_total", "stored"] == 1
        assert outcomes["greenhaul_intake_readings_total", "quarantined"] == 2
        aside = found["greenhaul_intake_quarantined_readings"]
        for cause in ("grant", "place"):
            assert aside["greenhaul_intake_quarantined_readings_total", cause] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not ready.exists()
    finally:
        process.kill()
        process.wait()
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def test_a_port_that_somebody_chose_must_be_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "cloud.toml"
        port = taken.getsockname()[1]
        config.write_text(
            f'[store]\nurl = "sqlite:///c.db"\n[collector]\nlisten = "127.0.0.1:{port}"\n'
        )
        assert main(["collect", "-c", str(config)]) == 2
    assert f"collector.listen: 127.0.0.1:{port}" in capsys.readouterr().err


def test_the_api_counts_requests_by_route(city: City) -> None:
    city.get("/vehicles")
    found = families(get(f"{city.url}/metrics").text)
    key = ("greenhaul_api_requests_total", "GET", "/vehicles", "200")
    assert found["greenhaul_api_requests"].get(key, 0) >= 1, found["greenhaul_api_requests"]
    assert "greenhaul_live_streams" in found
