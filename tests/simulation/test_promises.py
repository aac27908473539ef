"""Terminals × hostile links × edge × broker × cloud in one process: nothing acknowledged is lost.

A run is its seed: `pytest tests/simulation -k 'seed7 and acknowledged'` plays number 7 again.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from tests.simulation.run import Run

SEEDS = range(30)
SOAK_SEEDS = 10_000


@pytest.mark.parametrize("seed", SEEDS, ids="seed{}".format)
def test_what_was_acknowledged_is_stored_once_or_named(seed: int, template: Path) -> None:
    print(f"simulation seed {seed}")
    Run(seed, template)()


def test_a_seed_is_one_run_and_two_seeds_are_two(template: Path) -> None:
    assert Run(6, template)() == Run(6, template)() != Run(10, template)()


@pytest.mark.soak
def test_ten_thousand_seeds(template: Path) -> None:
    """From GREENHAUL_SEED on; every failure is named, not only the first."""
    begin = int(os.environ.get("GREENHAUL_SEED", "1000"))
    print(f"simulation seeds {begin} to {begin + SOAK_SEEDS - 1}")
    failures: list[str] = []
    happened: Counter[str] = Counter()
    for seed in range(begin, begin + SOAK_SEEDS):
        run = Run(seed, template)
        try:
            run()
        except AssertionError as error:
            failures.append(str(error))
        happened += run.happened
    assert not failures, f"{len(failures)} of {SOAK_SEEDS}: " + "\n".join(failures[:20])
    assert min(happened.values()) > SOAK_SEEDS // 20, happened
