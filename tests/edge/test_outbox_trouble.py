"""The outbox when things go wrong: damage while it is in use, other versions, full disks."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.asides import ASIDES_MAX, asides, size_of
from greenhaul_edge.outbox.chunks import Batch, Priority
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.held_back import READINGS_MAX
from greenhaul_edge.outbox.keeper import Keeper
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.status import as_json, as_text, read_outbox
from greenhaul_protocols.catalogue import (
    BatteryReading,
    Dropped,
    MediaPart,
    Position,
    Reading,
    TimeQuality,
)
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.receipt import LaneState, Receipt

ReadingsIn = Callable[[Path], list[Reading]]
Until = Callable[[Callable[[], bool]], None]
VERSION_1 = Path(__file__).parent / "outboxes/version_1.sql"
NOW_MS = 1_790_000_100_000


def positions(count: int, start: int = 0, source: str = "808:1") -> list[Position]:
    """Readings whose device times tell them apart."""
    return [
        Position(source=source, device_time_ms=start + i, received_time_ms=0, speed_kmh=i % 90)
        for i in range(count)
    ]


def opened(path: Path, bounds: Bounds | None = None, live_lanes: int = 1) -> OutboxFile:
    """As the agent opens it."""
    return open_outbox(path, "gw-test", 1, NOW_MS, bounds or Bounds(), live_lanes)


def finish(file: OutboxFile, clock: Clock) -> None:
    """Do what can wait, then close."""
    with closing(Keeper(file, clock)) as keeper:
        while keeper.tidy(is_idle=True):
            pass


def times_in(readings: list[Reading]) -> set[int]:
    """Device times of what is not a record of loss."""
    return {one.device_time_ms for one in readings if not isinstance(one, Dropped)}


def records_in(readings: list[Reading]) -> list[Dropped]:
    """Records of loss."""
    return [one for one in readings if isinstance(one, Dropped)]


def make_version_1(path: Path) -> None:
    """A file as version 1 left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size=4096")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(VERSION_1.read_text())


def test_an_older_file_opens_and_goes_on(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn
) -> None:
    make_version_1(outbox_path)
    file = opened(outbox_path)
    lane = file.ledger.lane(1)
    assert (lane.next, lane.sent_mark, list(lane.settled)) == (10, 8, [(1, 5)])
    file.append([Batch(positions(2))], NOW_MS)
    assert file.map_clock(1_000, NOW_MS) == 1
    finish(file, clock)
    assert not asides(outbox_path)
    readings = readings_in(outbox_path)
    assert len(readings) == 7, "what was delivered years ago leaves the grace ring"
    assert isinstance(readings[-1], BatteryReading)


def test_rows_of_an_older_file_are_salvaged(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn
) -> None:
    make_version_1(outbox_path)
    data = bytearray(outbox_path.read_bytes())
    data[:100] = bytes(100)
    outbox_path.write_bytes(data)
    finish(opened(outbox_path), clock)
    assert len(times_in(readings_in(outbox_path))) == 9


def test_who_wants_to_know_is_told_what_was_given_up(outbox_path: Path, clock: Clock) -> None:
    outbox = Outbox(opened(outbox_path), clock, commit_window_s=0.01)
    told = []
    outbox.on_drop = lambda: told.append(outbox.view().lanes[0].next)
    outbox.start()
    outbox.append(positions(5), is_urgent=True).result(10)
    assert not told
    outbox.give_up(1, 2, 3, "damaged on the disk").result(10)
    outbox.append(positions(5, 5), is_urgent=True).result(10)
    outbox.close()
    assert told == [7]  # the record of the loss has a number, too


@pytest.mark.parametrize("key", ["epoch", "gateway"])
def test_a_text_that_is_none_is_damage(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn, key: str
) -> None:
    with closing(opened(outbox_path)) as file:
        file.append([Batch(positions(30))], NOW_MS)
    with closing(sqlite3.connect(outbox_path)) as connection:
        connection.execute("UPDATE meta SET value = CAST(x'3bff60' AS TEXT) WHERE key = ?", (key,))
        connection.commit()
    finish(opened(outbox_path), clock)
    assert times_in(readings_in(outbox_path)) == set(range(30))
    assert len(asides(outbox_path, "salvaged")) == 1


