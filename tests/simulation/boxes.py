"""The machines of a world: a gateway, a collector and terminals, made of the code that ships.

Only sockets, disks and clocks are stood in for. A machine that dies leaves on its disk what it had
committed; its next life begins with that.
"""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from tests.simulation.broker import CollectorWire, EdgeWire, SimBroker
from tests.simulation.loop import SimLoop, network_of
from tests.simulation.world import Process, Signal, World

from greenhaul_cloud.intake.counters import IntakeCounters
from greenhaul_cloud.intake.worker import IntakeWorker
from greenhaul_cloud.store.engine import Store, open_store
from greenhaul_edge.clock import Clock, ServerTime
from greenhaul_edge.config import Jt808Settings
from greenhaul_edge.outbox import receipts
from greenhaul_edge.outbox.chunks import Priority
from greenhaul_edge.outbox.file import Judge
from greenhaul_edge.outbox.receipts import Ledger, Settlement, Verdict
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.jt808 import Jt808Source
from greenhaul_edge.sources.terminal_auth import TerminalAuth
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_protocols.catalogue import BatteryReading, TimeQuality
from greenhaul_protocols.jt808 import LocationReport
from greenhaul_protocols.jt808.clock import digits_of
from greenhaul_protocols.receipt import Receipt
from greenhaul_sim.faults import NO_FAULTS, FaultProfile, LinkFaults
from greenhaul_sim.identity import fleet_identities
from greenhaul_sim.ledger import LedgerEntry
from greenhaul_sim.link import Address, Link
from greenhaul_sim.session import Manners, Session

GATEWAY = "gw-sim"
PORT = 8808
# Made anew by whoever opens the database, or of no use to it.
_NOT_KEPT = ("-shm", ".ballast")
_ALARM = 1


