"""An interface for python-can whose bus fails when it is told to."""

import queue
from typing import Any

import can


class FaultyBus(can.BusABC):
    """What comes is put into `coming`: a message, or an error to raise. While `is_down`, it cannot
    be opened."""

    coming: queue.SimpleQueue[can.Message | can.CanError] = queue.SimpleQueue()
    is_down = False

    def __init__(self, channel: str, **how: Any) -> None:
        if FaultyBus.is_down:
            raise can.CanInitializationError(f"{channel}: network is down")
        self.channel_info = channel
        super().__init__(channel, **how)

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        try:
            found = FaultyBus.coming.get(timeout=timeout)
        except queue.Empty:
            return None, False
        if isinstance(found, can.CanError):
            raise found
        return found, False

    def send(self, msg: can.Message, timeout: float | None = None) -> None:  # noqa: ARG002
        raise can.CanOperationError("nobody acknowledges")
