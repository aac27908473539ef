"""The collector under a city's load: MQTT to readings that can be asked for, and folded.

    bench_collector.py [--seconds N] [--each N] [--rate N] [--vehicles N] [--fences N]
                       [--engine NAME]

Broker, publisher, database, `greenhaul-cloud collect` and `derive` share the machine, each a
process of its own. A burst is published as fast as the broker takes it, and says what rate the
collector sustains and which process takes how much of the processor for it; then a steady stream
below that rate says how long a reading takes until it can be asked for (a fleet of twenty is asked
for again and again, by the query behind `GET /positions/latest`), and whether memory stays flat.
The baseline is paho receiving and acknowledging the same messages without looking at them. For ten
minutes of 40,000 readings a second: `--each 10 --rate 4000 --seconds 600`.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import func, insert, select

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.chaos.chain import Mosquitto, until
from tests.postgres_server import find_programs, make_database, running

from greenhaul_cloud.derive.runner import derive_once
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_cloud.store.fleets import add_fleet
from greenhaul_cloud.store.gateways import put_gateway
from greenhaul_cloud.store.positions import where_everybody
from greenhaul_cloud.store.scope import Scope
from greenhaul_cloud.store.tables import dirty, enterprise, lane, vehicle
from greenhaul_protocols.times import TIME_MS_MIN

GATEWAYS = 20
HERE = Path(__file__).parent
LOOK_S = 0.05
# Of the sustained rate: a collector at its limit only shows how long its queue is.
STEADY_SHARE = 0.6
BURST_S, PAHO_S = 10, 5
DAY_MS = 86_400_000
# Each load drives a day of its own, so that its readings are the newest.
FIRST_DAY = -30
_days = itertools.count(FIRST_DAY)
# Vehicles that are asked for.
PROBES, PROBED = 20, "probed"
# So long without a new reading says that one is lost, or the collector stands.
STILL_S_MAX = 120.0
_TICK_S = 1 / sysconf("SC_CLK_TCK")


def prepare(store: Store, vehicles: int, fences: int) -> None:
    """Gateways, vehicles with a source each, and fences they drive through."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(GATEWAYS):
        put_gateway(store, f"dc-{number}", ["*"], now_ms)
    with store.write() as conn:
        conn.execute(insert(enterprise).values(id="e", name="E", created_at=now_ms))
        add_fleet(conn, PROBED, "P", "e", now_ms)
        probes = probed(vehicles)
        for number in range(vehicles):
            row = {"id": f"v{number}", "created_at": now_ms, "enterprise_id": "e"}
            fleet = {"fleet_id": PROBED} if number in probes else {}
            conn.execute(insert(vehicle).values(**row, **fleet))
            bind(conn, f"808:{number}", f"v{number}", valid_from_ms=TIME_MS_MIN, now_ms=now_ms)
        for number in range(fences):
            put_fence(conn, _square(number, 32.9 + number * 0.2 / fences), now_ms, "bench")
    derive_once(store, now_ms)


def _square(number: int, south: float) -> dict[str, Any]:
    west, size = 112.5 + number % 10 * 0.1, 0.01
    ring = [[west, south], [west + size, south], [west + size, south + size], [west, south + size]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            "id": f"f{number}",
            "valid_from": "2014-01-01T00:00:00Z",
            "rules": [{"rule": "no_entry"}, {"rule": "speed_limit", "limit_kmh": 40}],
        },
    }