@dataclass
class Disk:
    """A machine's disk: a folder of this life, and what a power cut leaves of it.

    is_synced: whether a commit is on the plates when SQLite says so. latency_s: of a commit.
    """

    world: World
    folder: Path
    name: str
    latency_s: tuple[float, float] = (0.0005, 0.03)
    is_synced: bool = True
    lives: int = 0

    @property
    def path(self) -> Path:
        """The database of this life."""
        return self.folder / f"{self.lives}" / self.name

    def format(self) -> None:
        """A new disk."""
        self.path.parent.mkdir(parents=True)

    def die(self, *, is_power_cut: bool) -> None:
        """The next life begins with what was committed; without syncing, with less of it."""
        before = self.path
        self.lives += 1
        self.format()
        for part in sorted(before.parent.iterdir()):
            if part.name.endswith(_NOT_KEPT):
                continue
            data = part.read_bytes()
            if part.name.endswith("-wal") and is_power_cut and not self.is_synced:
                data = data[: self.world.random.randint(0, len(data))]
            self.path.with_name(part.name).write_bytes(data)

    def copy_to(self, image: Path) -> None:
        """An image of the database, made while it is in use."""
        image.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path)) as live, closing(sqlite3.connect(image)) as copy:
            live.backup(copy)

    def replace_by(self, image: Path) -> None:
        """The next life begins with an image."""
        self.lives += 1
        self.format()
        self.path.write_bytes(image.read_bytes())

    def slowed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call that commits, taking as long as disks do, before and after it is done."""

        def slowly(*arguments: Any, **more: Any) -> Any:
            Signal().wait(self.world.random.uniform(*self.latency_s))
            result = call(*arguments, **more)
            Signal().wait(self.world.random.uniform(*self.latency_s))
            return result

        return slowly


@dataclass
class EdgeTraits:
    """How a gateway is set up."""

    bounds: Bounds = field(default_factory=Bounds)
    pace: Pace = field(default_factory=Pace)
    commit_window_s: float = 2.0
    wall_offset_s: float = 0.0
    input_every_s: float = 5.0
    make_outbox: type[Outbox] = Outbox  # a planted fault has its own
    judge: Judge = receipts.judge


class EdgeBox:
    """A gateway: terminals' source, an input of its own, outbox and uplink."""

    def __init__(self, world: World, broker: SimBroker, disk: Disk, traits: EdgeTraits) -> None:
        self.world, self.broker, self.disk, self.traits = world, broker, disk, traits
        self.outbox: Outbox | None = None
        self.clock: Clock | None = None
        self.process = Process(world, "edge")
        self.process.is_alive = False
        self.taken_back = 0  # readings a receipt no longer names as settled
        self.kept_inputs: dict[tuple[int, float], int] = {}  # committed, and when (true ms)
        self.inputs = 0
        self.error_ms_max = 0  # of times read off the gateway's clock once it was mapped
        self.is_reading = True
        self.boots = 0

    def boot(self) -> None:
        """A new life, on what the disk holds."""
        if not self.process.is_alive:
            self.boots += 1
            self.process = Process(self.world, "edge", self.traits.wall_offset_s)
            self.process.spawn(self._run, "main")

    def kill(self, *, is_power_cut: bool) -> None:
        """It stops in the middle of whatever it does."""
        if not self.process.is_alive:
            return
        self.outbox = None
        network_of(self.world).lose(self.process, is_quiet=is_power_cut)
        wire = self.broker.wires.get(GATEWAY)
        if wire is not None:
            wire.close()
        self.disk.die(is_power_cut=is_power_cut)
        self.process.kill()

    @property
    def is_drained(self) -> bool:
        """Whether it runs, and no reading waits for a receipt."""
        if self.outbox is None:
            return False
        lanes = self.outbox.view().lanes
        return all(not lane.unsettled.total for lane in lanes)

    def _run(self) -> None:
        clock = Clock(boot=self.boots, read_is_synchronised=lambda: False)
        traits, path = self.traits, self.disk.path
        file = open_outbox(path, GATEWAY, clock.boot, clock.now_ms(), traits.bounds)
        file.judge = self._judge
        for name in ("append", "take_receipt", "mark_sent"):
            setattr(file, name, self.disk.slowed(getattr(file, name)))
        outbox = traits.make_outbox(file, clock, commit_window_s=traits.commit_window_s)

        def learn(said: ServerTime) -> None:
            if clock.hear(said) and clock.offset_ms is not None:
                outbox.map_clock(clock.offset_ms)

        process = self.process
        uplink = Uplink(
            outbox,
            path,
            clock,
            lambda number, report: EdgeWire(self.broker, process, GATEWAY, number, report),
            pace=traits.pace,
            on_server_time=learn,
            random=Random(self.world.random.random()),
        )
        settings = Jt808Settings(listen=f"127.0.0.1:{PORT}")
        auth = TerminalAuth("register", b"secret of the gateway, 32 bytes.")
        source = Jt808Source("terminals", settings, outbox, clock, auth, new_loop=SimLoop)
        outbox.on_commit = uplink.note_commit
        outbox.start()
        source.start()
        uplink.start()
        self.outbox, self.clock = outbox, clock
        self._read_input(outbox, clock)

    def _judge(self, ledger: Ledger, receipt: Receipt) -> Verdict:
        verdict = self.traits.judge(ledger, receipt)
        if isinstance(verdict, Settlement):
            for lane in verdict.lanes:
                self.taken_back += sum(b - a + 1 for a, b in (*lane.returned, *lane.lost))
        return verdict

    def _read_input(self, outbox: Outbox, clock: Clock) -> None:
        """A battery on the CAN bus: it keeps nothing itself."""
        while self.is_reading:
            Signal().wait(self.world.random.uniform(0, 2 * self.traits.input_every_s))
            if clock.offset_ms is None or not self.is_reading:
                continue
            self.inputs += 1
            soc_percent, time_ms = self.inputs % 1000 / 10, clock.now_ms()
            self.error_ms_max = max(self.error_ms_max, abs(time_ms - self.world.now_ms))
            reading = BatteryReading(
                source=f"{GATEWAY}/battery",
                device_time_ms=time_ms,
                received_time_ms=time_ms,
                time_quality=TimeQuality.GATEWAY,
                soc_percent=soc_percent,
            )
            done = outbox.append([reading], priority=Priority.EVICTABLE)
            done.add_done_callback(partial(self._keep, (time_ms, soc_percent)))

    def _keep(self, key: tuple[int, float], done: "Future[None]") -> None:
        if done.exception() is None:
            self.kept_inputs[key] = self.world.now_ms


