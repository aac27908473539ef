"""One run: trouble for a while, then peace; what must hold afterwards."""

import hashlib
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.simulation.boxes import GATEWAY, CloudBox, Disk, EdgeBox, EdgeTraits, Terminals
from tests.simulation.broker import Habits, SimBroker
from tests.simulation.stand_ins import inhabited
from tests.simulation.world import START_NS, World

from greenhaul_cloud.intake import worker as intake_worker
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.gateways import put_gateway
from greenhaul_cloud.store.write import store_blocks
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.room import Bounds, Limits
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_protocols.catalogue import KIND_OF, BatteryReading, Dropped, Position
from greenhaul_protocols.errors import Unavailable
from greenhaul_sim.drops import Drop, unnamed
from greenhaul_sim.faults import PROFILES

# Losing power is simulated: a memory disk makes real commits cheap.
FAST_DISK = Path("/dev/shm")
TROUBLE_S = (120.0, 300.0)
# Everything that happens in a second, on average: more is somebody who turns in circles.
EVENTS_PER_S_MAX = 120
# Of a boot that learnt the time.
CLOCK_ERROR_MS_MAX = 1_000
# A fault in the resending shows as a drain that never ends.
DRAIN_S_MAX = 3_600.0

DELIVERED, OLD_IMAGE = "delivered to store", "restored from an old image"


class Broken(AssertionError):
    """A promise does not hold."""


