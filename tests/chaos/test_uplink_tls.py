"""The uplink on a TLS broker: who is believed, by which clock, and certificates that change."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.authority import Authority
from tests.chaos.chain import Gateway, until
from tests.chaos.secure_broker import PASSWORD, SecureBroker

from greenhaul_edge.clock import BUILT_MS, Clock
from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.uplink.wire import PahoWire

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quarters of a minute as tenths of a second."""
    monkeypatch.setattr("greenhaul_edge.uplink.link.CREDENTIALS_PERIOD_MS", 50)
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MIN", 0.02)
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.BACKOFF_S_MAX", 0.1)
    monkeypatch.setattr("greenhaul_edge.uplink.backoff.REFUSED_S_MIN", 0.05)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SecureBroker]:
    """The shipped configuration, running."""
    broker = SecureBroker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


Connect = Callable[..., Gateway]


@pytest.fixture
def connect(broker: SecureBroker, tmp_path: Path) -> Iterator[Connect]:
    """A gateway with its uplink on the broker; by password unless told otherwise."""
    made: list[Gateway] = []
    password = tmp_path / "password"
    password.write_text(PASSWORD.format("gw-a"))

    def start(clock: Clock | None = None, **settings: Any) -> Gateway:
        wanted: dict[str, Any] = {
            "port": broker.port, "tls": True, "ca_file": broker.authority.ca,
            "username": "gw-a", "password_file": password,
        } | settings  # fmt: skip
        folder = tmp_path / f"gateway-{len(made)}"
        gateway = Gateway(folder, "gw-a", UplinkSettings(**wanted), clock=clock)
        made.append(gateway)
        gateway.uplink.start()
        return gateway

    yield start
    for gateway in made:
        gateway.close()


def clock_at(utc: datetime | None, floor: datetime | None = None) -> Clock:
    """A clock whose system says this; None: 1970."""
    floor_ms = BUILT_MS if floor is None else round(floor.timestamp() * 1000)
    system_ms = 0 if utc is None else round(utc.timestamp() * 1000)
    return Clock(floor_ms=floor_ms, read_system_ms=lambda: system_ms)


@pytest.mark.parametrize("protocol", ["auto", "3.1.1", "5.0"])
def test_a_password_over_tls(connect: Connect, protocol: str) -> None:
    gateway = connect(protocol=protocol)
    until(lambda: gateway.link.startswith("connected"), "it connects")


def test_a_client_certificate(connect: Connect, broker: SecureBroker) -> None:
    certificate, key = broker.authority.sign("gw-a")
    gateway = connect(
        port=broker.certificate_port, client_cert_file=certificate, client_key_file=key,
        username="", password_file=None,
    )  # fmt: skip
    until(lambda: gateway.link.startswith("connected"), "it connects")


def test_a_broker_of_another_authority_or_name_is_not_believed(
    connect: Connect, tmp_path: Path
) -> None:
    stranger = connect(ca_file=Authority(tmp_path / "other").ca)
    until(lambda: "certificate verify failed" in stranger.link, "the authority is named")
    misnamed = connect(host="127.1")
    until(lambda: "127.1" in misnamed.link and "valid for" in misnamed.link, "the name is")


def test_any_address_is_checked_by_the_configured_name(connect: Connect) -> None:
    gateway = connect(host="localhost")
    until(lambda: gateway.link.startswith("connected"), "it connects")


@pytest.mark.parametrize(
    ("begins", "ends", "clock", "is_taken"),
    [
        (-DAY, 30 * DAY, clock_at(NOW), True),
        (-30 * DAY, -DAY, clock_at(NOW), False),
        # Nobody told the time: it is at least the floor.
        (-DAY, 30 * DAY, clock_at(None), True),
        (-DAY, 30 * DAY, clock_at(datetime(2046, 1, 1, tzinfo=UTC)), True),
        (-30 * DAY, -10 * DAY, clock_at(None, floor=NOW - 5 * DAY), False),
        (-30 * DAY, -10 * DAY, clock_at(None, floor=NOW - 15 * DAY), True),
    ],
    ids=["good", "expired", "1970", "2046", "1970, expired before last seen", "1970, perhaps"],
)
def test_dates_are_judged_by_what_is_known(
    connect: Connect,
    broker: SecureBroker,
    begins: timedelta,
    ends: timedelta,
    clock: Clock,
    is_taken: bool,
) -> None:
    broker.stop()
    broker.use_certificate(*broker.authority.sign("dated", begins=NOW + begins, ends=NOW + ends))
    broker.start()
    gateway = connect(clock)
    if is_taken:
        until(lambda: gateway.link.startswith("connected"), "it connects")
    else:
        until(lambda: "expired" in gateway.link, "it says why not")
        assert gateway.in_flight.most == 0


def test_the_cloud_s_own_time_can_show_that_the_certificate_had_expired(
    connect: Connect, broker: SecureBroker
) -> None:
    gateway = connect(clock_at(None))
    until(lambda: gateway.link.startswith("connected"), "it connects")
    wire = gateway.uplink._wire
    assert isinstance(wire, PahoWire)
    assert wire.date_fault(round((datetime.now(UTC).timestamp() + 60) * 1000)) is None
    later = round((NOW + 400 * DAY).timestamp() * 1000)
    assert "expired" in str(wire.date_fault(later))
    earlier = round((NOW - 400 * DAY).timestamp() * 1000)
    assert "not yet valid" in str(wire.date_fault(earlier))


def test_a_renewed_certificate_is_used_without_a_restart(
    connect: Connect, broker: SecureBroker, tmp_path: Path
) -> None:
    files = tmp_path / "gw.pem", tmp_path / "gw.key"
    for target, made in zip(files, broker.authority.sign("gw-b"), strict=True):
        target.write_bytes(made.read_bytes())
    gateway = connect(
        port=broker.certificate_port, client_cert_file=files[0], client_key_file=files[1],
        username="", password_file=None, protocol="5.0",
    )  # fmt: skip
    until(lambda: gateway.link.startswith("connected"), "it connects, as somebody else")
    before = gateway.in_flight.connections
    files[0].write_text("half of a certif")  # a renewal under way
    until(lambda: gateway.dialer.credentials_fault != "", "the bad file is noticed")
    assert gateway.in_flight.connections == before
    for target, made in zip(files, broker.authority.sign("gw-a"), strict=True):
        target.write_bytes(made.read_bytes())
    until(lambda: gateway.in_flight.connections > before, "the good one is used")
    until(lambda: gateway.link.startswith("connected"), "it connects")
    assert gateway.dialer.credentials_fault == ""
    assert gateway.uplink.failures == 0


def test_a_changed_password_is_used_without_a_restart(
    connect: Connect, broker: SecureBroker, tmp_path: Path
) -> None:
    password = tmp_path / "own"
    password.write_text("guess")
    gateway = connect(password_file=password)
    until(lambda: "Not authorized" in gateway.link, "it is refused")
    password.write_text(PASSWORD.format("gw-a"))
    until(lambda: gateway.link.startswith("connected"), "it connects")
