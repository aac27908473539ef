"""Planted faults, each to be named by its check, with something to do about it."""

import json
import os
import pty
import shutil
import signal
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.chain import Mosquitto
from tests.chaos.secure_broker import PASSWORD, SecureBroker

from greenhaul_edge.clock import Clock
from greenhaul_edge.doctor.examination import CHECKS, as_json, as_text, examine, is_well
from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Finding, Level
from greenhaul_edge.main import NO, WELL, main
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.room import Bounds
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.times import format_time

NOBODY = 65_534
NOW_MS = 1_800_000_000_000
SHARE_MIN = 0.95


@dataclass
class Box:
    """A gateway in good health, to be spoiled."""

    folder: Path
    broker: SecureBroker
    stack: ExitStack
    gateway: dict[str, object] = field(default_factory=lambda: {"id": "gw-a"})
    outbox: dict[str, object] = field(default_factory=lambda: {"size_max_mb": 64})
    uplink: dict[str, object] = field(default_factory=dict)
    sources: dict[str, dict[str, object]] = field(default_factory=dict)
    running: dict[str, Any] | None = None
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.password = self.folder / "password"
        self.password.write_text(PASSWORD.format("gw-a"))
        self.password.chmod(0o600)
        self.uplink |= {
            "port": self.broker.port, "tls": True, "ca_file": str(self.broker.authority.ca),
            "username": "gw-a", "password_file": str(self.password),
        }  # fmt: skip
        self.sources["t"] = {"type": "jt808", "listen": "127.0.0.1:0", "connections_max": 10}
        (self.folder / "outbox").mkdir()

    @property
    def config(self) -> Path:
        """edge.toml as it stands."""
        return self.folder / "edge.toml"

    @property
    def file(self) -> Path:
        """The outbox's file."""
        return self.folder / "outbox/outbox.sqlite"

    def write(self) -> Path:
        """Write edge.toml, and what a running agent would say."""
        sections = {"gateway": self.gateway, "outbox": self.outbox, "uplink": self.uplink}
        sections |= {f"sources.{name}": one for name, one in self.sources.items()}
        lines = []
        for name, section in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(one)}" for key, one in section.items())]
        self.config.write_text("\n".join(lines) + "\n")
        if self.running is not None:
            (self.folder / "outbox/status.json").write_text(json.dumps(self.running))
        return self.config

    def fill(self, readings: int = 10, gateway: str = "gw-a", committed_ms: int = NOW_MS) -> None:
        """An outbox with readings that wait."""
        bounds = Bounds(64 << 20)
        file = OutboxFile(self.file, gateway, boot=1, now_ms=committed_ms, bounds=bounds)
        from greenhaul_edge.outbox.chunks import Batch

        for start in range(0, readings, 1_000):
            batch = [
                Position(
                    source="808:1", device_time_ms=i, received_time_ms=0, latitude_deg=30.0,
                    longitude_deg=112.0, items=os.urandom(400),
                )
                for i in range(start, min(start + 1_000, readings))
            ]  # fmt: skip
            file.append([Batch(batch)], committed_ms)
        file.close()

    def run(self, **more: Any) -> None:
        """As if an agent ran, and said this."""
        self.running = {
            "pid": os.getpid(), "at": format_time(time.time_ns() // 1_000_000), "clock": "ntp",
            "configuration": {"loaded_at": "2100-01-01T00:00:00Z", "fault": ""},
            "written_bytes_a_day": 1, "idle_ms": {"outbox": 0, "uplink": 0},
            "uplink": {"link": "connected", "cloud": "answers"}, "sources": {},
        } | more  # fmt: skip

    def serial(self, name: str = "g") -> Path:
        """A receiver's port: a pseudo terminal."""
        ours, theirs = pty.openpty()
        port = Path(os.ttyname(theirs))
        self.stack.callback(os.close, ours)
        os.close(theirs)
        self.sources[name] = {"type": "gnss", "port": str(port)}
        return port


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """The shipped broker, with somebody who answers a hello."""
    broker = SecureBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def box(broker: SecureBroker) -> Iterator[Box]:
    """A gateway in good health in a folder that anybody can enter."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gh-doctor-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Box(folder, broker, stack)


Plant = Callable[[Box], None]


def plant_key(box: Box) -> None:
    box.uplink["prot"] = 1


def plant_syntax(box: Box) -> None:
    box.gateway["id"] = "no good id"


def plant_zone(box: Box) -> None:
    box.gateway["timezone"] = "Asia/Nowhere"


def plant_no_sources(box: Box) -> None:
    box.sources.clear()


def plant_refused_reload(box: Box) -> None:
    box.run(configuration={"loaded_at": "2100-01-01T00:00:00Z", "fault": "edge.toml: no"})


def plant_stale_configuration(box: Box) -> None:
    box.run(configuration={"loaded_at": "2020-01-01T00:00:00Z", "fault": ""})


def plant_loose_password(box: Box) -> None:
    box.password.chmod(0o644)


def plant_1970(box: Box) -> None:
    box.clock = Clock(read_system_ms=lambda: 86_400_000)


def plant_2046(box: Box) -> None:
    box.clock = Clock(read_system_ms=lambda: 2_400_000_000_000)


def plant_nobody_tells_time(box: Box) -> None:
    box.clock = Clock(read_is_synchronised=lambda: False)


def plant_slow_answers(box: Box) -> None:
    box.run(clock="unset", clock_error_ms=4_300)


def plant_silence(box: Box) -> None:
    box.run(at="2026-01-01T00:00:00Z")


def plant_hung_stage(box: Box) -> None:
    box.run(idle_ms={"outbox": 45_000})


def plant_no_files(box: Box) -> None:
    box.sources["t"]["connections_max"] = 100_000


def plant_folder_of_others(box: Box) -> None:
    (box.folder / "outbox").chmod(0o755)


def plant_folder_missing(box: Box) -> None:
    box.outbox["path"] = "/proc/1/outbox"


def plant_tmpfs(box: Box) -> None:
    box.outbox["path"] = "/dev/shm/gh-doctor"


def plant_read_only(box: Box) -> None:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    read_only = [one.split()[1] for one in lines if "ro" in one.split()[3].split(",")]
    box.outbox["path"] = f"{(read_only or ['/sys'])[0]}/gh-doctor"


def plant_small_disk(box: Box) -> None:
    box.outbox["size_max_mb"] = 1 << 20


def plant_wear(box: Box) -> None:
    box.run(written_bytes_a_day=20 << 30)


def plant_other_owner(box: Box) -> None:
    box.fill(gateway="gw-b")


def plant_damage(box: Box) -> None:
    box.fill(2_000)
    with box.file.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xaa" * 40_960)


def plant_no_database(box: Box) -> None:
    box.file.write_bytes(b"this is no database at all, but a text" * 200)


def plant_imbalance(box: Box) -> None:
    box.fill()
    with closing(sqlite3.connect(box.file)) as connection:
        connection.execute("UPDATE lane SET stored = 3")
        connection.commit()


def plant_full(box: Box) -> None:
    box.outbox["size_max_mb"] = 4
    box.fill(11_000)


def plant_aside(box: Box) -> None:
    box.file.with_name("outbox.sqlite.damaged-17").write_bytes(b"")


def plant_clear_text(box: Box) -> None:
    box.uplink = {"host": "broker.example.invalid"}


def plant_no_password_file(box: Box) -> None:
    box.password.unlink()


def plant_wrong_key(box: Box) -> None:
    certificate, _ = box.broker.authority.sign("one")
    _, key = box.broker.authority.sign("two")
    box.uplink |= {"client_cert_file": str(certificate), "client_key_file": str(key)}


def plant_old_client_certificate(box: Box) -> None:
    now = datetime.now(UTC)
    certificate, key = box.broker.authority.sign(
        "old", begins=now - timedelta(30), ends=now - timedelta(1)
    )
    box.uplink |= {"client_cert_file": str(certificate), "client_key_file": str(key)}


def plant_unknown_name(box: Box) -> None:
    box.uplink["host"] = "broker.invalid"


def plant_closed_port(box: Box) -> None:
    box.uplink["port"] = 1


def plant_other_authority(box: Box) -> None:
    from tests.chaos.authority import Authority

    box.uplink["ca_file"] = str(Authority(box.folder / "other").ca)


def plant_wrong_name(box: Box) -> None:
    box.uplink["host"] = "127.1"  # the broker's address, by a name not in its certificate


def plant_no_tls_there(box: Box) -> None:
    box.uplink["port"] = box.broker.local_port


def plant_wrong_password(box: Box) -> None:
    box.password.write_text("guess")


def plant_no_collector(box: Box) -> None:
    box.fill()


def plant_no_rights(box: Box) -> None:
    box.fill()
    box.gateway["id"] = "gw-b"
    box.file.unlink()
    box.fill(gateway="gw-b")


def plant_twin(box: Box) -> None:
    box.run(uplink={"link": "not connected: x; does another agent use this id?", "cloud": ""})


def plant_old_receipt(box: Box) -> None:
    box.fill()
    box.run()


def plant_taken_port(box: Box) -> None:
    taken = box.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    box.sources["t"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"


def plant_foreign_address(box: Box) -> None:
    box.sources["t"]["listen"] = "192.0.2.1:8808"


def plant_open_door(box: Box) -> None:
    box.sources["t"] |= {"listen": "0.0.0.0:0", "auth": "open"}


def plant_held_back(box: Box) -> None:
    box.run(sources={"t": {"address": "x", "held_back": 9, "acknowledged": 0}})


def plant_no_terminal_key(box: Box) -> None:
    box.sources["t"]["rsa_key_file"] = "missing.key"


def plant_loose_terminal_key(box: Box) -> None:
    path = box.folder / "terminals.key"
    path.write_text("-----BEGIN PRIVATE KEY-----")
    path.chmod(0o644)
    box.sources["t"]["rsa_key_file"] = str(path)


def plant_unopened(box: Box) -> None:
    box.run(sources={"t": {"address": "x", "unopened": 9}})


def plant_unplugged(box: Box) -> None:
    box.sources["g"] = {"type": "gnss", "port": "/dev/ttyUSB77"}


def plant_no_port(box: Box) -> None:
    box.sources["g"] = {"type": "gnss", "port": str(box.password)}


def plant_port_of_others(box: Box) -> None:
    box.serial().chmod(0o600)


def plant_busy_port(box: Box) -> None:
    port = box.serial()
    child = os.fork()
    if child == 0:
        os.open(port, os.O_RDWR | os.O_NOCTTY)
        time.sleep(30)
        os._exit(0)
    box.stack.callback(os.waitpid, child, 0)
    box.stack.callback(os.kill, child, signal.SIGKILL)
    deadline = time.monotonic() + 5
    held = Path(f"/proc/{child}/fd")
    while str(port) not in {os.path.realpath(one) for one in held.iterdir()}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def plant_gibberish(box: Box) -> None:
    box.serial()
    box.run(sources={"g": {"sentences": 0, "noise": 50}})


def plant_no_antenna(box: Box) -> None:
    box.serial()
    box.run(sources={"g": {"sentences": 99, "positions": 0, "fixes": 0}})


def plant_no_bus(box: Box) -> None:
    _can(box, channel="can77")


def plant_bus_down(box: Box) -> None:
    down = [one.name for one in Path("/sys/class/net").iterdir() if not _is_up(one)]
    _can(box, channel=down[0] if down else "can77")


def plant_no_mapping(box: Box) -> None:
    _can(box, mapping="nowhere.toml")


def plant_sources_state(source: str, **state: object) -> Plant:
    """What a running receiver (g) or bus (c) says of itself."""

    def plant(box: Box) -> None:
        if source == "g":
            box.serial()
        else:
            _can(box, interface="virtual")
        box.run(sources={source: {"link": "open", **state}})

    plant.__name__ = "plant_" + "_".join(state)
    return plant


def plant_silent_bus(box: Box) -> None:
    _can(box, interface="virtual")
    box.run(sources={"c": {"link": "open", "frames": 0}})


def plant_bus_off(box: Box) -> None:
    _can(box, interface="virtual")
    box.run(sources={"c": {"link": "gone: bus-off", "frames": 9}})


def _can(box: Box, **more: object) -> None:
    sample = Path(__file__).parent.parent.parent / "edge/battery.sample.toml"
    settings = {"type": "can", "channel": "x", "mapping": str(sample)} | more
    box.sources["c"] = settings


def _is_up(entry: Path) -> bool:
    flags = entry / "flags"
    return not flags.exists() or bool(int(flags.read_text(), 16) & 1)


# What is planted, and the check that must name it.
FAULTS: list[tuple[Plant, str]] = [
    (plant_key, "configuration"),
    (plant_syntax, "configuration"),
    (plant_zone, "time-zone"),
    (plant_no_sources, "sources"),
    (plant_refused_reload, "configuration-running"),
    (plant_stale_configuration, "configuration-running"),
    (plant_loose_password, "secrets"),
    (plant_1970, "clock-date"),
    (plant_2046, "clock-date"),
    (plant_nobody_tells_time, "clock-kept"),
    (plant_slow_answers, "clock-kept"),
    (plant_silence, "agent"),
    (plant_hung_stage, "agent-stages"),
    (plant_no_files, "open-files"),
    (plant_folder_of_others, "outbox-folder"),
    (plant_folder_missing, "outbox-folder"),
    (plant_tmpfs, "disk-mount"),
    (plant_read_only, "disk-mount"),
    (plant_small_disk, "disk-room"),
    (plant_wear, "disk-wear"),
    (plant_other_owner, "outbox-owner"),
    (plant_damage, "outbox-verified"),
    (plant_no_database, "outbox-verified"),
    (plant_imbalance, "outbox-account"),
    (plant_full, "outbox-full"),
    (plant_aside, "outbox-damaged"),
    (plant_clear_text, "broker-encryption"),
    (plant_no_password_file, "credential-files"),
    (plant_wrong_key, "credential-files"),
    (plant_old_client_certificate, "client-certificate"),
    (plant_unknown_name, "broker-name"),
    (plant_closed_port, "broker-port"),
    (plant_other_authority, "broker-tls"),
    (plant_wrong_name, "broker-tls"),
    (plant_no_tls_there, "broker-tls"),
    (plant_wrong_password, "broker-credentials"),
    (plant_no_collector, "topic-rights"),
    (plant_no_rights, "topic-rights"),
    (plant_twin, "broker-twin"),
    (plant_old_receipt, "last-receipt"),
    (plant_taken_port, "listener"),
    (plant_foreign_address, "listener"),
    (plant_open_door, "listener-exposed"),
    (plant_no_terminal_key, "terminals-key"),
    (plant_loose_terminal_key, "secrets"),
    (plant_unopened, "terminals-key"),
    (plant_held_back, "terminals-held-back"),
    (plant_unplugged, "serial-port"),
    (plant_no_port, "serial-port"),
    (plant_port_of_others, "serial-rights"),
    (plant_busy_port, "serial-busy"),
    (plant_gibberish, "serial-speaks"),
    (plant_no_antenna, "serial-speaks"),
    (plant_no_bus, "can-interface"),
    (plant_bus_down, "can-interface"),
    (plant_no_mapping, "can-mapping"),
    (plant_silent_bus, "can-speaks"),
    (plant_bus_off, "can-speaks"),
    (plant_sources_state("g", link="gone: [Errno 13] Permission denied"), "input-link"),
    (plant_sources_state("g", sentences=9, silent_s=90, baud=9600), "gnss-sentences"),
    (plant_sources_state("g", sentences=90, bad_checksums=30), "gnss-checksums"),
    (plant_sources_state("g", sentences=90, unfixed=90), "gnss-fix"),
    (plant_sources_state("g", sentences=90, fixes=9, by_gateway_clock=9), "gnss-date"),
    (plant_sources_state("c", frames=9, bus_off=3), "can-errors"),
    (plant_sources_state("c", frames=9, error_frames=90), "can-errors"),
    (plant_sources_state("c", frames=9, kernel_dropped=5), "can-losses"),
    (plant_sources_state("c", frames=9, garbled=5), "can-adapter"),
    (plant_sources_state("c", frames=9, ids_unknown=4, unknown_ids="0x123"), "can-ids"),
    (plant_sources_state("c", frames=9, ids_known=2, never_heard="soc_percent"), "can-never-heard"),
    (plant_sources_state("c", frames=9, ids_known=2, stale="soc_percent"), "can-stale"),
    (plant_sources_state("c", frames=9, unanswered=4), "can-polling"),
]
# Root may do everything; what rights forbid is looked at as somebody else.
AS_NOBODY = {plant_folder_of_others, plant_port_of_others}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_planted_faults_are_named_with_advice(
    broker: SecureBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.doctor.broker_probe._RECEIPT_S_MAX", 0.3)
    missed = []
    for plant, check in FAULTS:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="gh-doctor-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            box = Box(folder, broker, stack)
            plant(box)
            config = box.write()
            # All that the fault's own check needs: each looks at the gateway as a whole.
            found = _examined(config, box.clock, check, as_nobody=plant in AS_NOBODY)
            named = [one for one in found if one.remark.level > Level.WELL]
            if not named or not all(one.remark.advice for one in named):
                missed.append((plant.__name__, check, found))
            assert not any("check itself failed" in one.remark.said for one in found), found
    print(f"named {len(FAULTS) - len(missed)} of {len(FAULTS)}; missed: {missed}")
    assert len(FAULTS) >= 40
    assert 1 - len(missed) / len(FAULTS) >= SHARE_MIN, missed


def _examined(config: Path, clock: Clock, check: str, *, as_nobody: bool) -> list[Finding]:
    if not as_nobody or os.geteuid() != 0:
        return examine(Patient(config, clock), [check])
    patient = Patient(config, clock)
    os.seteuid(NOBODY)
    try:
        with pytest.MonkeyPatch.context() as patch:
            # access() asks by the real user id, which stays root's here.
            real = os.access
            patch.setattr(os, "access", lambda path, mode: real(path, mode, effective_ids=True))
            return examine(patient, [check])
    finally:
        os.seteuid(0)


def test_a_healthy_gateway_has_nothing_wrong(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = examine(Patient(box.write()))
    assert is_well(findings), as_text(findings)
    assert main(["doctor", "-v", "-c", str(box.config)]) == WELL
    printed = capsys.readouterr().out
    assert "0 wrong" in printed
    assert "broker-tls: the broker proved who it is" in printed
    box.password.unlink()
    assert main(["doctor", "--json", "-c", str(box.config)]) == NO
    said = json.loads(capsys.readouterr().out)
    assert not said["is_well"]
    wrong = [one for one in said["findings"] if one["level"] == "wrong"]
    assert wrong[0]["check"] == "credential-files"
    assert wrong[0]["advice"]


def test_there_are_enough_checks_and_each_says_what_it_is_for() -> None:
    assert len(CHECKS) >= 25
    assert all((check.__doc__ or "").strip() for check in CHECKS.values())
    assert as_json([])["is_well"]


def test_topic_rights_are_proven_by_a_receipt(box: Box, tmp_path: Path) -> None:
    from tests.chaos.chain import Collector

    broker = Mosquitto(tmp_path / "mosquitto")
    broker.start()
    box.stack.callback(broker.kill)
    collector = Collector(tmp_path / "cloud", broker.port, ["gw-a"])
    box.stack.callback(collector.close)
    collector.start()
    collector.wait_connected()
    box.uplink = {"port": broker.port}
    box.fill()
    patient = Patient(box.write(), box.clock)
    (finding,) = examine(patient, ["topic-rights"])
    assert finding.remark.level is Level.WELL, finding
    assert "answered with a receipt" in finding.remark.said
    (finding,) = examine(patient, ["clock-agrees"])
    assert finding.remark.level is Level.WELL
