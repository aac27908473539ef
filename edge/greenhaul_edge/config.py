"""edge.toml as frozen dataclasses: what may stand in it, and what holds when it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from greenhaul_edge.toml_reader import Between, Matches, Section, read_section, read_toml
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.topics import GATEWAY_ID

_NAME = r"[A-Za-z0-9._-]{1,32}"
_ALLOWED = r"\d{1,20}( \S.*)?"
_PORT = r"(6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|\d{1,4})"
_HOST = r"(\[[0-9A-Fa-f:.%]+\]|[^:\s]+)"
_ADDRESS = rf"{_HOST}:{_PORT}"
_RECEIVER = rf"gpsd://{_HOST}(:{_PORT})?|(?!gpsd:)\S.*"

Allowed = Annotated[str, Matches(_ALLOWED, "a terminal number, or number and plate")]
Port = Annotated[int, Between(1, 65_535)]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """[gateway]"""

    id: Annotated[str, Matches(GATEWAY_ID.pattern, "1 to 64 letters, digits, dots, _ and -")]
    vehicle: str = ""  # suggested binding of the gateway's own inputs; both stand in its presence
    timezone: str = "Asia/Shanghai"


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """[outbox]"""

    path: Path = Path("outbox")  # a folder
    size_max_mb: Annotated[int, Between(4, 1 << 20)] = 512
    age_max_days: Annotated[int, Between(0, 3650)] = 0  # evictable readings; 0 = no limit
    commit_window_s: Annotated[float, Between(0.0, 60)] = 5.0
    live_lanes: Annotated[int, Between(1, 64)] = 1  # more in front of thousands of terminals
    grace_mb: Annotated[int, Between(0, 1 << 20)] = 64
    grace_hours: Annotated[int, Between(0, 24 * 365)] = 48


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """[uplink]"""

    host: str = "127.0.0.1"
    port: Port = 1883
    protocol: Literal["auto", "3.1.1", "5.0"] = "auto"  # auto: 5.0 where the broker speaks it
    tls: bool = False
    ca_file: Path | None = None  # default: the system's authorities
    username: str = ""
    password_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    send_window_s: Annotated[float, Between(0.0, 3600)] = 10.0
    keepalive_s: Annotated[int, Between(5, 3600)] = 60
    ack_timeout_s: Annotated[float, Between(1, 600)] = 20.0  # no PUBACK for so long: reconnect
    resend_after_s: Annotated[float, Between(1, 3600)] = 30.0
    unreceipted_max_kb: Annotated[int, Between(128, 65_536)] = 1024


@dataclass(frozen=True, slots=True)
class Jt808Settings:
    """[sources.NAME] type = "jt808": terminals over TCP or UDP"""

    listen: Annotated[str, Matches(_ADDRESS, "HOST:PORT, 0 to 65535")] = "127.0.0.1:8808"
    transport: Literal["tcp", "udp"] = "tcp"
    auth: Literal["register", "allow-list", "open"] = "register"
    # For auth = "allow-list": terminal numbers, or number and plate ("13912345678 豫R12345").
    allow: tuple[
        Annotated[str, Matches(_ALLOWED, "a terminal number, or number and plate")], ...
    ] = ()
    proxy_protocol: bool = False  # behind a load balancer that may say who really calls
    can_mapping: Path | None = None  # what the frames of 0x0705 mean; or a shipped one's name
    rsa_key_file: Path | None = None  # opens encrypted bodies; its public half is told terminals
    asks_heartbeat: bool = True  # ask terminals once for their heartbeat interval
    # Silence that ends a connection, while the terminal's heartbeat interval is not known.
    idle_timeout_s: Annotated[float, Between(1, 86_400)] = 600.0
    connections_max: Annotated[int, Between(1, 100_000)] = 20_000
    rate_max_bytes_per_s: Annotated[int, Between(100, 1 << 30)] = 1 << 20
    burst_size_max: Annotated[int, Between(1000, 1 << 30)] = 4 << 20


@dataclass(frozen=True, slots=True)
class GnssSettings:
    """[sources.NAME] type = "gnss": an NMEA receiver on a serial port, or behind gpsd"""

    # A path, usb:VENDOR:PRODUCT[:SERIAL] in hex, or gpsd://HOST:PORT.
    port: Annotated[str, Matches(_RECEIVER, "a path, usb:… or gpsd://HOST:PORT")] = "/dev/ttyUSB0"
    baud: Literal["auto"] | Annotated[int, Between(1200, 921_600)] = "auto"
    cadence_s: Annotated[float, Between(0.0, 3600)] = 1.0  # at most one reading in so long


@dataclass(frozen=True, slots=True)
class CanSettings:
    """[sources.NAME] type = "can": signals of a CAN bus"""

    channel: str
    mapping: Path
    interface: str = "socketcan"
    bitrate: Annotated[int, Between(1_000, 8_000_000)] | None = None
    cadence_s: Annotated[float, Between(0.1, 3600)] = 10.0
    polling: bool = False  # whether the mapping's [[requests]] are asked: writes to the bus


SourceSettings = Jt808Settings | GnssSettings | CanSettings

SOURCE_SETTINGS: dict[str, type[Jt808Settings] | type[GnssSettings] | type[CanSettings]] = {
    "jt808": Jt808Settings,
    "gnss": GnssSettings,
    "can": CanSettings,
}


@dataclass(frozen=True, slots=True)
class Config:
    """A whole edge.toml. Paths are absolute, or relative to where the file lies."""

    path: Path
    gateway: GatewaySettings
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    uplink: UplinkSettings = field(default_factory=UplinkSettings)
    sources: Mapping[str, SourceSettings] = field(default_factory=dict)

    @property
    def outbox_file(self) -> Path:
        """The SQLite file in the outbox's folder."""
        return self.outbox.path / "outbox.sqlite"


