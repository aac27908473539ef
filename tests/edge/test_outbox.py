"""The outbox on a real file: commits, numbers, room, damage, and a process that is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.chunks import CHUNK_SIZE_MAX, Batch, Priority
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.receipts import Settlement
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.unclocked import COPIES_MAX
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.status import read_outbox
from greenhaul_edge.uplink.cutter import Cutter
from greenhaul_edge.uplink.schedule import Cut
from greenhaul_protocols.block import BLOCK_SIZE_MAX, BlockHeader, unwrap_block
from greenhaul_protocols.catalogue import (
    BatteryReading,
    Dropped,
    Position,
    Reading,
    TimeQuality,
    Undecodable,
)
from greenhaul_protocols.errors import ConfigError, EncodeError, Rejected, Unavailable
from greenhaul_protocols.receipt import LaneState, Receipt
from greenhaul_protocols.series import decode_body

ReadingsIn = Callable[[Path], list[Reading]]
Until = Callable[[Callable[[], bool]], None]


def positions(count: int, start: int = 0, source: str = "808:1") -> list[Position]:
    """Readings whose device times tell them apart."""
    return [
        Position(source=source, device_time_ms=start + i, received_time_ms=0, speed_kmh=i % 90)
        for i in range(count)
    ]


def receipt(file: OutboxFile, revision: int, *settled: tuple[int, int]) -> Receipt:
    """Of store 7, for the live lane."""
    count = sum(last - first + 1 for first, last in settled)
    through = max((last for _, last in settled), default=0)
    lane = LaneState(lane=1, settled=settled, through=through, stored=count)
    return Receipt(
        gateway=file.gateway,
        epoch=file.ledger.epoch,
        store_id=7,
        revision=revision,
        server_time_ms=0,
        lanes=(lane,),
    )


def open_small(path: Path, bounds: Bounds | None = None) -> OutboxFile:
    """A file of gateway gw-test."""
    return OutboxFile(path, "gw-test", boot=1, now_ms=0, bounds=bounds)


def test_numbers_go_on_after_a_restart(outbox_path: Path) -> None:
    with closing(open_small(outbox_path)) as file:
        file.append([Batch(positions(10))], 0)
        epoch = file.ledger.epoch
    with closing(open_small(outbox_path)) as file:
        file.append([Batch(positions(5, 10))], 0)
        lane = file.ledger.lane(1)
        assert (file.ledger.epoch, lane.next, list(lane.held)) == (epoch, 16, [(1, 15)])


def test_numbers_are_never_used_again(outbox_path: Path) -> None:
    bounds = Bounds(grace_size_max=0, grace_age_ms_max=0)
    with closing(open_small(outbox_path, bounds)) as file:
        file.append([Batch(positions(10))], 0)
        file.mark_sent()
        assert isinstance(file.take_receipt(receipt(file, 1, (1, 10)), 1), Settlement)
        assert file.tidy(2)
        assert not file.ledger.lane(1).held
    with closing(open_small(outbox_path, bounds)) as file:
        file.append([Batch(positions(1, 10))], 0)
        assert list(file.ledger.lane(1).held) == [(11, 11)]


def test_a_settled_row_is_deleted_only_as_a_whole(outbox_path: Path) -> None:
    bounds = Bounds(grace_size_max=0, grace_age_ms_max=0)
    with closing(open_small(outbox_path, bounds)) as file:
        file.append([Batch(positions(10))], 0)
        file.mark_sent()
        file.take_receipt(receipt(file, 1, (1, 4), (8, 10)), 1)
        file.tidy(2)
        assert list(file.ledger.lane(1).unsettled()) == [(5, 7)]
        file.take_receipt(receipt(file, 2, (1, 10)), 3)
        file.tidy(4)
        assert not file.ledger.lane(1).held


def test_the_file_shrinks_when_readings_are_delivered(outbox_path: Path) -> None:
    bounds = Bounds(grace_size_max=0, grace_age_ms_max=0)
    with closing(open_small(outbox_path, bounds)) as file:
        file.append([Batch(positions(2_000, i * 2_000)) for i in range(30)], 0)
        file.mark_sent()
        full = file.size
        file.take_receipt(receipt(file, 1, (1, 60_000)), 1)
        while file.tidy(2):
            pass
        assert file.size < full / 5
    assert outbox_path.stat().st_size < full / 2


def test_a_reading_too_large_for_a_block_is_refused_alone(outbox: Outbox) -> None:
    huge = Undecodable(source="s", device_time_ms=0, received_time_ms=0, raw=os.urandom(70_000))
    good = outbox.append(positions(3))
    bad = outbox.append([huge])
    also_good = outbox.append(positions(3, 3), is_urgent=True)
    good.result(10)
    also_good.result(10)
    with pytest.raises(Rejected):
        bad.result(10)
    assert outbox.view().lanes[0].next == 7


def test_waiters_share_a_commit(outbox_path: Path, clock: Clock) -> None:
    outbox = Outbox(open_small(outbox_path), clock, commit_window_s=30)
    waiting = [outbox.append(positions(1, i)) for i in range(50)]
    outbox.start()
    outbox.append(positions(1, 50), is_urgent=True).result(10)
    for future in waiting:
        future.result(0)
    assert outbox.commits == 1
    outbox.close()


def test_closing_commits_what_waits(
    outbox_path: Path, clock: Clock, readings_in: ReadingsIn
) -> None:
    outbox = Outbox(open_small(outbox_path), clock, commit_window_s=30)
    outbox.start()
    waiting = outbox.append(positions(7))
    outbox.close()
    waiting.result(0)
    assert len(readings_in(outbox_path)) == 7
    with pytest.raises(Unavailable):
        outbox.append(positions(1)).result(10)


def test_a_full_outbox_evicts_what_may_be_and_names_it(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    bounds = Bounds(size_max=100_000)
    with closing(open_small(outbox_path, bounds)) as file:
        file.append([Batch(positions(500, source="808:1"))], 0)
        for i in range(60):
            batch = Batch(positions(250, 10_000 + i * 250, "gw/gnss"), Priority.EVICTABLE)
            file.append([batch], i)
        assert file.size <= bounds.size_max
        lane = file.ledger.lane(1)
        assert lane.appended == lane.unsettled().total + lane.gone.total
    records = [reading for reading in readings_in(outbox_path) if isinstance(reading, Dropped)]
    named = sum((r.last or 0) - (r.first or 0) + 1 for r in records)
    assert named == lane.gone.total > 0
    assert records[0].first == 501
    assert records[0].from_time_ms == 10_000
    kept = [r for r in readings_in(outbox_path) if r.source == "808:1"]
    assert len(kept) == 500


def test_delivered_readings_go_before_anything_is_evicted(outbox_path: Path) -> None:
    bounds = Bounds(size_max=100_000)
    with closing(open_small(outbox_path, bounds)) as file:
        for i in range(40):
            batch = Batch(positions(250, i * 250, "gw/gnss"), Priority.EVICTABLE)
            file.append([batch], i)
            file.mark_sent()
            file.take_receipt(receipt(file, i + 1, (1, file.ledger.lane(1).next - 1)), i)
        assert file.size <= bounds.size_max
        assert not file.ledger.lane(1).gone


def test_what_was_delivered_makes_room_without_anything_new(outbox_path: Path) -> None:
    """Terminals are held back while the outbox is full, so no commit of theirs makes room."""
    with closing(open_small(outbox_path)) as file:
        page_more = file.size + 4096
        file.bounds = Bounds(size_max=page_more * 10 // 9 * 4 // 3)
        while not file.is_full:
            file.append([Batch(positions(1, file.ledger.lane(1).next))], 0)
        file.mark_sent()
        file.take_receipt(receipt(file, 1, (1, file.ledger.lane(1).next - 1)), 0)
        assert file.is_full  # by pages: readings are only a part of them
        while file.tidy(0):
            pass
        assert not file.is_full


def test_readings_wait_for_their_boot_to_learn_the_time(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    offset_ms = 1_800_000_000_000
    battery = [
        BatteryReading(source="gw/b", device_time_ms=ms, received_time_ms=0, soc_percent=80.0)
        for ms in (5_000, 15_000)
    ]
    with closing(open_small(outbox_path)) as file:
        file.append([Batch(battery, Priority.EVICTABLE, is_unclocked=True)], 0)
        assert file.ledger.lane(1).appended == 0
    with closing(open_small(outbox_path)) as file:
        assert file.map_clock(offset_ms, 1) == 1
        assert file.map_clock(offset_ms, 1) == 0
    readings = readings_in(outbox_path)
    assert [reading.device_time_ms - offset_ms for reading in readings] == [5_000, 15_000]
    assert {reading.time_quality for reading in readings} == {TimeQuality.GATEWAY}


def test_a_boot_that_never_learnt_the_time_is_bounded_and_marked(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    offset_ms = 1_800_000_000_000
    with closing(open_small(outbox_path)) as file:
        file.append([Batch(positions(1, offset_ms - 100_000))], 0)
        file.append([Batch(positions(1, 7_000), is_unclocked=True)], 0)
    file = OutboxFile(outbox_path, "gw-test", boot=2, now_ms=0)
    with closing(file):
        file.map_clock(offset_ms, 1)
    before, bounded = readings_in(outbox_path)
    assert before.device_time_ms <= bounded.device_time_ms <= offset_ms
    assert bounded.time_quality is TimeQuality.BOUNDED


def test_the_memory_of_first_copies_is_bounded(outbox_path: Path) -> None:
    reading = positions(1)
    with closing(open_small(outbox_path)) as file:
        for start in range(0, COPIES_MAX + 100, 100):
            keys = [str(i).encode() for i in range(start, start + 100)]
            file.append([Batch(reading, copy_key=key) for key in keys], 0)
    with closing(sqlite3.connect(outbox_path)) as connection:
        assert connection.execute("SELECT count(*) FROM copy").fetchone()[0] <= COPIES_MAX


def test_blocks_are_cut_to_size_from_any_range(outbox_path: Path) -> None:
    noisy = [
        Position(source="s", device_time_ms=i, received_time_ms=0, items=os.urandom(60))
        for i in range(5_000)
    ]
    with closing(open_small(outbox_path)) as file, closing(Cutter(outbox_path)) as cutter:
        for at in range(0, 5_000, 250):
            file.append([Batch(noisy[at : at + 250])], 0)
        at, found = 100, list[int]()
        while at <= 4_900:
            header = BlockHeader(gateway="gw-test", epoch=1, lane=1, first=1, count=0)
            block = cutter.cut(Cut(1, at, 4_900, BLOCK_SIZE_MAX, False, False), header)
            assert block is not None
            assert len(block.payload) <= BLOCK_SIZE_MAX
            unwrapped = unwrap_block(block.payload)
            assert unwrapped.header.first == at
            for series in decode_body(unwrapped.inflate()):
                found += series.device_time_ms
            at = block.last + 1
        assert found == list(range(99, 4_900))


def test_large_readings_make_small_rows(outbox_path: Path) -> None:
    large = [
        Undecodable(source="s", device_time_ms=i, received_time_ms=0, raw=os.urandom(30_000))
        for i in range(100)
    ]
    with closing(open_small(outbox_path)) as file:
        file.append([Batch(large)], 0)
        assert file.ledger.lane(1).appended == 100
    with closing(sqlite3.connect(outbox_path)) as connection:
        sizes = connection.execute("SELECT max(length(body)), sum(count) FROM chunk").fetchone()
    assert sizes[0] <= CHUNK_SIZE_MAX
    assert sizes[1] == 100


def test_a_damaged_row_is_named_and_the_rest_delivered(
    outbox: Outbox, outbox_path: Path, until: Until
) -> None:
    for i in range(3):
        outbox.append(positions(10, i * 10), is_urgent=True).result(10)
    with closing(sqlite3.connect(outbox_path)) as connection:
        connection.execute("UPDATE chunk SET body = x'00' WHERE first = 11")
        connection.commit()
    outbox.give_up(1, 11, 20, "damaged on the disk").result(10)
    assert list(outbox.view().lanes[0].unsettled) == [(1, 10), (21, 31)]


def test_a_damaged_file_is_put_aside_and_the_agent_starts(outbox_path: Path) -> None:
    outbox_path.write_bytes(b"this was never SQLite" * 400)
    with closing(open_outbox(outbox_path, "gw-test", 1, 42, Bounds())) as file:
        file.append([Batch(positions(1))], 0)
    aside = outbox_path.with_name("outbox.sqlite.damaged-42")
    assert aside.read_bytes().startswith(b"this was")


def test_another_gateways_outbox_is_refused(outbox_path: Path) -> None:
    open_small(outbox_path).close()
    with pytest.raises(ConfigError, match="belongs to gateway 'gw-test'"):
        OutboxFile(outbox_path, "gw-other", boot=1, now_ms=0)


def test_nothing_is_kept_of_a_commit_that_failed(outbox_path: Path) -> None:
    with closing(open_small(outbox_path)) as file:
        file.append([Batch(positions(3))], 0)
        not_a_number = Position(
            source="s", device_time_ms=0, received_time_ms=0, speed_kmh=float("nan")
        )
        with pytest.raises(EncodeError):
            file.append([Batch(positions(3)), Batch([not_a_number])], 0)
        assert file.ledger.lane(1).appended == 3
        file.append([Batch(positions(3))], 0)
        assert list(file.ledger.lane(1).held) == [(1, 6)]


WRITER = """
import sys
from pathlib import Path
from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.unclocked import COPIES_MAX
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_protocols.catalogue import Position
clock = Clock()
outbox = Outbox(OutboxFile(Path(sys.argv[1]), "gw-test", boot=1, now_ms=0), clock)
outbox.start()
start = int(sys.argv[2])
while True:
    times = range(start, start + 9)
    readings = [Position(source="s", device_time_ms=ms, received_time_ms=0) for ms in times]
    outbox.append(readings, is_urgent=True).result()
    start += 9
    print(start, flush=True)
