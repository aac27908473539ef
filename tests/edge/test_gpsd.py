"""gpsd, played on a socket."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_protocols.catalogue import Position, Reading
from greenhaul_protocols.times import parse_time

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]

SKY = {"class": "SKY", "hdop": 0.8, "uSat": 11, "nSat": 20}
FIX = {
    "class": "TPV",
    "mode": 3,
    "status": 2,
    "time": "2026-11-20T07:04:05.250Z",
    "lat": 32.9916667,
    "lon": 112.52,
    "altMSL": 131.2,
    "speed": 10.0,
    "track": 91.5,
    "eph": 2.5,
}
NO_FIX = {"class": "TPV", "mode": 1}
HALF_A_FIX = {"class": "TPV", "mode": 3, "lat": "NaN", "lon": 1}


def test_gpsd_is_watched_and_found_again(
    outbox: Outbox, outbox_path: Path, readings_in: ReadingsIn, until: Until
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = GnssSettings(port=f"gpsd://127.0.0.1:{server.getsockname()[1]}", cadence_s=0)
        source = GnssSource("gnss", settings, outbox, Clock())
        source.start()
        try:
            for second in (5, 6):
                fix = FIX | {"time": f"2026-11-20T07:04:0{second}.250Z"}
                link, _ = server.accept()
                with link:
                    assert link.recv(100).startswith(b"?WATCH=")
                    said = (SKY, NO_FIX, HALF_A_FIX, fix)
                    link.sendall(b"".join(json.dumps(one).encode() + b"\r\n" for one in said))
                    link.sendall(b"no JSON\n[1]\n")
                    until(lambda: int(source.state()["fixes"]) == second - 4)  # noqa: B023
            until(lambda: len(readings_in(outbox_path)) == 2)
        finally:
            source.stop()
    position = readings_in(outbox_path)[0]
    assert isinstance(position, Position)
    assert position.device_time_ms == parse_time("2026-11-20T07:04:05.250Z")
    assert position.latitude_deg == pytest.approx(32.9916667)
    assert position.speed_kmh == 36.0
    assert (position.satellites, position.hdop, position.accuracy_m) == (11, 0.8, 2.5)
    assert (position.altitude_m, position.heading_deg, position.fix_quality) == (131.2, 91.5, 2)
    assert (source.state()["unfixed"], source.state()["unreadable"]) == (2, 2)
