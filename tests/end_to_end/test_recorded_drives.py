"""Recorded drives through the real chain: stored point for point, judged exactly."""

import json
import re
from datetime import UTC
from pathlib import Path
from typing import Any

import gpxpy
import pytest

from greenhaul_protocols.times import format_time, parse_time, to_time_ms

MUNICH = "data/tracks/barefoot_x0001-001.json"
WIRE_DEG = 0.5e-6 + 1e-9  # the protocol's resolution is 1e-6 degrees


def munich_points(shared: Path) -> list[tuple[float, float]]:
    """Longitude and latitude of the drive's points."""
    rows = json.loads((shared / MUNICH).read_text())
    return [(float(x), float(y)) for x, y in (re.findall(r"[-\d.]+", row["point"]) for row in rows)]


def munich_zone(shared: Path) -> dict[str, Any]:
    """The low-emission zone as a fence that was always there."""
    rings = json.loads((shared / "data/geo/umweltzone_lez_munich.json").read_text())
    ring = [[vertex["longitude"], vertex["latitude"]] for vertex in rings[0]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            "id": "munich",
            "name": "Umweltzone",
            "valid_from": "2014-01-01T00:00:00Z",
            "rules": [{"rule": "no_entry"}],
        },
    }


def stored(chain: Any, source: str) -> list[dict[str, str]]:
    """All positions of a source, as the API tells them."""
    return list(chain.api.track_rows(source, 0, 4_000_000_000_000))


@pytest.mark.corpus
def test_munich_is_stored_point_for_point_and_leaves_its_zone_once(
    chain: Any, shared: Path, until: Any
) -> None:
    chain.api.post("/vehicles", {"id": "bmw", "plate": "M-GH 1"})
    chain.api.post("/fences", munich_zone(shared))
    chain.sim(
        "replay", str(shared / MUNICH), "--to", chain.terminals, "--speed", "0",
        "--terminal", "13900000001", "--ledger", "ledger.jsonl",
    )  # fmt: skip
    chain.await_drained()
    # bound only now: claiming re-keys nothing
    binding = {
        "source": "808:13900000001",
        "vehicle_id": "bmw",
        "valid_from": "2014-01-01T00:00:00Z",
    }
    chain.api.post("/bindings", binding)
    chain.sim("verify", "--ledger", "ledger.jsonl", "--api", chain.url, "--token-file", "token")

    points, rows = munich_points(shared), stored(chain, "808:13900000001")
    assert len(rows) == len(points) == 1194
    for row, (longitude, latitude) in zip(rows, points, strict=True):
        assert abs(float(row["longitude_deg"]) - longitude) <= WIRE_DEG
        assert abs(float(row["latitude_deg"]) - latitude) <= WIRE_DEG

    def finished_visits() -> list[dict[str, Any]]:
        return [visit for visit in chain.api.items("/visits") if visit["left_by"] == "crossing"]

    (visit,) = until(finished_visits, "a visit")
    assert list(chain.api.items("/visits")) == [visit]
    assert visit["entered_by"] == "first_reading"
    assert visit["entered_at"] == rows[0]["device_time"]
    left_ms = parse_time(visit["left_at"])
    assert parse_time(rows[339]["device_time"]) <= left_ms <= parse_time(rows[340]["device_time"])
    (violation,) = chain.api.items("/violations")
    assert violation["rule"] == "no_entry"
    assert (violation["visit_id"], violation["vehicle_id"]) == (visit["id"], "bmw")


START_MS = 1_767_225_600_000  # 2026-01-01


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "phone", "points", "readings"),
    [
        # Its second track repeats most of the first: the same reading again is one reading.
        ("gpsbabel_garmin_xt_strk", "13900000011", 958, 795),
        ("gpxpy_around-visnjan-with-car", "13900000012", 104, 104),
        ("graphhopper_test1", "13900000013", 264, 264),  # from 1970-01-01: moved to --start
    ],
)
def test_gpx_drives_are_stored_point_for_point(
    chain: Any, shared: Path, name: str, phone: str, points: int, readings: int
) -> None:
    path = shared / "data/tracks" / f"{name}.gpx"
    chain.sim(
        "replay", str(path), "--to", chain.terminals, "--speed", "0", "--terminal", phone,
        "--start", format_time(START_MS), "--ledger", f"{name}.jsonl",
    )  # fmt: skip
    chain.await_drained()
    chain.sim("verify", "--ledger", f"{name}.jsonl", "--api", chain.url, "--token-file", "token")
    recorded = gpx_points(path)
    rows = stored(chain, f"808:{phone}")
    assert (len(recorded), len(rows)) == (points, readings)
    assert {
        (parse_time(r["device_time"]), float(r["latitude_deg"]), float(r["longitude_deg"]))
        for r in rows
    } == set(recorded)


def gpx_points(path: Path) -> list[tuple[int, float, float]]:
    """Time, latitude and longitude at the protocol's resolution; undated ones from START_MS."""
    found = []
    for track in gpxpy.parse(path.read_text()).tracks:
        for point in (point for segment in track.segments for point in segment.points):
            assert point.time
            time_ms = to_time_ms(point.time.replace(tzinfo=UTC))
            found.append((time_ms, round(point.latitude, 6), round(point.longitude, 6)))
    shift_ms = START_MS - found[0][0] if found[0][0] < 946_684_800_000 else 0
    # Whole seconds: a terminal's time has no parts of one.
    return [((time_ms + shift_ms) // 1000 * 1000, y, x) for time_ms, y, x in found]


@pytest.mark.corpus
def test_foreign_frames_cost_no_process_and_are_kept_with_their_reason(
    chain: Any, shared: Path
) -> None:
    lines = (shared / "data/jt808/traccar_jt808_frames.txt").read_text().splitlines()
    frames = [line.split("\t")[1] for line in lines if not line.startswith("#")]
    (chain.folder / "frames.txt").write_text("\n".join(frames))
    chain.sim("replay", "frames.txt", "--to", chain.terminals, "--register", "--drain", "2")
    chain.await_drained()
    kept = list(chain.api.items("/quarantine"))
    assert len(kept) >= 5  # the README counts five wrong checksums
    assert all(entry["reason"] for entry in kept)
    assert any("checksum" in entry["reason"] for entry in kept)
