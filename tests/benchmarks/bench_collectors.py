"""Two collectors on one PostgreSQL against one, in the same run, and what limits them.

    bench_collectors.py [--seconds N] [--rounds N]

Broker, publisher, database and collectors share the machine. A backlog waits at the broker; the
rate is that of emptying it, the best of some rounds, since other work only takes away. Beside it
stands where the processor's time went: two collectors cannot be faster than one where one of them,
the broker and the database keep all cores busy already.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from os import cpu_count, sysconf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.benchmarks.bench_collector import (
    Publisher,
    collecting,
    follow,
    prepare,
    processor_s,
)
from tests.chaos.chain import Mosquitto
from tests.postgres_server import find_programs, make_database, running

from greenhaul_cloud.store.engine import open_store

VEHICLES, EACH = 500, 10
_TICK_S = 1 / sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """Readings a second, and shares of all cores' time: busy at all, and in the collectors."""

    rate: float
    busy: float
    collectors: float


def busy_s() -> float:
    """Time in which any core of the machine did anything."""
    fields = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * _TICK_S


def play(folder: Path, dsn: str, collectors: int, seconds: int) -> Round:
    """One burst through a store of its own."""
    folder.mkdir()
    url = make_database(dsn, "load")
    store = open_store(url, time.time_ns() // 1_000_000)
    prepare(store, VEHICLES, 0)
    with ExitStack() as stack:
        stack.callback(store.close)
        broker = Mosquitto(folder / "broker", "max_queued_messages 0", "max_queued_bytes 0",
                           "max_inflight_messages 1000")  # fmt: skip
        broker.start()
        stack.callback(broker.kill)
        processes = []
        for number in range(collectors):
            (folder / str(number)).mkdir()
            processes.append(
                stack.enter_context(collecting(folder / str(number), url, broker.port))
            )
        load = Publisher(broker.port, 0, seconds, EACH, VEHICLES)
        begun_s, before_s = time.monotonic(), busy_s()
        ours_before_s = sum(processor_s(*one.values()) for one in processes)
        rate = follow(store, load, {"collector": processes[0]["collector"]}).rate
        cores_s = (time.monotonic() - begun_s) * (cpu_count() or 1)
        ours_s = sum(processor_s(*one.values()) for one in processes) - ours_before_s
        return Round(rate, (busy_s() - before_s) / cores_s, ours_s / cores_s)


def main() -> None:
    """One, then two, some rounds of each in turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=4, help="of publishing, each round")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    programs = find_programs()
    if programs is None:
        print("collectors: no PostgreSQL here")
        return
    best: dict[int, Round] = {}
    with (
        running(programs, "shared_buffers=512MB", "max_wal_size=4GB") as dsn,
        tempfile.TemporaryDirectory() as name,
    ):
        for number in range(options.rounds):
            for collectors in (1, 2):
                found = play(
                    Path(name) / f"{number}-{collectors}", dsn, collectors, options.seconds
                )
                print(f"collectors: {collectors}: {found.rate:,.0f} readings/s", flush=True)
                if collectors not in best or found.rate > best[collectors].rate:
                    best[collectors] = found
    one, two = best[1], best[2]
    print(
        f"collectors: two {two.rate:,.0f} readings/s = × {two.rate / one.rate:.2f} of one "
        f"({one.rate:,.0f})"
    )
    for count, found in ((1, one), (2, two)):
        print(
            f"collectors: with {count}: {found.busy:.0%} of {cpu_count()} cores busy, "
            f"{found.collectors:.0%} in collectors, "
            f"{found.busy - found.collectors:.0%} in database, broker, publisher and others"
        )


if __name__ == "__main__":
    main()