class CloudBox:
    """A collector: intake and store."""

    def __init__(self, world: World, broker: SimBroker, disk: Disk) -> None:
        self.world, self.broker, self.disk = world, broker, disk
        self.process = Process(world, "cloud")
        self.process.is_alive = False
        self.store: Store | None = None
        self.boots = 0

    def boot(self) -> None:
        """A new life, on what the disk holds."""
        if not self.process.is_alive:
            self.boots += 1
            self.process = Process(self.world, "cloud")
            self.process.spawn(self._run, "main")

    def kill(self, *, is_power_cut: bool) -> None:
        """It stops in the middle of whatever it does."""
        if not self.process.is_alive:
            return
        if self.broker.collector is not None:
            self.broker.collector.break_off()
        self.disk.die(is_power_cut=is_power_cut)
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        if self.store is not None:
            self.store.close()
            self.store = None

    def _run(self) -> None:
        self.store = open_store(f"sqlite:///{self.disk.path}", self.world.now_ms)
        wire = CollectorWire(self.broker, self.process)
        counters = IntakeCounters(CollectorRegistry())
        random = Random(self.world.random.random())
        worker = IntakeWorker(self.store, wire, counters, random=random)
        worker.start()
        wire.start(worker)


class Terminals:
    """Some terminals on the road, with links as bad as asked for."""

    def __init__(
        self, world: World, count: int, faults: FaultProfile, interval_s: tuple[float, float]
    ) -> None:
        self.world, self._interval_s = world, interval_s
        self.process = Process(world, "terminals")
        self.loop = SimLoop(self.process)
        self.ledger: list[LedgerEntry] = []
        self.made: set[tuple[str, int]] = set()  # phone without zeros, device time in ms
        self.links: list[Link] = self.loop.inside(lambda: list(self._links(count, faults)))
        self._is_driving = True
        for link in self.links:
            self.loop.inside(partial(self._start, link))
            self.world.later(world.random.uniform(0, 5), self._report, link, process=self.process)

    def _start(self, link: Link) -> None:
        self.loop.create_task(link.run())

    def _links(self, count: int, faults: FaultProfile) -> Iterator[Link]:
        for identity in fleet_identities(count, self.world.seed, None):
            yield Link(
                Session(identity, Manners(window_max=self.world.random.choice((1, 8)))),
                Address("127.0.0.1", PORT),
                rng=Random(f"{self.world.seed} {identity.phone}"),
                record=self.ledger.extend,
                wall_offset_s=self.world.now_s,
                faults=faults,
            )

    @property
    def is_idle(self) -> bool:
        """Whether everything was acknowledged."""
        return all(link.session.is_idle for link in self.links)

    def stop(self) -> None:
        """No more reports, and from now on good links."""
        self._is_driving = False
        for link in self.links:
            link.faults = LinkFaults(NO_FAULTS, Random(1))

    def close(self) -> None:
        """No more terminals."""
        self.process.kill()

    def _report(self, link: Link) -> None:
        if not self._is_driving:
            return
        session, chance = link.session, self.world.random
        time_s = int(self.world.now_s)
        key = (session.identity.phone.lstrip("0"), time_s * 1000)
        if session.has_room and key not in self.made:
            self.made.add(key)
            report = _report_at(time_s, chance)
            session.put(report)
            if chance.random() < 0.05 and session.has_room:
                session.put(report, is_copy=True, is_late=chance.random() < 0.5)
            self.loop.inside(link.poke)
        delay_s = chance.uniform(*self._interval_s)
        self.world.later(delay_s, self._report, link, process=self.process)


def _report_at(time_s: int, chance: Random) -> LocationReport:
    return LocationReport(
        alarms=_ALARM if chance.random() < 0.02 else 0,
        status=0b11,
        latitude_deg=32.99 + time_s % 1000 / 1e4,
        longitude_deg=112.53,
        altitude_m=120,
        speed_kmh=36.5,
        heading_deg=90,
        device_time=digits_of(time_s * 1000),
        items=(),
    )
