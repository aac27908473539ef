"""A net must be seen to catch: every wrong rule fails within seeds that the right one passes."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulation.broker import EdgeWire
from tests.simulation.run import Broken, Plant, Run
from tests.simulation.stand_ins import SimFuture
from tests.simulation.test_promises import SEEDS

from greenhaul_cloud.store import write as store_write
from greenhaul_cloud.store.inspection import Accepted
from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox import receipts
from greenhaul_edge.outbox.entries import Entries
from greenhaul_edge.outbox.receipts import Ledger, Verdict
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.uplink.schedule import Schedule
from greenhaul_edge.uplink.wire import Acked, Arrived, WireEvent
from greenhaul_protocols.block import BlockHeader, unwrap_block
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.receipt import LaneState, Receipt, encode_receipt


class HastyOutbox(Outbox):
    """Says that readings are kept when they are handed over."""

    def append(self, readings: Sequence[Reading], **more: Any) -> "Future[None]":
        super().append(readings, **more)
        done: Future[None] = SimFuture()
        done.set_result(None)
        return done


def acknowledge_before_commit(run: Run) -> None:
    run.edge.traits.make_outbox = HastyOutbox


def lose_commits_of_the_outbox(run: Run) -> None:
    """As `synchronous=NORMAL` does in a power cut."""
    run.edge.disk.is_synced = False


def lose_commits_of_the_store(run: Run) -> None:
    """Receipts go out before what they name is on the disk."""
    run.cloud.disk.is_synced = False


def delete_on_puback(run: Run) -> None:
    """What the broker took counts as delivered."""
    say, publish = EdgeWire._say, EdgeWire.publish
    headers: dict[tuple[EdgeWire, int], BlockHeader] = {}

    def publish_noting(wire: EdgeWire, topic: str, payload: bytes, **more: Any) -> int:
        message = publish(wire, topic, payload, **more)
        if topic.startswith("gh/v1/up/"):
            headers[wire, message] = unwrap_block(payload).header
        return message

    def say_and_settle(wire: EdgeWire, event: WireEvent) -> None:
        say(wire, event)
        if not isinstance(event, Acked) or event.failure:
            return
        header = headers.get((wire, event.message))
        if header is not None and header.count:
            settled = ((header.first, header.last),)
            receipt = Receipt(
                gateway=header.gateway,
                epoch=header.epoch,
                store_id=1,
                revision=run.world.now_ns,
                server_time_ms=run.world.now_ms,
                lanes=(LaneState(lane=header.lane, settled=settled),),
            )
            say(wire, Arrived(event.connection, encode_receipt(receipt), is_retained=True))

    run.patch(EdgeWire, "publish", publish_noting)
    run.patch(EdgeWire, "_say", say_and_settle)


def receipts_as_highest_seen(run: Run) -> None:
    """A contiguous watermark: everything up to the last number the store has."""

    def tamper(receipt: Receipt) -> Receipt:
        lanes = (
            replace(lane, settled=((1, lane.settled[-1][1]),)) if lane.settled else lane
            for lane in receipt.lanes
        )
        return replace(receipt, lanes=tuple(lanes))

    run.broker.tamper = tamper


def dedupe_by_numbers(run: Run) -> None:
    """A block whose first number came before is taken for known."""
    judge = store_write._Flush._judge
    known: set[tuple[int, int, int]] = set()

    def judge_by_numbers(flush: Any, grants: Any) -> list[Accepted]:
        accepted = judge(flush, grants)
        keys = [(header.epoch, header.lane, header.first) for header in flush._headers]
        numbers = [
            (header.epoch, header.lane, number)
            for header in flush._headers
            for number in range(header.first, header.last + 1)
        ]
        is_new = np.array([key not in known for key in keys], np.bool_)
        new = [one.take(np.flatnonzero(is_new[one.block])) for one in accepted]
        new = [one for one in new if len(one.readings)]
        known.update(numbers)
        return new

    run.patch(store_write._Flush, "_judge", judge_by_numbers)


def believe_old_receipts(run: Run) -> None:
    """Whatever comes last counts, also what was under way for long."""
    revision = 10**15

    def judge(ledger: Ledger, receipt: Receipt) -> Verdict:
        nonlocal revision
        revision += 1
        return receipts.judge(ledger, replace(receipt, revision=revision))

    run.edge.traits.judge = judge


def do_not_know_an_old_image(run: Run) -> None:
    """Numbers of a lost disk settle those of the one that took its place."""

    def judge(ledger: Ledger, receipt: Receipt) -> Verdict:
        highest = [pair[1] for state in receipt.lanes for pair in state.settled]
        for lane in ledger.lanes.values():
            lane.sent_mark = max([lane.sent_mark, *highest])
        return receipts.judge(ledger, receipt)

    run.edge.traits.judge = judge


def evict_without_a_word(run: Run) -> None:
    """What is given up is not named."""
    run.patch(Entries, "append_dropped", lambda *_arguments, **_more: None)


def never_send_again(run: Run) -> None:
    """What was sent is waited for, for ever."""
    run.patch(Schedule, "release_overdue", lambda *_: None)
    run.patch(Schedule, "_was_lost", lambda *_: False)
    run.patch(Schedule, "take_probe", lambda *_: False)


def believe_the_first_answer(run: Run) -> None:
    """Whatever comes first after a hello is taken for its answer, and for the time."""
    hear = Clock.hear
    run.broker.tamper = lambda receipt: replace(receipt, hello_ms=0)
    run.patch(Clock, "hear", lambda clock, said: hear(clock, replace(said, is_certain=True)))


# Each with a seed that finds it as things stand; when they move, another of the seeds will.
PLANTED: dict[Plant, int] = {
    acknowledge_before_commit: 11,
    lose_commits_of_the_outbox: 5,
    lose_commits_of_the_store: 11,
    delete_on_puback: 0,
    receipts_as_highest_seen: 2,
    dedupe_by_numbers: 22,
    believe_old_receipts: 0,
    do_not_know_an_old_image: 18,
    evict_without_a_word: 7,
    never_send_again: 22,
    believe_the_first_answer: 0,
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant: Plant, template: Path) -> None:
    first = PLANTED[plant]
    for seed in sorted(SEEDS, key=lambda seed: seed != first):
        try:
            Run(seed, template, plant)()
        except Broken as found:
            print(f"{plant.__name__}: {found}")
            return
    pytest.fail(f"{plant.__name__} went unnoticed through {len(SEEDS)} seeds")
