"""Faults at the ends of a gateway's lines, to be named by the doctor: broker, terminals, inputs."""

import os
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.edge.doctor_box import Box, Plant


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
