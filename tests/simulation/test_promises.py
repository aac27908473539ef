"""Terminals × hostile links × edge × broker × cloud in one process: nothing acknowledged is lost.

A run is its seed: `pytest tests/simulation -k 'seed7 and acknowledged'` plays number 7 again.
"""

import os
from pathlib import Path
from tempfile import gettempdir

import pytest
from tests.simulation.pool import play, play_all, read_record
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
def test_ten_thousand_seeds(template: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From GREENHAUL_SEED on; every failure is named, and a run broken off goes on."""
    begin = int(os.environ.get("GREENHAUL_SEED", "1000"))
    seeds = range(begin, begin + int(os.environ.get("GREENHAUL_SEEDS", str(SOAK_SEEDS))))
    record = Path(os.environ.get("GREENHAUL_RECORD") or gettempdir() + "/greenhaul-seeds.jsonl")
    processes = int(os.environ.get("GREENHAUL_PROCESSES", "2"))

    def say(line: str) -> None:
        with capfd.disabled():
            print(line, flush=True)

    played = play_all(template, seeds, record, processes, say)
    print(f"happened: {dict(played.happened)}")
    assert played.seeds == len(seeds)
    shown = "\n".join(fault for _, fault in sorted(played.broken.items())[:20])
    assert not played.broken, f"{len(played.broken)} of {len(seeds)}:\n{shown}"


class Faulty(Run):
    """Breaks a promise, or falls over, at some seeds."""

    def __call__(self) -> str:
        if self.seed == 2:
            raise KeyError("fallen over")
        assert self.seed != 1, "a promise"
        return super().__call__()


def test_a_broken_seed_is_named_and_the_next_is_played(template: Path) -> None:
    played = play(template, range(1, 4), Faulty)
    assert (played.seeds, set(played.broken)) == (3, {1, 2})
    assert "fallen over" in played.broken[2]
    assert played.happened


def test_a_run_broken_off_goes_on_where_it_was(template: Path, tmp_path: Path) -> None:
    record, said = tmp_path / "record.jsonl", list[str]()
    first = play_all(template, range(40, 42), record, 1, said.append, "these")
    with record.open("a") as lines:
        lines.write('{"sources": "cut sho')
    again = play_all(template, range(40, 43), record, 0, said.append, "these")
    assert said[0].startswith("0 of 2")
    assert any(line.startswith("2 of 3") for line in said)
    assert (first.seeds, again.seeds) == (2, 3)
    assert again.happened.total() > first.happened.total()
    assert not list(read_record(record, "others"))
