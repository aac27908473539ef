"""The whole agent as a process: started, asked, stopped, killed."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenhaul_edge.main import CANNOT_START, NO, WELL, main
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.schema import open_file
from greenhaul_edge.status import read_running
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.jt808 import (
    Conversation,
    LocationReport,
    PlatformAnswer,
    Received,
)
from greenhaul_protocols.jt808 import (
    clock as wire_clock,
)

ReadingsIn = Callable[[Path], list[Reading]]
CONFIG = """
[gateway]
id = "gw-agent"
[outbox]
commit_window_s = 0.1
[uplink]
port = {port}
send_window_s = 0.1
[sources.terminals]
type = "jt808"
listen = "127.0.0.1:0"
auth = "open"
"""


class Agent:
    """`greenhaul-edge run` and its configuration."""

    def __init__(self, folder: Path) -> None:
        self.config, self.outbox = folder / "edge.toml", folder / "outbox"
        # Nobody listens on port 1: the broker is away.
        self.config.write_text(CONFIG.format(port=1))
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Run it; the address its terminals connect to."""
        command = [sys.executable, "-m", "greenhaul_edge.main", "run", "-c", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            running = read_running(self.outbox / "status.json")
            if running and running["pid"] == self.process.pid:
                return str(running["sources"]["terminals"]["address"])
            time.sleep(0.02)  # the status file is what announces the address
        raise AssertionError(self.log.read_text())

    def status(self) -> dict[str, Any]:
        """What `status --json` prints."""
        command = [sys.executable, "-m", "greenhaul_edge.main", "status", "--json"]
        printed = subprocess.run([*command, "-c", str(self.config)], capture_output=True, text=True)
        assert printed.returncode == 0, printed.stderr
        found: dict[str, Any] = json.loads(printed.stdout)
        return found

    def memory_kb(self) -> int:
        """Resident memory."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """Not yet running; killed at the end."""
    agent = Agent(tmp_path)
    yield agent
    if agent.process is not None and agent.process.poll() is None:
        agent.process.kill()
        agent.process.wait()


def report_until_acknowledged(address: str, count: int, start: int) -> int:
    """Reports `start`… one by one; how many were acknowledged before the line went dead."""
    host, _, port = address.rpartition(":")
    conversation = Conversation(phone="13912345678", revision=2013)
    acknowledged = 0
    with socket.create_connection((host, int(port)), timeout=30) as terminal:
        for number in range(start, start + count):
            digits = wire_clock.digits_of(1_760_000_000_000 + number * 1000)
            report = LocationReport(0, 3, 32.99, 112.52, 130, 36.5, 90, digits)
            terminal.sendall(conversation.send(report))
            events = conversation.receive(terminal.recv(4096))
            (event,) = events
            assert isinstance(event, Received)
            assert isinstance(event.message, PlatformAnswer)
            acknowledged += event.message.result == 0
    return acknowledged


def test_an_agent_without_a_broker_keeps_everything_over_kills(
    agent: Agent, readings_in: ReadingsIn
) -> None:
    acknowledged = 0
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        address = agent.start()
        acknowledged += report_until_acknowledged(address, 20, acknowledged)
        memory = agent.memory_kb()
        code = agent.end(number)
        assert code == (0 if number is signal.SIGTERM else -number)
    readings = readings_in(agent.outbox / "outbox.sqlite")
    assert len(readings) == acknowledged == 60
    status = agent.status()
    (lane,) = status["lanes"]
    assert (lane["lane"], lane["appended"], lane["waiting"]) == (1, 60, 60)
    assert not status["is_running"]
    assert status["is_balanced"]
    assert "Traceback" not in agent.log.read_text()
    assert memory < 60 * 1024  # with everything this needs; the first start also made the tables


def test_only_one_agent_runs_on_an_outbox(agent: Agent) -> None:
    agent.start()
    command = [sys.executable, "-m", "greenhaul_edge.main", "run", "-c", str(agent.config)]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == CANNOT_START
    assert "another agent runs on this outbox" in second.stderr
    assert agent.end(signal.SIGINT) == 0


def test_a_port_in_use_is_named(agent: Agent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = agent.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        agent.config.write_text(text)
        command = [sys.executable, "-m", "greenhaul_edge.main", "run", "-c", str(agent.config)]
        refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == CANNOT_START
    assert f"sources.terminals.listen: cannot listen on 127.0.0.1:{port}" in refused.stderr


def test_the_proof_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = Agent(tmp_path)
    assert main(["status", "--proof", "-c", str(agent.config)]) == NO
    assert "there is no outbox yet" in capsys.readouterr().err
    agent.outbox.mkdir()
    path = agent.outbox / "outbox.sqlite"
    file = OutboxFile(path, "gw-agent", boot=1, now_ms=0)
    file.append([], 0)
    file.ledger.lane(1).append(3)
    file.append([], 0)
    file.close()
    assert main(["status", "--proof", "-c", str(agent.config)]) == WELL
    assert "appended 3 = stored 0 + duplicate 0" in capsys.readouterr().out
    connection = open_file(path)
    connection.execute("UPDATE lane SET stored = 1, crc = NULL")
    connection.close()
    assert main(["status", "--proof", "-c", str(agent.config)]) == NO
    assert "DOES NOT HOLD" in capsys.readouterr().out
    assert main(["status", "-c", str(agent.config)]) == WELL
    assert "not running" in capsys.readouterr().out
