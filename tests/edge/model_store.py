"""A collector's store as the model of outbox and receipts needs it, right or wrong by one rule."""

from dataclasses import dataclass, field

from greenhaul_protocols.block import unwrap_block
from greenhaul_protocols.catalogue import Dropped, Reading
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt, encode_receipt
from greenhaul_protocols.series import decode_body

GATEWAY = "gw-model"


@dataclass
class Lane:
    """What a store knows of one lane of one epoch."""

    settled: RangeSet = field(default_factory=RangeSet)
    through: int = 0
    stored: int = 0
    duplicate: int = 0
    dropped: int = 0


@dataclass
class Store:
    """A collector's store. `rule` plants a wrong one."""

    store_id: int
    rule: str = "right"
    revision: int = 0
    lanes: dict[tuple[int, int], Lane] = field(default_factory=dict)
    readings: set[int] = field(default_factory=set)  # by device time: unique in the model
    named: dict[tuple[int, int], RangeSet] = field(default_factory=dict)  # by `Dropped`
    closed_epochs: set[int] = field(default_factory=set)
    is_blamed: bool = False  # an edge says that this or another store lost what it had

    def take(self, payload: bytes) -> None:
        """Store a block."""
        block = unwrap_block(payload)
        header = block.header
        lane = self.lanes.setdefault((header.epoch, header.lane), Lane())
        lane.through = max(lane.through, header.last)
        if self.rule == "known by first number" and header.first in lane.settled:
            lane.settled.add(header.first, header.last)
            return
        for series in decode_body(block.inflate()):
            for offset, reading in zip(series.numbers, series.readings(), strict=True):
                self._insert(header.epoch, lane, header.first + offset, reading)

    def _insert(self, epoch: int, lane: Lane, number: int, reading: Reading) -> None:
        is_first = bool(lane.settled.add(number, number))
        if isinstance(reading, Dropped):
            lane.stored += is_first
            self._name(epoch, reading)
            return
        is_new = reading.device_time_ms not in self.readings
        self.readings.add(reading.device_time_ms)
        if is_first:
            lane.stored += is_new
            lane.duplicate += not is_new

    def _name(self, epoch: int, record: Dropped) -> None:
        self.is_blamed |= (record.reason or "").startswith("delivered to store")
        assert record.epoch is not None
        assert record.lane is not None
        if record.first is None or record.last is None:
            self.closed_epochs.add(record.epoch)
            return
        key = (record.epoch, record.lane)
        self.named.setdefault(key, RangeSet()).add(record.first, record.last)
        if record.epoch == epoch:
            lane = self.lanes.setdefault(key, Lane())
            lane.dropped += lane.settled.add(record.first, record.last)
            lane.through = max(lane.through, record.last)

    def receipt(self, epoch: int, now_ms: int) -> bytes:
        """What is settled of an epoch."""
        self.revision = max(self.revision + 1, now_ms)
        states = []
        for (lane_epoch, number), lane in self.lanes.items():
            if lane_epoch != epoch:
                continue
            settled = tuple(lane.settled)
            if self.rule == "highest seen" and settled:
                settled = ((1, lane.through),)
            states.append(
                LaneState(
                    lane=number,
                    settled=settled,
                    through=lane.through,
                    stored=lane.stored,
                    duplicate=lane.duplicate,
                    dropped=lane.dropped,
                )
            )
        return encode_receipt(
            Receipt(
                gateway=GATEWAY,
                epoch=epoch,
                store_id=self.store_id,
                revision=self.revision,
                server_time_ms=now_ms,
                lanes=tuple(states),
            )
        )
