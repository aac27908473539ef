"""Stages that hang, a manager that watches, configurations that change under way."""

import configparser
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from greenhaul_edge.agent import HUNG, Agent
from greenhaul_edge.assembly import EdgeParts
from greenhaul_edge.clock import Clock, ServerTime
from greenhaul_edge.config import Config, load_config
from greenhaul_edge.last_seen import LastSeen
from greenhaul_edge.main import main
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.reload import difference
from greenhaul_edge.sources import Source
from greenhaul_edge.status import read_running
from greenhaul_edge.supervision import RESTARTS_MAX, Beat, Care, Supervisor
from greenhaul_edge.systemd import ServiceManager
from greenhaul_edge.uplink.link import Uplink
from greenhaul_protocols.catalogue import BatteryReading, Position, Reading, TimeQuality
from greenhaul_protocols.errors import ConfigError

Until = Callable[[Callable[[], bool]], None]
UNIT = Path(__file__).parent.parent.parent / "edge/greenhaul-edge.service"
TEXT = """
[gateway]
id = "gw-s"
[outbox]
commit_window_s = 0.0
[uplink]
port = 1
[sources.t]
type = "jt808"
listen = "127.0.0.1:0"
auth = "open"
"""


def test_a_stage_gets_new_lives_then_the_process_ends() -> None:
    supervisor = Supervisor(hung_ms=1_000)
    supervisor.watch("uplink", can_restart=True)
    supervisor.watch("outbox", can_restart=False)
    beat = Beat(lambda: 0)
    assert supervisor.judge("uplink", beat, 999) is Care.LEAVE
    cares = [supervisor.judge("uplink", beat, 1_000 * i) for i in range(1, RESTARTS_MAX + 2)]
    assert cares == [Care.RESTART] * RESTARTS_MAX + [Care.END_PROCESS]
    assert supervisor.judge("outbox", beat, 1_000) is Care.END_PROCESS
    # An hour later it is forgiven.
    assert supervisor.judge("uplink", beat, 3_700_000) is Care.RESTART


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.005)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """What was said so far."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                return self.heard

    def close(self) -> None:
        """No more of it."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Listening."""
    manager = Manager(tmp_path)
    yield manager
    manager.close()


class StuckSource:
    """A source whose thread makes no progress once told to hang."""

    made = 0

    def __init__(self, name: str) -> None:
        self.name, self.beat = name, Beat()
        self._stopped = threading.Event()
        self.is_stuck = StuckSource.made == 0
        StuckSource.made += 1
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def state(self) -> Mapping[str, str | int]:
        return {}

    def _run(self) -> None:
        while not self._stopped.wait(0.02):
            if not self.is_stuck:
                self.beat.note()


class StuckParts(EdgeParts):
    """Real parts, but for the source."""

    def source(self, config: Config, name: str) -> Source:
        assert name in config.sources
        return StuckSource(name)


class StuckUplink(Uplink):
    """The first one's thread waits for ever, until it is abandoned."""

    made: ClassVar[list[Uplink]] = []
    released = threading.Event()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.is_stuck = not StuckUplink.made
        StuckUplink.made.append(self)

    def _turn(self) -> None:
        if self.is_stuck:
            StuckUplink.released.wait()
        else:
            super()._turn()


class StuckOutbox(Outbox):
    """A writer whose disk does not answer, until it is let go."""

    released = threading.Event()

    def _turn(self) -> bool:
        StuckOutbox.released.wait()
        return super()._turn()


