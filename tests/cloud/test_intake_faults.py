"""What goes wrong between a block and its commit is waited out; nothing is lost or set aside."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, text
from tests.cloud.recording_wire import WAIT_S, RecordingWire
from tests.cloud.test_derive_runner import REFOLD, Scene, stay

from greenhaul_cloud.derive.worker import DeriveWorker
from greenhaul_cloud.intake import schedule
from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.worker import Delivery, IntakeWorker
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.inspection import receive_block
from greenhaul_cloud.store.settling import receipt_for
from greenhaul_cloud.store.tables import gateway, gateway_epoch, position, quarantine
from greenhaul_protocols.block import BlockHeader, wrap_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection
    from tests.cloud.conftest import Kit

    from greenhaul_protocols.receipt import LaneState


class Intake:
    """A worker on a store, whose broker only takes notes."""

    def __init__(self, store: Store, **more: Any) -> None:
        self.store, self.wire, self.registry = store, RecordingWire(), CollectorRegistry()
        self.worker = IntakeWorker(store, self.wire, IntakeCounters(self.registry), **more)
        self.worker.start()

    def give(self, number: int, gateway_id: str, raw: bytes) -> None:
        """A block from the broker."""
        self.worker.deliver(Delivery(receive_block(gateway_id, 1, raw), number, 1, 1))

    def next(self, kind: str) -> Any:
        """The next acknowledgement, or receipt."""
        while (event := self.wire.events.get(timeout=WAIT_S))[0] != kind:
            pass
        return event[1]

    @property
    def retries(self) -> float:
        """Flushes the store could not take."""
        return self.registry.get_sample_value("greenhaul_intake_store_retries_total") or 0


@pytest.fixture
def start(store: Store) -> Iterator[Callable[..., Intake]]:
    """Intakes on a store of each engine."""
    made: list[Intake] = []

    def begin(on: Store = store, **more: Any) -> Intake:
        made.append(Intake(on, **more))
        return made[-1]

    yield begin
    for one in made:
        one.worker.stop()


def lane_of(kit: Kit, store: Store) -> LaneState:
    """What a receipt says of the kit's gateway."""
    with store.write() as conn:
        (lane,) = receipt_for(conn, "gw-1", kit.epoch, store.store_id, kit.now_ms).lanes
    return lane


@contextmanager
def role_setting(store: Store, setting: str) -> Iterator[None]:
    """Sessions that begin now have a setting they did not ask for."""
    url = store._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    name = setting.partition("=")[0]
    with psycopg.connect(
        url, autocommit=True, options="-c default_transaction_read_only=off"
    ) as session:
        session.execute(f"ALTER ROLE CURRENT_USER SET {setting}".encode())
        store._engine.dispose()
        try:
            yield
        finally:
            session.execute(f"ALTER ROLE CURRENT_USER RESET {name}".encode())
            store._engine.dispose()


def await_waiting(conn: Connection) -> None:
    """Returns when another session waits for a lock."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    for _ in range(WAIT_S * 100):
        if conn.execute(query).scalar_one():
            return
        conn.execute(text("SELECT pg_stat_clear_snapshot(), pg_sleep(0.01)"))
    pytest.fail("nobody waits")


def test_a_deadlock_is_tried_again(
    kit: Kit, migrated_postgres: Store, store: Store, start: Callable[..., Intake]
) -> None:
    """Somebody takes rows in another order: the flush is the one that is given up."""
    if store is not migrated_postgres:
        pytest.skip("one writer at a time cannot wait in a circle")
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms + i) for i in range(4)])
    intake = start()
    intake.give(1, "gw-1", outbox.block(1, 2))
    intake.next("ack")
    with store.write() as conn:
        conn.execute(text("SET LOCAL deadlock_timeout = '1min'"))  # so that the other one gives up
        conn.execute(select(gateway).with_for_update())
        intake.give(2, "gw-1", outbox.block(3, 4))
        await_waiting(conn)
        conn.execute(select(gateway_epoch).with_for_update())
    intake.next("ack")
    assert intake.retries >= 1
    assert intake.worker.fault is None
    lane = lane_of(kit, store)
    assert (lane.settled, lane.stored, lane.quarantined) == (((1, 4),), 4, 0)


def test_a_failed_serialization_is_tried_again(
    kit: Kit, migrated_postgres: Store, store: Store, start: Callable[..., Intake]
) -> None:
    if store is not migrated_postgres:
        pytest.skip("one writer at a time is serial")
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms + i) for i in range(4)])
    with role_setting(store, "default_transaction_isolation='repeatable read'"):
        intake = start()
        intake.give(1, "gw-1", outbox.block(1, 2))
        intake.next("ack")
        with store.write() as conn:
            conn.execute(text("UPDATE gateway_epoch SET revision = revision + 1"))
            intake.give(2, "gw-1", outbox.block(3, 4))
            await_waiting(conn)
        intake.next("ack")
        assert intake.retries >= 1
        intake.worker.stop()
    lane = lane_of(kit, store)
    assert (lane.settled, lane.stored, lane.quarantined) == (((1, 4),), 4, 0)


def test_a_database_that_only_reads_for_a_while_sets_nothing_aside(
    kit: Kit, migrated_postgres: Store, store: Store, start: Callable[..., Intake]
) -> None:
    """As the old primary does after a failover."""
    if store is not migrated_postgres:
        pytest.skip("SQLite has no standby")
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    intake = start()
    with role_setting(store, "default_transaction_read_only=on"):
        intake.give(1, "gw-1", outbox.block(1, 1))
        while not intake.retries:
            threading.Event().wait(0.01)  # the worker's own pace
        assert intake.worker.fault is not None
    assert intake.next("ack") == 1
    lane = lane_of(kit, store)
    assert (lane.stored, lane.quarantined) == (1, 0)


def test_a_database_of_another_version_sets_nothing_aside(
    kit: Kit, store: Store, start: Callable[..., Intake]
) -> None:
    """Migrated by a newer collector, or with a right taken away: not these blocks' fault."""
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms)])
    intake = start()
    with store.write() as conn:
        conn.execute(text("ALTER TABLE latest RENAME TO newest"))
    try:
        intake.give(1, "gw-1", outbox.block(1, 1))
        while not intake.retries:
            threading.Event().wait(0.01)  # the worker's own pace
        assert intake.worker.fault is not None
    finally:
        with store.write() as conn:
            conn.execute(text("ALTER TABLE newest RENAME TO latest"))
    assert intake.next("ack") == 1
    lane = lane_of(kit, store)
    assert (lane.stored, lane.quarantined) == (1, 0)


