"""Memory of an agent does not grow with what its outbox holds."""

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from greenhaul_edge.outbox.chunks import Priority, insert_row, row_of
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.rows import save_lanes
from greenhaul_edge.outbox.schema import open_file
from greenhaul_protocols.catalogue import BatteryReading
from greenhaul_protocols.series import encode_body, to_series

NOW_MS = 1_790_000_000_000
# A row a minute, seventeen signals a second.
ROWS, YEAR_ROWS = 40_000, 525_600
MEMORY_KB_MAX, GROWTH_KB_MAX = 60 * 1024, 4 * 1024
CONFIG = """
[gateway]
id = "gw-memory"
[outbox]
size_max_mb = 2048
[uplink]
port = 1
[sources.terminals]
type = "jt808"
listen = "127.0.0.1:0"
"""


def fill(path: Path, rows: int) -> None:
    """An outbox with so many minutes of battery readings."""
    path.parent.mkdir(parents=True)
    bounds = Bounds(size_max=2 << 30)
    with closing(open_outbox(path, "gw-memory", 1, NOW_MS, bounds)) as file:
        ledger = file.ledger
    minute = [
        BatteryReading(
            source="gw-memory/can", device_time_ms=NOW_MS + second * 1000, received_time_ms=0,
            soc_percent=80.0 - second / 100, pack_voltage_v=540.0 + second % 7,
            pack_current_a=float(second * 7 % 90), cell_voltage_max_v=3.3 + second % 5 / 1000,
        )
        for second in range(60)
    ]  # fmt: skip
    body = encode_body(to_series(minute))
    with closing(open_file(path)) as connection:
        connection.execute("BEGIN")
        for _ in range(rows):
            first = ledger.lane(1).append(len(minute))
            priority = Priority.EVICTABLE
            insert_row(
                connection,
                row_of(1, minute, body, first=first, priority=priority, boot=1, now_ms=NOW_MS),
            )
        save_lanes(connection, ledger)
        connection.execute("COMMIT")


def memory_kb(folder: Path) -> int:
    """Resident memory of an agent some seconds after it has compared all that it holds."""
    config = folder / "edge.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "greenhaul_edge.main", "run", "-c", str(config)]
    with (folder / "log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "outbox/status.json").exists():
            is_starting = agent.poll() is None and time.monotonic() < deadline
            assert is_starting, (folder / "log").read_text()
            time.sleep(0.05)  # the status file is what says that it runs
        time.sleep(3)  # what it does at leisure is what might take memory
        assert json.loads((folder / "outbox/status.json").read_text())["pid"] == agent.pid
        status = Path(f"/proc/{agent.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(60)


def compare(tmp_path: Path, rows: int) -> None:
    """Nothing held, and much."""
    found = []
    for name, count in (("none", 0), ("much", rows)):
        folder = tmp_path / name
        folder.mkdir()
        if count:
            fill(folder / "outbox/outbox.sqlite", count)
        found.append(memory_kb(folder))
    print(f"{found[0]} kB with nothing held, {found[1]} kB with {rows} rows")
    assert max(found) <= MEMORY_KB_MAX
    assert found[1] - found[0] <= GROWTH_KB_MAX


def test_memory_does_not_grow_with_the_backlog(tmp_path: Path) -> None:
    compare(tmp_path, ROWS)


@pytest.mark.soak
def test_memory_is_the_same_with_a_year_of_backlog(tmp_path: Path) -> None:
    compare(tmp_path, YEAR_ROWS)
