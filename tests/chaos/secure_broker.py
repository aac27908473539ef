"""Mosquitto with the configuration we ship, paths and ports moved into a folder of its own."""

import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.chaos.authority import Authority
from tests.conftest import ROOT, free_port

from greenhaul_cloud.broker_users import put_user

SHIPPED = ROOT / "cloud/mosquitto"
COLLECTOR = "@collector"
GATEWAYS = ("gw-a", "gw-b")
PASSWORD = "secret of {}"


class SecureBroker:
    """The shipped configuration, running. Users: the collector, gw-a, gw-b."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.authority = folder, Authority(folder / "authority")
        self.port, self.local_port, self.certificate_port = (free_port() for _ in range(3))
        self.collectors_port = free_port()
        self._secrets = folder / "greenhaul"
        self._secrets.mkdir()
        self.users = self._secrets / "users"
        self.use_certificate(*self.authority.sign("broker"))
        shutil.copy(self.authority.ca, self._secrets / "ca.pem")
        shutil.copy(self.authority.ca, self._secrets / "gateways-ca.pem")
        shutil.copy(SHIPPED / "acl", self._secrets / "acl")
        (self._secrets / "acl").chmod(0o600)
        for user in (COLLECTOR, *GATEWAYS):
            put_user(self.users, user, PASSWORD.format(user))
        self._config = folder / "mosquitto.conf"
        self._config.write_text(self._text())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "log").open("ab") as log:
            command = [program, "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        ports = (self.port, self.local_port, self.certificate_port, self.collectors_port)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            if all(map(_answers, ports)):
                return
            time.sleep(0.02)  # nothing announces that it listens
        raise AssertionError((self.folder / "log").read_text())

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """What the broker shows from the next `read_again` or start on."""
        shutil.copy(certificate, self._secrets / "broker.pem")
        shutil.copy(key, self._secrets / "broker.key")

    def stop(self) -> None:
        """In good order."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)

    def _text(self) -> str:
        """What Debian's mosquitto.conf says, which includes ours in the order of their names."""
        included = self.folder / "conf.d"
        included.mkdir()
        for shipped in sorted(SHIPPED.glob("*.conf")):
            text = shipped.read_text().replace("/etc/mosquitto/greenhaul", str(self._secrets))
            text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
            text = text.replace("listener 1883", f"listener {self.local_port}")
            text = text.replace("listener 8884", f"listener {self.certificate_port} 127.0.0.1")
            text = text.replace("listener 8885", f"listener {self.collectors_port} 127.0.0.1")
            (included / shipped.name).write_text(text)
        lines = [f"user {getpass.getuser()}", "persistence true"]
        lines += [f"persistence_location {self.folder}/", f"include_dir {included}"]
        return "\n".join(lines) + "\n"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
