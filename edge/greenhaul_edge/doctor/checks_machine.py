"""Checks of configuration, clock and process."""

import importlib.util
import os
import resource
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from greenhaul_edge.clock import BUILT_MS, HORIZON_MS, STEP_MS
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Remark, well, worth_knowing, wrong
from greenhaul_edge.supervision import HUNG_MS
from greenhaul_protocols.times import format_time

_MEMORY_KB_MIN = 48 * 1024
# Beside terminals: files, sockets and the rest of the agent.
_FILES_SPARE = 64
_STATUS_AGE_S_MAX = 180
_RECEIPT_AGE_S_MAX = 3_600
_MODULES = {"GnssSettings": ("serial", "pynmea2"), "CanSettings": ("can", "cantools")}


def check_configuration(patient: Patient) -> Iterator[Remark]:
    """edge.toml can be read, and every key is known."""
    if patient.config_fault:
        yield wrong(patient.config_fault, "correct it; `greenhaul-edge check --schema` lists all")
    else:
        yield well(f"{patient.path} is good")


def check_running_configuration(patient: Patient) -> Iterator[Remark]:
    """The running agent took the file as it is now."""
    if patient.running is None or "configuration" not in patient.running:
        return
    known = patient.running["configuration"]
    if known["fault"]:
        yield wrong(
            f"the running agent did not take it: {known['fault']}",
            "correct it, then `systemctl reload greenhaul-edge`",
        )
    elif patient.path.stat().st_mtime > datetime.fromisoformat(known["loaded_at"]).timestamp() + 1:
        yield worth_knowing(
            "the file is newer than what the agent runs with",
            "`systemctl reload greenhaul-edge` (or send it SIGHUP)",
        )


def check_zone(patient: Patient) -> Iterator[Remark]:
    """The time zone exists."""
    name = patient.good.gateway.timezone
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        yield wrong(
            f"gateway.timezone: there is no {name!r}",
            'use one as "Asia/Shanghai"; on a very small system install tzdata',
        )


def check_sources(patient: Patient) -> Iterator[Remark]:
    """There is something to read."""
    names = list(patient.good.sources)
    if names:
        yield well(f"{len(names)} sources: {', '.join(names)}")
    else:
        yield worth_knowing("no sources", "add [sources.NAME] sections: terminals, GNSS, CAN")


def check_secrets(patient: Patient) -> Iterator[Remark]:
    """Nobody else on this machine reads our secrets."""
    config = patient.good
    secret = config.outbox.path / "terminals.secret"
    keys = [one.rsa_key_file for one in config.sources.values() if isinstance(one, Jt808Settings)]
    for path in (config.uplink.password_file, config.uplink.client_key_file, secret, *keys):
        if path is not None and path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield wrong(f"{path} can be read by others", f"chmod 600 {path}")


def check_date(patient: Patient) -> Iterator[Remark]:
    """The system's date is within reason."""
    system_ms = patient.clock.system_ms()
    if BUILT_MS <= system_ms <= HORIZON_MS:
        yield well(f"the system says {format_time(system_ms)}")
    else:
        year = datetime.fromtimestamp(system_ms / 1000, UTC).year
        yield wrong(
            f"the system's clock says {year}",
            "is the clock's battery empty? install chrony, connect a GNSS receiver; until the "
            "cloud answers, terminals are held back and other readings wait",
        )


