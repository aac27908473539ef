"""A fleet: trucks drive, their terminals report to a real server, the ledger says what it took."""

import asyncio
import contextlib
import heapq
import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from greenhaul_protocols.jt808 import Item, LocationReport
from greenhaul_protocols.jt808.border import battery_item
from greenhaul_protocols.jt808.clock import digits_of
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.tables import item_of
from greenhaul_sim.faults import NO_FAULTS, FaultProfile
from greenhaul_sim.identity import Identity, fleet_identities
from greenhaul_sim.ledger import LedgerEntry, LedgerWriter
from greenhaul_sim.link import Address, Link
from greenhaul_sim.motion import Observation, Traits, Truck
from greenhaul_sim.scenario import Scenario
from greenhaul_sim.session import Manners, Session, Stage
from greenhaul_sim.simclock import SimClock
from greenhaul_sim.streets import Plane, Point, StreetMap, build_town

log = logging.getLogger(__name__)

# With no end given: how long simulated time runs ahead of real time before it catches up.
OPEN_END_RUN_S = 900.0

# Terminals beginning to connect per second: a listener's backlog is a few hundred.
_CONNECTS_PER_S = 500.0

# How often a terminal whose memory is full asks for room again.
_FULL_RETRY_S = 0.5

_STATUS_ACC, _STATUS_LOCATED, _STATUS_BEIDOU, _STATUS_MOVING = 1, 1 << 1, 1 << 19, 1 << 22
_MOVING_KMH = 1.0


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What was asked for. run_s None: until stopped. revision None: mixed."""

    address: Address
    scenario: Scenario
    seed: int = 1
    revision: int | None = 2013
    speed: float = 60.0
    run_s: float | None = None
    drain_s: float = 20.0  # to wait for the last acknowledgements
    faults: FaultProfile = NO_FAULTS
    manners: Manners = field(default_factory=Manners)  # of every terminal


@dataclass(slots=True)
class FleetFigures:
    """Where a fleet stands."""

    terminals: int = 0
    online: int = 0
    reports: int = 0
    acknowledged: int = 0
    waiting: int = 0
    refused: int = 0
    resent: int = 0
    copies: int = 0
    connections: int = 0
    outages: int = 0
    half_open: int = 0  # of the outages
    frames_lost: int = 0
    frames_repeated: int = 0
    frames_reordered: int = 0
    last_refusal: str = ""

    def line(self) -> str:
        """One line for people."""
        text = (
            f"terminals={self.terminals} online={self.online} reports={self.reports} "
            f"acknowledged={self.acknowledged} waiting={self.waiting} resent={self.resent} "
            f"copies={self.copies} outages={self.outages} connections={self.connections}"
        )
        if self.half_open:
            text += f" half_open={self.half_open}"
        if self.frames_lost or self.frames_repeated or self.frames_reordered:
            text += (
                f" frames_lost={self.frames_lost} frames_repeated={self.frames_repeated} "
                f"frames_reordered={self.frames_reordered}"
            )
        if self.refused or self.last_refusal:
            text += f" refused={self.refused} ({self.last_refusal})"
        return text


class Due(NamedTuple):
    """The next report of a member, ordered by time."""

    wall_s: float
    member: int
    simulated_s: float


class Member:
    """One truck with its terminal."""

    def __init__(self, truck: Truck, link: Link, rng: random.Random) -> None:
        self.truck = truck
        self.link = link
        self.rng = rng
        self.lived_s = 0.0  # simulated time the truck has reached

    @property
    def session(self) -> Session:
        """Its session."""
        return self.link.session


class Fleet:
    """Runs until its time is up or `stop` is called, then waits for what is not acknowledged."""

    def __init__(
        self, plan: FleetPlan, ledger: LedgerWriter | None, streets: StreetMap | None = None
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._streets = streets or town_of(plan.scenario, plan.seed)
        self._stopping = asyncio.Event()
        self._figures = FleetFigures()
        self._wall_offset_s = time.time() - asyncio.get_running_loop().time()
        identities = fleet_identities(plan.scenario.fleet.terminals, plan.seed, plan.revision)
        self._members = [self._member(identity) for identity in identities]
        # Last: building thousands of trucks takes seconds that nobody drives in.
        self._clock = SimClock(plan.speed, time.time(), plan.run_s or OPEN_END_RUN_S)

    @property
    def start_s(self) -> float:
        """Simulated time of the beginning, seconds since 1970."""
        return self._clock.start_s

    def stop(self) -> None:
        """No more reports; `run` returns when all are acknowledged or its patience ends."""
        self._stopping.set()

    def figures(self) -> FleetFigures:
        """Where the fleet stands now."""
        sessions = [member.session for member in self._members]
        faults = [member.link.faults.counts for member in self._members]
        return replace(
            self._figures,
            terminals=len(sessions),
            online=sum(session.stage is Stage.ONLINE for session in sessions),
            acknowledged=sum(session.counts.acknowledged for session in sessions),
            waiting=sum(session.waiting for session in sessions),
            refused=sum(session.counts.refused for session in sessions),
            resent=sum(session.counts.resent for session in sessions),
            connections=sum(member.link.connections for member in self._members),
            outages=self._figures.outages + sum(counts.outages for counts in faults),
            half_open=sum(counts.half_open for counts in faults),
            frames_lost=sum(counts.dropped for counts in faults),
            frames_repeated=sum(counts.repeated for counts in faults),
            frames_reordered=sum(counts.reordered for counts in faults),
            last_refusal=next((s.last_refusal for s in sessions if s.last_refusal), ""),
        )

    async def run(self) -> FleetFigures:
        """The whole simulation."""
        plan = self._plan
        async with asyncio.TaskGroup() as group:
            links = [
                group.create_task(self._connect(index, member.link))
                for index, member in enumerate(self._members)
            ]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(plan.run_s):
                    await self._drive()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(plan.drain_s):
                    await self._drain()
            figures = self.figures()
            for link in links:
                link.cancel()
        return figures

    def _member(self, identity: Identity) -> Member:
        plan, scenario = self._plan, self._plan.scenario
        rng = random.Random(f"member {plan.seed} {identity.phone}")
        truck = Truck(self._streets, traits_of(identity, scenario, plan.seed))
        session = Session(identity, plan.manners)
        link = Link(
            session,
            plan.address,
            rng=random.Random(f"link {plan.seed} {identity.phone}"),
            record=self._record,
            wall_offset_s=self._wall_offset_s,
            faults=plan.faults,
        )
        return Member(truck, link, rng)

    async def _connect(self, index: int, link: Link) -> None:
        await asyncio.sleep(index / _CONNECTS_PER_S)
        await link.run()

    def _record(self, entries: list[LedgerEntry]) -> None:
        if self._ledger:
            self._ledger.append(entries)

    async def _drive(self) -> None:
        """Reports of all trucks in order of time, until stopped."""
        interval_s = self._plan.scenario.fleet.interval_s
        queue: list[Due] = []
        for index, member in enumerate(self._members):
            member.lived_s = self._clock.start_s
            first_s = float(int(self._clock.start_s + member.rng.uniform(0, interval_s)) + 1)
            queue.append(Due(self._clock.wall(first_s), index, first_s))
        heapq.heapify(queue)
        while not self._stopping.is_set():
            due = queue[0]
            pause_s = due.wall_s - time.time()
            if pause_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._stopping.wait()
                continue
            heapq.heapreplace(queue, self._report(due))
            # Thousands of reports may be due at once: sockets must get their turn between them.
            await asyncio.sleep(0)

    def _report(self, due: Due) -> Due:
        """Make the report that is due; when the next one is."""
        member, fleet = self._members[due.member], self._plan.scenario.fleet
        if not member.session.has_room:
            return Due(time.time() + _FULL_RETRY_S, due.member, due.simulated_s)
        member.truck.advance(due.simulated_s - member.lived_s)
        member.lived_s = due.simulated_s
        observation = member.truck.observe()
        report = report_of(observation, int(due.simulated_s), member.session.identity.revision)
        self._trouble(member, report)
        member.session.put(report)
        self._figures.reports += 1
        member.link.poke()
        interval_s = fleet.interval_s if observation.is_ignition_on else fleet.parked_interval_s
        next_s = due.simulated_s + max(round(interval_s), 1)
        return Due(self._clock.wall(next_s), due.member, next_s)

    def _trouble(self, member: Member, report: LocationReport) -> None:
        """Outages and repeats, as the scenario has them."""
        trouble = self._plan.scenario.link
        if member.rng.random() < trouble.outage_probability:
            self._figures.outages += 1
            member.link.go_dark(member.rng.uniform(*trouble.outage_s) / self._plan.speed)
        if member.rng.random() < trouble.repeat_probability and member.session.has_room:
            self._figures.copies += 1
            member.session.put(report, is_copy=True, is_late=True)

    async def _drain(self) -> None:
        while not all(member.session.is_idle for member in self._members):
            for member in self._members:
                member.link.poke()
            await asyncio.sleep(0.05)


def town_of(scenario: Scenario, seed: int) -> StreetMap:
    """The streets a scenario drives on."""
    area = scenario.area
    plane = Plane(area.latitude_deg, area.longitude_deg)
    return build_town(seed, plane, area.half_width_m)


def traits_of(identity: Identity, scenario: Scenario, seed: int) -> Traits:
    """A driver and a depot for a terminal."""
    rng = random.Random(f"traits {seed} {identity.phone}")
    area, fleet = scenario.area, scenario.fleet
    reach_m = 0.8 * area.half_width_m
    is_speeding = rng.random() < fleet.speeding_share
    return Traits(
        seed=f"{seed} {identity.phone}",
        home=Point(rng.uniform(-reach_m, reach_m), rng.uniform(-reach_m, reach_m)),
        speed_factor=fleet.speeding_factor if is_speeding else rng.uniform(0.8, 0.97),
        centre_share=area.centre_share,
        centre_radius_m=area.centre_radius_m,
        gnss_noise_m=scenario.gnss.noise_m,
        is_electric=identity.is_electric,
    )


def report_of(observation: Observation, time_s: int, revision: int) -> LocationReport:
    """What a terminal of a revision says of an observation at a whole second."""
    status = _STATUS_LOCATED
    status |= _STATUS_ACC if observation.is_ignition_on else 0
    status |= _STATUS_BEIDOU if revision >= 2013 else 0
    is_moving = observation.speed_kmh >= _MOVING_KMH
    status |= _STATUS_MOVING if revision >= 2019 and is_moving else 0
    items: list[Item] = [item_of(LOCATION_ITEMS, "odometer_km", observation.odometer_km)]
    if revision >= 2013:
        items.append(item_of(LOCATION_ITEMS, "signal_strength", 24))
        items.append(item_of(LOCATION_ITEMS, "satellites", 14))
    if observation.soc_percent is not None:
        items.append(battery_item(observation.soc_percent))
    return LocationReport(
        alarms=0,
        status=status,
        latitude_deg=abs(observation.latitude_deg),
        longitude_deg=abs(observation.longitude_deg),
        altitude_m=round(observation.altitude_m),
        speed_kmh=observation.speed_kmh,
        heading_deg=round(observation.heading_deg) % 360,
        device_time=digits_of(time_s * 1000),
        items=tuple(items),
    )
