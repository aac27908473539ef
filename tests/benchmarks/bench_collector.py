"""The collector under a city's load: MQTT to readings that can be asked for, and folded.

    bench_collector.py [--seconds N] [--vehicles N] [--fences N] [--engine NAME]

Broker, publisher, database and `greenhaul-cloud collect` share the machine, each a process of its
own. A burst is published as fast as the broker takes it, and says what rate the collector sustains;
then a steady stream below that rate says how long a reading takes until it can be asked for
(published to committed), and whether memory stays flat. The baseline is paho receiving and
acknowledging the same messages without looking at them. The issue's form is `--seconds 600`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import func, insert, select

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.chaos.chain import Mosquitto, until
from tests.postgres_server import find_programs, make_database, running

from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.gateways import put_gateway
from greenhaul_cloud.store.tables import dirty, lane, vehicle
from greenhaul_protocols.times import TIME_MS_MIN

GATEWAYS = 20
HERE = Path(__file__).parent
LOOK_S = 0.05
# Of the sustained rate: a collector at its limit only shows how long its queue is.
STEADY_SHARE = 0.6
DAY_MS = 86_400_000


def prepare(store: Store, vehicles: int, fences: int) -> None:
    """Gateways, vehicles with a source each, and fences they drive through."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(GATEWAYS):
        put_gateway(store, f"dc-{number}", ["*"], now_ms)
    with store.write() as conn:
        for number in range(vehicles):
            conn.execute(insert(vehicle).values(id=f"v{number}", created_at=now_ms))
            bind(conn, f"808:{number}", f"v{number}", valid_from_ms=TIME_MS_MIN, now_ms=now_ms)
        for number in range(fences):
            put_fence(conn, _square(number, 32.9 + number * 0.2 / fences), now_ms, "bench")


def _square(number: int, south: float) -> dict[str, Any]:
    west, size = 112.5 + number % 10 * 0.1, 0.01
    ring = [[west, south], [west + size, south], [west + size, south + size], [west, south + size]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            "id": f"f{number}",
            "valid_from": "2014-01-01T00:00:00Z",
            "rules": [{"rule": "no_entry"}, {"rule": "speed_limit", "limit_kmh": 30}],
        },
    }


class Publisher:
    """The load, from a process of its own; knows when each number was published."""

    def __init__(self, port: int, rate: int, seconds: int, each: int, vehicles: int) -> None:
        start_ms = time.time_ns() // 1_000_000 - DAY_MS
        arguments = (port, rate, seconds, each, vehicles, GATEWAYS, start_ms)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "load_publisher.py"), *map(str, arguments)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.sent: list[list[tuple[int, float]]] = [[] for _ in range(GATEWAYS)]
        self.messages = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("epoch"):
                return
            at, gateway, last = line.split()
            self.sent[int(gateway)].append((int(last), float(at)))
            self.messages += 1

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and acknowledged by the broker."""
        return not self._reader.is_alive()

    def wait(self) -> None:
        """Until it has ended well."""
        assert self._process.wait() == 0


@contextmanager
def collecting(folder: Path, url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The collector, ready."""
    (folder / "cloud.toml").write_text(f'[store]\nurl = "{url}"\n[broker]\nport = {port}\n')
    command = [sys.executable, "-m", "greenhaul_cloud.main", "collect", "-c", "cloud.toml"]
    with (folder / "collector.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--ready-file", "ready"], cwd=folder, stdout=log, stderr=log
        )
    try:
        until((folder / "ready").exists, "the collector is ready", 60)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def stored(store: Store) -> tuple[int, list[int]]:
    """Readings stored, and up to which number each gateway's newest epoch is settled."""
    through = [0] * GATEWAYS
    total = 0
    with store.read() as conn:
        for row in conn.execute(select(lane.c.gateway_id, lane.c.settled, lane.c.stored)):
            total += row.stored
            settled = json.loads(row.settled)
            through[int(row.gateway_id.removeprefix("dc-"))] = settled[0][1] if settled else 0
    return total, through


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def follow(store: Store, publisher: Publisher, pid: int) -> tuple[float, list[float], list[float]]:
    """Until all is stored: readings a second, seconds from publishing to committed, memory."""
    begun = time.time()
    before, _ = stored(store)
    done = [0] * GATEWAYS
    waits: list[float] = []
    memory: list[float] = []
    total = before
    while True:
        was_over = publisher.is_over
        total, through = stored(store)
        now = time.time()
        memory.append(memory_mb(pid))
        for gateway, last in enumerate(through):
            sent = publisher.sent[gateway]
            while done[gateway] < len(sent) and sent[done[gateway]][0] <= last:
                waits.append(now - sent[done[gateway]][1])
                done[gateway] += 1
        if was_over and sum(done) == publisher.messages:
            break
        time.sleep(LOOK_S)
    publisher.wait()
    return (total - before) / (time.time() - begun), sorted(waits), memory