def make_template(folder: Path) -> Path:
    """A store that knows the gateway, to be copied."""
    path = folder / "template.db"
    store = open_store(f"sqlite:///{path}", START_NS // 1_000_000)
    put_gateway(store, GATEWAY, ["*"], START_NS // 1_000_000)
    store.close()
    return path


@cache
def small_size() -> int:
    """A bound that an outbox reaches within a minute without a link."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.sqlite"
        file = OutboxFile(path, GATEWAY, boot=1, now_ms=0, bounds=Bounds(size_max=1 << 30))
        wanted = file.size + (8 << 10)
        file.close()
    sizes = range(wanted, 64 << 20, 4096)
    return next(
        size
        for size in sizes
        if Limits(Bounds(size_max=size).database_size_max).backpressure_size > wanted
    )


@dataclass
class Trouble:
    """What may happen in a run, and how often a minute."""

    edge_deaths: float = 0.5
    cloud_deaths: float = 0.3
    broker_deaths: float = 0.2
    cuts: float = 1.0
    severs: float = 0.3
    backups: float = 0.0
    store_restores: float = 0.0
    images: float = 0.0
    image_restores: float = 0.0
    store_errors: float = 0.0  # share of flushes that find the store locked


class Run:
    """Everything of one seed. plant: what a planted fault changes before it begins."""

    def __init__(self, seed: int, template: Path, plant: "Plant | None" = None) -> None:
        self.seed, self._template, self._plant = seed, template, plant
        self._patches = ExitStack()
        self.happened: Counter[str] = Counter()

    def __call__(self) -> str:
        """Run; a digest of what happened. Raises Broken."""
        parent = FAST_DISK if FAST_DISK.is_dir() else None
        with TemporaryDirectory(dir=parent, prefix="greenhaul-sim-") as folder, _quiet() as errors:
            self.world = World(self.seed)
            with inhabited(self.world), self._patches:
                self._build(Path(folder))
                try:
                    self._live()
                    self._check()
                finally:
                    self._end()
            if errors:
                raise Broken(f"seed {self.seed}: logged {errors[0]}")
            return self.digest()

    def patch(self, owner: Any, name: str, value: Any) -> None:
        """Until the run ends, something is something else."""
        before = getattr(owner, name)
        setattr(owner, name, value)
        self._patches.callback(setattr, owner, name, before)

    # -- how it is set up -----------------------------------------------------------------------

    def _build(self, folder: Path) -> None:
        chance = self.world.random
        self.trouble = self._draw_trouble()
        self.habits = Habits(
            delay_s=chance.choice([(0.001, 0.05), (0.05, 0.6), (0.01, 3.0)]),
            repeat=chance.choice([0.0, 0.1]),
            refuse=chance.choice([0.0, 0.0, 0.05]),
            swallow=chance.choice([0.0, 0.0, 0.05]),
            receive_max=chance.choice([None, None, 3]),
            queue_max=chance.choice([5, 1000]),
            is_retaining=chance.random() < 0.6,
            forgets=chance.choice([0.0, 1.0]),
            receipt_loss=chance.choice([0.0, 0.2]),
            receipt_reorder=chance.choice([0.0, 0.3]),
            receipt_echo=chance.choice([0.0, 0.3]),
            rate_bytes_per_s=chance.choice([1e6, 4_000.0]),
        )
        is_small = chance.random() < 0.3
        traits = EdgeTraits(
            bounds=Bounds(
                size_max=small_size() if is_small else 8 << 20,
                grace_size_max=chance.choice([0, 16 << 10, 4 << 20]),
            ),
            pace=Pace(
                send_window_ms=chance.choice([3_000, 8_000, 20_000]),
                resend_after_ms=chance.choice([5_000, 30_000]),
                unreceipted_max=128 << 10,
            ),
            # A box without a battery wakes in 1970.
            wall_offset_s=chance.choice([0.0, 0.0, -START_NS / 1e9, 26 * 365 * 86_400.0]),
            input_every_s=0.3 if is_small else chance.choice([1.0, 4.0]),
        )
        slow = chance.choice([(0.0005, 0.01), (0.005, 0.2)])
        self.broker = SimBroker(self.world, self.habits)
        edge_disk = Disk(self.world, folder / "edge", "outbox.sqlite", slow)
        cloud_disk = Disk(self.world, folder / "cloud", "greenhaul.db")
        edge_disk.format()
        cloud_disk.format()
        shutil.copy(self._template, cloud_disk.path)
        self._backup, self._image = folder / "backup.db", folder / "image.sqlite"
        self.edge = EdgeBox(self.world, self.broker, edge_disk, traits)
        self.cloud = CloudBox(self.world, self.broker, cloud_disk)
        self.excused: list[tuple[int, int]] = []  # true ms, from an image to its restoration
        self._make_store_slow()
        if self._plant is not None:
            self._plant(self)
        profile = PROFILES[chance.choice(list(PROFILES))]
        interval_s = chance.choice([(1.0, 4.0), (2.0, 12.0)])
        self.terminals = Terminals(self.world, chance.randint(1, 4), profile, interval_s)

    def _draw_trouble(self) -> Trouble:
        chance = self.world.random
        trouble = Trouble(
            edge_deaths=chance.choice([0.0, 0.5, 1.5]),
            cloud_deaths=chance.choice([0.0, 0.3, 1.0]),
            broker_deaths=chance.choice([0.0, 0.3, 2.0]),
            cuts=chance.choice([0.0, 1.0, 4.0]),
            severs=chance.choice([0.0, 0.5]),
            store_errors=chance.choice([0.0, 0.2]),
        )
        match chance.randrange(4):
            case 0:
                trouble.backups, trouble.store_restores = 1.5, 0.5
            case 1:
                trouble.images, trouble.image_restores = 1.5, 0.5
        return trouble

    def _make_store_slow(self) -> None:
        slowed = self.cloud.disk.slowed(store_blocks)

        def store_slowly(*arguments: Any) -> Any:
            if self.world.chance(self.trouble.store_errors):
                raise Unavailable("store: database is locked")
            return slowed(*arguments)

        self.patch(intake_worker, "store_blocks", store_slowly)

    # -- what happens ---------------------------------------------------------------------------

    def _live(self) -> None:
        world, trouble = self.world, self.trouble
        self.cloud.boot()
        self.edge.boot()
        for what, per_minute in (
            (self._kill_edge, trouble.edge_deaths),
            (self._kill_cloud, trouble.cloud_deaths),
            (self._kill_broker, trouble.broker_deaths),
            (self._cut, trouble.cuts),
            (self._sever, trouble.severs),
            (self._back_up_store, trouble.backups),
            (self._restore_store, trouble.store_restores),
            (self._copy_outbox, trouble.images),
            (self._restore_outbox, trouble.image_restores),
        ):
            self._again(what, per_minute)
        self._is_peace = False
        world.run(world.random.uniform(*TROUBLE_S))
        self._is_peace = True
        self._make_peace()
        world.run(10.0)  # what is read is committed, or there for all to see
        if not world.run_until(self._is_drained, DRAIN_S_MAX, 5.0):
            raise Broken(f"seed {self.seed}: not drained in {DRAIN_S_MAX:.0f} s: {self._state()}")

    def _again(self, what: Callable[[], None], per_minute: float) -> None:
        if per_minute:
            delay_s = self.world.random.expovariate(per_minute / 60)
            self.world.later(delay_s, self._trouble, what, per_minute)

    def _trouble(self, what: Callable[[], None], per_minute: float) -> None:
        if not self._is_peace:
            self.happened[what.__name__.strip("_")] += 1
            what()
            self._again(what, per_minute)

    def _down_s(self) -> float:
        return self.world.random.choice([0.5, 5.0, 60.0]) * self.world.random.uniform(0.5, 2)

    def _kill_edge(self) -> None:
        self.edge.kill(is_power_cut=self.world.chance(0.5))
        self.world.later(self._down_s(), self.edge.boot)

    def _kill_cloud(self) -> None:
        self.cloud.kill(is_power_cut=self.world.chance(0.5))
        self.world.later(self._down_s(), self.cloud.boot)

    def _kill_broker(self) -> None:
        if self.broker.is_up:
            self.broker.crash(self._down_s())

    def _cut(self) -> None:
        wire = self.broker.wires.get(GATEWAY)
        if wire is not None:
            self.broker.counts.cuts += 1
            wire.break_off("connection reset")

    def _sever(self) -> None:
        wire = self.broker.wires.get(GATEWAY)
        if wire is not None:
            self.broker.counts.severed += 1
            wire.sever()

    def _back_up_store(self) -> None:
        self.cloud.disk.copy_to(self._backup)

    def _restore_store(self) -> None:
        if self._backup.exists():
            self.cloud.kill(is_power_cut=False)
            self.cloud.disk.replace_by(self._backup)
            self.world.later(self._down_s(), self.cloud.boot)

    def _copy_outbox(self) -> None:
        if self.edge.outbox is not None:
            self.edge.disk.copy_to(self._image)
            self._image_ms = self.world.now_ms

    def _restore_outbox(self) -> None:
        """The disk is replaced: what came after the image is gone, and nobody is to blame."""
        if self._image.exists():
            self.edge.kill(is_power_cut=True)
            self.edge.disk.replace_by(self._image)
            # Longer than anything of the old life can be under way, its answers to terminals too.
            self.excused.append((self._image_ms, self.world.now_ms + 30_000))
            self.world.later(30.0 + self._down_s(), self.edge.boot)

    def _make_peace(self) -> None:
        habits = self.habits
        habits.repeat = habits.refuse = habits.receipt_loss = habits.receipt_reorder = 0.0
        habits.receipt_echo = habits.swallow = 0.0
        habits.delay_s = (0.001, 0.1)
        self.trouble.store_errors = 0.0
        self.terminals.stop()
        self.edge.is_reading = False
        self.edge.boot()
        self.cloud.boot()

    def _is_drained(self) -> bool:
        return self.terminals.is_idle and self.edge.is_drained and self.cloud.process.is_alive

    def _state(self) -> str:
        waiting = [link.session.waiting for link in self.terminals.links]
        view = self.edge.outbox.view() if self.edge.outbox else None
        lanes = [(one.lane, one.unsettled) for one in view.lanes] if view else None
        return f"terminals wait for {waiting}, outbox {lanes}, {self.happened}"

    def _end(self) -> None:
        self.terminals.close()
        self.edge.process.kill()
        self.cloud.process.kill()
        self.cloud.close()

    # -- what must hold -------------------------------------------------------------------------

    def _check(self) -> None:
        with closing(sqlite3.connect(self.cloud.disk.path)) as store:
            self.drops, reasons = self._drops(store)
            self._check_positions(store)
            self._check_inputs(store)
            self._check_ledger(store)
        self._check_blame(reasons)
        if self.edge.error_ms_max > CLOCK_ERROR_MS_MAX:
            raise Broken(f"seed {self.seed}: a clock off by {self.edge.error_ms_max} ms")
        if self.world.events > EVENTS_PER_S_MAX * self.world.elapsed_s:
            raise Broken(f"seed {self.seed}: {self.world.events} events: in circles")

    def _drops(self, store: sqlite3.Connection) -> tuple[list[Drop], list[str]]:
        table = KIND_OF[Dropped].name
        rows = store.execute(
            f"SELECT first, last, from_time_ms, to_time_ms, reason FROM {table}"
        ).fetchall()
        drops = [
            Drop(GATEWAY, last - first + 1, from_ms, to_ms, reason)
            for first, last, from_ms, to_ms, reason in rows
            if first is not None and last is not None
        ]
        return drops, [row[4] for row in rows]

    def _check_positions(self, store: sqlite3.Connection) -> None:
        """Acknowledged: stored once. Stored: sent by somebody."""
        rows = store.execute(
            f"SELECT source.name, device_time, count(*) FROM {KIND_OF[Position].name} "
            "JOIN source ON source.id = source_id GROUP BY 1, 2"
        )
        stored = {(name.removeprefix("808:"), _ms(time)): count for name, time, count in rows}
        self.stored = sum(stored.values())
        self._demand("stored twice", [key for key, count in stored.items() if count > 1])
        self._demand("stored but never sent", list(stored.keys() - self.terminals.made))
        missing = [
            entry.claim.device_time_ms
            for entry in self.terminals.ledger
            if (entry.terminal.lstrip("0"), entry.claim.device_time_ms) not in stored
            and not self._is_excused(entry.acked_at_ms)
        ]
        left = unnamed(missing, self.drops)
        self._demand("acknowledged, not stored, not named", [missing[place] for place in left])
        promised = Counter((one.terminal, one.claim) for one in self.terminals.ledger)
        self._demand("acknowledged twice", [key for key, n in promised.items() if n > 1])

    def _check_inputs(self, store: sqlite3.Connection) -> None:
        """What the outbox had committed is stored, or named."""
        rows = store.execute(f"SELECT device_time, soc_percent FROM {KIND_OF[BatteryReading].name}")
        stored = {(_ms(time), round(soc, 1)) for time, soc in rows}
        missing = sorted(
            key[0]
            for key, kept_ms in self.edge.kept_inputs.items()
            if key not in stored and not self._is_excused(kept_ms)
        )
        left = unnamed(missing, self.drops)
        self._demand("committed, not stored, not named", [missing[place] for place in left])

    def _check_ledger(self, store: sqlite3.Connection) -> None:
        """appended = stored + duplicate + quarantined + dropped + waiting, at both ends."""
        outbox = self.edge.outbox
        assert outbox is not None
        view = outbox.view()
        for lane in view.lanes:
            row = store.execute(
                "SELECT stored, duplicate, quarantined, dropped FROM lane "
                "WHERE gateway_id = ? AND epoch = ? AND lane = ?",
                (GATEWAY, view.epoch, lane.lane),
            ).fetchone()
            counts = row or (0, 0, 0, 0)
            if sum(counts) != lane.next - 1:
                raise Broken(f"seed {self.seed}: appended {lane.next - 1}, settled as {counts}")

    def _check_blame(self, reasons: list[str]) -> None:
        """Nobody says that something was lost when nothing was."""
        if not self.happened["restore_store"]:
            self._demand("blamed the store", [one for one in reasons if DELIVERED in one])
            self._demand("taken back", [self.edge.taken_back] if self.edge.taken_back else [])
        if not self.happened["restore_outbox"]:
            self._demand("blamed the outbox", [one for one in reasons if OLD_IMAGE in one])

    def _is_excused(self, kept_ms: int) -> bool:
        return any(from_ms <= kept_ms <= to_ms for from_ms, to_ms in self.excused)

    def _demand(self, fault: str, found: list[Any]) -> None:
        if found:
            shown = ", ".join(map(str, sorted(found)[:5]))
            raise Broken(f"seed {self.seed}: {fault}: {len(found)}, as {shown}; {self.happened}")

    def digest(self) -> str:
        """The same for two runs of a seed, and hardly ever for two seeds."""
        facts = (
            self.world.events,
            self.world.now_ns,
            self.broker.counts,
            self.happened,
            self.stored,
            [(entry.serial, entry.acked_at_ms) for entry in self.terminals.ledger],
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


Plant = Callable[[Run], None]


def _ms(stored: Any) -> int:
    return int(stored)


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """No log lines but tracebacks, which are failures."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                found.append(self.format(record))

    ours = [logging.getLogger(name) for name in ("greenhaul_edge", "greenhaul_cloud")]
    collect = Collect(logging.ERROR)
    for logger in ours:
        logger.addHandler(collect)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    try:
        yield found
    finally:
        for logger in ours:
            logger.removeHandler(collect)
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