_SECTIONS = {"gateway": GatewaySettings, "outbox": OutboxSettings, "uplink": UplinkSettings}


def load_config(path: Path) -> Config:
    """The configuration in a file.

    Raises ConfigError that names file, key and the nearest valid name.
    """
    top = read_toml(path)
    top.allow_only({*_SECTIONS, "sources"})
    gateway = read_section(top.section("gateway"), GatewaySettings)
    uplink = read_section(top.section("uplink"), UplinkSettings)
    _check_uplink(top.section("uplink"), uplink)
    config = Config(
        path,
        gateway,
        read_section(top.section("outbox"), OutboxSettings),
        uplink,
        {section.name: _source(section) for section in top.section("sources").sections(_NAME)},
    )
    for name, settings in config.sources.items():
        if isinstance(settings, Jt808Settings):
            _check_terminals(f"{path}: sources.{name}", settings)
    return config


def _check_terminals(where: str, settings: Jt808Settings) -> None:
    if settings.allow and settings.auth != "allow-list":
        raise ConfigError(f'{where}.allow is given but auth is "{settings.auth}", not "allow-list"')
    if settings.proxy_protocol and settings.transport != "tcp":
        raise ConfigError(f'{where}.proxy_protocol needs transport = "tcp"')


def _source(section: Section) -> SourceSettings:
    kind = section.take("type")
    section.choose("type", kind, SOURCE_SETTINGS)
    return read_section(section, SOURCE_SETTINGS[str(kind)])


def _check_uplink(section: Section, uplink: UplinkSettings) -> None:
    if bool(uplink.client_cert_file) != bool(uplink.client_key_file):
        raise section.error("client_cert_file and client_key_file go together")
    if not uplink.tls and (uplink.ca_file or uplink.client_cert_file):
        raise section.error("ca_file and client_cert_file need tls = true")
    if uplink.password_file and not uplink.username:
        raise section.error("password_file needs a username")


def schema() -> dict[str, Any]:
    """JSON schema of edge.toml, from the same declarations."""
    from greenhaul_edge.toml_schema import section_schema

    sections = {name: section_schema(cls) for name, cls in _SECTIONS.items()}
    kinds = []
    for kind, cls in SOURCE_SETTINGS.items():
        one = section_schema(cls)
        one["properties"] = {"type": {"const": kind}, **one["properties"]}
        one["required"] = ["type", *one["required"]]
        kinds.append(one)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edge.toml",
        "type": "object",
        "additionalProperties": False,
        "required": ["gateway"],
        "properties": {
            **sections,
            "sources": {"type": "object", "additionalProperties": {"oneOf": kinds}},
        },
    }
