"""The intake's worker between a wire that takes notes and a real store: commit, then answer."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select
from tests.cloud.recording_wire import WAIT_S, RecordingWire

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.schedule import ReceiptSchedule
from greenhaul_cloud.intake.worker import Delivery, IntakeWorker
from greenhaul_cloud.store import sqlite
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.inspection import (
    Grants,
    Inspected,
    ReceivedBlock,
    inspect,
    receive_block,
)
from greenhaul_cloud.store.settling import receipt_for
from greenhaul_cloud.store.tables import position
from greenhaul_protocols.receipt import Receipt

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store


def test_a_live_gateway_is_answered_later_and_a_backlog_within_a_second(kit: Kit) -> None:
    schedule = ReceiptSchedule()

    def receipt(revision: int) -> Receipt:
        return Receipt(gateway="g", epoch=1, store_id=2, revision=revision, server_time_ms=0)

    schedule.note(receipt(1), 0, is_asked=False)
    assert schedule.next_due_ms() == 60_000
    schedule.note(receipt(2), 10_000, is_asked=False)
    assert schedule.next_due_ms() == 60_000
    schedule.note(receipt(3), 10_100, is_asked=False)
    assert (schedule.next_due_ms(), schedule.due(11_099)) == (11_100, [])
    assert [one.revision for one in schedule.due(11_100)] == [3]
    schedule.sent(receipt(3))
    assert len(schedule) == 0
    schedule.note(receipt(4), 30_000, is_asked=True)
    assert [one.revision for one in schedule.due(30_000)] == [4]


def test_a_receipt_answers_the_hello_of_the_one_whose_place_it_takes() -> None:
    """While the broker is away answers wait, and newer receipts come in their place."""
    schedule = ReceiptSchedule()
    blank = Receipt(gateway="g", epoch=1, store_id=2, revision=1, server_time_ms=0)
    for hello_ms, answered_ms in ((0, 0), (7, 7), (0, 7), (9, 9), (0, 9)):
        schedule.note(replace(blank, hello_ms=hello_ms), 0, is_asked=hello_ms > 0)
        (waiting,) = schedule.due(60_000)
        assert waiting.hello_ms == answered_ms


def test_nothing_is_acknowledged_or_answered_before_the_commit(
    kit: Kit, sqlite_store: Store
) -> None:
    """A store that is locked by somebody else keeps everything waiting, and loses nothing."""
    kit.register(sqlite_store)
    wire = RecordingWire()
    worker = IntakeWorker(sqlite_store, wire, IntakeCounters(CollectorRegistry()))
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    asks = receive_block("gw-1", 1, outbox.block(1, 1, asks_receipt=True))
    with sqlite_store.write():
        worker.start()
        worker.deliver(Delivery(asks, 7, 1, 1))
        with pytest.raises(queue.Empty):
            wire.events.get(timeout=0.3)
    assert wire.events.get(timeout=WAIT_S) == ("ack", 7)
    kind, receipt = wire.events.get(timeout=WAIT_S)
    assert (kind, receipt.lanes[0].settled) == ("receipt", ((1, 1),))
    worker.stop()


class RefusingWire(RecordingWire):
    """A wire without a connection: receipts wait."""

    def publish_receipt(self, receipt: Receipt) -> bool:
        super().publish_receipt(receipt)
        return False


class CountingWorker(IntakeWorker):
    """Counts what its thread does."""

    turns = 0

    def _take_turn(self) -> None:
        self.turns += 1
        super()._take_turn()


def test_receipts_that_cannot_go_out_are_waited_with_not_in_a_circle(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenhaul_cloud.intake.worker.RECEIPTS_RETRY_S", WAIT_S)
    kit.register(sqlite_store)
    wire = RefusingWire()
    worker = CountingWorker(sqlite_store, wire, IntakeCounters(CollectorRegistry()))
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    asks = receive_block("gw-1", 1, outbox.block(1, 1, asks_receipt=True))
    worker.start()
    worker.deliver(Delivery(asks, 7, 1, 1))
    assert wire.events.get(timeout=WAIT_S)[0] == "ack"
    assert wire.events.get(timeout=WAIT_S)[0] == "receipt"
    with pytest.raises(queue.Empty):
        wire.events.get(timeout=0.3)
    assert worker.turns <= 3
    worker.stop()


class HastyWorker(IntakeWorker):
    """The wrong rule: acknowledge first, then store."""

    def _store_all(self, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            self._wire.acknowledge(one)
        super()._store_all(deliveries)


@pytest.mark.parametrize(("rule", "is_lost"), [(IntakeWorker, False), (HastyWorker, True)])
def test_acknowledging_before_the_commit_would_lose_data(
    kit: Kit,
    sqlite_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rule: type[IntakeWorker],
    is_lost: bool,
) -> None:
    """The collector stops while its store is locked: what the broker may forget must be stored."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)
    store = open_store(f"sqlite:///{tmp_path}/store.db", kit.now_ms)
    kit.register(store)
    wire, counters = RecordingWire(), IntakeCounters(CollectorRegistry())
    worker = rule(store, wire, counters)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    with sqlite_store.write():
        worker.start()
        worker.deliver(Delivery(outbox.received(1, 1), 1, 1, 1))
        with suppress(queue.Empty):
            wire.events.get(timeout=0.3)
            wire.events.put(("ack", 1))
        worker.stop()
    with store.read() as conn:
        stored = conn.execute(select(func.count()).select_from(position)).scalar_one()
    store.close()
    is_forgotten = not wire.events.empty()
    assert (is_forgotten and stored == 0) is is_lost


