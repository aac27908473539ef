"""The sessions a collector has at the broker, one a piece, as one wire."""

import time
from collections.abc import Callable
from dataclasses import replace

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.probe import BrokerProbe
from greenhaul_cloud.intake.wire import BrokerAddress, PahoWire
from greenhaul_cloud.intake.worker import DELIVERIES_MAX, Delivery, Presence
from greenhaul_cloud.shards.pieces import Piece
from greenhaul_protocols.receipt import Receipt

# A piece that comes back at once waits so long for the connection it had.
_LEAVE_S_MAX = 2.0
# No session has stood for so long: the broker is not reached. A restart of it may be over sooner,
# and with the others' next look it is well within the ten seconds a dead collector may take.
UNREACHED_S = 4.0


class PieceWires:
    """A `Wire` over one session for each piece held. Pieces come and go in the keeper's thread."""

    def __init__(
        self,
        address: BrokerAddress,
        counters: IntakeCounters,
        pieces: int,
        deliver: Callable[[Delivery | Presence], bool],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """address: of all; its shards are the whole range, its client id what those of the pieces
        begin with. pieces: how many there may be."""
        self._address, self._counters, self._deliver = address, counters, deliver
        self._inflight_max = DELIVERIES_MAX // pieces
        self._wires: dict[Piece, PahoWire] = {}  # replaced as a whole: read without a lock
        self._left: dict[Piece, PahoWire] = {}
        self._monotonic_s = monotonic_s
        self._probe = BrokerProbe(address, monotonic_s)
        self._is_reached = False
        self._reached_s = monotonic_s()

    @property
    def is_connected(self) -> bool:
        """Whether every session stands."""
        return all(wire.is_connected for wire in self._wires.values())

    def reach_broker(self) -> bool:
        """Whether the broker is reached, or was just now; asked for while no session is held."""
        now_s = self._monotonic_s()
        if self._wires:
            if any(wire.is_connected for wire in self._wires.values()):
                self._reached_s = now_s
            self._is_reached = now_s - self._reached_s < UNREACHED_S
            if not self._is_reached and not any(wire.has_stood for wire in self._wires.values()):
                self._probe.was_misled()
        elif not self._is_reached:
            self._is_reached = self._probe.reaches()
        return self._is_reached

    def take(self, piece: Piece) -> None:
        """Open the session of a piece, and with it whatever the broker has queued there."""
        if former := self._left.pop(piece, None):
            former.join(_LEAVE_S_MAX)
        if not self._wires:
            self._reached_s = self._monotonic_s()
        address = replace(
            self._address,
            client_id=f"{self._address.client_id}-{piece}",
            shards=(piece.first, piece.last),
            inflight_max=self._inflight_max,
            version=self._probe.version,
            # every session would be told of every gateway
            hears_state=piece.first == self._address.shards[0],
        )
        wire = PahoWire(address, self._counters, self._deliver)
        self._wires = {**self._wires, piece: wire}
        self._note_shards()
        wire.start()

    def leave(self, piece: Piece) -> None:
        """Let the session of a piece go; the broker keeps it for the next."""
        self._left[piece] = wire = self._wires[piece]
        self._wires = {held: one for held, one in self._wires.items() if held != piece}
        self._note_shards()
        wire.leave()

    def join(self) -> None:
        """Wait until every session that was left has ended."""
        for wire in self._left.values():
            wire.join()

    def acknowledge(self, delivery: Delivery) -> None:
        """As `Wire.acknowledge`."""
        any(wire.acknowledge(delivery) for wire in self._wires.values())

    def publish_receipt(self, receipt: Receipt) -> bool:
        """As `Wire.publish_receipt`, through whatever session stands."""
        return any(wire.publish_receipt(receipt) for wire in self._wires.values())

    def renew(self) -> None:
        """As `Wire.renew`."""
        for wire in self._wires.values():
            wire.renew()

    def _note_shards(self) -> None:
        self._counters.shards.set(sum(len(piece.shards) for piece in self._wires))
