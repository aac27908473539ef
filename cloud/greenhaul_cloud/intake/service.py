"""The intake as one thing to start and stop."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.wire import BrokerAddress, PahoWire
from greenhaul_cloud.intake.worker import IntakeWorker
from greenhaul_cloud.store.engine import Store


class Intake:
    """Takes blocks from a broker into a store, and answers with receipts."""

    def __init__(
        self,
        store: Store,
        address: BrokerAddress,
        registry: CollectorRegistry,
        on_stored: Callable[[], None] = lambda: None,
    ) -> None:
        """on_stored: called after each commit that left work for the fold."""
        counters = IntakeCounters(registry)
        self._wire = PahoWire(address, counters)
        self._worker = IntakeWorker(store, self._wire, counters, on_stored=on_stored)

    @property
    def is_connected(self) -> bool:
        """Whether blocks can come in just now."""
        return self._wire.is_connected

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until blocks can come in; False when it took longer."""
        return self._wire.wait_connected(timeout_s)

    def start(self) -> None:
        """Connect and store, in threads of its own."""
        self._worker.start()
        self._wire.start(self._worker.deliver)

    def stop(self) -> None:
        """Store what is at hand, then disconnect; the rest was never acknowledged."""
        self._worker.stop()
        self._wire.stop()


def client_id_of(store_id: int, shards: tuple[int, int]) -> str:
    """The same at every start, so that the broker's queue for us survives ours."""
    return f"greenhaul-cloud-{store_id:016x}-{shards[0]:02x}-{shards[1]:02x}"
