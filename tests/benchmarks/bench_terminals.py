"""What terminals cost a gateway: reports acknowledged a second, and memory of idle ones.

Every terminal sends its next report when the last one is acknowledged, so each costs a read and a
write; `window` reports at once show what batching brings. The ratio is to the same listener in
front of an outbox that stores nothing: the price of durability.

    .venv/bin/python tests/benchmarks/bench_terminals.py [SECONDS] [--quick]
"""

import asyncio
import multiprocessing as mp
import selectors
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


def reports_per_s(server: Server, window: int, seconds: float) -> tuple[float, float]:
    """Acknowledged reports a second, and the listener's CPU µs a report."""
    selector = selectors.DefaultSelector()
    for number in range(CONNECTIONS):
        one = socket.create_connection(server.address)
        one.setblocking(False)
        frame = frame_of(number)
        selector.register(one, selectors.EVENT_READ, frame)
        one.send(frame * window)
    acknowledged, (_, _, cpu_s), begun = 0, server.look(), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for key, _ in selector.select(0.1):
            one = cast(socket.socket, key.fileobj)
            count = one.recv(65_536).count(0x7E) // 2
            acknowledged += count
            one.send(key.data * count)
    took_s = time.perf_counter() - begun
    _, _, cpu_after_s = server.look()
    for key in list(selector.get_map().values()):
        cast(socket.socket, key.fileobj).close()
    selector.close()
    return acknowledged / took_s, (cpu_after_s - cpu_s) / max(acknowledged, 1) * 1e6


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
        ways["uvloop"] = Way(fastest_loop(), reads_in_bulk=False)
        ways["[bulk]"] = Way(fastest_loop(), reads_in_bulk=True)
    print(f"JT/T 808 over TCP: {CONNECTIONS} terminals, as fast as they are acknowledged")
    for name, way in ways.items():
        for window in WINDOWS:
            rates = []
            for is_durable in (False, True):
                server = Server(way, is_durable=is_durable, auth="open")
                rates.append(reports_per_s(server, window, seconds))
                server.stop()
            (baseline, _), (rate, cpu_us) = rates
            print(
                f"  {name:8} window {window:<3} {rate:8,.0f} durable reports/s  {cpu_us:5.0f} µs "
                f"of CPU  {rate / baseline:5.2f} × one that stores nothing ({baseline:,.0f}/s)"
            )
    terminals = 2_000 if is_quick else IDLE_TERMINALS
    for name, way in ways.items():
        size = idle_bytes(way, terminals)
        print(f"  {name:8} idle terminal {size:8,.0f} bytes  {size / 12_000:5.2f} × 12 kB")


if __name__ == "__main__":
    main()
