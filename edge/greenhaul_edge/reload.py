"""What changes between two configurations of a running agent (pure)."""

from dataclasses import dataclass

from greenhaul_edge.config import Config
from greenhaul_protocols.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be made anew. A source whose settings changed is both stopped and started."""

    has_uplink: bool
    has_outbox: bool
    stopped: tuple[str, ...]
    started: tuple[str, ...]

    def __str__(self) -> str:
        parts = ["uplink"] * self.has_uplink + ["outbox"] * self.has_outbox
        parts += sorted({*self.stopped, *self.started})
        return ", ".join(parts) or "nothing"


def difference(old: Config, new: Config) -> Change:
    """From old to new. Raises ConfigError for what a running agent cannot change."""
    if new.gateway.id != old.gateway.id:
        raise ConfigError(f"{new.path}: gateway.id: stop the agent, and give the new one a folder")
    if new.outbox.path != old.outbox.path:
        raise ConfigError(
            f"{new.path}: outbox.path: stop the agent, move {old.outbox.path} there, start it again"
        )
    was, now = old.sources, new.sources
    return Change(
        (new.uplink, new.gateway) != (old.uplink, old.gateway),
        new.outbox != old.outbox,
        tuple(name for name in was if now.get(name) != was[name]),
        tuple(name for name in now if now[name] != was.get(name)),
    )
