"""What terminals cost a gateway: reports acknowledged a second, how soon, and memory of idle ones.

As fast as they go: every terminal sends its next report when the last one is acknowledged, so each
costs a read and a write; `window` reports at once show what batching brings. The ratio is to the
same listener in front of an outbox that stores nothing: the price of durability.

At their pace: every terminal sends a report a second, one after the other over the second; the
wait is from sending a report to its acknowledgement. The ratio is to a report alone on the line.

Gateway and terminals are processes of their own, each with about one core to itself if the machine
has two: the `CPU` column is the gateway's alone, and holds on a busy machine too.

    .venv/bin/python tests/benchmarks/bench_terminals.py [SECONDS] [--quick]
"""

import asyncio
import multiprocessing as mp
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, cast

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source, fastest_loop
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_edge.sources.terminal_registry import TerminalRegistry
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.jt808 import Authentication, Conversation, Item, LocationReport
from greenhaul_protocols.jt808 import clock as wire_clock

SECRET = b"s" * 32
CONNECTIONS, IDLE_TERMINALS = 2_000, 10_000
FIRST_PHONE = 13_900_000_000
WINDOWS = (1, 10)
RATE_TARGETS = {"asyncio": 15_000, "[bulk]": 30_000}
P99_MS_TARGET = 50

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Way(NamedTuple):
    """How a listener reads."""

    new_loop: NewLoop
    reads_in_bulk: bool


class Forgetful:
    """An outbox that stores nothing and says it did."""

    gateway = "gw"

    def append(self, _: object, **__: object) -> "Future[None]":
        """Done at once."""
        done: Future[None] = Future()
        done.set_result(None)
        return done


def serve(pipe: Connection, way: Way, is_durable: bool, auth: str) -> None:
    """A listener in a process of its own: says its address, then its memory whenever asked."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # no tmpfs
        clock = Clock()
        clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
        path = Path(folder)
        outbox = Outbox(
            OutboxFile(path / "outbox.sqlite", "gw", boot=clock.boot, now_ms=clock.now_ms()), clock
        )
        outbox.start()
        settings = Jt808Settings(listen="127.0.0.1:0", auth=cast(Any, auth))
        source = Jt808Source(
            "terminals",
            settings,
            outbox if is_durable else cast(Outbox, Forgetful()),
            clock,
            TerminalAuth(settings.auth, SECRET, {}, TerminalRegistry(path / "terminals.sqlite")),
            new_loop=way.new_loop,
            reads_in_bulk=way.reads_in_bulk,
        )
        source.start()
        pipe.send(source.address)
        while pipe.recv():
            pipe.send((len(source.by_terminal), resident_bytes(), time.process_time()))
        source.stop()
        outbox.close()


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Server:
    """The listener's process."""

    def __init__(self, way: Way, *, is_durable: bool = True, auth: str) -> None:
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, way, is_durable, auth))
        self._process.start()
        host, _, port = self._pipe.recv().rpartition(":")
        self.address = host, int(port)

    def look(self) -> tuple[int, int, float]:
        """Authenticated terminals, resident bytes, seconds of CPU."""
        self._pipe.send(True)
        found: tuple[int, int, float] = self._pipe.recv()
        return found

    def stop(self) -> None:
        """End the process."""
        self._pipe.send(False)
        self._process.join()


def frame_of(number: int) -> bytes:
    """A report of some 60 bytes."""
    items = (
        Item(0x01, (100_000 + number).to_bytes(4, "big")),
        Item(0x03, b"\x01\x6d"),
        Item(0x30, b"\x1f"),
        Item(0x31, b"\x09"),
    )
    digits = wire_clock.digits_of(time.time_ns() // 1_000_000 - number * 1000)
    report = LocationReport(0, 3, 32.9 + number / 1e5, 112.5, 130, 36.5, 90, digits, items)
    return Conversation(phone=str(FIRST_PHONE + number)).send(report)


class Terminals:
    """Connections of a load process: no objects in its loop, only file descriptors."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._sockets = [socket.create_connection(address) for _ in range(count)]
        self._epoll = select.epoll()
        self.frames: dict[int, bytes] = {}
        for number, one in enumerate(self._sockets):
            one.setblocking(False)
            self.frames[one.fileno()] = frame_of(number)
            self._epoll.register(one, select.EPOLLIN)

    def close(self) -> None:
        """End all connections."""
        self._epoll.close()
        for one in self._sockets:
            one.close()

    def make_known(self) -> None:
        """One report each, acknowledged: what comes first on a line costs more."""
        waiting = set(self.frames)
        for number, frame in self.frames.items():
            os.write(number, frame)
        while waiting:
            for number, _ in self._epoll.poll():
                assert os.read(number, 65_536), "hung up"
                waiting.discard(number)

    def as_fast_as_they_go(self, window: int, seconds: float) -> float:
        """Acknowledged reports a second, each terminal with so many on their way."""
        poll, read, write, frames = self._epoll.poll, os.read, os.write, self.frames
        for number, frame in frames.items():
            write(number, frame * window)
        acknowledged, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            for number, _ in poll(0.1, 256):
                count = read(number, 65_536).count(0x7E) // 2
                acknowledged += count
                write(number, frames[number] * count)
        return acknowledged / (time.perf_counter() - begun)

    def at_their_pace(self, interval_s: float, seconds: float) -> list[float]:
        """Seconds that reports waited for their acknowledgement, sorted; those never
        acknowledged count with all the time they had."""
        numbers = list(self.frames)
        sent_s: dict[int, float] = {}
        waits: list[float] = []
        begun, due = time.perf_counter(), 0
        while (now := time.perf_counter() - begun) < seconds:
            while now >= due * interval_s / len(numbers):
                number = numbers[due % len(numbers)]
                due += 1
                if number in sent_s:
                    continue  # still waits for the last one
                sent_s[number] = now
                os.write(number, self.frames[number])
            wait_s = due * interval_s / len(numbers) - (time.perf_counter() - begun)
            for number, _ in self._epoll.poll(max(wait_s, 0)):
                if os.read(number, 65_536) and number in sent_s:
                    waits.append(time.perf_counter() - begun - sent_s.pop(number))
        waits += [seconds - at for at in sent_s.values() if seconds - at > interval_s]
        return sorted(waits)


def load(pipe: Connection, address: tuple[str, int], count: int, work: str, *given: float) -> None:
    """A load process: connects, says so, waits, works, tells."""
    terminals = Terminals(address, count)
    terminals.make_known()
    pipe.send(None)
    pipe.recv()
    pipe.send(getattr(terminals, work)(*given))
    terminals.close()


def under_load(server: Server, count: int, work: str, *given: float) -> tuple[Any, float]:
    """What a load process tells of its work, and the listener's seconds of CPU meanwhile."""
    context = mp.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=load, args=(theirs, server.address, count, work, *given))
    process.start()
    pipe.recv()
    _, _, before_s = server.look()
    pipe.send(None)
    told = pipe.recv()
    _, _, after_s = server.look()
    process.join()
    return told, after_s - before_s


