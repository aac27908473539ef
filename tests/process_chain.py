"""The whole chain as separate processes, as an installer would start them."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenhaul_sim.api import Api

START_S = 60.0

COMMANDS = {
    "cloud": (
        "greenhaul_cloud.main", "serve", "-c", "cloud.toml", "--ready-file", "ready",
    ),
    "edge": ("greenhaul_edge.main", "run", "-c", "edge.toml"),
}  # fmt: skip


def until(condition: Callable[[], Any], what: str, wait_s: float = START_S) -> Any:
    """The first true answer of `condition`; fails by name when there is none in time."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)  # processes of their own: nothing here is told when they are ready
    pytest.fail(f"{what}: not within {wait_s:.0f} s")


class Chain:
    """Cloud and edge on a broker of the caller's, loopback only."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self.folder = folder
        self.gateway = f"gw-{secrets.token_hex(4)}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "cloud.toml").write_text(
            f'[store]\nurl = "sqlite:///greenhaul.db"\n[broker]\nport = {broker_port}\n'
            '[api]\nlisten = "127.0.0.1:0"\n'
        )
        (folder / "edge.toml").write_text(
            f'[gateway]\nid = "{self.gateway}"\n[outbox]\npath = "outbox"\n'
            f"[uplink]\nport = {broker_port}\nsend_window_s = 0.5\n"
            '[sources.terminals]\ntype = "jt808"\nlisten = "127.0.0.1:0"\n'
        )
        (folder / "password").write_text("correct horse battery staple")
        self.cloud("migrate")
        self.cloud(
            "user", "add", "admin", "--role", "admin", "--password-file", str(folder / "password")
        )
        self.token = self.cloud("token", "create", "admin", "--name", "test").split()[-1]
        (folder / "token").write_text(self.token)
        self.cloud("gateway", "add", self.gateway, "--sources", "*")

    def run(self, module: str, *arguments: str, wait_s: float = 120) -> str:
        """A short command of one of our programs; its output."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=wait_s,
        )  # fmt: skip
        assert done.returncode == 0, f"{module} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def cloud(self, *arguments: str) -> str:
        """A short command of greenhaul-cloud."""
        return self.run("greenhaul_cloud.main", *arguments, "-c", "cloud.toml")

    def sim(self, *arguments: str) -> str:
        """A command of greenhaul-sim that ends by itself."""
        return self.run("greenhaul_sim", *arguments)

    def launch(self, name: str) -> None:
        """Start a process, and wait for nothing."""
        if name == "cloud":
            (self.folder / "ready").unlink(missing_ok=True)
        self._start(name, *COMMANDS[name])

    def start_cloud(self) -> None:
        """Collector, API and console; returns when all is up."""
        self.launch("cloud")
        self.await_cloud()

    def await_cloud(self) -> None:
        """Returns when collector, API and console are up."""
        until((self.folder / "ready").exists, "the collector")

    def start_edge(self) -> None:
        """The agent; returns when terminals can connect. A restarted one takes the same port."""
        self.launch("edge")
        self.await_edge()

    def await_edge(self) -> None:
        """Returns when terminals can connect."""
        until(lambda: self.terminals, "the edge")
        config = self.folder / "edge.toml"
        config.write_text(config.read_text().replace("127.0.0.1:0", self.terminals))

    def kill(self, name: str) -> None:
        """End a process as a power cut would: kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End everything in good order."""
        for name in ("edge", "cloud"):
            if process := self.processes.pop(name, None):
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0, self.log(name)
                assert "Traceback" not in self.log(name), self.log(name)

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text()

    @property
    def url(self) -> str:
        """Of API and console."""
        return str(json.loads((self.folder / "ready").read_text())["api"])

    @property
    def api(self) -> Api:
        """The API as its administrator sees it."""
        return Api(self.url, self.token)

    @property
    def status(self) -> dict[str, Any]:
        """What `greenhaul-edge status` says."""
        found: dict[str, Any] = json.loads(
            self.run("greenhaul_edge.main", "status", "--json", "-c", "edge.toml")
        )
        return found

    @property
    def terminals(self) -> str:
        """Where terminals connect; empty until the edge listens."""
        path = self.folder / "outbox" / "status.json"
        if not path.exists():
            return ""
        found = json.loads(path.read_text())
        if found["pid"] != self.processes["edge"].pid:
            return ""  # of the one before
        return str(found["sources"]["terminals"]["address"])

    def await_drained(self) -> None:
        """Until the collector has settled everything the edge holds."""

        def is_drained() -> bool:
            lanes = [lane for epoch in self.status["epochs"] for lane in epoch["lanes"]]
            return bool(lanes) and not any(lane["waiting"] for lane in lanes)

        until(is_drained, "receipts for everything")

    def _start(self, name: str, module: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=self.folder, stdout=log, stderr=log
            )
