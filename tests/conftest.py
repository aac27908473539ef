"""What every test may use: other people's data, a real broker, one hypothesis profile."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("GREENHAUL_SHARED", ROOT.parent / "shared"))

# Machines that run the tests are small and shared: their speed says nothing about the code.
settings.register_profile(
    "greenhaul", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("greenhaul")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the corpus need its folder."""
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no folder {SHARED}: set GREENHAUL_SHARED")
    for item in items:
        if item.get_closest_marker("corpus"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with other people's vectors and data."""
    return SHARED


@dataclass(frozen=True)
class Broker:
    """A broker of our own on loopback."""

    host: str
    port: int
    pid: int


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_mosquitto(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A Mosquitto that keeps its sessions in `folder`; returns when it answers."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # started by root, Mosquitto drops to its own user
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\n"
        f"persistence true\npersistence_location {folder}/\n"
        "max_queued_messages 0\nmax_inflight_messages 100\n"
    )
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        if process.poll() is not None:
            break
        time.sleep(0.02)  # nothing announces that it listens
    process.kill()
    raise RuntimeError(f"mosquitto did not start: {(folder / 'mosquitto.log').read_text()}")


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests; each uses gateway ids of its own."""
    port = free_port()
    process = start_mosquitto(tmp_path_factory.mktemp("mosquitto"), port)
    yield Broker("127.0.0.1", port, process.pid)
    process.send_signal(signal.SIGTERM)
    process.wait(10)
