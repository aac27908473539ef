"""The demo's broker: Mosquitto where it is installed, else amqtt embedded in this module.

    python -m greenhaul_sim.demo.broker --port 1883 --password-file mqtt.passwords

Both want a user and a password. amqtt serves the demo only: it keeps nothing over a restart.
"""

import argparse
import asyncio
import contextlib
import getpass
import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from greenhaul_protocols.errors import ConfigError, Unavailable

BROKERS = ("auto", "mosquitto", "amqtt")

_MOSQUITTO = ("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")


def broker_command(
    folder: Path, port: int, passwords: dict[str, str], wanted: str = "auto"
) -> tuple[str, list[str]]:
    """Name and command line of a broker whose files lie in `folder`.

    passwords: by user; each user is a gateway of that name, but for `collector`. wanted: one of
    BROKERS. Raises ConfigError if it is not there.
    """
    program = next((found for name in _MOSQUITTO if (found := shutil.which(name))), None)
    hasher = shutil.which("mosquitto_passwd")
    if wanted == "mosquitto" and not (program and hasher):
        raise ConfigError("--broker mosquitto: mosquitto and mosquitto_passwd are not installed")
    if program and hasher and wanted != "amqtt":
        return "Mosquitto", [program, "-c", str(_mosquitto_files(folder, port, passwords, hasher))]
    password_file = folder / "mqtt.passwords"
    _write_private(password_file, "".join(f"{u}:{_argon2(p)}\n" for u, p in passwords.items()))
    options = ["--port", str(port), "--password-file", str(password_file)]
    return "amqtt", [sys.executable, "-m", "greenhaul_sim.demo.broker", *options]


def _mosquitto_files(folder: Path, port: int, passwords: dict[str, str], hasher: str) -> Path:
    password_file, acl_file = folder / "mosquitto.passwords", folder / "mosquitto.acl"
    _write_private(password_file, "".join(f"{u}:{p}\n" for u, p in passwords.items()))
    try:
        subprocess.run(  # noqa: S603 - Mosquitto's own
            [hasher, "-U", str(password_file)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{hasher}: {error}") from error
    acl_file.write_text(
        "user collector\ntopic readwrite gh/v1/#\n\n"
        "pattern write gh/v1/up/+/%u/+\npattern readwrite gh/v1/state/%u\n"
        "pattern read gh/v1/rx/%u\npattern read gh/v1/cmd/%u\n"
    )
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {password_file}\nacl_file {acl_file}\n"
        "persistence false\nmax_queued_messages 10000\nmax_inflight_messages 100\n"
        # Started by root it would drop to a user who may not read our files.
        f"user {getpass.getuser()}\nlog_dest stderr\n"
    )
    return config


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _argon2(password: str) -> str:
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(),)).hash(password)


async def _serve(port: int, password_file: Path) -> None:
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(password_file)}
            },
        }
    )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await broker.start()
    await stopped.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await broker.shutdown()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="An MQTT broker for the demo.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_serve(options.port, options.password_file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
