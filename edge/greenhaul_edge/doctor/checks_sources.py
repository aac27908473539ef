"""Checks of what the agent reads: serial ports, CAN buses, listeners."""

import errno
import fcntl
import grp
import os
import socket
import stat
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

from greenhaul_edge.config import CanSettings, Config, GnssSettings, Jt808Settings
from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Remark, well, worth_knowing, wrong
from greenhaul_edge.sources.input_checks import CHECKS as INPUT_CHECKS
from greenhaul_edge.sources.input_checks import Check as InputCheck
from greenhaul_edge.sources.terminal_key import load_private_key
from greenhaul_protocols.errors import ConfigError

# What a listener at an unauthenticated, public address invites.
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  # compared with, not listened on
_NETWORK = Path("/sys/class/net")
# What an engine that is off, or a roof over the antenna, explains.
_MAY_BE_WELL = {"gnss-fix", "can-never-heard", "can-stale"}
_Check = Callable[[Patient], Iterator[Remark]]
_ERROR_STATES = ("bus-off", "error-passive")


def _serial_ports(config: Config) -> Iterator[tuple[str, Path]]:
    for name, settings in config.sources.items():
        if isinstance(settings, GnssSettings) and settings.port.startswith("/"):
            yield name, Path(settings.port)


def check_serial_port(patient: Patient) -> Iterator[Remark]:
    """The serial port is there."""
    for name, port in _serial_ports(patient.good):
        if not port.exists():
            found = sorted(str(one) for one in Path("/dev").glob("tty[UA][SCM][BMA]*"))
            said = f"; there is {', '.join(found)}" if found else ""
            yield wrong(
                f"{name}: {port} is not there{said}",
                "plug it in, or set the port; names under /dev/serial/by-id stay",
            )
        elif not stat.S_ISCHR(port.stat().st_mode):
            yield wrong(f"{name}: {port} is no serial port", "set the port's path")
        else:
            yield well(f"{name}: {port} is there")


def check_serial_rights(patient: Patient) -> Iterator[Remark]:
    """We may open it."""
    for name, port in _serial_ports(patient.good):
        if port.exists() and not os.access(port, os.R_OK | os.W_OK):
            group = grp.getgrgid(port.stat().st_gid).gr_name
            yield wrong(
                f"{name}: uid {os.geteuid()} may not open {port}",
                f"usermod -aG {group} with the agent's user, then restart the agent",
            )


def check_serial_busy(patient: Patient) -> Iterator[Remark]:
    """Nobody else has it open."""
    own = (patient.running or {}).get("pid")
    for name, port in _serial_ports(patient.good):
        for pid, program in _holders(port):
            if pid not in (own, os.getpid()):
                yield wrong(
                    f"{name}: {port} is in use by {program} (pid {pid})",
                    f"stop {program} (ModemManager and gpsd like to take receivers)",
                )


def check_serial_speaks(patient: Patient) -> Iterator[Remark]:
    """NMEA comes out of it."""
    for name, port in _serial_ports(patient.good):
        state = ((patient.running or {}).get("sources") or {}).get(name)
        if state is not None:
            if not state.get("sentences"):
                yield wrong(
                    f"{name}: no NMEA from {port}",
                    "wrong baud, or a receiver that only "
                    "speaks a binary protocol: set baud, or configure the receiver",
                )
            elif not state.get("fixes", state.get("positions")):
                yield worth_knowing(
                    f"{name}: NMEA, but no fix yet", "is the antenna connected and under the sky?"
                )
            else:
                yield well(f"{name}: NMEA with fixes")
        elif port.exists() and not _is_terminal(port):
            yield wrong(
                f"{name}: {port} does not answer as a serial port",
                "the adapter is broken or half unplugged: see dmesg",
            )


def check_can_interface(patient: Patient) -> Iterator[Remark]:
    """The CAN interface is there, up, and not in an error state."""
    for name, settings in patient.good.sources.items():
        if not isinstance(settings, CanSettings) or settings.interface != "socketcan":
            continue
        channel = settings.channel
        entry = _NETWORK / channel
        if not entry.exists():
            yield wrong(
                f"{name}: there is no network interface {channel}",
                f"is the adapter plugged in, its driver loaded? `ip link show {channel}`",
            )
            continue
        flags = int((entry / "flags").read_text(), 16)
        if not flags & 1:
            yield wrong(
                f"{name}: {channel} is down",
                f"ip link set {channel} up type can bitrate 250000 restart-ms 100",
            )
        else:
            yield well(f"{name}: {channel} is up")


def check_can_mapping(patient: Patient) -> Iterator[Remark]:
    """Mapping and DBC files fit together."""
    for name, settings in patient.good.sources.items():
        if not isinstance(settings, CanSettings):
            continue
        from greenhaul_edge.sources.can_mapping import load_mapping  # cantools takes its time

        try:
            load_mapping(settings.mapping)
        except ConfigError as error:
            yield wrong(
                f"{name}: {error}",
                "correct the mapping file; edge/battery.sample.toml shows what it may say",
            )
        else:
            yield well(f"{name}: {settings.mapping} is good")


