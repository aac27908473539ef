"""Checks of the way to the cloud."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenhaul_edge.doctor.patient import Patient
from greenhaul_edge.doctor.remarks import Remark, well, worth_knowing, wrong
from greenhaul_edge.uplink.credentials import days_left
from greenhaul_protocols.topics import up_topic

# Renewal that has not happened by then will not happen by itself.
_DAYS_SOON = 14
# Further apart, and readings stamped by one clock look wrong by the other.
_AHEAD_MS_MAX = 60_000
_LOOPBACK = ("127.", "::1", "localhost")


def check_encryption(patient: Patient) -> Iterator[Remark]:
    """Nobody on the way can read or forge blocks."""
    uplink = patient.good.uplink
    if uplink.tls or uplink.host.startswith(_LOOPBACK):
        yield well("TLS" if uplink.tls else "not encrypted, within this machine")
    else:
        yield wrong(
            f"blocks and password go to {uplink.host} in the clear",
            "set uplink.tls = true, port = 8883 and ca_file",
        )


def check_name(patient: Patient) -> Iterator[Remark]:
    """The broker's name is known to the resolver."""
    fault = patient.broker.name
    if fault:
        yield wrong(
            fault,
            "check uplink.host, /etc/resolv.conf and the link; `getent hosts` asks the same way",
        )
    else:
        yield well(f"{patient.good.uplink.host} has an address")


def check_port(patient: Patient) -> Iterator[Remark]:
    """Something listens there, and the network lets us through."""
    fault = patient.broker.port
    if fault:
        yield wrong(fault, "is the broker running, uplink.port right, the firewall or APN open?")
    elif fault is not None:
        yield well("the broker's port answers")


def check_files(patient: Patient) -> Iterator[Remark]:
    """Password, authority, certificate and key can be used."""
    fault = patient.broker.files
    if fault:
        yield wrong(
            fault,
            "compare the file with what the broker's operator gave; key and "
            "certificate must belong together, the key without a passphrase",
        )
    else:
        yield well("credential files can be used")


def check_tls(patient: Patient) -> Iterator[Remark]:
    """The broker proves who it is."""
    fault = patient.broker.tls
    if fault is None:
        return
    advice = "the broker shows a certificate that uplink.ca_file did not sign; get the right one"
    if "expired" in fault or "not yet valid" in fault:
        advice = "renew the broker's certificate; if it is good, this machine's clock is wrong"
    elif "ostname" in fault or "IP address" in fault:
        advice = "uplink.host must be a name in the broker's certificate"
    elif "certificate" not in fault:
        advice = "is it the TLS port (8883)? does the broker want a client certificate?"
    yield wrong(fault, advice) if fault else well("the broker proved who it is")


def check_certificate(patient: Patient) -> Iterator[Remark]:
    """The broker's certificate lasts."""
    if patient.broker.certificate:
        yield _lasting("the broker's certificate", patient.broker.certificate)


def check_client_certificate(patient: Patient) -> Iterator[Remark]:
    """Ours lasts."""
    path = patient.good.uplink.client_cert_file
    if path is not None and path.is_file():
        yield _lasting(f"{path.name}", _decoded(path))


def check_credentials(patient: Patient) -> Iterator[Remark]:
    """The broker takes us."""
    fault = patient.broker.credentials
    if fault:
        user = patient.good.uplink.username or "(none)"
        yield wrong(
            f"as user {user}: {fault}",
            "`greenhaul-cloud gateway add` makes user and password; the broker must read them "
            "again (systemctl reload mosquitto)",
        )
    elif fault == "":
        yield well("the broker takes us")
    elif patient.running is not None and "connected" in _link(patient):
        link = _link(patient)
        is_well = link == "connected"
        yield well(link) if is_well else wrong(link, "see the broker's log for this gateway")


def check_receipt(patient: Patient) -> Iterator[Remark]:
    """Topic rights, proven by a receipt of the collector."""
    gateway = patient.good.gateway.id
    probe = patient.broker
    if probe.publishing:
        yield wrong(
            f"publishing on {up_topic(gateway, 1)}: {probe.publishing}",
            "the broker's ACL must let this user write its own topics; see cloud/mosquitto/acl",
        )
    elif probe.receipt:
        yield wrong(
            f"no receipt from the collector ({probe.receipt})",
            f"is the collector running, does it know this gateway (`greenhaul-cloud gateway add "
            f"{gateway}`), may this user write gh/v1/up/+/{gateway}/+ and read gh/v1/rx/{gateway}?",
        )
    elif probe.receipt == "":
        yield well("a hello was answered with a receipt: topic rights and collector are good")
    elif patient.running is not None and patient.running["uplink"]["cloud"] != "answers":
        yield wrong(
            "the running agent has no answer from the collector",
            f"is it running, and does it know {gateway}? `greenhaul-cloud gateway add`",
        )


def check_cloud_clock(patient: Patient) -> Iterator[Remark]:
    """Cloud and this machine agree on the time."""
    ahead_ms = patient.broker.cloud_ahead_ms
    if ahead_ms is None:
        return
    if abs(ahead_ms) > _AHEAD_MS_MAX:
        yield wrong(
            f"the cloud's clock is {ahead_ms / 1000:+.0f} s ahead of ours",
            "set this machine's clock (chrony, systemd-timesyncd), or the collector's",
        )
    else:
        yield well(f"the cloud's clock is {ahead_ms / 1000:+.1f} s ahead of ours")


def check_twin(patient: Patient) -> Iterator[Remark]:
    """Nobody else uses our id."""
    link = _link(patient)
    if "another agent use" in link or "connected with our id" in link:
        yield wrong(link, "two boxes have the same gateway.id: find the other one, rename it")


def _link(patient: Patient) -> str:
    return "" if patient.running is None else str(patient.running["uplink"]["link"])


def _lasting(what: str, certificate: dict[str, Any]) -> Remark:
    days = days_left(certificate)
    ends = certificate["notAfter"]
    if days < 0:
        return wrong(f"{what} expired on {ends}", "renew it; the agent reads new files by itself")
    if days < _DAYS_SOON:
        return worth_knowing(
            f"{what} expires in {days:.0f} days, on {ends}", "see why it was not renewed yet"
        )
    return well(f"{what} is good for {days:.0f} days")


def _decoded(path: Path) -> dict[str, Any]:
    # Private, but the only decoder there is in the standard library.
    found: dict[str, Any] = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    return found
