"""What the inputs of a truck cost, as ratios to the same bytes merely received.

A truck: a receiver at 1 Hz with five sentences, a CAN bus at 500 frames a second with four signals
each, ten terminals that report every ten seconds. Then a bus at 4,000 frames a second, of which
every frame changes: each is to be decoded, or its loss counted.

The bus is python-can's virtual one; a real one costs the kernel's receive call besides.

    .venv/bin/python tests/benchmarks/bench_inputs.py [SECONDS]
"""

import os
import re
import socket
import struct
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

import can

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings, GnssSettings, Jt808Settings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can import CanSource
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.jt808 import Conversation, LocationReport
from greenhaul_protocols.times import to_datetime

FRAMES_PER_S, FLOOD_PER_S = 500, 4_000
TERMINALS, REPORT_PERIOD_S = 10, 10
DBC = """VERSION ""

BS_:

BU_: X

BO_ 256 Pack: 8 X
 SG_ Voltage : 0|16@1+ (0.1,0) [0|1000] "V" X
 SG_ Current : 16|16@1+ (0.1,-1000) [-1000|1000] "A" X
 SG_ Soc : 32|16@1+ (0.1,0) [0|100] "%" X
 SG_ Cell : 48|16@1+ (0.001,0) [0|5] "V" X
"""
FIELDS = {
    "Voltage": "pack_voltage_v",
    "Current": "pack_current_a",
    "Soc": "soc_percent",
    "Cell": "cell_voltage_max_v",
}


def sentence(body: str) -> bytes:
    """With its checksum."""
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode()


def moment(at_s: float) -> bytes:
    """Five sentences of one second."""
    when = to_datetime(round(at_s) * 1000)
    hms, dmy = f"{when:%H%M%S}.00", f"{when:%d%m%y}"
    place = "3259.5000,N,11231.2000,E"
    bodies = (
        f"GNRMC,{hms},A,{place},20.0,91.5,{dmy},,,A",
        f"GNGGA,{hms},{place},1,12,0.9,131.2,M,0,M,,",
        "GNVTG,91.5,T,,M,20.0,N,37.0,K,A",
        "GNGSA,A,3,01,02,,,,,,,,,,,1.5,0.8,1.2,1",
        f"GNGST,{hms},1.0,,,,3.0,4.0,6.0",
    )
    return b"".join(sentence(body) for body in bodies)


def pack(count: int, *, is_changing: bool) -> bytes:
    """Four signals; a battery's values change a few times a second, a flood's in every frame."""
    step = count if is_changing else count // 100
    return struct.pack("<HHHH", 5_400 + step % 500, 10_550 + step % 40, 805, 4_100)