"""


def run_and_kill(script: str, path: Path, start: int, lines: int) -> int:
    """How many readings it had acknowledged when it was killed, after so many lines."""
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(start)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    with writer.stdout:
        printed = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        printed += writer.stdout.read().split()
    writer.wait()
    return max(start, *map(int, printed))


def test_a_killed_process_loses_nothing_it_acknowledged(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    acknowledged = 0
    for kill in range(4):
        acknowledged = run_and_kill(WRITER, outbox_path, acknowledged, 20 + 13 * kill)
        held = {reading.device_time_ms for reading in readings_in(outbox_path)}
        assert held >= set(range(acknowledged))
    status = read_outbox(outbox_path)
    assert status.is_balanced
    assert status.epochs[0].lanes[0].appended == status.held_readings


def test_acknowledging_before_the_commit_would_be_caught(
    outbox_path: Path, readings_in: ReadingsIn
) -> None:
    hasty = WRITER.replace("is_urgent=True).result()", "is_urgent=False)")
    acknowledged = run_and_kill(hasty, outbox_path, 0, 50)
    held = {reading.device_time_ms for reading in readings_in(outbox_path)}
    assert not held >= set(range(acknowledged))


def test_a_hung_disk_is_not_waited_for_in_memory(outbox_path: Path, clock: Clock) -> None:
    outbox = Outbox(open_small(outbox_path), clock)  # its writer does not run
    futures = [outbox.append(positions(5_000)) for _ in range(6)]
    refused = [future for future in futures if future.done()]
    assert len(refused) == 2
    assert all(isinstance(future.exception(), Unavailable) for future in refused)
    outbox.start()
    outbox.close()


def test_commits_do_not_wait_for_the_window_when_asked(outbox_path: Path, clock: Clock) -> None:
    outbox = Outbox(open_small(outbox_path), clock, commit_window_s=60)
    outbox.start()
    begun = time.monotonic()
    for i in range(20):
        outbox.append(positions(1, i), is_urgent=True).result(30)
    assert time.monotonic() - begun < 30  # one window would be a minute
    outbox.close()