def check_clock_kept(patient: Patient) -> Iterator[Remark]:
    """Somebody keeps the clock."""
    error_ms = (patient.running or {}).get("clock_error_ms") or 0
    if error_ms > STEP_MS:
        yield worth_knowing(
            f"the time is known to {error_ms / 1000:.0f} s only: answers of the cloud are slow",
            "connect a GNSS receiver or install chrony; readings of the gateway's own inputs are "
            "marked as bounded meanwhile",
        )
        return
    has_gnss = any(type(one).__name__ == "GnssSettings" for one in patient.good.sources.values())
    learnt = (patient.running or {}).get("clock", "unset")
    if patient.clock.is_kept_by_ntp():
        yield well("NTP keeps the system's clock")
    elif learnt not in ("unset", "unknown"):
        yield well(f"the agent knows the time by {learnt}")
    elif has_gnss:
        yield well("no NTP; the GNSS receiver tells the time")
    else:
        yield worth_knowing(
            "neither NTP nor GNSS: only the cloud's answer tells the time",
            "install chrony or enable systemd-timesyncd",
        )


def check_running(patient: Patient) -> Iterator[Remark]:
    """The agent runs, and says so."""
    running = patient.running
    if running is None:
        yield worth_knowing("the agent does not run", "systemctl start greenhaul-edge")
        return
    age_s = (datetime.now(UTC) - datetime.fromisoformat(running["at"])).total_seconds()
    if age_s > _STATUS_AGE_S_MAX and patient.clock.is_plausible:
        yield wrong(
            f"the agent (pid {running['pid']}) has said nothing for {age_s:.0f} s",
            "it hangs: systemctl restart greenhaul-edge; look at dmesg for the disk",
        )
    else:
        yield well(f"the agent runs, pid {running['pid']}")


def check_stages(patient: Patient) -> Iterator[Remark]:
    """Every stage of the agent makes progress."""
    for stage, idle_ms in (patient.running or {}).get("idle_ms", {}).items():
        if idle_ms > HUNG_MS // 2:
            yield wrong(
                f"{stage} made no progress for {idle_ms // 1000} s",
                "it will be started again; if it hangs often, see the log and dmesg",
            )


def check_last_receipt(patient: Patient) -> Iterator[Remark]:
    """The cloud answers while the agent runs."""
    status = patient.outbox
    if patient.running is None or status is None:
        return
    waiting = sum(lane.waiting for lane in status.epochs[0].lanes)
    if status.last_receipt_at is None:
        age_s = float("inf") if waiting else 0.0
    else:
        last = datetime.fromisoformat(status.last_receipt_at)
        age_s = (datetime.now(UTC) - last).total_seconds()
    if age_s > _RECEIPT_AGE_S_MAX and waiting:
        yield wrong(
            f"{waiting} readings wait; last receipt: {status.last_receipt_at or 'never'}",
            "link and broker may be well: is the collector running, its disk full?",
        )


def check_open_files(patient: Patient) -> Iterator[Remark]:
    """Every terminal that may connect gets a socket."""
    wanted = _FILES_SPARE + sum(
        one.connections_max
        for one in patient.good.sources.values()
        if isinstance(one, Jt808Settings)
    )
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        yield worth_knowing(
            f"{limit} open files are allowed, {wanted} may be needed",
            "LimitNOFILE= in the unit (the shipped one has it), or a lower connections_max",
        )


def check_memory(patient: Patient) -> Iterator[Remark]:
    """There is memory to run in."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free_kb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    if free_kb < _MEMORY_KB_MIN and patient.running is None:
        yield wrong(f"{free_kb >> 10} MB of memory free", "end other programs; the agent needs 60")


def check_modules(patient: Patient) -> Iterator[Remark]:
    """What the configured sources need is installed."""
    kinds = {type(one).__name__ for one in patient.good.sources.values()}
    for name in [name for kind in kinds for name in _MODULES.get(kind, ())]:
        if importlib.util.find_spec(name) is None:
            yield wrong(f"Python package {name} is missing", "pip install 'greenhaul[edge]'")


def check_user(patient: Patient) -> Iterator[Remark]:
    """The agent does not need to be root."""
    pid = (patient.running or {}).get("pid")
    proc = Path(f"/proc/{pid}")
    if pid and proc.exists() and proc.stat().st_uid == 0 and os.geteuid() == 0:
        yield worth_knowing("the agent runs as root", "give it a user of its own; see the unit")
