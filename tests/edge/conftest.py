"""An outbox on a file of its own, a clock that knows UTC, and waiting without sleeping blindly."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Reading
from greenhaul_protocols.series import decode_body


@pytest.fixture
def clock() -> Clock:
    """A clock that was told the time."""
    clock = Clock()
    clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
    return clock


@pytest.fixture
def outbox_path(tmp_path: Path) -> Path:
    """Where the outbox's file lies."""
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(outbox_path: Path, clock: Clock) -> Iterator[Outbox]:
    """A running outbox of gateway gw-test with a short commit window."""
    file = OutboxFile(outbox_path, "gw-test", boot=clock.boot, now_ms=clock.now_ms())
    outbox = Outbox(file, clock, commit_window_s=0.05)
    outbox.start()
    yield outbox
    outbox.close()


Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def until() -> Until:
    """Wait until something holds; fails after half a minute."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, "did not happen within 30 s"
            time.sleep(0.005)

    return wait


ReadingsIn = Callable[[Path], list[Reading]]


@pytest.fixture
def readings_in() -> ReadingsIn:
    """Every reading an outbox's file holds, in order of its numbers."""
    from greenhaul_edge.outbox.schema import open_to_read

    def read(path: Path) -> list[Reading]:
        connection = open_to_read(path)
        try:
            rows = connection.execute("SELECT body FROM chunk ORDER BY lane, first").fetchall()
        finally:
            connection.close()
        found: list[Reading] = []
        for (body,) in rows:
            numbered = [
                pair
                for series in decode_body(body)
                for pair in zip(series.numbers, series.readings(), strict=True)
            ]
            found += [reading for _, reading in sorted(numbered, key=lambda pair: pair[0])]
        return found

    return read
