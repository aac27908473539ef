"""Receipts: the collector's word for which readings are settled (architecture §5.3)."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufDecodeError

from greenhaul_protocols.block import FORMAT, FORMAT_MAX
from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.ranges import Pair
from greenhaul_protocols.uplink_pb2 import LaneState as WireLaneState
from greenhaul_protocols.uplink_pb2 import Range, Refused
from greenhaul_protocols.uplink_pb2 import Receipt as WireReceipt

# Cutting the list short only claims less: a lane then says `through` a lower number.
RANGES_MAX = 2_000
REFUSED_MAX = 50
REASON_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """What the store holds of one lane. settled: sorted, disjoint, inclusive ranges.

    Absence from `settled` means "not held" only at or below `through`. The counters count each
    settled number once, by what first settled it.
    """

    lane: int
    settled: tuple[Pair, ...] = ()
    through: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    refused: tuple[tuple[Pair, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """For one gateway and epoch, from one store. Lower revisions of the same store are old.

    hello_ms: monotonic time of the newest hello it answers, as the hello said it; 0 answers none.
    Such a receipt was made after that hello came, and so was its server time. block_format: the
    highest format of blocks the collector reads.
    """

    gateway: str
    epoch: int
    store_id: int
    revision: int
    server_time_ms: int
    hello_ms: int = 0
    block_format: int = FORMAT_MAX
    lanes: tuple[LaneState, ...] = ()


def encode_receipt(receipt: Receipt) -> bytes:
    """Bytes to publish; lists over their bounds are cut so that they claim less, never more."""
    return WireReceipt(
        gateway=receipt.gateway,
        epoch=receipt.epoch,
        store_id=receipt.store_id,
        revision=receipt.revision,
        server_time_ms=receipt.server_time_ms,
        hello_ms=receipt.hello_ms,
        block_format=receipt.block_format,
        lanes=[_wire_lane(lane) for lane in receipt.lanes],
    ).SerializeToString()


def _wire_lane(lane: LaneState) -> WireLaneState:
    settled, through = lane.settled, lane.through
    if len(settled) > RANGES_MAX:
        through = min(through, settled[RANGES_MAX][0] - 1)
        settled = settled[:RANGES_MAX]
    return WireLaneState(
        lane=lane.lane,
        settled=[Range(first=first, last=last) for first, last in settled],
        refused=[
            Refused(range=Range(first=first, last=last), reason=reason[:REASON_LENGTH_MAX])
            for (first, last), reason in lane.refused[-REFUSED_MAX:]
        ],
        stored=lane.stored,
        duplicate=lane.duplicate,
        quarantined=lane.quarantined,
        dropped=lane.dropped,
        through=through,
    )


def decode_receipt(data: bytes) -> Receipt:
    """A receipt from the wire. Raises DecodeError, also for ranges that make no sense."""
    try:
        wire = WireReceipt.FromString(data)
    except ProtobufDecodeError as error:
        raise DecodeError("not a protobuf Receipt") from error
    return Receipt(
        gateway=wire.gateway,
        epoch=wire.epoch,
        store_id=wire.store_id,
        revision=wire.revision,
        server_time_ms=wire.server_time_ms,
        hello_ms=wire.hello_ms,
        block_format=max(wire.block_format, FORMAT),
        lanes=tuple(_lane(lane) for lane in wire.lanes),
    )


def _lane(wire: WireLaneState) -> LaneState:
    settled = tuple((pair.first, pair.last) for pair in wire.settled)
    if any(not 0 < first <= last for first, last in settled):
        raise DecodeError(f"lane {wire.lane}: a settled range is empty or starts at 0")
    return LaneState(
        lane=wire.lane,
        settled=settled,
        through=wire.through,
        stored=wire.stored,
        duplicate=wire.duplicate,
        quarantined=wire.quarantined,
        dropped=wire.dropped,
        refused=tuple(
            ((refused.range.first, refused.range.last), refused.reason) for refused in wire.refused
        ),
    )
