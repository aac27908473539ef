"""Where readings come from. A source is one thread that meets the others only at the outbox."""

from collections.abc import Mapping
from typing import Protocol

from greenhaul_edge.supervision import Beat

# By the `type` of a `[sources.NAME]` section: module and class, imported only when configured.
SOURCES = {
    "jt808": "greenhaul_edge.sources.jt808:Jt808Source",
    "gnss": "greenhaul_edge.sources.gnss:GnssSource",
    "can": "greenhaul_edge.sources.can:CanSource",
}


class Source(Protocol):
    """One input of the gateway."""

    name: str
    beat: Beat  # noted at every turn of its loop, also when nothing comes

    def start(self) -> None:
        """Begin; returns once the input is open or will be tried again. Raises ConfigError."""

    def stop(self) -> None:
        """Stop taking readings; returns when the thread has ended."""

    def state(self) -> Mapping[str, str | int]:
        """What `status` and the log show: address or port, and counters."""