def test_an_outage_of_the_store_is_waited_out(
    kit: Kit, sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)  # locked is unavailable at once
    impatient = open_store(f"sqlite:///{tmp_path}/store.db", kit.now_ms)
    kit.register(impatient)
    wire, counters = RecordingWire(), IntakeCounters(CollectorRegistry())
    worker = IntakeWorker(impatient, wire, counters)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    with sqlite_store.write():
        worker.start()
        worker.deliver(Delivery(outbox.received(1, 1), 1, 1, 1))
        with pytest.raises(queue.Empty):
            wire.events.get(timeout=0.3)
    assert wire.events.get(timeout=WAIT_S) == ("ack", 1)
    worker.stop()
    impatient.close()
    (retries,) = counters.retries.collect()
    assert retries.samples[0].value > 0


def test_one_poisoned_block_is_set_aside_and_stops_nobody(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.register(sqlite_store)
    readings = [kit.position("808:1", kit.now_ms + i) for i in range(3)]
    outbox = kit.outbox(readings=readings)

    def refuse_two(blocks: Sequence[ReceivedBlock], grants: Grants) -> Inspected:
        for block in blocks:
            if block.block and block.block.header.first == 2 and not block.fault:
                raise ValueError("nobody thought of this")
        return inspect(blocks, grants)

    monkeypatch.setattr("greenhaul_cloud.store.write.inspect", refuse_two)
    wire = RecordingWire()
    worker = IntakeWorker(sqlite_store, wire, IntakeCounters(CollectorRegistry()))
    for number in (1, 2, 3):
        worker.deliver(Delivery(outbox.received(number, number), number, 1, 1))
    worker.start()
    assert [wire.events.get(timeout=WAIT_S) for _ in range(3)] == [("ack", n) for n in (1, 2, 3)]
    worker.stop()
    with sqlite_store.write() as conn:
        receipt = receipt_for(conn, "gw-1", kit.epoch, sqlite_store.store_id, kit.now_ms)
    (lane,) = receipt.lanes
    assert (lane.settled, lane.stored, lane.quarantined) == (((1, 3),), 2, 1)
    assert lane.refused == (((2, 2), "could not be stored: nobody thought of this"),)
