"""All checks by name, in the order in which a person would look."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from greenhaul_edge.doctor import checks_broker, checks_disk, checks_machine, checks_sources
from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Finding, Level, Remark, wrong

log = logging.getLogger(__name__)

Check = Callable[[Patient], Iterable[Remark]]

CONFIGURATION = "configuration"
CHECKS: dict[str, Check] = {
    CONFIGURATION: checks_machine.check_configuration,
    "configuration-running": checks_machine.check_running_configuration,
    "time-zone": checks_machine.check_zone,
    "sources": checks_machine.check_sources,
    "packages": checks_machine.check_modules,
    "secrets": checks_machine.check_secrets,
    "clock-date": checks_machine.check_date,
    "clock-kept": checks_machine.check_clock_kept,
    "agent": checks_machine.check_running,
    "agent-user": checks_machine.check_user,
    "agent-stages": checks_machine.check_stages,
    "open-files": checks_machine.check_open_files,
    "memory": checks_machine.check_memory,
    "outbox-folder": checks_disk.check_folder,
    "disk-mount": checks_disk.check_mount,
    "disk-room": checks_disk.check_room,
    "disk-speed": checks_disk.check_speed,
    "disk-wear": checks_disk.check_wear,
    "outbox-owner": checks_disk.check_owner,
    "outbox-verified": checks_disk.check_file,
    "outbox-account": checks_disk.check_balance,
    "outbox-full": checks_disk.check_fullness,
    "outbox-damaged": checks_disk.check_damaged,
    "broker-encryption": checks_broker.check_encryption,
    "credential-files": checks_broker.check_files,
    "client-certificate": checks_broker.check_client_certificate,
    "broker-name": checks_broker.check_name,
    "broker-port": checks_broker.check_port,
    "broker-tls": checks_broker.check_tls,
    "broker-certificate": checks_broker.check_certificate,
    "broker-credentials": checks_broker.check_credentials,
    "broker-twin": checks_broker.check_twin,
    "topic-rights": checks_broker.check_receipt,
    "last-receipt": checks_machine.check_last_receipt,
    "clock-agrees": checks_broker.check_cloud_clock,
    "listener": checks_sources.check_listener,
    "listener-exposed": checks_sources.check_exposure,
    "terminals-key": checks_sources.check_terminal_key,
    "terminals-held-back": checks_sources.check_refusals,
    "serial-port": checks_sources.check_serial_port,
    "serial-rights": checks_sources.check_serial_rights,
    "serial-busy": checks_sources.check_serial_busy,
    "serial-speaks": checks_sources.check_serial_speaks,
    "can-interface": checks_sources.check_can_interface,
    "can-mapping": checks_sources.check_can_mapping,
    "can-speaks": checks_sources.check_can_state,
    **checks_sources.input_checks(),
}

_MARKS = {Level.WELL: "well ", Level.WORTH_KNOWING: "note ", Level.WRONG: "WRONG"}


def examine(patient: Patient, only: Iterable[str] = CHECKS) -> list[Finding]:
    """Run checks; without a good configuration, that one alone."""
    found: list[Finding] = []
    for name in only:
        if patient.config is None and name != CONFIGURATION:
            continue
        try:
            found += [Finding(name, remark) for remark in CHECKS[name](patient)]
        except Exception as error:
            # One check that trips over a strange machine must not hide what the others find.
            log.debug("check %s failed", name, exc_info=True)
            advice = "please report it, with the output of -v"
            found.append(Finding(name, wrong(f"the check itself failed: {error!r}", advice)))
    return found


def examine_gateway(path: Path) -> list[Finding]:
    """Everything about the gateway of a configuration."""
    return examine(Patient(path))


def as_text(findings: Sequence[Finding], *, is_verbose: bool = False) -> str:
    """A line a finding, worst first, each with what to do."""
    lines: list[str] = []
    for finding in sorted(findings, key=lambda one: -one.remark.level):
        remark = finding.remark
        if remark.level is Level.WELL and not is_verbose:
            continue
        lines.append(f"{_MARKS[remark.level]} {finding.check}: {remark.said}")
        lines += [f"      → {remark.advice}"] if remark.advice else []
    counts = [sum(one.remark.level is level for one in findings) for level in Level]
    lines.append(f"{counts[2]} wrong, {counts[1]} worth knowing, {counts[0]} well")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The object `doctor --json` prints."""
    items = [
        {
            "check": one.check,
            "level": one.remark.level.name.lower(),
            "said": one.remark.said,
            "advice": one.remark.advice,
        }
        for one in findings
    ]
    return {"is_well": is_well(findings), "findings": items}


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(one.remark.level < Level.WRONG for one in findings)
