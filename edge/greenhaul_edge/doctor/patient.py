"""What the checks look at: read once, shared by all."""

from functools import cached_property
from pathlib import Path
from typing import Any

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Config, load_config
from greenhaul_edge.doctor.broker_probe import BrokerProbe, probe_broker
from greenhaul_edge.last_seen import LastSeen
from greenhaul_edge.status import OutboxStatus, read_outbox, read_running
from greenhaul_protocols.errors import ConfigError, DecodeError, Unavailable


class Patient:
    """A gateway by its configuration. Raises nothing: what cannot be read is None, and why."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self.config_fault = self.outbox_fault = ""
        self.config: Config | None = None
        try:
            self.config = load_config(path)
        except ConfigError as error:
            self.config_fault = str(error)
        self._clock = clock

    @property
    def good(self) -> Config:
        """The configuration, where a check runs only if there is one."""
        assert self.config is not None
        return self.config

    @cached_property
    def clock(self) -> Clock:
        """The clock an agent would start with."""
        if self._clock is not None:
            return self._clock
        last_seen = LastSeen(self.good.outbox.path / "last-seen.json")
        return Clock(floor_ms=last_seen.utc_ms)

    @cached_property
    def running(self) -> dict[str, Any] | None:
        """What the running agent says; None if none runs."""
        return read_running(self.good.outbox.path / "status.json")

    @cached_property
    def outbox(self) -> OutboxStatus | None:
        """The outbox's account; None if there is none, or it cannot be read."""
        try:
            return read_outbox(self.good.outbox_file)
        except (Unavailable, DecodeError) as error:
            self.outbox_fault = str(error)
            return None

    @cached_property
    def broker(self) -> BrokerProbe:
        """How far a connection gets; only as far as it does not disturb a running agent."""
        epoch = self.outbox.epoch if self.outbox else None
        return probe_broker(self.good, self.clock, epoch, is_polite=self.running is not None)
