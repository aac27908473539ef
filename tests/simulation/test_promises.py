"""Terminals × hostile links × edge × broker × cloud in one process: nothing acknowledged is lost.

A run is its seed: `pytest tests/simulation -k 'seed7 and acknowledged'` plays number 7 again.
"""

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from tests.simulation.run import Run

SEEDS = range(30)
SOAK_SEEDS = 10_000
SEEDS_AT_ONCE = 50


@pytest.mark.parametrize("seed", SEEDS, ids="seed{}".format)
def test_what_was_acknowledged_is_stored_once_or_named(seed: int, template: Path) -> None:
    print(f"simulation seed {seed}")
    Run(seed, template)()


def test_a_seed_is_one_run_and_two_seeds_are_two(template: Path) -> None:
    assert Run(6, template)() == Run(6, template)() != Run(10, template)()


def play(template: Path, seeds: range) -> tuple[list[str], Counter[str]]:
    """Runs of some seeds: what was broken, and what happened."""
    broken: list[str] = []
    happened: Counter[str] = Counter()
    for seed in seeds:
        run = Run(seed, template)
        try:
            run()
        except AssertionError as error:
            broken.append(str(error))
        happened += run.happened
    return broken, happened


@pytest.mark.soak
def test_ten_thousand_seeds(template: Path) -> None:
    """From GREENHAUL_SEED on; every failure is named, not only the first."""
    begin = int(os.environ.get("GREENHAUL_SEED", "1000"))
    end = begin + int(os.environ.get("GREENHAUL_SEEDS", str(SOAK_SEEDS)))
    print(f"simulation seeds {begin} to {end - 1}")
    parts = [range(at, min(at + SEEDS_AT_ONCE, end)) for at in range(begin, end, SEEDS_AT_ONCE)]
    broken: list[str] = []
    happened: Counter[str] = Counter()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for found, also in processes.map(play, [template] * len(parts), parts):
            broken += found
            happened += also
    print(f"happened: {dict(happened)}")
    assert not broken, f"{len(broken)} of {end - begin}: " + "\n".join(broken[:20])
