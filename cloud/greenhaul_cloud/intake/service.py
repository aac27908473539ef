"""The intake as one thing to start and stop."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.intake.wires import PieceWires
from greenhaul_cloud.intake.worker import Delivery, IntakeWorker, Presence
from greenhaul_cloud.shards.keeper import IDLE_S, ShardKeeper
from greenhaul_cloud.shards.pieces import Piece, cut, uncut
from greenhaul_cloud.store.engine import Store

_LOOK_EVERY_S = 0.02


class Intake:
    """Takes blocks from a broker into a store, and answers with receipts.

    Of several intakes of one store each takes a part of the shards; of an embedded store one takes
    them all, and the others stand by.
    """

    def __init__(
        self,
        store: Store,
        address: BrokerAddress,
        registry: CollectorRegistry,
        on_stored: Callable[[], None] = lambda: None,
    ) -> None:
        """on_stored: called after each commit that left work for the fold."""
        counters = IntakeCounters(registry)
        whole, divide = Piece(*address.shards), cut if store.driver.is_shared else uncut
        self._wires = PieceWires(address, counters, len(divide(whole)), self._deliver)
        self._worker = IntakeWorker(store, self._wires, counters, on_stored=on_stored)
        self._keeper = ShardKeeper(
            store.open_claims(IDLE_S),
            whole,
            divide,
            on_take=self._wires.take,
            on_leave=self._wires.leave,
            can_serve=self._wires.reach_broker,
        )

    @property
    def broker_fault(self) -> str | None:
        """Why blocks cannot come in just now."""
        return self._keeper.fault or (None if self._wires.is_connected else "not connected")

    @property
    def store_fault(self) -> str | None:
        """Why blocks cannot be stored just now."""
        return self._worker.fault

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until blocks can come in; False when it took longer."""
        deadline = time.monotonic() + timeout_s
        while self.broker_fault is not None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_EVERY_S)  # claims, sessions and the broker's answer: three threads
        return True

    def start(self) -> None:
        """Claim, connect and store, in threads of its own."""
        self._worker.start()
        self._keeper.start()

    def stop(self) -> None:
        """Store what is at hand, then disconnect; the rest was never acknowledged."""
        self._worker.stop()
        self._keeper.stop()
        self._wires.join()

    def _deliver(self, item: Delivery | Presence) -> bool:
        return self._worker.deliver(item)


def client_id_of(store_id: int) -> str:
    """The same at every start, so that the broker's queues for us survive ours."""
    return f"greenhaul-cloud-{store_id:016x}"
