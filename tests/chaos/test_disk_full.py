"""A small disk that somebody else fills and empties: nothing is lost without a record.

A file system of 4 MB, an outbox that may be larger, sources of both kinds, and a neighbour that
takes space and gives it back, 500 times.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.asides import asides
from greenhaul_edge.outbox.ballast import free_size
from greenhaul_edge.outbox.chunks import Priority, chunks_from
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.schema import open_to_read
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Dropped, Position
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt
from greenhaul_protocols.series import decode_body

SEED = 808
CYCLES, SOAK_CYCLES = 500, 20_000
DISK_SIZE = 4 << 20
FAR_MS = 1_790_000_000_000


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 4 MB of our own; who is not root gets it in a name space of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", request.node.name]
        inside = subprocess.run(["unshare", "-rm", *command], capture_output=True, text=True)
        assert inside.returncode == 0, mounted.stderr + inside.stdout + inside.stderr
        pytest.skip("was run, and passed, in a name space where a tmpfs can be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Sources:
    """A terminal that keeps what is not acknowledged, and a receiver that keeps nothing."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.acknowledged: set[int] = set()
        self.given: set[int] = set()  # by the receiver: nobody but the outbox has them
        self._waiting: list[tuple[list[int], Future[None]]] = []
        self._next_ms = FAR_MS
        self.held_back = 0

    def report(self, count: int, rng: Random) -> None:
        """One message of each, of some readings."""
        times = self._times(count)
        done = self._append("808:1", times, Priority.KEPT)
        try:
            done.result(30)
            self.acknowledged |= set(times)
        except Unavailable:
            self.held_back += 1  # it will send them again; here it does not
        times = self._times(rng.randrange(1, count))
        self.given |= set(times)
        self._waiting.append((times, self._append("gw/gnss", times, Priority.EVICTABLE)))

    def refused(self) -> set[int]:
        """Readings of the receiver that were given up before they ever got to the disk."""
        return {
            one
            for times, done in self._waiting
            if done.done() and done.exception() is not None
            for one in times
        }

    def _times(self, count: int) -> list[int]:
        self._next_ms += count
        return list(range(self._next_ms - count, self._next_ms))

    def _append(self, source: str, times: list[int], priority: Priority) -> "Future[None]":
        readings = [
            Position(source=source, device_time_ms=ms, received_time_ms=ms, items=os.urandom(20))
            for ms in times
        ]
        return self._outbox.append(readings, priority=priority, is_urgent=True)


class Store:
    """Takes what the outbox holds, sometimes, and says so."""

    def __init__(self) -> None:
        self.readings: set[int] = set()
        self.dropped = RangeSet()
        self._settled, self._delivered = RangeSet(), RangeSet()
        self._revision = 0

    def drain(self, outbox: Outbox, path: Path) -> None:
        """Read everything unsettled, then settle it."""
        view = outbox.view()
        with closing(open_to_read(path)) as reader:
            for first, last in view.lanes[0].unsettled:
                for chunk in chunks_from(reader, 1, first, last):
                    self._take(chunk.body)
                    self._settled.add(chunk.first, chunk.last)
                    self._delivered.add(chunk.first, chunk.last)
        for pair in self.dropped:
            self._settled.add(*pair)
        self._revision += 1
        lane = LaneState(
            lane=1,
            settled=tuple(self._settled),
            through=self._settled.last,
            stored=self._settled.total - self.dropped.total,
            dropped=self.dropped.total,
        )
        outbox.begin_sending().result(30)
        outbox.take_receipt(
            Receipt(
                gateway="gw", epoch=view.epoch, store_id=7, revision=self._revision,
                server_time_ms=0, lanes=(lane,),
            )
        ).result(30)  # fmt: skip

    @property
    def lost(self) -> int:
        """How many readings were named as dropped and did not come in another way.

        A receipt that a full disk did not take is as good as lost: what it settled may be evicted.
        """
        gaps = [gap for pair in self.dropped for gap in self._delivered.missing(*pair)]
        return sum(last - first + 1 for first, last in gaps)

    def _take(self, body: bytes) -> None:
        for series in decode_body(body):
            for reading in series.readings():
                if isinstance(reading, Dropped):
                    assert reading.first is not None
                    assert reading.last is not None
                    self.dropped.add(reading.first, reading.last)
                else:
                    self.readings.add(reading.device_time_ms)


def neighbour(folder: Path, rng: Random) -> None:
    """Take space, or give it back."""
    file = folder / f"neighbour-{rng.randrange(3)}"
    if rng.random() < 0.45:
        file.unlink(missing_ok=True)
        return
    size = rng.choice([10_000, 300_000, free_size(folder)])
    with file.open("ab") as growing:
        try:
            os.posix_fallocate(growing.fileno(), 0, growing.tell() + size)
        except OSError:
            growing.truncate(growing.tell() + free_size(folder) // 4096 * 4096)


def run(folder: Path, cycles: int) -> None:
    """Cycles of reporting, filling, draining; then room, and an account of everything."""
    print(f"seed {SEED}")
    rng = Random(SEED)
    clock = Clock()
    clock.learn(FAR_MS, WallQuality.NTP)
    path = folder / "outbox.sqlite"
    file = open_outbox(path, "gw", 1, FAR_MS, Bounds(size_max=DISK_SIZE, grace_size_max=200_000))
    outbox = Outbox(file, clock, commit_window_s=0.0)
    outbox.start()
    sources, store = Sources(outbox), Store()
    for _ in range(cycles):
        neighbour(folder, rng)
        sources.report(rng.randrange(2, 120), rng)
        if rng.random() < 0.12:
            with suppress(Unavailable):  # the answer comes again
                store.drain(outbox, path)
    for left in folder.glob("neighbour-*"):
        left.unlink()
    deadline = time.monotonic() + 60
    while outbox.is_full or not outbox.is_at_ease:
        assert time.monotonic() < deadline, "did not recover by itself"
        store.drain(outbox, path)
    sources.report(10, rng)
    for _ in range(3):  # a drain may name what was lost meanwhile
        store.drain(outbox, path)
    outbox.close()
    lost = sources.given - store.readings
    print(
        f"{cycles} cycles: {len(store.readings)} delivered, {store.dropped.total} named as "
        f"dropped, {sources.held_back} messages held back"
    )
    assert sources.acknowledged <= store.readings, "an acknowledged reading is gone"
    assert not asides(path)
    assert sources.held_back, "the disk was never full"
    assert store.dropped.total, "nothing was ever evicted"
    assert len(lost) == store.lost, "the records name other readings than were lost"


def test_a_full_disk_loses_nothing_in_silence(small_disk: Path) -> None:
    run(small_disk, CYCLES)


@pytest.mark.soak
def test_a_disk_full_for_long_loses_nothing_in_silence(small_disk: Path) -> None:
    run(small_disk, SOAK_CYCLES)