def probed(vehicles: int) -> range:
    """Numbers of those that are asked for."""
    return range(0, vehicles, max(vehicles // PROBES, 1))


class Publisher:
    """The load, from a process of its own; knows when each message was published."""

    def __init__(self, port: int, rate: int, seconds: int, each: int, vehicles: int) -> None:
        start_ms = time.time_ns() // 1_000_000 + next(_days) * DAY_MS
        arguments = (port, rate, seconds, each, vehicles, GATEWAYS, start_ms)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "load_publisher.py"), *map(str, arguments)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout
        self._lines = self._process.stdout
        self.epoch = int(self._lines.readline().removeprefix("epoch "))
        self.messages = 0
        self.readings_of = [0] * GATEWAYS  # their last numbers
        # of each vehicle asked for: its messages' last device times, and when they were published
        self.sent: dict[str, deque[tuple[int, float]]] = {
            f"v{number}": deque() for number in probed(vehicles)
        }
        self.processor_s = 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._lines:
            if line.startswith("processor"):
                self.processor_s = float(line.split()[1])
                break
            at, gateway, last, number, last_ms = line.split()
            self.readings_of[int(gateway)] = int(last)
            sent = self.sent.get(f"v{number}")
            if sent is not None:
                sent.append((int(last_ms), float(at)))
            self.messages += 1
        assert self._process.wait() == 0

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and acknowledged by the broker."""
        return not self._reader.is_alive()

    def wait(self) -> None:
        """Until it has ended."""
        self._reader.join()


@contextmanager
def collecting(folder: Path, url: str, port: int) -> Iterator[dict[str, int]]:
    """The collector and the fold, ready, each a process of its own; their ids."""
    (folder / "cloud.toml").write_text(
        f'[store]\nurl = "{url}"\n[broker]\nport = {port}\n[derive]\nin_collector = false\n'
    )
    with ExitStack() as stack:
        log = stack.enter_context((folder / "cloud.log").open("ab"))
        pids = {}
        for name, part in (("collector", "collect"), ("fold", "derive")):
            command = [sys.executable, "-m", "greenhaul_cloud.main", part, "-c", "cloud.toml"]
            process = subprocess.Popen(
                [*command, "--ready-file", f"{part}.ready"], cwd=folder, stdout=log, stderr=log
            )
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            until((folder / f"{part}.ready").exists, f"the {name} is ready", 60)
            pids[name] = process.pid
        yield pids


def settled(store: Store, epoch: int) -> int:
    """How many numbers of an epoch are settled."""
    total = 0
    with store.read() as conn:
        query = select(lane.c.settled).where(lane.c.epoch == epoch)
        for ranges in conn.execute(query).scalars():
            total += sum(last - first + 1 for first, last in json.loads(ranges))
    return total


def processor_s(*pids: int) -> float:
    """User and system time of processes, of their children that ended, and of those that live."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) * _TICK_S
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            total += processor_s(*map(int, children))
    return total


def postmaster_of(dsn: str) -> int:
    """The server's first process, of which all others are children."""
    folder = Path(dsn.partition("host=")[2])
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(frozen=True)
class Followed:
    """What was seen of a load: readings a second, seconds from published to found, MB, seconds of
    a processor each process took for 100,000 readings, and how old the oldest mark was."""

    rate: float
    waits_s: list[float]
    memory_mb: list[float]
    processor_s: dict[str, float]
    fold_lags_s: list[float]


def follow(store: Store, publisher: Publisher, pids: Mapping[str, int]) -> Followed:
    """Look until all is stored. pids: of what else takes part, the collector among them."""
    begun_s = moved_s = time.time()
    ours_s, theirs_s = time.process_time(), {name: processor_s(pid) for name, pid in pids.items()}
    done = before = 0
    waits_s: list[float] = []
    memory: list[float] = []
    lags_s: list[float] = []
    while True:
        was_over = publisher.is_over
        with store.read() as conn:
            found = where_everybody(conn, Scope(None), 0, fleet_id=PROBED)
            oldest_ms = conn.execute(select(func.min(dirty.c.marked_at))).scalar()
        now_s = time.time()
        lags_s.append(max(now_s - oldest_ms / 1000, 0.0) if oldest_ms else 0.0)
        for one in found:
            sent = publisher.sent[one.vehicle_id or ""]
            while sent and sent[0][0] <= one.device_time:
                waits_s.append(now_s - sent.popleft()[1])
        memory.append(memory_mb(pids["collector"]))
        before, done = done, settled(store, publisher.epoch)
        if was_over and done == sum(publisher.readings_of):
            break
        if done > before:
            moved_s = now_s
        assert now_s - moved_s < STILL_S_MAX, f"nothing new of {done} readings stored"
        time.sleep(LOOK_S)
    rate = done / (time.time() - begun_s)
    took_s = {name: processor_s(pid) - theirs_s[name] for name, pid in pids.items()}
    took_s |= {"publisher": publisher.processor_s, "asking": time.process_time() - ours_s}
    each_s = {name: value * 100_000 / done for name, value in took_s.items()}
    return Followed(rate, sorted(waits_s), memory, each_s, sorted(lags_s))


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


def bench(
    name: str, url: str, folder: Path, options: argparse.Namespace, database: int | None
) -> None:
    """Messages of ten readings and of one, on one engine. database: its process, if it has one."""
    folder.mkdir()
    broker = Mosquitto(
        folder / "broker", "max_queued_messages 0", "max_inflight_messages 1000",
        "max_queued_bytes 0",
    )  # fmt: skip
    broker.start()
    assert broker.process
    store = open_store(url, time.time_ns() // 1_000_000)
    prepare(store, options.vehicles, options.fences)
    seconds = options.seconds
    pids = {"broker": broker.process.pid} | ({"database": database} if database else {})
    try:
        for each in [options.each] if options.each else [10, 1]:
            alone = paho_alone(broker.port, PAHO_S, each, options.vehicles)
            with collecting(folder, url, broker.port) as ours:
                taking_part = {**ours, **pids}
                load = Publisher(broker.port, 0, BURST_S, each, options.vehicles)
                burst = follow(store, load, taking_part)
                share = burst.rate / each / alone
                show(f"{name}: blocks of {each}, sustained", f"{burst.rate:,.0f} readings/s",
                     f"× {share:.2f} of paho, {alone:,.0f} blocks/s")  # fmt: skip
                show_processes(name, burst)
                pace = options.rate or max(int(STEADY_SHARE * burst.rate / each), 1)
                load = Publisher(broker.port, pace, seconds, each, options.vehicles)
                steady = follow(store, load, taking_part)
                waits_s, memory = steady.waits_s, steady.memory_mb
                p50, p99 = waits_s[len(waits_s) // 2], waits_s[int(len(waits_s) * 0.99)]
                show(f"{name}: published to queryable, {pace:,} messages/s", f"p99 {p99:.2f} s",
                     f"p50 {p50:.2f} s, {len(waits_s):,} asked for")  # fmt: skip
                third = len(memory) // 3
                first_mb, last_mb = max(memory[:third]), max(memory[-third:])
                show(f"{name}: memory, last third of the time", f"{last_mb:.0f} MB",
                     f"× {last_mb / first_mb:.2f} of the first")  # fmt: skip
                lags_s = steady.fold_lags_s
                show(f"{name}: oldest reading that waits to be folded",
                     f"p99 {lags_s[int(len(lags_s) * 0.99)]:.1f} s",
                     f"p50 {lags_s[len(lags_s) // 2]:.1f} s")  # fmt: skip
                begun = time.time()
                until(lambda: marks(store) == 0, "all vehicles are folded", 600)
                show(f"{name}: {options.vehicles:,} vehicles folded",
                     f"{time.time() - begun:.1f} s", "after the last reading")  # fmt: skip
    finally:
        store.close()
        broker.kill()


def show_processes(name: str, load: Followed) -> None:
    """What limits a load: the machine's cores, or one core that a process cannot leave."""
    all_s = sum(load.processor_s.values())
    shares = ", ".join(f"{who} {took_s / all_s:.0%}" for who, took_s in load.processor_s.items())
    show(f"{name}: processor for 100,000 readings", f"{all_s:.2f} s", shares)


def marks(store: Store) -> int:
    """Sources and vehicles that wait to be folded."""
    with store.read() as conn:
        return int(conn.execute(select(func.count()).select_from(dirty)).scalar_one())


def main() -> None:
    """Every engine there is, or one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=15, help="of each steady load")
    parser.add_argument("--each", type=int, choices=[10, 1], help="readings a message")
    parser.add_argument("--rate", type=int, help="messages a second of the steady load")
    parser.add_argument("--vehicles", type=int, default=2_000)
    parser.add_argument("--fences", type=int, default=100)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.engine != "postgresql":
            bench("sqlite", f"sqlite:///{name}/store.db", folder / "sqlite", options, None)
        programs = find_programs()
        if options.engine != "sqlite" and programs:
            with running(programs, "shared_buffers=512MB", "max_wal_size=4GB") as dsn:
                url, database = make_database(dsn, "load"), postmaster_of(dsn)
                bench("postgresql", url, folder / "postgresql", options, database)


if __name__ == "__main__":
    main()