class Paced:
    """Calls something at a rate until it is stopped; in a process of its own it would cost us
    nothing, so its CPU time is measured and taken off."""

    def __init__(self, per_s: float, act: Callable[[int], None]) -> None:
        self._per_s, self._act = per_s, act
        self._stop = threading.Event()
        self.count = 0
        self.cpu_s = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """And wait for its end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - began_s) * self._per_s)
            while self.count < due:
                self._act(self.count)
                self.count += 1
            self._stop.wait(min(0.02, 1 / self._per_s))
        self.cpu_s = time.thread_time()


class Truck:
    """Three sources on an outbox, and what plays their other ends."""

    def __init__(self, folder: Path, channel: str) -> None:
        clock = Clock()
        clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
        file = OutboxFile(folder / "outbox.sqlite", "gw", boot=clock.boot, now_ms=clock.now_ms())
        self.outbox = Outbox(file, clock, commit_window_s=5.0)
        self.outbox.start()
        (folder / "pack.dbc").write_text(DBC)
        tables = "".join(
            f'[[signals]]\nsignal = "Pack.{signal}"\nfield = "battery.{field}"\n'
            for signal, field in FIELDS.items()
        )
        (folder / "pack.toml").write_text(f'dbc = "pack.dbc"\n{tables}')
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.gnss = GnssSource("gnss", GnssSettings(os.ttyname(self.slave)), self.outbox, clock)
        self.can = CanSource(
            "can", CanSettings(channel, folder / "pack.toml", "virtual"), self.outbox, clock
        )
        settings = Jt808Settings(listen="127.0.0.1:0", auth="open")
        self.terminals = Jt808Source(
            "terminals", settings, self.outbox, clock, TerminalAuth("open", b"s" * 32)
        )
        for source in (self.gnss, self.can, self.terminals):
            source.start()
        while self.can.state()["link"] != "open":
            time.sleep(0.01)

    def close(self) -> None:
        """Sources first."""
        for source in (self.gnss, self.can, self.terminals):
            source.stop()
        self.outbox.close()
        os.close(self.master)
        os.close(self.slave)


def run_truck(
    what: str, target: str, seconds: float, frames_per_s: int, *, is_changing: bool
) -> None:
    """One line of figures."""
    with tempfile.TemporaryDirectory() as folder:
        channel = f"bench-{frames_per_s}"
        truck = Truck(Path(folder), channel)
        host, _, port = truck.terminals.address.rpartition(":")
        links = [socket.create_connection((host, int(port))) for _ in range(TERMINALS)]
        boxes = [Conversation(phone=f"1390000{n:04d}") for n in range(TERMINALS)]

        def report(count: int) -> None:
            box, link = boxes[count % TERMINALS], links[count % TERMINALS]
            digits = f"{to_datetime(time.time_ns() // 1_000_000 + 28_800_000):%y%m%d%H%M%S}"
            link.sendall(box.send(LocationReport(0, 3, 32.9, 112.5, 130, 36.0, 90, digits)))
            link.recv(4096)

        with can.Bus(channel, interface="virtual") as bus:

            def frame(count: int) -> None:
                data = pack(count, is_changing=is_changing)
                bus.send(can.Message(arbitration_id=256, data=data, is_extended_id=False))

            before_s = time.process_time()
            began_s = time.monotonic()
            players = [
                Paced(frames_per_s, frame),
                Paced(1, lambda _: void(os.write(truck.master, moment(time.time())))),
                Paced(TERMINALS / REPORT_PERIOD_S, report),
            ]
            time.sleep(seconds)
            for player in players:
                player.stop()
            sent = players[0].count
            deadline_s = time.monotonic() + 10
            while int(truck.can.state()["frames"]) < sent and time.monotonic() < deadline_s:
                time.sleep(0.01)
            took_s = time.monotonic() - began_s
            cpu_s = time.process_time() - before_s - sum(player.cpu_s for player in players)
        state = truck.can.state()
        for link in links:
            link.close()
        truck.close()
        lost, counted = sent - int(state["frames"]), int(state["kernel_dropped"])
        print(
            f"{what}: {100 * cpu_s / took_s:.2f} % of a core"
            f" = {cpu_s / floor_s(sent):.1f} × merely received frames; {sent} frames sent,"
            f" {lost} lost, {counted} of them counted (target: {target});"
            f" {state['unchanged']} said nothing new, {truck.outbox.commits} commits"
        )


def floor_s(count: int) -> float:
    """CPU seconds of sending so many frames to a virtual bus and receiving them: the baseline."""
    with can.Bus("floor", interface="virtual") as one, can.Bus("floor", interface="virtual") as two:
        message = can.Message(arbitration_id=256, data=bytes(8), is_extended_id=False)
        rounds = min(count, 2_000)
        for _ in range(rounds):
            one.send(message)
        before_s = time.process_time()
        for _ in range(rounds):
            two.recv(1)
        return max(1e-9, (time.process_time() - before_s) / rounds * count)


def void(_: object) -> None:
    """An expression as a statement."""


def main() -> None:
    """Every line."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    run_truck(
        f"a truck ({FRAMES_PER_S} frames/s, 1 Hz GNSS, {TERMINALS} terminals) for {seconds:g} s",
        "at most 3 % of a core",
        seconds,
        FRAMES_PER_S,
        is_changing=False,
    )
    run_truck(
        f"a flood ({FLOOD_PER_S} frames/s, every one new) for {seconds:g} s",
        "none lost, or every loss counted",
        seconds,
        FLOOD_PER_S,
        is_changing=True,
    )
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count what was before exec
    memory_mb = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    print(
        f"memory with both: {memory_mb:.0f} MB at most = {memory_mb / 60:.2f} × the target, 60 MB"
    )


def as_installed() -> None:
    """Start anew without asammdf: python-can loads it, and pandas with it, where it is installed;
    the extra [edge] does not bring it, and it would be most of the memory."""
    code = "import runpy, sys; sys.modules['asammdf'] = None; sys.argv = sys.argv[1:]"
    run = f"{code}; runpy.run_path(sys.argv[0], run_name='__main__')"
    os.execv(sys.executable, [sys.executable, "-c", run, *sys.argv])


if __name__ == "__main__":
    if sys.modules.get("asammdf"):
        as_installed()
    main()