def test_a_newer_file_that_says_so_opens_as_it_is(outbox_path: Path) -> None:
    with closing(opened(outbox_path)) as file:
        file.append([Batch(positions(3))], NOW_MS)
        epoch = file.ledger.epoch
    with closing(sqlite3.connect(outbox_path)) as connection:
        connection.execute("ALTER TABLE chunk ADD COLUMN colour TEXT")
        connection.execute("PRAGMA user_version=3")
        connection.commit()
    with closing(opened(outbox_path)) as file:
        assert file.ledger.epoch == epoch
        file.append([Batch(positions(3, 3))], NOW_MS)
        assert file.ledger.lane(1).appended == 6
    assert not asides(outbox_path)


def test_a_newer_file_that_cannot_be_read_is_carried_over(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn
) -> None:
    with closing(opened(outbox_path)) as file:
        file.append([Batch(positions(30))], NOW_MS)
        epoch = file.ledger.epoch
    with closing(sqlite3.connect(outbox_path)) as connection:
        connection.execute("UPDATE meta SET value = '9', crc = NULL WHERE key = 'opens_from'")
        connection.execute("PRAGMA user_version=9")
        connection.commit()
    finish(opened(outbox_path), clock)
    readings = readings_in(outbox_path)
    assert times_in(readings) == set(range(30))
    assert [record.epoch for record in records_in(readings)] == [epoch]
    assert len(asides(outbox_path, "salvaged")) == 1


def test_a_deleted_file_is_said_to_be_lost(outbox_path: Path, readings_in: ReadingsIn) -> None:
    with closing(opened(outbox_path)) as file:
        file.append([Batch(positions(30))], NOW_MS)
        epoch = file.ledger.epoch
    outbox_path.unlink()
    opened(outbox_path).close()
    (record,) = records_in(readings_in(outbox_path))
    assert (record.epoch, record.first) == (epoch, None)
    opened(outbox_path).close()
    assert len(readings_in(outbox_path)) == 1, "it is said once"


