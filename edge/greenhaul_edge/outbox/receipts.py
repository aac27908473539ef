"""The rules of outbox and receipts, as values: no file, no clock, no network.

Every number of a lane, from 1 to `next` - 1, is in exactly one of three places:

    waiting    held, and no receipt settled it: will be sent, and sent again
    settled    a receipt said so; held a while longer in the grace ring, then deleted
    gone       not held and not settled, but named by a `Dropped` reading that is in the log

Looser readings of the same words lose data or never drain; the model test drives this module.
"""

from dataclasses import dataclass, field

from greenhaul_protocols.ranges import Pair, RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt

# Stores whose last revision is remembered, so that an old retained receipt of a store that was
# here before is still known to be old. More stores than this behind one broker is no installation.
STORES_MAX = 16


@dataclass(slots=True)
class Lane:
    """One numbered log of the open epoch."""

    lane: int
    next: int = 1  # number of the next reading
    sent_mark: int = 0  # numbers up to this may have been sent
    settled: RangeSet = field(default_factory=RangeSet)
    gone: RangeSet = field(default_factory=RangeSet)
    held: RangeSet = field(default_factory=RangeSet)  # what the chunks in the file cover
    stored: int = 0  # the four counters as the last receipt gave them
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0

    @property
    def appended(self) -> int:
        """How many readings this lane ever got."""
        return self.next - 1

    @property
    def waiting(self) -> int:
        """How many readings no receipt has settled."""
        return self.appended - self.settled.total

    def unsettled(self) -> RangeSet:
        """What can be sent: held and not settled."""
        ranges = self.held.copy()
        for first, last in self.settled:
            ranges.remove(first, last)
        return ranges

    def append(self, count: int) -> int:
        """Number the next `count` readings; the first of these numbers."""
        first = self.next
        self.next += count
        self.held.add(first, first + count - 1)
        return first

    def give_up(self, first: int, last: int) -> list[Pair]:
        """No longer hold these numbers; what of them a `Dropped` reading must name now."""
        self.held.remove(first, last)
        orphans = [
            part for gap in self.settled.missing(first, last) for part in self.gone.missing(*gap)
        ]
        for part in orphans:
            self.gone.add(*part)
        return orphans


def says_any(receipt: Receipt) -> bool:
    """Whether the store has something of its epoch; anybody may ask for one it never heard of."""
    return any(lane.settled or lane.through for lane in receipt.lanes)


@dataclass(slots=True)
class Ledger:
    """What the outbox knows about its open epoch."""

    gateway: str
    epoch: int
    lanes: dict[int, Lane] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)  # by store id, last heard last

    def lane(self, lane: int) -> Lane:
        """The lane; made when it is new."""
        return self.lanes.setdefault(lane, Lane(lane))


@dataclass(frozen=True, slots=True)
class Ignored:
    """The receipt changes nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class OldImage:
    """The store holds numbers this outbox never sent: it was restored from an old image.

    What follows is a new epoch into which everything held is appended again.
    """

    lane: int
    number: int


@dataclass(frozen=True, slots=True)
class LaneSettlement:
    """What a receipt changes in one lane. All ranges are disjoint and sorted."""

    state: LaneState
    settled: tuple[Pair, ...]  # newly settled
    returned: tuple[Pair, ...]  # once settled, missing now, still held: to be sent again
    lost: tuple[Pair, ...]  # once settled, missing now, not held: to be named by `Dropped`


@dataclass(frozen=True, slots=True)
class Settlement:
    """A receipt that counts, and what it changes."""

    store_id: int
    revision: int
    server_time_ms: int
    is_other_store: bool
    lanes: tuple[LaneSettlement, ...]


Verdict = Ignored | OldImage | Settlement


def judge(ledger: Ledger, receipt: Receipt) -> Verdict:
    """What a receipt means for an outbox in this state. Changes nothing."""
    if receipt.gateway != ledger.gateway:
        return Ignored("another gateway's")
    if receipt.epoch != ledger.epoch:
        return Ignored("another epoch's")
    if receipt.revision <= ledger.revisions.get(receipt.store_id, -1):
        return Ignored("an old revision")
    for state in receipt.lanes:
        lane = ledger.lanes.get(state.lane)
        highest = max((last for _, last in state.settled), default=0)
        if highest > (lane.sent_mark if lane else 0):
            return OldImage(state.lane, highest)
    last_store = next(reversed(ledger.revisions), receipt.store_id)
    return Settlement(
        receipt.store_id,
        receipt.revision,
        receipt.server_time_ms,
        last_store != receipt.store_id,
        tuple(
            _judge_lane(ledger.lanes[state.lane], state)
            for state in receipt.lanes
            if state.lane in ledger.lanes
        ),
    )


def _judge_lane(lane: Lane, state: LaneState) -> LaneSettlement:
    claimed = RangeSet(state.settled)
    settled = [gap for first, last in claimed for gap in lane.settled.missing(first, last)]
    missing = [
        gap
        for first, last in lane.settled.overlap(1, state.through)
        for gap in claimed.missing(first, last)
    ]
    returned = [part for first, last in missing for part in lane.held.overlap(first, last)]
    lost = [part for first, last in missing for part in lane.held.missing(first, last)]
    return LaneSettlement(state, tuple(settled), tuple(returned), tuple(lost))


def settle(ledger: Ledger, settlement: Settlement) -> None:
    """Take a settlement into the ledger. The caller appends `Dropped` readings for `lost`."""
    ledger.revisions.pop(settlement.store_id, None)
    ledger.revisions[settlement.store_id] = settlement.revision
    while len(ledger.revisions) > STORES_MAX:
        del ledger.revisions[next(iter(ledger.revisions))]
    for change in settlement.lanes:
        lane, state = ledger.lane(change.state.lane), change.state
        for first, last in change.settled:
            lane.settled.add(first, last)
            lane.gone.remove(first, last)
        for first, last in change.returned + change.lost:
            lane.settled.remove(first, last)
        for first, last in change.lost:
            lane.gone.add(first, last)
        lane.stored, lane.duplicate = state.stored, state.duplicate
        lane.quarantined, lane.dropped = state.quarantined, state.dropped
