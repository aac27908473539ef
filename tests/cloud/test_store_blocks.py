"""What a flush keeps, counts and settles; on every engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from greenhaul_cloud.store import settling
from greenhaul_cloud.store.faults import Cause, Fault
from greenhaul_cloud.store.inspection import RAW_SIZE_MAX, receive_block
from greenhaul_cloud.store.quarantine import DAMAGED_HELD_MAX
from greenhaul_cloud.store.settling import Ledger, Outcome, receipt_for
from greenhaul_cloud.store.tables import dirty, latest, position, quarantine, readings, source
from greenhaul_cloud.store.write import store_blocks
from greenhaul_protocols.block import BLOCK_SIZE_MAX, BlockHeader, wrap_block
from greenhaul_protocols.catalogue import KIND_OF, BatteryReading, Dropped, Event, TimeQuality
from greenhaul_protocols.series import Series, encode_body, to_series
from greenhaul_protocols.uplink_pb2 import Body

if TYPE_CHECKING:
    import pytest
    from tests.cloud.conftest import Kit

    from greenhaul_cloud.store.engine import Store
    from greenhaul_protocols.receipt import LaneState

SOURCE = "808:13912345678"


def count(store: Store, table: Any = position) -> int:
    with store.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def lane_of(store: Store, kit: Kit, lane: int = 1, epoch: int | None = None) -> LaneState:
    with store.write() as conn:
        receipt = receipt_for(conn, "gw-1", epoch or kit.epoch, store.store_id, kit.now_ms)
    return next(one for one in receipt.lanes if one.lane == lane)


def counters(lane: LaneState) -> tuple[int, int, int, int]:
    return lane.stored, lane.duplicate, lane.quarantined, lane.dropped


def positions(kit: Kit, size: int, source_name: str = SOURCE) -> list[Any]:
    return [kit.position(source_name, kit.now_ms + i * 1000) for i in range(size)]


def raw_block(kit: Kit, series: list[Series], count: int, first: int = 1) -> bytes:
    header = BlockHeader(gateway="gw-1", epoch=kit.epoch, lane=1, first=first, count=count)
    return wrap_block(header, encode_body(series))


def test_values_come_back_as_they_were_said(kit: Kit, store: Store) -> None:
    kit.register(store)
    said = [
        kit.position(SOURCE, kit.now_ms, speed_kmh=36.5, altitude_m=-3.2, status=3, items=b"\1\0"),
        BatteryReading(
            source=SOURCE,
            device_time_ms=kit.now_ms,
            received_time_ms=kit.now_ms + 5,
            soc_percent=81.4,
            is_plugged=False,
            time_quality=TimeQuality.GATEWAY,
        ),
        Event(
            source=SOURCE,
            device_time_ms=-62_135_596_800_000,
            received_time_ms=kit.now_ms,
            code="点火\0",
        ),
    ]
    store_blocks(store, [kit.outbox(readings=said).received(1, 3)], kit.now_ms + 9)
    with store.read() as conn:
        row = conn.execute(select(position)).one()
        assert (row.device_time, row.stored_time) == (kit.now_ms, kit.now_ms + 9)
        assert (row.latitude_deg, row.speed_kmh, row.altitude_m) == (32.99, 36.5, -3.2)
        assert (row.status, row.items, row.heading_deg) == (3, b"\1\0", None)
        assert row.is_located is True
        row = conn.execute(select(readings[2])).one()
        assert (row.soc_percent, row.is_plugged, row.time_quality) == (81.4, False, 1)
        assert row.received_time == kit.now_ms + 5
        row = conn.execute(select(readings[5])).one()
        assert (row.device_time, row.code) == (-62_135_596_800_000, "点火\ufffd")


def test_each_number_is_counted_once_by_what_first_settled_it(kit: Kit, store: Store) -> None:
    kit.register(store)
    said = positions(kit, 20)
    outbox = kit.outbox(readings=said)
    store_blocks(store, [outbox.received(1, 8), outbox.received(5, 12)], kit.now_ms)
    store_blocks(store, [outbox.received(1, 20)], kit.now_ms)
    lane = lane_of(store, kit)
    assert (lane.settled, counters(lane)) == (((1, 20),), (20, 0, 0, 0))
    assert count(store) == 20
    again = kit.outbox(readings=[*said, said[3]])  # the same reading under a number of its own
    result = store_blocks(store, [again.received(20, 21)], kit.now_ms)
    assert (result.stored, result.duplicate) == (0, 1)
    assert counters(lane_of(store, kit)) == (20, 1, 0, 0)


def test_doubles_within_one_flush_are_stored_once(kit: Kit, store: Store) -> None:
    kit.register(store)
    said = positions(kit, 3)
    result = store_blocks(store, [kit.outbox(readings=[*said, *said]).received(1, 6)], kit.now_ms)
    assert (result.stored, result.duplicate) == (3, 3)
    assert count(store) == 3


def test_readings_are_stored_by_identity_whatever_their_numbers_say(kit: Kit, store: Store) -> None:
    kit.register(store)
    store_blocks(store, [kit.outbox(readings=positions(kit, 5)).received(1, 5)], kit.now_ms)
    others = positions(kit, 5, "808:2")
    store_blocks(store, [kit.outbox(readings=others).received(1, 5)], kit.now_ms)
    assert count(store) == 10
    assert counters(lane_of(store, kit)) == (5, 0, 0, 0)


def test_lanes_and_epochs_are_settled_apart(kit: Kit, store: Store) -> None:
    kit.register(store)
    said = positions(kit, 4)
    other = kit.outbox(readings=said, lane=2)
    newer = kit.outbox(readings=said, epoch=7)
    blocks = [kit.outbox(readings=said).received(1, 4), other.received(1, 2), newer.received(3, 4)]
    result = store_blocks(store, blocks, kit.now_ms)
    assert {key: len(r.lanes) for key, r in result.receipts.items()} == {
        ("gw-1", kit.epoch): 2,
        ("gw-1", 7): 1,
    }
    assert lane_of(store, kit, 2).settled == ((1, 2),)
    assert lane_of(store, kit, 1, 7).settled == ((3, 4),)


def test_revisions_grow_though_the_clock_stands_or_goes_back(kit: Kit, store: Store) -> None:
    kit.register(store)
    outbox = kit.outbox(readings=positions(kit, 2))
    revisions = []
    for now_ms in (kit.now_ms, kit.now_ms, kit.now_ms - 5000, kit.now_ms + 5000):
        result = store_blocks(store, [outbox.received(1, 2)], now_ms)
        revisions.append(result.receipts["gw-1", kit.epoch].revision)
    assert revisions == [kit.now_ms, kit.now_ms + 1, kit.now_ms + 2, kit.now_ms + 5000]


def test_a_hello_is_answered_from_the_store(kit: Kit, store: Store) -> None:
    kit.register(store)
    outbox = kit.outbox(readings=positions(kit, 3))
    store_blocks(store, [outbox.received(1, 3)], kit.now_ms)
    hello = receive_block("gw-1", 1, outbox.hello())
    receipt = store_blocks(store, [hello], kit.now_ms + 10).receipts["gw-1", kit.epoch]
    assert receipt.lanes[0].settled == ((1, 3),)
    assert (receipt.server_time_ms, receipt.store_id) == (kit.now_ms + 10, store.store_id)


def test_dropped_numbers_are_settled_in_the_epoch_they_name(kit: Kit, store: Store) -> None:
    kit.register(store)

    def dropped(epoch: int, first: int | None, last: int | None) -> Dropped:
        return Dropped(
            source="gw-1/outbox",
            device_time_ms=kit.now_ms,
            received_time_ms=kit.now_ms,
            epoch=epoch,
            lane=1,
            first=first,
            last=last,
            reason="full",
        )

    signed = kit.epoch - 2**64
    said = [
        *positions(kit, 2),
        dropped(signed, 2, 9),
        dropped(5, 1, 3),
        dropped(signed, None, None),  # an unknown count
    ]
    outbox = kit.outbox(readings=[*said[:2], *positions(kit, 9)[2:], *said[2:]])
    store_blocks(store, [outbox.received(1, 2)], kit.now_ms)
    result = store_blocks(store, [outbox.received(10, 12)], kit.now_ms)
    assert (result.stored, result.dropped) == (3, 10)
    lane = lane_of(store, kit)
    assert (lane.settled, counters(lane)) == (((1, 12),), (5, 0, 0, 7))
    assert counters(lane_of(store, kit, 1, 5)) == (0, 0, 0, 3)
    again = store_blocks(store, [outbox.received(10, 12)], kit.now_ms)
    assert (again.stored, again.dropped) == (0, 0)


def test_a_flipped_byte_settles_nothing_and_is_kept(kit: Kit, store: Store) -> None:
    kit.register(store)
    raw = bytearray(kit.outbox(readings=positions(kit, 2)).block(1, 2))
    raw[-1] ^= 1
    result = store_blocks(store, [receive_block("gw-1", 1, bytes(raw))], kit.now_ms)
    assert (result.damaged, result.stored, result.receipts) == (1, 0, {})
    with store.read() as conn:
        kept = conn.execute(select(quarantine)).one()
    assert (kept.raw, kept.first, kept.reason) == (bytes(raw), 0, "CRC does not fit")


def test_a_block_on_anothers_topic_settles_nothing(kit: Kit, store: Store) -> None:
    kit.register(store)
    kit.register(store, "gw-2")
    raw = kit.outbox(readings=positions(kit, 2)).block(1, 2)
    for gateway_id, lane in (("gw-2", 1), ("gw-1", 2)):
        result = store_blocks(store, [receive_block(gateway_id, lane, raw)], kit.now_ms)
        assert (result.damaged, result.receipts) == (1, {})
    assert count(store) == 0


def test_damaged_blocks_are_kept_within_bounds(kit: Kit, sqlite_store: Store) -> None:
    kit.register(sqlite_store)
    rubbish = [receive_block("gw-1", 1, b"rubbish %d" % i) for i in range(DAMAGED_HELD_MAX + 20)]
    store_blocks(sqlite_store, rubbish, kit.now_ms)
    with sqlite_store.read() as conn:
        kept = conn.execute(select(quarantine.c.raw).order_by(quarantine.c.id)).scalars().all()
    assert len(kept) == DAMAGED_HELD_MAX
    assert kept[-1] == rubbish[-1].raw


def test_of_what_is_larger_than_any_block_a_piece_is_kept() -> None:
    received = receive_block("gw-1", 1, bytes(RAW_SIZE_MAX + 1))
    assert (received.block, len(received.raw)) == (None, BLOCK_SIZE_MAX)
    assert str(received.fault) == f"{RAW_SIZE_MAX + 1} bytes; a block has 65536 at most"


def test_a_gateway_nobody_knows_gets_nothing(kit: Kit, store: Store) -> None:
    result = store_blocks(
        store, [kit.outbox(readings=positions(kit, 2)).received(1, 2)], kit.now_ms
    )
    assert (result.unregistered, result.receipts) == ({"gw-1"}, {})
    assert (count(store), count(store, quarantine)) == (0, 0)


def test_what_contradicts_itself_is_quarantined_whole_and_settled(kit: Kit, store: Store) -> None:
    kit.register(store)
    series = to_series(positions(kit, 3))
    for first, numbers in ((1, [0, 1, 3]), (4, [0, 2, 3])):
        series[0].numbers = numbers
        raw = raw_block(kit, series, 3, first)
        store_blocks(store, [receive_block("gw-1", 1, raw)] * 2, kit.now_ms)
    lane = lane_of(store, kit)
    assert (lane.settled, counters(lane)) == (((1, 6),), (0, 0, 6, 0))
    assert [pair for pair, _ in lane.refused] == [(1, 3), (4, 6)]
    assert (count(store), count(store, quarantine)) == (0, 2)


def test_one_bad_body_does_not_keep_the_others_out(kit: Kit, store: Store) -> None:
    kit.register(store)
    said = positions(kit, 4)
    body = Body.FromString(encode_body(to_series(said[1:2])))
    body.series[0].columns[0].values.append(1)  # parses, but its columns make no sense
    header = BlockHeader(gateway="gw-1", epoch=kit.epoch, lane=1, first=2, count=1)
    bad = receive_block("gw-1", 1, wrap_block(header, body.SerializeToString()))
    outbox = kit.outbox(readings=said)
    blocks = [outbox.received(1, 1), bad, outbox.received(3, 4)]
    result = store_blocks(store, blocks, kit.now_ms)
    assert (result.stored, result.quarantined) == (3, 1)


def test_one_bad_series_does_not_keep_the_others_out(kit: Kit, store: Store) -> None:
    kit.register(store, sources=("808:1*",))
    good = positions(kit, 3)
    stranger = positions(kit, 1, "808:2999")
    own = positions(kit, 1, "gw-1/gnss")
    series = to_series([*good, *stranger, *own])
    series.append(Series("808:1", 99, 0, [5], [kit.now_ms], [kit.now_ms], [0], {1: [7]}))
    series.append(Series("808:1", 1, 0, [6], [2**60], [kit.now_ms], [0], {1: [7]}))
    series.append(Series("808:1", 1, 0, [7], [kit.now_ms], [kit.now_ms], [0], {1: [b"x"]}))
    series.append(Series("808:1\n", 1, 0, [8], [kit.now_ms], [kit.now_ms], [0], {1: [7]}))
    series.append(Series("808:1\0", 1, 0, [9], [kit.now_ms], [kit.now_ms], [0], {1: [7]}))
    result = store_blocks(store, [receive_block("gw-1", 1, raw_block(kit, series, 10))], kit.now_ms)
    assert (result.stored, result.quarantined) == (4, 6)
    with store.read() as conn:
        reasons = conn.execute(select(quarantine.c.reason).order_by(quarantine.c.first)).scalars()
        assert list(reasons) == [
            "source 808:2999 is not granted to gw-1",
            "kind 99 is not in the catalogue",
            "a time lies outside the years 1 to 9999",
            "field 1 (latitude_deg) is of another type",
            *["the source's name has control characters"] * 2,
        ]


def test_fields_of_a_newer_catalogue_are_kept_and_tell_readings_apart(
    kit: Kit, store: Store
) -> None:
    kit.register(store)
    times = [kit.now_ms] * 3
    columns = {1: [329_900_000] * 3, 200: [5, None, 6], 201: [b"\xff", None, b"\xff"]}
    plain = Series(SOURCE, 1, 0, [0, 1, 2], times, times, [0] * 3, columns)  # type: ignore[arg-type]
    other = replace(plain, source="808:2", columns={200: [b"x", b"y", b"z"]})
    other.numbers = [3, 4, 5]
    raw = raw_block(kit, [plain, other], 6)
    assert store_blocks(store, [receive_block("gw-1", 1, raw)], kit.now_ms).stored == 6
    with store.read() as conn:
        extras = {row.extra for row in conn.execute(select(position.c.extra))}
    assert {None, '{"200": 5, "201": "ff"}', '{"200": "79"}'} <= extras


def test_a_poisoned_block_can_be_set_aside_whole(kit: Kit, store: Store) -> None:
    kit.register(store)
    fault = Fault(Cause.REFUSED, "no reason")
    block = replace(kit.outbox(readings=positions(kit, 2)).received(1, 2), fault=fault)
    result = store_blocks(store, [block], kit.now_ms)
    assert (result.quarantined, result.stored) == (2, 0)


def test_latest_is_the_newest_fix_that_can_be_believed(kit: Kit, store: Store) -> None:
    kit.register(store)
    at = kit.now_ms
    said = [
        kit.position(SOURCE, at + 1000, speed_kmh=10.0),
        kit.position(SOURCE, at + 9000, is_located=False),
        kit.position(SOURCE, at + 9000, time_quality=TimeQuality.UNUSABLE),
        kit.position(SOURCE, at + 9000, latitude_deg=None),
        kit.position(SOURCE, at, speed_kmh=99.0),
    ]
    outbox = kit.outbox(readings=said)
    store_blocks(store, [outbox.received(1, 4)], at)
    store_blocks(store, [outbox.received(5, 5)], at)
    with store.read() as conn:
        row = conn.execute(select(latest)).one()
        assert (row.device_time, row.speed_kmh) == (at + 1000, 10.0)
        mark = conn.execute(select(dirty)).one()
        assert (mark.from_time, mark.to_time) == (at - 30_000, at + 31_000)
        assert conn.execute(select(source.c.gateway_id)).scalar_one() == "gw-1"


def test_what_is_known_already_leaves_no_mark(kit: Kit, store: Store) -> None:
    kit.register(store)
    outbox = kit.outbox(readings=positions(kit, 2))
    assert store_blocks(store, [outbox.received(1, 2)], kit.now_ms).marked == 1
    assert store_blocks(store, [outbox.received(1, 2)], kit.now_ms).marked == 0


def test_more_holes_than_are_kept_stay_the_gateways_to_send_again(
    kit: Kit, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RANGES_HELD_MAX", 3)
    kit.register(sqlite_store)
    outbox = kit.outbox(readings=positions(kit, 9))
    for number in (1, 3, 5, 7):
        store_blocks(sqlite_store, [outbox.received(number, number)], kit.now_ms)
    lane = lane_of(sqlite_store, kit)
    assert (lane.settled, counters(lane)) == (((1, 1), (3, 3), (5, 5)), (3, 0, 0, 0))
    assert count(sqlite_store) == 4
    store_blocks(sqlite_store, [outbox.received(2, 2)], kit.now_ms)
    store_blocks(sqlite_store, [outbox.received(7, 7)], kit.now_ms)
    assert counters(lane_of(sqlite_store, kit)) == (4, 1, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12), st.integers(0, 3)), max_size=30))
def test_the_conservation_law_holds_for_any_sequence(steps: list[tuple[int, int, int]]) -> None:
    import numpy as np

    ledger, settled = Ledger(), set[int]()
    for first, more, kind in steps:
        if kind == Outcome.DROPPED:
            ledger.drop(first, first + more)
        else:
            ledger.settle(first, np.full(more + 1, kind, np.int8))
        settled |= set(range(first, first + more + 1))
        assert sum(ledger.counts) == ledger.settled.total == len(settled)


def test_kinds_are_stored_each_in_its_table() -> None:
    assert {kind.number for kind in KIND_OF.values()} == set(readings)