def test_an_epoch_only_the_store_knows_is_said_to_be_lost_once(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    lanes = (LaneState(lane=1, settled=((1, 5),), through=5),)
    with closing(opened(outbox_path)) as file:
        for revision in range(3):
            file.take_receipt(
                Receipt(
                    gateway="gw-test", epoch=42, store_id=7, revision=revision, server_time_ms=0,
                    lanes=lanes,
                ),
                NOW_MS,
            )  # fmt: skip
    (record,) = readings_in(outbox_path)
    assert isinstance(record, Dropped)
    assert record.epoch == 42


def test_an_epoch_nobody_ever_wrote_is_nobody_s_loss(outbox_path: Path) -> None:
    """Whoever may publish can say hello in our name, with any epoch; the store answers."""
    with closing(opened(outbox_path)) as file:
        for epoch in range(100, 130):
            answer = Receipt(
                gateway="gw-test", epoch=epoch, store_id=7, revision=epoch, server_time_ms=0,
                lanes=(LaneState(lane=1),),
            )  # fmt: skip
            file.take_receipt(answer, NOW_MS)
        assert file.ledger.lane(1).appended == 0


def test_a_file_that_is_damaged_in_use_is_replaced(
    outbox_path: Path, clock: Clock, until: Until, readings_in: ReadingsIn
) -> None:
    outbox = Outbox(opened(outbox_path), clock, commit_window_s=0.01)
    outbox.start()
    outbox.append(positions(500), is_urgent=True).result(10)
    epoch = outbox.view().epoch
    outbox.report_damage(epoch, sqlite3.DatabaseError("malformed")).result(10)
    outbox.append(positions(10, 500), is_urgent=True).result(10)
    until(lambda: not asides(outbox_path, "damaged"))
    assert outbox.view().epoch != epoch
    outbox.report_damage(epoch, sqlite3.DatabaseError("of the one before")).result(10)
    outbox.close()
    readings = readings_in(outbox_path)
    assert times_in(readings) == set(range(510))
    assert [record.epoch for record in records_in(readings)] == [epoch]
    assert len(asides(outbox_path)) == 1


def test_salvage_goes_on_after_a_restart(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn
) -> None:
    file = opened(outbox_path)
    for start in range(0, 6_000, 10):
        file.append([Batch(positions(10, start))], NOW_MS)
    keeper = Keeper(file, clock)
    keeper.replace(sqlite3.DatabaseError("malformed"))
    assert keeper.tidy(is_idle=True)
    keeper.close()
    assert 0 < len(times_in(readings_in(outbox_path))) < 6_000
    finish(opened(outbox_path), clock)
    readings = readings_in(outbox_path)
    assert times_in(readings) == set(range(6_000))
    assert len(readings) == 6_001, "rows were appended twice"


def test_a_commit_on_a_full_disk_loses_nothing_of_a_receiver(
    outbox_path: Path, clock: Clock, until: Until, readings_in: ReadingsIn
) -> None:
    file = opened(outbox_path)
    outbox = Outbox(file, clock, commit_window_s=0.01)
    outbox.start()

    def bound_pages(pages: int) -> None:
        file._connection.execute(f"PRAGMA max_page_count={pages}")

    outbox._submit(lambda _: bound_pages(1)).result(10)
    ours = outbox.append(positions(20_000 // 4, source="gw/gnss"), priority=Priority.EVICTABLE)
    theirs = outbox.append(positions(3, 90_000), is_urgent=True)
    with pytest.raises(Unavailable):
        theirs.result(10)
    assert not ours.done()
    outbox._submit(lambda _: bound_pages(1 << 30)).result(10)
    ours.result(10)
    outbox.close()
    assert times_in(readings_in(outbox_path)) == set(range(5_000))


def test_what_memory_cannot_hold_while_the_disk_is_full_is_named(
    outbox_path: Path, clock: Clock, until: Until, readings_in: ReadingsIn
) -> None:
    file = opened(outbox_path)
    outbox = Outbox(file, clock, commit_window_s=0.01)
    outbox.start()
    outbox._submit(lambda _: file._connection.execute("PRAGMA max_page_count=1")).result(10)
    futures = []
    for start in range(0, 2 * READINGS_MAX, 1_000):
        readings = positions(1_000, start, "gw/gnss")
        futures.append(outbox.append(readings, priority=Priority.EVICTABLE, is_urgent=True))
        until(lambda: outbox._pending_readings == 0)
    outbox._submit(lambda _: file._connection.execute("PRAGMA max_page_count=999999")).result(10)
    futures[-1].result(10)
    until(lambda: outbox.is_at_ease)
    outbox.close()
    readings_found = readings_in(outbox_path)
    (record,) = records_in(readings_found)
    assert record.first is not None
    assert record.last is not None
    assert record.last - record.first + 1 + len(times_in(readings_found)) == 2 * READINGS_MAX
    assert (record.from_time_ms, record.to_time_ms) == (0, record.last - record.first)


def test_live_lanes_share_the_sources(outbox_path: Path) -> None:
    with closing(opened(outbox_path, live_lanes=4)) as file:
        batches = [Batch(positions(3, source=f"808:{n}")) for n in range(100)]
        file.append(batches, NOW_MS)
        file.append(batches, NOW_MS)
        photo = MediaPart(source="808:1", device_time_ms=0, received_time_ms=0, data=b"jpeg")
        file.append([Batch([photo])], NOW_MS)
        counts = {lane.lane: lane.appended for lane in file.ledger.lanes.values()}
        assert counts.keys() == {0, 1, 2, 3, 4}
        assert counts[0] == 1
        assert sum(counts.values()) == 601
        assert all(count % 6 == 0 for lane, count in counts.items() if lane)
    with closing(opened(outbox_path)) as file:
        assert file.ledger.lanes.keys() == {0, 1, 2, 3, 4}, "lanes no longer used still drain"


def test_age_counts_only_by_a_clock_that_is_known(outbox_path: Path) -> None:
    bounds = Bounds(age_ms_max=86_400_000)
    late_ms = NOW_MS + 10 * 86_400_000
    with closing(opened(outbox_path, bounds)) as file:
        file.append([Batch(positions(5, source="gw/gnss"), Priority.EVICTABLE)], NOW_MS)
        file.append([Batch(positions(5, 5))], NOW_MS)
        file.tidy(late_ms, is_clock_known=False)
        assert file.ledger.lane(1).appended == 10
        file.tidy(late_ms)
        assert list(file.ledger.lane(1).gone) == [(1, 5)]


def test_readings_without_a_time_are_evicted_by_name_too(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    noise = [
        Position(source="gw/b", device_time_ms=i, received_time_ms=0, items=os.urandom(200))
        for i in range(20)
    ]
    batch = Batch(noise, Priority.EVICTABLE, is_unclocked=True)
    bounds = Bounds(size_max=200_000)
    with closing(opened(outbox_path, bounds)) as file:
        for _ in range(80):
            file.append([batch], NOW_MS)
        assert file.size <= bounds.size_max
        gone = file.ledger.lane(1).gone.total
    assert 0 < gone < 1_600
    named = sum((r.last or 0) - (r.first or 0) + 1 for r in records_in(readings_in(outbox_path)))
    assert named == gone


def test_boots_that_never_learnt_the_time_stay_in_order(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    offset_ms = NOW_MS
    for boot, start in ((1, 50_000), (2, 1_000), (3, 90_000), (4, 10)):
        file = open_outbox(outbox_path, "gw-test", boot, NOW_MS, Bounds())
        with closing(file):
            file.append([Batch(positions(3, start, f"boot {boot}"), is_unclocked=True)], NOW_MS)
    with closing(open_outbox(outbox_path, "gw-test", 5, NOW_MS, Bounds())) as file:
        file.append([Batch(positions(1, NOW_MS - 10**6))], NOW_MS)
        file.map_clock(offset_ms, NOW_MS)
    bounded = [r for r in readings_in(outbox_path) if r.time_quality is TimeQuality.BOUNDED]
    assert [r.source for r in sorted(bounded, key=lambda r: r.device_time_ms)] == (
        ["boot 1"] * 3 + ["boot 2"] * 3 + ["boot 3"] * 3 + ["boot 4"] * 3
    )
    assert max(r.device_time_ms for r in bounded) <= offset_ms


def put_aside(path: Path, state: str, at_ms: int, size: int) -> Path:
    """A file as one that was damaged once, its WAL beside it."""
    aside = path.with_name(f"{path.name}.{state}-{at_ms}")
    aside.write_bytes(bytes(size))
    aside.with_name(aside.name + "-wal").write_bytes(bytes(100))
    return aside


def test_what_was_put_aside_is_part_of_the_bound(outbox_path: Path, clock: Clock) -> None:
    for at_ms in range(5):
        put_aside(outbox_path, "salvaged", at_ms, 100_000)
    finish(opened(outbox_path, Bounds(size_max=500_000)), clock)
    left = asides(outbox_path)
    assert [one.name[-1] for one in left] == ["2", "3", "4"]
    assert size_of(left) == 3 * 100_100
    assert len(list(outbox_path.parent.glob("*.salvaged-*"))) == 6, "a WAL without its database"
    status = read_outbox(outbox_path)
    assert (status.aside_files, status.aside_bytes) == (3, 3 * 100_100)
    running = {
        "pid": 7, "clock": "unset", "clock_error_ms": 4_300, "written_bytes_a_day": 12,
        "uplink": {"link": "connected", "cloud": "answers"},
        "configuration": {"fault": "edge.toml: unknown key x"}, "sources": {"g": {"fixes": 3}},
    }  # fmt: skip
    said = as_text(status, running, 500_000)
    assert "put aside as damaged: 3 files, 300300 bytes" in said
    assert "running, pid 7, clock unset (to 4300 ms)" in said
    assert "writes 12 bytes a day" in said
    assert "NOT taken, the old one runs: edge.toml: unknown key x" in said
    assert "source g: fixes 3" in said
    assert as_json(status, running, 500_000)["aside_bytes"] == 300_300
    finish(opened(outbox_path, Bounds(size_max=70_000)), clock)
    assert not asides(outbox_path)


def test_a_full_outbox_and_a_full_disk_take_the_room_of_what_was_put_aside(
    outbox_path: Path, clock: Clock
) -> None:
    bounds = Bounds(size_max=400_000)
    with closing(Keeper(opened(outbox_path, bounds), clock)) as keeper:
        put_aside(outbox_path, "salvaged", 1, 100)
        while not keeper.file.is_full:
            keeper.file.append([Batch(positions(500, keeper.file.ledger.lane(1).next))], NOW_MS)
        keeper.tidy(is_idle=True)
        assert not asides(outbox_path)
        put_aside(outbox_path, "salvaged", 2, 100)
        failure = sqlite3.OperationalError("database or disk is full")
        failure.sqlite_errorcode = sqlite3.SQLITE_FULL

        def fail_once(_: OutboxFile) -> bool:
            if asides(outbox_path):
                raise failure
            return True

        assert keeper.do(fail_once)


def test_a_disk_that_spoils_file_after_file_does_not_fill_up(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn
) -> None:
    """Also when every life of the process is too short to salvage anything at leisure."""
    epochs = []
    for life in range(2 * ASIDES_MAX):
        with closing(Keeper(opened(outbox_path), clock)) as keeper:
            epochs.append(keeper.file.ledger.epoch)
            keeper.file.append([Batch(positions(10, 100 * life))], NOW_MS)
            keeper.replace(sqlite3.DatabaseError("malformed"))
            assert len(asides(outbox_path, "damaged")) <= ASIDES_MAX
    finish(opened(outbox_path), clock)
    assert len(asides(outbox_path)) == ASIDES_MAX
    readings = readings_in(outbox_path)
    assert len(times_in(readings)) == 10 * 2 * ASIDES_MAX
    assert set(epochs) <= {one.epoch for one in records_in(readings)}
