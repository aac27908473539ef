"""A gateway's outbox between a hostile wire and a store that may forget: one seeded run."""

import copy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.edge.model_store import GATEWAY, Store

from greenhaul_edge.outbox import receipts
from greenhaul_edge.outbox.chunks import Batch, Priority
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.receipts import Ledger, OldImage, Settlement, Verdict
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.uplink.cutter import Cutter
from greenhaul_edge.uplink.schedule import Cut
from greenhaul_protocols.block import BlockHeader, unwrap_block, wrap_block
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.ranges import Pair, RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt, decode_receipt, encode_receipt
from greenhaul_protocols.topics import LANE_LIVE

READINGS = 1_500
FAR_MS = 10**12


class Model:
    """One seeded run."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        rule: str = "right",
        judge: Callable[[Ledger, Receipt], Verdict] = receipts.judge,
    ) -> None:
        self.random = Random(seed)
        self.path, self.image = folder / "outbox.sqlite", folder / "image.sqlite"
        self.judge, self.rule = judge, rule
        self.now_ms = 1_000
        self.is_retaining = self.random.random() < 0.5
        self.store = Store(self.random.getrandbits(60), rule)
        self.backup = copy.deepcopy(self.store)
        self.file, self.cutter = self._open()
        self.appended: set[int] = set()
        self.excused: set[int] = set()  # on a disk that was replaced
        self.numbers: dict[int, set[tuple[int, int, int]]] = {}  # reading: epoch, lane, number
        self.image_time_ms = 0
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.retained: bytes | None = None
        self.is_open = False  # the hello was answered
        self.is_store_honest = True  # it never lost what it had committed

    def _open(self) -> tuple[OutboxFile, Cutter]:
        file = OutboxFile(
            self.path, GATEWAY, boot=1, now_ms=self.now_ms, bounds=Bounds(), judge=self.judge
        )
        return file, Cutter(self.path)

    def close(self) -> None:
        """Both connections."""
        self.cutter.close()
        self.file.close()

    def run(self) -> None:
        """Trouble, then a drain; raises AssertionError for what must not happen."""
        steps = [
            (self.append, 26),
            (self.send, 26),
            (self.carry_up, 26),
            (self.carry_down, 14),
            (self.hello, 3),
            (self.restart, 0.6),
            (self.evict, 0.8),
            (self.trim, 0.8),
            (self.foreign_receipt, 0.5),
            (self.back_up_store, 0.3),
            (self.restore_store, 0.3),
            (self.another_store, 0.1),
            (self.copy_outbox, 0.3),
            (self.restore_outbox, 0.15),
        ]
        calls, weights = zip(*steps, strict=True)
        while len(self.appended) < READINGS:
            self.now_ms += self.random.randint(1, 50)
            self.random.choices(calls, weights)[0]()
        self.drain()
        self.check()

    # What happens at the edge.

    def append(self) -> None:
        """A commit of a few readings."""
        count = self.random.randint(1, 30)
        first_ms = FAR_MS + len(self.appended) * 10
        readings = [
            Position(source="s", device_time_ms=first_ms + i * 10, received_time_ms=self.now_ms)
            for i in range(count)
        ]
        is_evictable = self.random.random() < 0.3
        priority = Priority.EVICTABLE if is_evictable else Priority.KEPT
        ledger = self.file.ledger
        first = ledger.lane(LANE_LIVE).next
        self.file.append([Batch(readings, priority)], self.now_ms)
        for i, reading in enumerate(readings):
            self.appended.add(reading.device_time_ms)
            place = (ledger.epoch, LANE_LIVE, first + i)
            self.numbers.setdefault(reading.device_time_ms, set()).add(place)

    def send(self) -> None:
        """Any contiguous range of what may be sent, settled or not."""
        if not self.is_open:
            return
        lane = self.file.ledger.lane(LANE_LIVE)
        ranges = list(lane.unsettled() if self.random.random() < 0.9 else lane.held)
        if ranges:
            first, last = self._part(self.random.choice(ranges))
            self._publish(first, min(last, lane.sent_mark))

    def _part(self, pair: Pair) -> Pair:
        first = self.random.randint(*pair)
        return first, min(pair[1], first + self.random.randint(0, 120))

    def _publish(self, first: int, last: int) -> None:
        header = BlockHeader(
            gateway=GATEWAY, epoch=self.file.ledger.epoch, lane=LANE_LIVE, first=1, count=0
        )
        cut = Cut(LANE_LIVE, first, last, 16_384, is_backlog=False, asks_receipt=False)
        block = self.cutter.cut(cut, header) if first <= last else None
        if block:
            self.up.append(block.payload)

    def evict(self) -> None:
        """The outbox gives up its older evictable readings."""
        age_ms = self.random.randint(1, 2_000)
        self.file.bounds = Bounds(age_ms_max=age_ms)
        self.file.expire(self.now_ms)
        self.file.bounds = Bounds()

    def trim(self) -> None:
        """The grace ring lets go of what it has, or of the older half."""
        self.file.bounds = Bounds(grace_age_ms_max=self.random.choice([0, 500, 2_000]))
        self.file.tidy(self.now_ms)
        self.file.bounds = Bounds()

    def restart(self) -> None:
        """The agent starts again; what was under way arrives or is lost."""
        self._settle_wire()
        self.close()
        self.file, self.cutter = self._open()
        self.is_open = False

    def copy_outbox(self) -> None:
        """An image of the disk is made."""
        self.image.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(self.path)) as live,
            closing(sqlite3.connect(self.image)) as image,
        ):
            live.backup(image)
        self.image_time_ms = FAR_MS + len(self.appended) * 10

    def restore_outbox(self) -> None:
        """The disk is replaced by the image: what came after it is gone, and nobody is to blame."""
        if not self.image.exists():
            return
        self._settle_wire()
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.write_bytes(self.image.read_bytes())
        self.excused |= {one for one in self.appended if one >= self.image_time_ms}
        self.file, self.cutter = self._open()
        self.is_open = False

    def _settle_wire(self) -> None:
        for payload in self.up:
            if self.random.random() < 0.6:
                self.store.take(payload)
        self.up.clear()
        self.down.clear()

    # What happens between.

    def carry_up(self) -> None:
        """Some block arrives, in any order, perhaps not for the last time, or is lost."""
        if not self.up:
            return
        payload = self.up.pop(self.random.randrange(len(self.up)))
        fate = self.random.random()
        if fate < 0.15:
            return
        if fate < 0.35:
            self.up.append(payload)
        epoch = unwrap_block(payload).header.epoch
        if self.rule == "answer before commit" and self.random.random() < 0.3:
            crashed = copy.deepcopy(self.store)
            self.store.take(payload)
            self._answer(epoch)
            crashed.revision = self.store.revision
            self.store = crashed
            return
        self.store.take(payload)
        if self.random.random() < 0.5:
            self._answer(epoch)

    def _answer(self, epoch: int) -> None:
        receipt = self.store.receipt(epoch, self.now_ms)
        self.retained = receipt
        self.down.append(receipt)

    def carry_down(self) -> None:
        """Some receipt arrives, in any order, perhaps again, or is lost."""
        if not self.down:
            return
        receipt = self.down.pop(self.random.randrange(len(self.down)))
        fate = self.random.random()
        if fate < 0.15:
            return
        if fate < 0.35:
            self.down.append(receipt)
        self._take(receipt)

    def _take(self, receipt: bytes) -> Verdict:
        before = self.file.ledger
        held = sorted(before.lane(LANE_LIVE).held)
        verdict = self.file.take_receipt(decode_receipt(receipt), self.now_ms)
        if isinstance(verdict, OldImage):
            self._renumbered(before.epoch, held)
            self.is_open = False
        return verdict

    def _renumbered(self, epoch: int, held: list[Pair]) -> None:
        """In a new epoch what was held has new numbers, in the same order."""
        by_place = {place: one for one, places in self.numbers.items() for place in places}
        number = 0
        for first, last in held:
            for old in range(first, last + 1):
                number += 1
                one = by_place.get((epoch, LANE_LIVE, old))
                if one is not None and (epoch, old) not in self._replaced():
                    self.numbers[one].add((self.file.ledger.epoch, LANE_LIVE, number))

    def _replaced(self) -> set[tuple[int, int]]:
        return {
            (epoch, number)
            for one in self.excused
            for epoch, _, number in self.numbers.get(one, ())
        }

    def hello(self) -> None:
        """A connection begins: the retained receipt, then the answer to the hello."""
        self._settle_wire()
        if self.is_retaining and self.retained:
            self._take(self.retained)
        epoch = self.file.ledger.epoch
        marks = self.file.ledger.lane(LANE_LIVE).sent_mark
        header = BlockHeader(gateway=GATEWAY, epoch=epoch, lane=LANE_LIVE, first=marks + 1, count=0)
        self.store.take(wrap_block(header))
        self._answer(epoch)
        answer = self.down.pop()
        if self.random.random() < 0.3:
            return
        if isinstance(self._take(answer), Settlement):
            self.file.is_sending = True
            self.file.mark_sent()
            self.is_open = True

    def foreign_receipt(self) -> None:
        """A receipt for another gateway or another epoch settles nothing."""
        receipt = decode_receipt(self.store.receipt(self.file.ledger.epoch, self.now_ms))
        lanes = (LaneState(lane=LANE_LIVE, settled=((1, 10**6),), through=10**6),)
        self._take(encode_receipt(replace(receipt, gateway="gw-other", lanes=lanes)))
        self._take(encode_receipt(replace(receipt, epoch=receipt.epoch ^ 1, lanes=lanes)))

    # What happens to the store.

    def back_up_store(self) -> None:
        """An operator makes a backup."""
        self.backup = copy.deepcopy(self.store)

    def restore_store(self) -> None:
        """An operator restores it; what was stored since is gone, the clock goes on."""
        self._settle_wire()
        self.store = copy.deepcopy(self.backup)
        self.is_store_honest = False

    def another_store(self) -> None:
        """Another collector with an empty store takes over behind the same broker."""
        self._settle_wire()
        self.store = Store(self.random.getrandbits(60), self.rule)
        self.back_up_store()
        self.is_store_honest = False

    # The end.

    def drain(self) -> None:
        """A good network at last: everything must become settled in a few rounds."""
        for _ in range(60):
            self.now_ms += 100
            self.hello()
            self.append_one_more()
            for first, last in list(self.file.ledger.lane(LANE_LIVE).unsettled()):
                at = first
                while self.is_open and at <= last:
                    self._publish(at, last)
                    payload = self.up.pop()
                    self.store.take(payload)
                    at = unwrap_block(payload).header.last + 1
            self._take(self.store.receipt(self.file.ledger.epoch, self.now_ms))
            if self.is_open and not self.file.ledger.lane(LANE_LIVE).waiting:
                return
        lane = self.file.ledger.lane(LANE_LIVE)
        raise AssertionError(f"held for ever: {lane.unsettled()} gone {lane.gone}")

    def append_one_more(self) -> None:
        """Life goes on: what comes next tells a new store how far the numbers reach."""
        self.append()

    def check(self) -> None:
        """Nothing lost, nothing invented, every number counted once."""
        missing = self.appended - self.store.readings - self.excused
        silent = [one for one in missing if not self._is_named(one)]
        assert not silent, f"lost without a record: {len(silent)}, such as {silent[:5]}"
        blamed = self.is_store_honest and self.store.is_blamed
        assert not blamed, "the store lost what it had said to be settled"
        assert self.store.readings <= self.appended
        lane = self.file.ledger.lane(LANE_LIVE)
        named = lane.stored + lane.duplicate + lane.quarantined + lane.dropped
        assert lane.appended == named + lane.waiting

    def _is_named(self, one: int) -> bool:
        return any(
            epoch in self.store.closed_epochs
            or number in self.store.named.get((epoch, lane), RangeSet())
            for epoch, lane, number in self.numbers.get(one, ())
        )
