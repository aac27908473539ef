"""Every type of source stands what trucks do; and a source that does not is found out."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import SOURCE_SETTINGS, Config, load_config
from greenhaul_edge.conformance.examination import TRIALS, examine
from greenhaul_edge.conformance.rigs import RIGS
from greenhaul_edge.input_commands import make_source
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources import SOURCES, Source
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_protocols.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """One source of each type."""
    path = tmp_path / "edge.toml"
    path.write_text(
        '[gateway]\nid = "gw-t"\n'
        '[sources.jt808]\ntype = "jt808"\n[sources.gnss]\ntype = "gnss"\n'
        '[sources.can]\ntype = "can"\nchannel = "can0"\nmapping = "j1939-hvess"\n'
    )
    return load_config(path)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_ours_pass_every_trial(config: Config, name: str) -> None:
    outcomes = list(examine(config, name, make_source))
    assert [one.trial for one in outcomes] == list(TRIALS)
    assert [one for one in outcomes if one.fault] == []


class Careless(GnssSource):
    """Gives up when its port is gone, and says so nowhere."""

    def _run(self) -> None:
        try:
            self._read(9_600)
        except OSError:
            return

    def state(self) -> Mapping[str, str | int]:
        return {"port": None}  # type: ignore[dict-item]


def test_a_careless_source_is_found_out(config: Config) -> None:
    def make(config: Config, name: str, outbox: Outbox, clock: Clock) -> Source:
        return Careless(name, config.sources[name], outbox, clock)  # type: ignore[arg-type]

    trials = ("garbage", "disconnect", "end")
    faults = {one.trial: one.fault for one in examine(config, "gnss", make, trials)}
    assert faults["disconnect"] == "nothing read within 5 s"
    assert faults["end"] == "state: port must be text or a whole number"
    assert faults["garbage"] is None


def test_every_type_of_source_has_a_rig() -> None:
    assert set(RIGS) == set(SOURCES) == set(SOURCE_SETTINGS)


def test_a_name_that_is_not_configured_is_said(config: Config) -> None:
    with pytest.raises(ConfigError, match="no source 'gns'; there are: jt808, gnss, can"):
        list(examine(config, "gns", make_source))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """greenhaul-edge beside this Python."""
    program = str(Path(sys.executable).parent / "greenhaul-edge")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def test_replay_prints_what_a_log_gives(tmp_path: Path) -> None:
    log_file = tmp_path / "drive.log"
    body = "GNRMC,070405.000,A,3259.5000,N,11231.2000,E,20.0,91.5,201126,,,A"
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    log_file.write_text(f"# a comment\n${body}*{checksum:02X}\n${body}*00\n")
    done = run("replay", str(log_file))
    position, counts = (json.loads(line) for line in done.stdout.splitlines())
    assert (position["kind"], position["device_time"]) == ("position", "2026-11-20T07:04:05Z")
    assert counts["counts"]["bad_checksums"] == 1
    frames = tmp_path / "bus.log"
    frames.write_text("(1790000000.000000) can0 18F090F3#D007B004302AB478\n")
    done = run("replay", str(frames), "--mapping", "j1939-hvess")
    battery, counts = (json.loads(line) for line in done.stdout.splitlines())
    assert (battery["pack_voltage_v"], battery["pack_current_a"]) == (540.0, -55.0)
    assert run("replay", str(tmp_path / "none.log")).returncode == 2