class Watched:
    """An agent in this process, with a manager that listens."""

    def __init__(
        self,
        folder: Path,
        manager: Manager,
        parts: type[EdgeParts] = EdgeParts,
        outbox: type[Outbox] = Outbox,
    ) -> None:
        path = folder / "edge.toml"
        path.write_text(TEXT)
        config = load_config(path)
        config.outbox.path.mkdir()
        clock, self.ended = Clock(), list[int]()
        file = OutboxFile(config.outbox_file, "gw-s", boot=1, now_ms=0)
        self.outbox = outbox(file, clock, commit_window_s=0)
        environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000"}
        self.status_file = folder / "status.json"
        self.agent = Agent(
            config,
            parts(self.outbox, clock),
            self.outbox,
            clock,
            LastSeen(folder / "seen"),
            self.status_file,
            ServiceManager(environment),
            hung_ms=2_500,  # the writer's idle turn takes two seconds
            end_process=self._end,
        )
        self._thread = threading.Thread(target=self.agent.run)
        self._thread.start()

    def _end(self, code: int) -> None:
        self.ended.append(code)
        self.agent.stop()

    def stop(self) -> None:
        """Returns when everything has ended."""
        self.agent.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the stages every few milliseconds."""
    monkeypatch.setattr("greenhaul_edge.agent.LOOK_PERIOD_S", 0.05)
    monkeypatch.setattr("greenhaul_edge.agent.PATIENCE_S", 0.2)
    monkeypatch.setattr("greenhaul_edge.uplink.link._TURN_MS_MAX", 500)


@pytest.mark.parametrize("restarts_max", [RESTARTS_MAX, 0])
def test_a_hung_source_is_made_anew_or_ends_the_process(
    tmp_path: Path,
    manager: Manager,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    restarts_max: int,
) -> None:
    monkeypatch.setattr("greenhaul_edge.supervision.RESTARTS_MAX", restarts_max)
    StuckSource.made = 0
    watched = Watched(tmp_path, manager, StuckParts)
    if restarts_max:
        until(lambda: bool(manager.listen()) and StuckSource.made == 2)
        manager.listen().clear()
        until(lambda: "WATCHDOG=1" in manager.listen())
        assert not watched.ended
    else:
        until(lambda: bool(manager.listen()) and bool(watched.ended))
        assert watched.ended[0] == HUNG
        assert "STATUS=ended: source t hangs" in manager.listen()
    watched.stop()


def test_a_hung_uplink_is_made_anew(
    tmp_path: Path, manager: Manager, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.assembly.Uplink", StuckUplink)
    StuckUplink.made.clear()
    StuckUplink.released.clear()
    watched = Watched(tmp_path, manager)
    until(lambda: bool(manager.listen()) and len(StuckUplink.made) == 2)
    manager.listen().clear()
    until(lambda: "WATCHDOG=1" in manager.listen())
    watched.outbox.append([Position(source="gw-s/g", device_time_ms=1, received_time_ms=1)])
    watched.stop()
    assert not watched.ended
    assert watched.outbox.committed_readings == 1
    StuckUplink.released.set()  # it wakes to find that another has its place
    until(lambda: not StuckUplink.made[0]._thread.is_alive())


def test_a_hung_outbox_ends_the_process(tmp_path: Path, manager: Manager, until: Until) -> None:
    """Another writer on the same file would be worse; the next start has the file to itself."""
    StuckOutbox.released.clear()
    watched = Watched(tmp_path, manager, outbox=StuckOutbox)
    until(lambda: bool(manager.listen()) and bool(watched.ended))
    assert watched.ended[0] == HUNG
    assert "STATUS=ended: outbox hangs" in manager.listen()
    StuckOutbox.released.set()
    watched.stop()


def test_readings_of_a_boot_whose_time_is_only_roughly_known_are_marked(
    tmp_path: Path,
    manager: Manager,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    readings_in: Callable[[Path], list[Reading]],
) -> None:
    monkeypatch.setattr("greenhaul_edge.clock.ROUGH_MS_MIN", 0)
    watched = Watched(tmp_path, manager)
    reading = BatteryReading(
        source="gw-s/c", device_time_ms=500, received_time_ms=0, soc_percent=50.0
    )
    watched.outbox.append([reading], is_urgent=True, is_unclocked=True).result(10)
    now_ms = time.time_ns() // 1_000_000
    watched.agent.learn_server_time(ServerTime(now_ms, 1_000, 9_000, True))
    watched.agent._wake.set()  # as a minute does
    until(lambda: any(lane.next > 1 for lane in watched.outbox.view().lanes))
    until(lambda: "8000" in watched.status_file.read_text())
    watched.stop()
    (found,) = readings_in(tmp_path / "outbox/outbox.sqlite")
    assert found.device_time_ms == now_ms - 9_000 + 500
    assert found.time_quality is TimeQuality.BOUNDED


def test_the_status_is_written_when_something_happens_but_not_all_the_time(
    tmp_path: Path, manager: Manager, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_edge.agent.STATUS_PERIOD_S_MIN", 0.5)
    watched = Watched(tmp_path, manager)
    written = set[int]()

    def note() -> int:
        with suppress(FileNotFoundError):
            written.add(watched.status_file.stat().st_mtime_ns)
        return len(written)

    until(lambda: note() > 0)
    for _ in range(50):  # a link that comes and goes
        watched.agent._wake.set()
        note()
    assert len(written) <= 2
    until(lambda: note() == 2)
    status = json.loads(watched.status_file.read_text())
    assert status["clock"] == "unset"
    assert status["clock_error_ms"] is None
    watched.stop()


class Running:
    """`greenhaul-edge run`, with a manager that watches."""

    def __init__(self, folder: Path, manager: Manager) -> None:
        self.config, self.manager = folder / "edge.toml", manager
        self.config.write_text(TEXT)
        self.status_file = folder / "outbox/status.json"
        environment = os.environ | {
            "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000",
        }  # fmt: skip
        self.log = folder / "log"
        command = [sys.executable, "-m", "greenhaul_edge.main", "run", "-c", str(self.config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def reload(self, text: str) -> None:
        """Write another configuration and send SIGHUP; returns when it was dealt with."""
        self.manager.listen().clear()
        self.config.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while not {"RELOADING=1", "READY=1"} <= set(self.manager.listen()):
            assert time.monotonic() < deadline, self.log.read_text()

    def status(self) -> dict[str, object]:
        """What it says."""
        found = read_running(self.status_file)
        assert found is not None
        return found


@pytest.fixture
def running(tmp_path: Path, manager: Manager, until: Until) -> Iterator[Running]:
    """Ready."""
    running = Running(tmp_path, manager)
    until(lambda: "READY=1" in manager.listen())
    yield running
    running.process.kill()
    running.process.wait()


def test_the_manager_hears_ready_life_and_the_end(
    running: Running, manager: Manager, until: Until
) -> None:
    until(lambda: manager.listen().count("WATCHDOG=1") > 2)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0
    assert "STOPPING=1" in manager.listen()


def test_a_configuration_is_taken_without_a_restart_and_a_bad_one_is_not(
    running: Running, until: Until, capsys: pytest.CaptureFixture[str]
) -> None:
    def address(name: str) -> str:
        sources = running.status()["sources"]
        assert isinstance(sources, dict)
        return str(sources.get(name, {}).get("address", ""))

    def fault() -> str:
        configuration = running.status()["configuration"]
        assert isinstance(configuration, dict)
        return str(configuration["fault"])

    before = address("t")
    more = TEXT + '[sources.u]\ntype = "jt808"\nlisten = "127.0.0.1:0"\nauth = "open"\n'
    running.reload(more)
    until(lambda: address("u") != "")
    assert address("t") == before  # what did not change was not touched
    for bad, said in (
        (more.replace("[uplink]", "[uplnk]"), "did you mean 'uplink'"),
        (more.replace('"gw-s"', '"gw-t"'), "gateway.id"),
        (more + '[outbox2]\npath = "x"\n', "unknown key outbox2"),
        (more.replace("[sources.u]", "[sources.v]").replace("127.0.0.1:0", before), "listen"),
    ):
        running.reload(bad)
        until(lambda said=said: said in fault())  # type: ignore[misc]
        main(["status", "-c", str(running.config)])
        capsys.readouterr()
        assert address("u") != ""
        assert running.process.poll() is None
    running.reload(TEXT)
    until(lambda: fault() == "")
    until(lambda: address("u") == "")
    found = json.loads(running.status_file.read_text())
    assert found["idle_ms"].keys() == {"outbox", "uplink", "source t"}
    assert "Traceback" not in running.log.read_text()


def test_what_a_running_agent_cannot_change_is_said(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(TEXT)
    old = load_config(path)
    path.write_text(TEXT.replace("commit_window_s = 0.0", 'path = "elsewhere"'))
    with pytest.raises(ConfigError, match=r"outbox\.path: stop the agent"):
        difference(old, load_config(path))
    path.write_text(TEXT.replace("commit_window_s = 0.0", "commit_window_s = 1.0"))
    change = difference(old, load_config(path))
    assert str(change) == "outbox"
    assert str(difference(old, old)) == "nothing"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="the package systemd is missing")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Its exit code says well also of keys that it does not know."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert UNIT.name not in said.stderr, said.stderr


def test_the_unit_is_of_type_notify_with_a_watchdog() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 60
    assert service["Restart"] == "always"
    assert "HUP" in service["ExecReload"]
    assert service["ExecStart"].split()[1:] == ["run", "-c", "/etc/greenhaul/edge.toml"]


def test_no_manager_is_no_fault() -> None:
    for environment in ({}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"NOTIFY_SOCKET": "@nobody"}):
        manager = ServiceManager(environment)
        manager.ready()
        manager.alive()
        assert manager.watchdog_s is None
    other = ServiceManager({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    assert other.watchdog_s is None