def check_can_state(patient: Patient) -> Iterator[Remark]:
    """Frames come."""
    for name, settings in patient.good.sources.items():
        state = ((patient.running or {}).get("sources") or {}).get(name)
        if not isinstance(settings, CanSettings) or state is None:
            continue
        link = str(state.get("link", ""))
        if "gone" in link or any(one in link for one in _ERROR_STATES):
            yield wrong(
                f"{name}: {link}",
                "wrong bitrate, no terminator or no second node: "
                f"`ip -details link show {settings.channel}`",
            )
        elif not state.get("frames"):
            yield wrong(
                f"{name}: no frame from {settings.channel}",
                "is the ignition on, the bitrate right, the plug on the right bus?",
            )


def input_checks() -> dict[str, _Check]:
    """Checks of what a running GNSS or CAN source says of itself, by name."""
    return {name: _input_check(name, check) for name, check in INPUT_CHECKS.items()}


def _input_check(name: str, complain: InputCheck) -> _Check:
    say = worth_knowing if name in _MAY_BE_WELL else wrong

    def check(patient: Patient) -> Iterator[Remark]:
        for source, settings in patient.good.sources.items():
            state = ((patient.running or {}).get("sources") or {}).get(source)
            if isinstance(settings, GnssSettings | CanSettings) and state is not None:
                for said, advice in complain(state):
                    yield say(f"{source}: {said}", advice)

    check.__doc__ = complain.__doc__
    return check


def check_listener(patient: Patient) -> Iterator[Remark]:
    """Terminals can reach us: the address can be had, or is ours already."""
    for name, settings in _listeners(patient.good):
        host, port = _address(settings)
        state = ((patient.running or {}).get("sources") or {}).get(name)
        if state is not None:
            yield well(f"{name}: listening on {state.get('address', settings.listen)}")
            continue
        fault = _listen_fault(host, port)
        if fault == errno.EADDRINUSE:
            yield wrong(
                f"{name}: port {port} is in use",
                f"`ss -ltnp sport = :{port}` tells by whom; stop it, or choose another port",
            )
        elif fault == errno.EADDRNOTAVAIL:
            yield wrong(
                f"{name}: {host} is no address of this machine",
                "`ip address` lists them; 0.0.0.0 is all",
            )
        elif fault == errno.EACCES:
            yield wrong(f"{name}: port {port} needs rights we do not have", "use one above 1023")
        elif fault:
            yield wrong(f"{name}: {settings.listen}: {os.strerror(fault)}", "correct listen")
        else:
            yield well(f"{name}: {settings.listen} is free")


def check_exposure(patient: Patient) -> Iterator[Remark]:
    """Not everybody may pretend to be any terminal."""
    for name, settings in _listeners(patient.good):
        host, _ = _address(settings)
        if host in _ANYWHERE and settings.auth == "open":
            yield wrong(
                f"{name}: anybody who reaches {settings.listen} can be any terminal",
                'set auth = "register" or "allow-list", or listen on a private address',
            )


def check_terminal_key(patient: Patient) -> Iterator[Remark]:
    """The key that opens encrypted bodies can be used."""
    for name, settings in _listeners(patient.good):
        if settings.rsa_key_file is None:
            state = ((patient.running or {}).get("sources") or {}).get(name) or {}
            if state.get("unopened"):
                yield worth_knowing(
                    f"{name}: {state['unopened']} encrypted messages lie in quarantine unread",
                    "terminals encrypt by RSA: set rsa_key_file to the private key made for them",
                )
            continue
        try:
            load_private_key(settings.rsa_key_file)
        except ConfigError as error:
            yield wrong(
                f"{name}: {error}",
                "give the PEM private key of 1024 bits that terminals have the public half of "
                "(`openssl genrsa -out terminals.key 1024` makes one)",
            )
        else:
            yield well(f"{name}: {settings.rsa_key_file} opens encrypted bodies")


def check_refusals(patient: Patient) -> Iterator[Remark]:
    """Terminals that come are not all turned away."""
    for name, _ in _listeners(patient.good):
        state = ((patient.running or {}).get("sources") or {}).get(name) or {}
        if state.get("held_back") and not state.get("acknowledged"):
            yield wrong(
                f"{name}: every report is held back",
                "the outbox is full, or this machine "
                "does not know the time: see the other findings",
            )


def _listeners(config: Config) -> Iterator[tuple[str, Jt808Settings]]:
    for name, settings in config.sources.items():
        if isinstance(settings, Jt808Settings):
            yield name, settings


def _address(settings: Jt808Settings) -> tuple[str, int]:
    host, _, port = settings.listen.rpartition(":")
    return host.strip("[]"), int(port)


def _listen_fault(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def _holders(port: Path) -> Iterator[tuple[int, str]]:
    if not port.exists():
        return
    target = os.path.realpath(port)
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            is_open = any(os.path.realpath(one) == target for one in folder.iterdir())
        except OSError:
            continue  # another user's process, or one that ended
        if is_open:
            program = (folder.parent / "comm").read_text().strip()
            yield int(folder.parent.name), program


def _is_terminal(port: Path) -> bool:
    try:
        descriptor = os.open(port, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return True  # rights and busy ports have checks of their own
    try:
        termios.tcgetattr(descriptor)
        fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, termios.error):
        return False
    finally:
        os.close(descriptor)
    return True
