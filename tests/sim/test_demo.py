"""The demo as people run it: real broker, cloud, edge and fleet, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenhaul_sim.demo import ports

DEMO = (sys.executable, "-m", "greenhaul_sim", "demo")


def processes_of(folder: Path) -> dict[int, str]:
    """Everything that has the demo's folder on its command line or works in it."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            works_in = (entry / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in command or works_in == folder:
            found[int(entry.name)] = command
    return found


class Run:
    """A demo, its lines as they come."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*DEMO, "--state", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # A demo that hangs must not hang the test.
        self._alarm = threading.Timer(120, self._process.kill)
        self._alarm.start()

    def read_until(self, start: str) -> str:
        """The next line that begins so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if line.strip().startswith(start):
                return line.strip()
        raise AssertionError("".join(self.lines))

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Exit code and everything said."""
        if number:
            self._process.send_signal(number)
        assert self._process.stdout is not None
        self.lines += self._process.stdout.readlines()
        code = self._process.wait()
        self._alarm.cancel()
        self._process.stdout.close()
        return code, "".join(self.lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all demos of this module run, one after the other: a second run works."""
    return tmp_path_factory.mktemp("demo") / "state"


@pytest.fixture(autouse=True)
def _nothing_left(folder: Path) -> Iterator[None]:
    """Whatever a demo leaves running is ended and fails the test."""
    yield
    left = processes_of(folder)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_it_ends_by_itself_with_the_law_and_the_proof(folder: Path) -> None:
    options = ("--broker", "amqtt", "--speed", "30", "--terminals", "22")
    code, said = Run(folder, *options, "--for", "4").end()
    assert code == 0, said
    assert "broker   amqtt" in said
    assert "login    regulator / " in said
    law = next(line for line in said.splitlines() if line.startswith("appended "))
    assert law.endswith("+ waiting 0   holds")
    assert "missing 0, repeated 0" in said
    assert "Traceback" not in said
    for name in ("cloud", "edge", "fleet"):
        assert "Traceback" not in (folder / f"{name}.log").read_text()


def test_ctrl_c_ends_everything(folder: Path) -> None:
    run = Run(folder, "--terminals", "3")
    url = run.read_until("console").split()[1]
    run.read_until("trucks online")
    port = int(url.rpartition(":")[2])
    assert ports.answers(port)
    code, said = run.end(signal.SIGINT)
    assert code == 0, said
    assert "Traceback" not in said
    assert not ports.answers(port)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["broker", "cloud", "edge", "fleet"])
def test_a_process_that_dies_is_named(folder: Path, name: str) -> None:
    run = Run(folder, "--terminals", "3", "--broker", "amqtt")
    run.read_until("trucks online")
    mark = {"broker": "demo.broker", "fleet": "greenhaul_sim fleet"}.get(name, f"greenhaul_{name}")
    (pid,) = [pid for pid, line in processes_of(folder).items() if mark in line]
    os.kill(pid, signal.SIGKILL)
    code, said = run.end()
    assert code == 1
    assert f"{name} ended with code -9" in said
    assert "Traceback" not in said
