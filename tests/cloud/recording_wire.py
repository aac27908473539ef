"""A wire for the intake's worker whose far end only takes notes."""

import queue
from typing import Any

from greenhaul_cloud.intake.worker import Delivery
from greenhaul_protocols.receipt import Receipt

WAIT_S = 10


class RecordingWire:
    """A wire whose far end only takes notes."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()

    def acknowledge(self, delivery: Delivery) -> None:
        self.events.put(("ack", delivery.message_id))

    def publish_receipt(self, receipt: Receipt) -> bool:
        self.events.put(("receipt", receipt))
        return True

    def renew(self) -> None:
        self.events.put(("renew", None))
