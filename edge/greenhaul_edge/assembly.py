"""The one place where concrete classes meet."""

import importlib
from pathlib import Path

from greenhaul_edge.agent import Agent
from greenhaul_edge.clock import Clock
from greenhaul_edge.config import SOURCE_SETTINGS, Config, Jt808Settings
from greenhaul_edge.last_seen import LastSeen
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources import SOURCES, Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth, allow_list, load_secret
from greenhaul_edge.sources.terminal_commands import registry_file
from greenhaul_edge.sources.terminal_registry import TerminalRegistry
from greenhaul_edge.systemd import ServiceManager
from greenhaul_edge.uplink.dialer import Dialer
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_edge.uplink.wires import OnServerTime


def assemble(config: Config) -> Agent:
    """An agent, not yet running. Raises ConfigError."""
    last_seen = LastSeen(config.outbox.path / "last-seen.json")
    clock = Clock(floor_ms=last_seen.utc_ms)
    # Before the outbox is opened: what cannot start leaves nothing behind.
    Dialer(config.uplink, config.gateway.id, clock)
    file = open_outbox(
        config.outbox_file,
        config.gateway.id,
        clock.boot,
        clock.now_ms(),
        bounds_of(config),
        config.outbox.live_lanes,
    )
    outbox = Outbox(file, clock, commit_window_s=config.outbox.commit_window_s)
    parts = EdgeParts(outbox, clock)
    return Agent(config, parts, outbox, clock, last_seen, status_file_of(config), ServiceManager())


class EdgeParts:
    """Makes uplinks and sources around one outbox and one clock."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox, self._clock = outbox, clock

    def uplink(self, config: Config, on_server_time: OnServerTime) -> Uplink:
        """An uplink, not yet started. Raises ConfigError for unusable credentials."""
        uplink, gateway = config.uplink, config.gateway
        memory = config.outbox.path / "broker-address.json"
        dialer = Dialer(uplink, gateway.id, self._clock, memory)
        return Uplink(
            self._outbox,
            config.outbox_file,
            self._clock,
            dialer,
            pace=Pace(
                round(uplink.send_window_s * 1000),
                round(uplink.resend_after_s * 1000),
                uplink.unreceipted_max_kb * 1024,
            ),
            ack_timeout_s=uplink.ack_timeout_s,
            on_server_time=on_server_time,
            renew=dialer.renew,
            about={"vehicle": gateway.vehicle, "timezone": gateway.timezone},
        )

    def source(self, config: Config, name: str) -> Source:
        """A source, not yet started. Raises ConfigError."""
        settings = config.sources[name]
        kind = next(kind for kind, cls in SOURCE_SETTINGS.items() if isinstance(settings, cls))
        module, _, class_name = SOURCES[kind].partition(":")
        source_class = getattr(importlib.import_module(module), class_name)
        if isinstance(settings, Jt808Settings):
            auth = TerminalAuth(
                settings.auth,
                load_secret(config.outbox.path),
                allow_list(settings.allow),
                TerminalRegistry(registry_file(config)),
            )
            source: Source = source_class(name, settings, self._outbox, self._clock, auth)
        else:
            source = source_class(name, settings, self._outbox, self._clock)
        return source

    def reconfigure_outbox(self, config: Config) -> None:
        """New bounds and commit window for the outbox that is open."""
        self._outbox.reconfigure(bounds_of(config), config.outbox.commit_window_s)


def bounds_of(config: Config) -> Bounds:
    """How much the outbox may hold."""
    return Bounds(
        config.outbox.size_max_mb << 20,
        config.outbox.grace_mb << 20,
        config.outbox.grace_hours * 3_600_000,
        config.outbox.age_max_days * 86_400_000,
    )


def status_file_of(config: Config) -> Path:
    """Where a running agent says what it knows beyond the outbox."""
    return config.outbox.path / "status.json"