def paho_alone(port: int, seconds: int, each: int, vehicles: int) -> float:
    """Messages a second that paho takes and acknowledges when nothing is done with them."""
    count = 0

    def take(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        nonlocal count
        client.ack(message.mid, message.qos)
        count += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, manual_ack=True)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.subscribe("gh/v1/up/+/+/+", 1)
    client.loop_start()
    publisher = Publisher(port, 0, seconds, each, vehicles)
    begun = time.time()
    publisher.wait()
    until(lambda: publisher.is_over and count >= publisher.messages, "paho has all", 300)
    rate = count / (time.time() - begun)
    client.disconnect()
    client.loop_stop()
    return rate


def show(what: str, figure: str, ratio: str) -> None:
    """One line."""
    print(f"{what:<58} {figure:>20}  {ratio}", flush=True)


def bench(name: str, url: str, folder: Path, options: argparse.Namespace) -> None:
    """Messages of ten readings and of one, on one engine."""
    folder.mkdir()
    broker = Mosquitto(
        folder / "broker", "max_queued_messages 0", "max_inflight_messages 1000",
        "max_queued_bytes 0",
    )  # fmt: skip
    broker.start()
    store = open_store(url, time.time_ns() // 1_000_000)
    prepare(store, options.vehicles, options.fences)
    seconds = max(options.seconds // 2, 2)
    try:
        for each in (10, 1):
            alone = paho_alone(broker.port, max(seconds // 4, 2), each, options.vehicles)
            with collecting(folder, url, broker.port) as collector:
                load = Publisher(broker.port, 0, max(seconds // 3, 2), each, options.vehicles)
                burst, _, _ = follow(store, load, collector.pid)
                show(f"{name}: blocks of {each}, sustained", f"{burst:,.0f} readings/s",
                     f"× {burst / each / alone:.2f} of paho, {alone:,.0f} blocks/s")  # fmt: skip
                pace = max(int(STEADY_SHARE * burst / each), 1)
                load = Publisher(broker.port, pace, seconds, each, options.vehicles)
                _, waits, memory = follow(store, load, collector.pid)
                third = len(memory) // 3
                p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
                show(f"{name}: published to queryable, {pace:,} messages/s", f"p99 {p99:.2f} s",
                     f"p50 {p50:.2f} s")  # fmt: skip
                first_mb, last_mb = max(memory[:third]), max(memory[-third:])
                show(f"{name}: memory, last third of the time", f"{last_mb:.0f} MB",
                     f"× {last_mb / first_mb:.2f} of the first")  # fmt: skip
                begun = time.time()
                until(lambda: marks(store) == 0, "all vehicles are folded", 600)
                show(f"{name}: {options.vehicles:,} vehicles folded",
                     f"{time.time() - begun:.1f} s", "after the last reading")  # fmt: skip
    finally:
        store.close()
        broker.kill()


def marks(store: Store) -> int:
    """Sources and vehicles that wait to be folded."""
    with store.read() as conn:
        return int(conn.execute(select(func.count()).select_from(dirty)).scalar_one())


def main() -> None:
    """Every engine there is, or one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=30, help="of load, on each engine")
    parser.add_argument("--vehicles", type=int, default=2_000)
    parser.add_argument("--fences", type=int, default=100)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.engine != "postgresql":
            bench("sqlite", f"sqlite:///{name}/store.db", folder / "sqlite", options)
        programs = find_programs()
        if options.engine != "sqlite" and programs:
            with running(programs, "shared_buffers=512MB", "max_wal_size=4GB") as dsn:
                bench("postgresql", make_database(dsn, "load"), folder / "postgresql", options)


if __name__ == "__main__":
    main()
