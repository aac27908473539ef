"""What bad links do: bytes keep their order, frames stay whole, and nothing promised is lost."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sim.honest_platform import Platform, running
from tests.sim.test_fleet import assert_ledger_is_what_arrived, plan_for

from greenhaul_protocols.jt808 import Conversation, Heartbeat
from greenhaul_sim.faults import NO_FAULTS, PROFILES, FaultCounts, FaultProfile, LinkFaults, Path
from greenhaul_sim.fleet import Fleet, FleetFigures
from greenhaul_sim.ledger import LedgerWriter
from greenhaul_sim.session import Manners


def frames(count: int) -> list[bytes]:
    conversation = Conversation(phone="013912345678", revision=2013)
    return [conversation.send(Heartbeat()) for _ in range(count)]


def path(seed: int, **faults: object) -> Path:
    return Path(replace(NO_FAULTS, **faults), random.Random(seed), FaultCounts())  # type: ignore[arg-type]


@given(st.integers(), st.lists(st.binary(max_size=40), max_size=8), st.floats(0, 100))
def test_a_chopped_delayed_slow_stream_is_the_same_stream(
    seed: int, writes: list[bytes], step_s: float
) -> None:
    way = path(seed, chop=0.7, delay_s=(0.0, 2.0), rate_bytes_per_s=50.0)
    carried = [one for i, data in enumerate(writes) for one in way.carry(data, i * step_s)]
    assert b"".join(one.data for one in carried) == b"".join(writes)
    times = [one.at for one in carried]
    assert times == sorted(set(times)), "equal times would not keep their order"


def test_a_rate_is_kept() -> None:
    way = path(1, rate_bytes_per_s=100.0)
    last = [one for _ in range(10) for one in way.carry(bytes(100), 5.0)][-1]
    assert last.at == pytest.approx(15.0)


@pytest.mark.parametrize("fault", ["drop", "repeat", "reorder"])
def test_frames_are_lost_repeated_and_turned_around_whole(fault: str) -> None:
    sent = frames(400)
    way = path(2, **{fault: 0.3})
    data = b"".join(one.data for frame in sent for one in way.carry(frame, 0.0))
    arrived = [b"\x7e" + body + b"\x7e" for body in data.strip(b"\x7e").split(b"\x7e\x7e")]
    assert set(arrived) <= set(sent)
    places = [sent.index(frame) for frame in arrived]
    is_in_order = places == sorted(places)
    match fault:
        case "drop":
            assert len(arrived) == pytest.approx(280, abs=40)
            assert is_in_order
        case "repeat":
            assert set(arrived) == set(sent)
            assert len(arrived) == pytest.approx(520, abs=40)
        case _:
            assert len(arrived) >= 399, "the last may still wait to be overtaken"
            assert not is_in_order
            assert max(abs(place - i) for i, place in enumerate(places)) < 12


def test_no_faults_change_nothing() -> None:
    faults = LinkFaults(NO_FAULTS, random.Random(1))
    assert faults.connected() is None
    assert faults.up.carry(b"not even a frame", 3.0) == [(3.0, b"not even a frame")]


# Faster than in life, so that a test of a second sees them all.
QUICK = {
    "half-open": FaultProfile(outage_every_s=(0.1, 0.5), half_open=1.0),
    "outages": FaultProfile(outage_every_s=(0.1, 0.4), outage_s=(0.05, 0.2)),
    "slow": FaultProfile(rate_bytes_per_s=20_000.0, delay_s=(0.0, 0.02)),
    "delayed": FaultProfile(delay_s=(0.0, 0.1), chop=0.5),
    "hostile": replace(
        PROFILES["hostile"], delay_s=(0.0, 0.02), rate_bytes_per_s=50_000.0,
        outage_every_s=(0.1, 0.6), outage_s=(0.05, 0.1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "none"])
def test_a_fleet_on_bad_links_gets_everything_through(
    name: str, platform: Platform, tmp_path: FilePath
) -> None:
    """Terminals wait less for an answer than the standard's six seconds, to fit a test."""
    profile = QUICK.get(name, PROFILES[name])
    manners = Manners(answer_timeout_s=0.1, resend_max=2)

    async def whole() -> FleetFigures:
        async with running(platform):
            with LedgerWriter(tmp_path / "ledger") as ledger:
                return await Fleet(
                    plan_for(platform, faults=profile, manners=manners), ledger
                ).run()

    figures = asyncio.run(whole())
    assert figures.waiting == 0, figures.line()
    assert figures.acknowledged == figures.reports > 0
    assert_ledger_is_what_arrived(tmp_path / "ledger", platform)
    assert bool(figures.outages) == (profile.outage_every_s is not None)
    assert bool(figures.half_open) == (profile.half_open > 0)
    assert bool(figures.frames_lost) == (profile.drop > 0)
    assert bool(figures.frames_repeated) == (profile.repeat > 0)
    assert bool(figures.frames_reordered) == (profile.reorder > 0)