def test_poison_is_settled_and_kept_and_damage_settles_nothing(
    kit: Kit, store: Store, start: Callable[..., Intake]
) -> None:
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms + i) for i in range(4)])
    header = BlockHeader(gateway="gw-1", epoch=kit.epoch, lane=1, first=2, count=2)
    poison = wrap_block(header, b"nobody can read this")
    damaged = bytearray(outbox.block(4, 4))
    damaged[-1] ^= 1
    intake = start()
    for number, raw in enumerate((outbox.block(1, 1), poison, bytes(damaged)), 1):
        intake.give(number, "gw-1", raw)
    assert [intake.next("ack") for _ in range(3)] == [1, 2, 3]
    lane = lane_of(kit, store)
    assert (lane.settled, lane.stored, lane.quarantined) == (((1, 3),), 1, 2)
    with store.read() as conn:
        rows = conn.execute(select(quarantine).order_by(quarantine.c.id)).all()
        assert conn.execute(select(func.count()).select_from(position)).scalar_one() == 1
    assert {bytes(row.raw) for row in rows} == {poison, bytes(damaged)}
    assert all(row.reason for row in rows)


def test_receipts_are_due_by_a_clock_that_does_not_jump(
    kit: Kit, store: Store, start: Callable[..., Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "LIVE_MS", 50)
    kit.register(store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms + i) for i in range(3)])
    clock = [kit.now_ms]
    intake = start(now_ms=lambda: clock[0])
    revisions = []
    for number, jump_ms in enumerate((0, -86_400_000, 10 * 86_400_000), 1):
        clock[0] += jump_ms
        intake.give(number, "gw-1", outbox.block(number, number))
        revisions.append(intake.next("receipt").revision)
    assert revisions == sorted(set(revisions))
    assert intake.retries == 0


def test_a_fold_that_raises_stops_neither_intake_nor_readiness(
    kit: Kit, store: Store, start: Callable[..., Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(kit, store)
    scene.drive(*stay(0, 120))
    turned = threading.Event()

    def fail(*_args: Any, **_more: Any) -> None:
        turned.set()
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(REFOLD, fail)
    registry = CollectorRegistry()
    derive = DeriveWorker(store, registry, now_ms=lambda: kit.now_ms + 10**8)
    intake = start(on_stored=derive.wake)
    derive.start()
    assert turned.wait(WAIT_S)
    more = [kit.position("808:1", kit.now_ms + 10**6 + i) for i in range(5)]
    outbox = kit.outbox(epoch=kit.epoch + 1, readings=more)
    for number in range(1, 6):
        turned.clear()
        intake.give(number, "gw-1", outbox.block(number, number))
        assert intake.next("ack") == number
        assert turned.wait(WAIT_S), "new data are a reason to try again"
    derive.stop()
    assert derive.fault is None
    assert registry.get_sample_value("greenhaul_derive_set_aside_vehicles") == 1


def test_a_full_queue_makes_the_broker_wait_instead_of_sending_all_again(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers send more than was agreed; nothing of it is refused while the store goes on."""
    monkeypatch.setattr("greenhaul_cloud.intake.worker.QUEUE_MAX", 4)
    kit.register(sqlite_store)
    outbox = kit.outbox(readings=[kit.position("808:1", kit.now_ms + i) for i in range(40)])
    intake = Intake(sqlite_store)
    for number in range(1, 41):
        raw = outbox.block(number, number)
        one = Delivery(receive_block("gw-1", 1, raw), number, 1, 1)
        assert intake.worker.deliver(one)
    assert [intake.next("ack") for _ in range(40)] == list(range(1, 41))
    monkeypatch.setattr("greenhaul_cloud.intake.worker.ROOM_S_MAX", 0.1)
    with sqlite_store.write():
        is_refused = any(not intake.worker.deliver(one) for _ in range(40))
    assert is_refused, "a store that takes nothing for long ends the connection"
    assert intake.next("ack") == 40
    intake.worker.stop()
