"""Simulated time never overtakes ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_sim.simclock import SimClock

clocks = st.builds(
    SimClock,
    speed=st.floats(0.1, 1000),
    wall_start_s=st.floats(1.7e9, 1.9e9),
    run_s=st.floats(0, 10_000),
)


@given(clocks, st.floats(0, 20_000))
def test_never_in_the_future(clock: SimClock, passed_s: float) -> None:
    wall_s = clock.wall_start_s + passed_s
    assert clock.simulated(wall_s) <= wall_s


@given(clocks, st.floats(0, 1_000_000))
def test_the_wall_time_of_a_simulated_time_is_when_it_is_reached(
    clock: SimClock, lived_s: float
) -> None:
    simulated_s = clock.start_s + lived_s
    wall_s = clock.wall(simulated_s)
    assert clock.simulated(wall_s) == pytest.approx(simulated_s, abs=1e-3)
    assert wall_s >= simulated_s


def test_a_run_of_the_given_length_ends_now_and_goes_on_in_step() -> None:
    clock = SimClock(speed=60, wall_start_s=1_000_000, run_s=100)
    assert clock.start_s == 1_000_000 - 5_900
    assert clock.simulated(1_000_100) == 1_000_100
    assert clock.simulated(1_000_150) == 1_000_150
    assert clock.simulated(1_000_050) == 1_000_000 - 5_900 + 3_000