def reports_per_s(
    way: Way, window: int, seconds: float, *, is_durable: bool
) -> tuple[float, float]:
    """Acknowledged reports a second, and the listener's CPU µs a report."""
    server = Server(way, is_durable=is_durable, auth="open")
    rate, cpu_s = under_load(server, CONNECTIONS, "as_fast_as_they_go", window, seconds)
    server.stop()
    return rate, cpu_s / max(rate * seconds, 1) * 1e6


def waits_ms(way: Way, count: int, seconds: float) -> list[float]:
    """Milliseconds that reports wait for their acknowledgement, sorted, at a report a second."""
    server = Server(way, auth="open")
    waits, _ = under_load(server, count, "at_their_pace", 1.0, seconds)
    server.stop()
    return [one * 1000 for one in waits]


def idle_bytes(way: Way, terminals: int) -> float:
    """Resident bytes of one idle, authenticated terminal."""
    server = Server(way, auth="register")
    auth = TerminalAuth("register", SECRET)
    _, before, _ = server.look()
    sockets = []
    for number in range(terminals):
        phone = str(FIRST_PHONE + number)
        one = socket.create_connection(server.address)
        one.sendall(Conversation(phone=phone).send(Authentication(auth.code(phone))))
        assert one.recv(100), "hung up"
        sockets.append(one)
    known, after, _ = server.look()
    assert known == terminals, f"{known} of {terminals} are authenticated"
    for one in sockets:
        one.close()
    server.stop()
    return (after - before) / terminals


def main() -> None:
    """Print the table."""
    is_quick = "--quick" in sys.argv
    numbers = [float(word) for word in sys.argv[1:] if word[0] != "-"]
    seconds = numbers[0] if numbers else 2.0 if is_quick else 5.0
    ways = {"asyncio": Way(asyncio.new_event_loop, reads_in_bulk=False)}
    if fastest_loop() is not asyncio.new_event_loop:
        ways["[bulk]"] = Way(fastest_loop(), reads_in_bulk=True)
    print(f"JT/T 808 over TCP: {CONNECTIONS} terminals, as fast as they are acknowledged")
    for name, way in ways.items():
        for window in WINDOWS:
            baseline, _ = reports_per_s(way, window, seconds, is_durable=False)
            rate, cpu_us = reports_per_s(way, window, seconds, is_durable=True)
            target = f"(target {RATE_TARGETS[name]:,})" if window == 1 else ""
            print(
                f"  {name:8} window {window:<3} {rate:8,.0f} durable reports/s {target}  "
                f"{cpu_us:4.0f} µs of CPU, {1e6 / cpu_us:,.0f}/s a core  "
                f"{rate / baseline:5.2f} × one that stores nothing ({baseline:,.0f}/s)"
            )
    print(f"{CONNECTIONS} terminals, a report a second each, spread over the second")
    for name, way in ways.items():
        alone = waits_ms(way, 1, 2 * seconds)
        waits = waits_ms(way, CONNECTIONS, 2 * seconds)
        median, p99 = (waits[int(len(waits) * share)] for share in (0.5, 0.99))
        ratio = median / alone[len(alone) // 2]
        print(
            f"  {name:8} {len(waits):,} acknowledged after: median {median:.1f} ms, "
            f"p99 {p99:.1f} ms (target {P99_MS_TARGET}), longest {waits[-1]:.1f} ms  "
            f"median {ratio:.1f} × that of one terminal alone"
        )
    terminals = 2_000 if is_quick else IDLE_TERMINALS
    for name, way in ways.items():
        size = idle_bytes(way, terminals)
        print(
            f"  {name:8} idle terminal {size:8,.0f} bytes  {size / 12_000:5.2f} × 12 kB (target 1)"
        )


if __name__ == "__main__":
    main()
