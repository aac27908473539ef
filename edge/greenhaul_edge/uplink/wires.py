"""What the uplink needs of a connection, whoever makes it."""

from collections.abc import Callable
from typing import Protocol

from greenhaul_edge.clock import ServerTime
from greenhaul_edge.uplink.wire import WireEvent


class Wire(Protocol):
    """One connection to the broker."""

    def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> int:
        """Send at QoS 1; the number its PUBACK will carry. Raises Unavailable."""

    def date_fault(self, utc_ms: int) -> str | None:
        """What was wrong with the broker's certificates, had it been this moment."""

    def close(self, farewell: bytes | None = None) -> None:
        """End the connection; farewell: presence to leave behind."""


# Opens connection number n, reporting events from its own thread.
MakeWire = Callable[[int, Callable[[WireEvent], None]], Wire]
OnServerTime = Callable[[ServerTime], None]
