"""Fleets on real sockets: nothing made is lost, whatever the platform does."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sim.honest_platform import Platform, running

from greenhaul_protocols.jt808 import BatchReport, Event, LocationReport, Received
from greenhaul_protocols.jt808.border import readings_of
from greenhaul_protocols.jt808.clock import time_ms_of
from greenhaul_sim.fleet import Fleet, FleetFigures, FleetPlan, traits_of
from greenhaul_sim.identity import fleet_identities, identity_of
from greenhaul_sim.ledger import LedgerWriter, claim_of, read_ledger
from greenhaul_sim.link import Address
from greenhaul_sim.motion import Truck
from greenhaul_sim.scenario import FleetPart, LinkPart, Scenario
from greenhaul_sim.streets import build_town

CALM = Scenario(fleet=FleetPart(terminals=12))


def plan_for(platform: Platform, scenario: Scenario = CALM, **changes: object) -> FleetPlan:
    plan = FleetPlan(platform.address, scenario, revision=None, speed=120, run_s=0.6, drain_s=10)
    return replace(plan, **changes)  # type: ignore[arg-type]


def drive(platform: Platform, path: Path, scenario: Scenario = CALM) -> FleetFigures:
    async def whole() -> FleetFigures:
        async with running(platform):
            with LedgerWriter(path) as ledger:
                return await Fleet(plan_for(platform, scenario), ledger).run()

    return asyncio.run(whole())


def assert_ledger_is_what_arrived(path: Path, platform: Platform) -> None:
    promised = Counter((entry.terminal, entry.claim) for entry in read_ledger(path))
    kept = {(phone[-11:], claim_of(report)) for phone, report in platform.reports}
    assert set(promised) == kept
    assert set(promised.values()) == {1}


def test_every_report_is_acknowledged_once_and_in_the_ledger(
    platform: Platform, tmp_path: Path
) -> None:
    figures = drive(platform, tmp_path / "ledger")
    assert figures.online == 12
    assert figures.reports == figures.acknowledged >= 12 * 5
    assert figures.waiting == figures.refused == figures.resent == 0
    assert_ledger_is_what_arrived(tmp_path / "ledger", platform)
    assert {event.revision for event in platform.messages(LocationReport)} == {2011, 2013, 2019}


def test_no_report_is_from_the_future_and_the_last_are_from_now(
    platform: Platform, tmp_path: Path
) -> None:
    before_ms = time.time() * 1000
    drive(platform, tmp_path / "ledger")
    times_ms = [time_ms_of(report.device_time) or 0 for _, report in platform.reports]
    assert max(times_ms) <= time.time() * 1000
    assert max(times_ms) > before_ms - 15_000
    assert min(times_ms) < before_ms - 60_000
    sent_ms = [entry.sent_at_ms for entry in read_ledger(tmp_path / "ledger")]
    for entry in read_ledger(tmp_path / "ledger"):
        assert entry.claim.device_time_ms <= entry.sent_at_ms <= entry.acked_at_ms
    assert min(sent_ms) >= before_ms - 1000


def test_outages_end_in_batches_and_repeats_are_not_promised_twice(
    platform: Platform, tmp_path: Path
) -> None:
    rough = replace(
        CALM, link=LinkPart(outage_probability=0.1, outage_s=(5, 20), repeat_probability=0.2)
    )
    figures = drive(platform, tmp_path / "ledger", rough)
    assert figures.outages > 0
    assert figures.copies > 0
    assert figures.connections > 12
    assert figures.acknowledged == figures.reports
    assert any(event.message.batch_type == 1 for event in platform.messages(BatchReport))
    assert len(platform.reports) > figures.reports
    assert_ledger_is_what_arrived(tmp_path / "ledger", platform)


def test_a_platform_that_restarts_and_drops_answers_loses_nothing(
    platform: Platform, tmp_path: Path
) -> None:
    """Kept by the platform but not answered: said again, and promised once."""
    seen = 0

    def forgetful(event: Event) -> int | None:
        nonlocal seen
        if isinstance(event, Received) and isinstance(event.message, LocationReport):
            seen += 1
            if seen % 5 == 0:
                platform.reports.append((event.header.phone, event.message))
                return None
        return 0

    platform.decide = forgetful

    async def whole() -> FleetFigures:
        await platform.start()
        with LedgerWriter(tmp_path / "ledger") as ledger:
            fleet = asyncio.ensure_future(Fleet(plan_for(platform), ledger).run())
            await platform.heard(20)
            await platform.stop()
            await platform.start()
            await platform.heard(40)
            await platform.stop()
            platform.decide = lambda _event: 0
            await platform.start()
            figures = await fleet
        await platform.stop()
        return figures

    figures = asyncio.run(whole())
    assert figures.waiting == 0
    assert figures.acknowledged == figures.reports
    assert figures.connections > 12
    assert_ledger_is_what_arrived(tmp_path / "ledger", platform)


def test_stop_ends_a_fleet_without_end(platform: Platform) -> None:
    async def whole() -> FleetFigures:
        async with running(platform):
            fleet = Fleet(plan_for(platform, run_s=None), None)
            task = asyncio.ensure_future(fleet.run())
            await platform.heard(12)
            fleet.stop()
            async with asyncio.timeout(5):
                return await task

    figures = asyncio.run(whole())
    assert figures.acknowledged == figures.reports >= 12


def test_a_fleet_without_a_platform_says_what_waits() -> None:
    async def whole() -> FleetFigures:
        plan = FleetPlan(Address("127.0.0.1", 9), CALM, speed=120, run_s=0.2, drain_s=0.1)
        return await Fleet(plan, None).run()

    figures = asyncio.run(whole())
    assert figures.online == 0
    assert figures.waiting == figures.reports > 0


def test_the_same_seed_is_the_same_fleet() -> None:
    first, again = fleet_identities(20, 5, None), fleet_identities(20, 5, None)
    assert first == again
    assert len({identity.phone for identity in first}) == 20
    assert {identity.revision for identity in first} == {2011, 2013, 2019}
    town = build_town(5)
    observed = [
        Truck(town, traits_of(identity, CALM, 5)).observe() for identity in (*first, *again)
    ]
    assert observed[:20] == observed[20:]


def test_identities_follow_from_the_number_and_plates_look_right() -> None:
    for identity in fleet_identities(200, 1, None):
        assert identity == identity_of(identity.phone, identity.revision)
        is_new_energy = identity.plate.startswith("豫RD") and len(identity.plate) == 8
        assert is_new_energy == identity.is_electric
        assert len(identity.plate) == (8 if identity.is_electric else 7)


def test_reports_carry_odometer_and_charge(platform: Platform, tmp_path: Path) -> None:
    drive(platform, tmp_path / "ledger")
    kinds: Counter[str] = Counter()
    for phone, report in platform.reports:
        for reading in readings_of(report, source=phone, received_time_ms=2_000_000_000_000):
            kinds[type(reading).__name__] += 1
            if type(reading).__name__ == "Position":
                assert reading.odometer_km  # type: ignore[attr-defined]
                assert reading.is_located  # type: ignore[attr-defined]
    assert kinds["BatteryReading"] == pytest.approx(kinds["Position"] * 2 / 3, rel=0.4)
