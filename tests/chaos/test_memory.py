"""Memory of an agent with every input on does not grow with what its outbox holds.

GREENHAUL_EDGE_PYTHON names the Python of a clean `[edge]` install to measure; by default this one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.chaos.secure_broker import COLLECTOR, PASSWORD, SecureBroker
from tests.conftest import free_port
from tests.edge.terminal_peer import Terminal, report

from greenhaul_edge.outbox.chunks import Priority, insert_row, row_of
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.rows import save_lanes
from greenhaul_edge.outbox.schema import open_file
from greenhaul_protocols.block import unwrap_block
from greenhaul_protocols.catalogue import BatteryReading
from greenhaul_protocols.receipt import Receipt, encode_receipt
from greenhaul_protocols.series import encode_body, to_series
from greenhaul_protocols.times import to_datetime
from greenhaul_protocols.topics import receipt_topic

NOW_MS = 1_790_000_000_000
# A row a minute, seventeen signals a second.
ROWS, YEAR_ROWS = 40_000, 525_600
# Growth: what SQLite keeps of a large file, 2 MB a connection, and a block being cut.
MEMORY_KB_MAX, GROWTH_KB_MAX = 60 * 1024, 7 * 1024
# While it is looked at: what it does at leisure is what might take memory.
WATCHED_S = 4
CONFIG = """
[gateway]
id = "gw-a"
[outbox]
size_max_mb = 2048
[uplink]
port = {broker}
tls = true
ca_file = "{ca}"
username = "gw-a"
password_file = "password"
[sources.terminals]
type = "jt808"
listen = "127.0.0.1:{terminals}"
[sources.gnss]
type = "gnss"
port = "ttyGNSS"
baud = 9600
[sources.battery]
type = "can"
interface = "slcan"
channel = "{folder}/ttyCAN"
mapping = "truck.toml"
cadence_s = 1.0
"""
# What other extras brought, and python-can would load beside itself, is not there.
AS_CLEAN = """
import runpy, sys
sys.modules.update(dict.fromkeys(["asammdf", "numpy", "pandas"]))
runpy.run_module("greenhaul_edge.main", run_name="__main__", alter_sys=True)
"""
DBC = """VERSION ""

BS_:

BU_: X

BO_ 2147483904 Pack: 8 X
 SG_ Voltage : 0|16@1+ (0.1,0) [0|0] "V" X
"""
MAPPING = """dbc = "truck.dbc"
[[signals]]
signal = "Pack.Voltage"
field = "battery.pack_voltage_v"
"""


def fill(path: Path, rows: int) -> None:
    """An outbox with so many minutes of battery readings."""
    path.parent.mkdir(parents=True)
    bounds = Bounds(size_max=2 << 30)
    with closing(open_outbox(path, "gw-a", 1, NOW_MS, bounds)) as file:
        ledger = file.ledger
    minute = [
        BatteryReading(
            source="gw-a/can", device_time_ms=NOW_MS + second * 1000, received_time_ms=0,
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


class Answering:
    """A collector that answers a hello, so that sending begins, and nothing else."""

    def __init__(self, broker: SecureBroker) -> None:
        self.blocks = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(COLLECTOR, PASSWORD.format(COLLECTOR))
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", broker.local_port)
        self._client.subscribe("gh/v1/up/#", 1)
        self._client.loop_start()

    def _take(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        header = unwrap_block(bytes(message.payload)).header
        self.blocks += bool(header.count)
        if not header.count:
            receipt = Receipt(
                gateway=header.gateway, epoch=header.epoch, store_id=7,
                revision=time.time_ns() // 1_000_000, server_time_ms=time.time_ns() // 1_000_000,
                hello_ms=header.monotonic_ms,
            )  # fmt: skip
            client.publish(receipt_topic(header.gateway), encode_receipt(receipt))

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = None


@contextmanager
def lines(folder: Path) -> Iterator[None]:
    """A receiver and a bus that speak all the time, on pseudo terminals in the folder."""
    pairs = [os.openpty() for _ in range(2)]
    for (_, slave), name in zip(pairs, ("ttyGNSS", "ttyCAN"), strict=True):
        tty.setraw(slave)
        (folder / name).symlink_to(os.ttyname(slave))
    (receiver, _), (bus, _) = pairs
    done = threading.Event()

    def speak() -> None:
        for number in range(1 << 30):
            if done.wait(0.1):
                return
            os.write(bus, f"T000001008{number % 999:04X}{0:012X}\r".encode())
            moment = to_datetime(time.time_ns() // 1_000_000)
            body = f"GNRMC,{moment:%H%M%S}.000,A,3259.5,N,11231.2,E,20.0,91.5,{moment:%d%m%y},,,A"
            checksum = 0
            for byte in body.encode():
                checksum ^= byte
            os.write(receiver, f"${body}*{checksum:02X}\r\n".encode())

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        done.set()
        speaker.join()
        for pair in pairs:
            for end in pair:
                os.close(end)


def memory_kb(folder: Path, broker: SecureBroker) -> int:
    """The most resident memory of an agent that hears all its inputs and sends over TLS."""
    terminals = free_port()
    texts = {
        "edge.toml": CONFIG.format(
            broker=broker.port, ca=broker.authority.ca, terminals=terminals, folder=folder
        ).replace('"ttyGNSS"', f'"{folder}/ttyGNSS"'),
        "truck.dbc": DBC,
        "truck.toml": MAPPING,
        "password": PASSWORD.format("gw-a"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    python = os.environ.get("GREENHAUL_EDGE_PYTHON", sys.executable)
    command = [python, "-c", AS_CLEAN, "run", "-c", str(folder / "edge.toml")]
    collector = Answering(broker)
    with lines(folder), (folder / "log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(agent, folder, lambda status: status["pid"] == agent.pid)
            terminal = Terminal(f"127.0.0.1:{terminals}")
            terminal.sign_in()
            assert terminal.ask(report(time.time_ns() // 1_000_000))
            wait_for(agent, folder, lambda _: collector.blocks > 0)
            time.sleep(WATCHED_S)
            terminal.close()
            print(json.loads((folder / "outbox/status.json").read_text())["sources"])
            status = Path(f"/proc/{agent.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0])
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(60)
            collector.close()


def wait_for(
    agent: "subprocess.Popen[bytes]", folder: Path, holds: Callable[[dict[str, Any]], bool]
) -> None:
    """Until what the agent says of itself is so."""
    said = folder / "outbox/status.json"
    deadline = time.monotonic() + 90
    while not (said.exists() and holds(json.loads(said.read_text()))):
        is_running = agent.poll() is None and time.monotonic() < deadline
        assert is_running, (folder / "log").read_text()
        time.sleep(0.05)  # the status file is what says how it is


def compare(tmp_path: Path, rows: int) -> None:
    """Nothing held, and much."""
    found = []
    broker = SecureBroker(tmp_path / "broker")
    broker.start()
    for name, count in (("none", 0), ("much", rows)):
        folder = tmp_path / name
        folder.mkdir()
        if count:
            fill(folder / "outbox/outbox.sqlite", count)
        found.append(memory_kb(folder, broker))
    broker.stop()
    print(f"at most {found[0]} kB with nothing held, {found[1]} kB with {rows} rows")
    assert max(found) <= MEMORY_KB_MAX
    assert found[1] - found[0] <= GROWTH_KB_MAX


def test_memory_does_not_grow_with_the_backlog(tmp_path: Path) -> None:
    compare(tmp_path, ROWS)


@pytest.mark.soak
def test_memory_is_the_same_with_a_year_of_backlog(tmp_path: Path) -> None:
    compare(tmp_path, YEAR_ROWS)
