"""What the broker allows, said or found out (pure)."""

from greenhaul_edge.uplink.schedule import UNACKED_MAX
from greenhaul_protocols.block import BLOCK_SIZE_MAX

# A PUBLISH beside its payload: topic (up to 90 bytes), number, properties.
_PACKET_OVERHEAD = 128
# Never less, whatever happens: a single reading needs hundreds of bytes.
_SIZE_MIN = 4 * 1024
# MQTT 3.1.1 has no word for a message that is too large: the broker just hangs up. So many times
# in a row with a large block unanswered, and blocks are made half as large.
_HANGUPS_SUSPICIOUS = 3
# Of receive maximum, one is kept for the hello that asks how things stand.
_RESERVED = 1


class Limits:
    """Messages in flight and bytes of a block on one broker."""

    def __init__(self) -> None:
        self.receive_max = UNACKED_MAX
        self.block_size_max = BLOCK_SIZE_MAX
        self._found_size_max = BLOCK_SIZE_MAX
        self._hangups = 0

    def connected(self, receive_max: int | None, packet_size_max: int | None) -> None:
        """A new connection; None where the broker named no limit."""
        self.receive_max = max(1, min(receive_max or UNACKED_MAX, UNACKED_MAX) - _RESERVED)
        said = (packet_size_max or 1 << 28) - _PACKET_OVERHEAD
        self.block_size_max = max(min(said, self._found_size_max), _SIZE_MIN)

    def acked(self, size: int) -> None:
        """A block of this size was taken."""
        if size > self.block_size_max // 2:
            self._hangups = 0

    def closed(self, largest_unacked: int) -> None:
        """The connection ended with blocks unanswered, the largest so large."""
        if largest_unacked <= max(self.block_size_max // 2, _SIZE_MIN):
            return
        self._hangups += 1
        if self._hangups >= _HANGUPS_SUSPICIOUS:
            self._hangups = 0
            self._found_size_max = max(self.block_size_max // 2, _SIZE_MIN)
