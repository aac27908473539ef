"""Many seeds in a few processes, with a record that a later run goes on from.

A record is a file of lines `{"sources", "seeds", "happened", "broken"}`, one a finished part. It
holds for the sources it was made with: when one of ours changes, its seeds are played again.
"""

import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.run import Run

# How many a process plays before it says so: what a broken-off run plays again at most.
SEEDS_AT_ONCE = 25
# After so many parts a process makes room for a fresh one, so that memory cannot creep. We end the
# pool for that: with `max_tasks_per_child` Python 3.11's hangs when a process is renewed.
_PARTS_PER_PROCESS = 20
_ROOT = Path(__file__).parents[2]
_OURS = ("protocols", "edge", "cloud", "firmware-sim", "tests/simulation")


@dataclass
class Played:
    """What came of some seeds: how many, what happened in them, and what was broken, by seed."""

    seeds: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Played") -> None:
        """Take another's into ours."""
        self.seeds += other.seeds
        self.happened += other.happened
        self.broken |= other.broken


def play(template: Path, seeds: Iterable[int], run: type[Run] = Run) -> Played:
    """One after the other. Whatever a run raises is that seed's, and the next one is played."""
    played = Played()
    for seed in seeds:
        one = run(seed, template)
        try:
            one()
        except AssertionError as error:
            played.broken[seed] = str(error)
        except Exception:  # noqa: BLE001 - told with its traceback, as this seed's
            played.broken[seed] = traceback.format_exc()
        played.seeds += 1
        played.happened += one.happened
    return played


def play_all(
    template: Path,
    seeds: range,
    record: Path,
    processes: int,
    say: Callable[[str], object],
    sources: str = "",
) -> Played:
    """All seeds that the record does not have yet, and what it has; broken ones are said at once.

    processes: 0 plays them in this one. sources: what the record must have been made with; by
    default our files as they are. Raises BrokenProcessPool when a process is killed; what was
    finished stays in the record.
    """
    sources = sources or digest_of_sources()
    total, done = Played(), set[int]()
    for part, played in read_record(record, sources):
        if not done.intersection(part) and set(part) <= set(seeds):
            done.update(part)
            total.add(played)
    say(f"{total.seeds} of {len(seeds)} seeds are in {record}, {len(total.broken)} broken")
    left = [seed for seed in seeds if seed not in done]
    parts = [left[at : at + SEEDS_AT_ONCE] for at in range(0, len(left), SEEDS_AT_ONCE)]
    with record.open("a") as lines:
        lines.write("\n")  # the last line may have been cut short
        for part, played in _play_parts(template, parts, processes):
            total.add(played)
            line = {
                "sources": sources,
                "seeds": part,
                "happened": played.happened,
                "broken": played.broken,
            }
            lines.write(json.dumps(line) + "\n")
            lines.flush()
            for seed, fault in sorted(played.broken.items()):
                say(f"seed {seed} is broken: {fault}")
            say(f"{total.seeds} of {len(seeds)} seeds played, {len(total.broken)} broken")
    return total


def _play_parts(
    template: Path, parts: list[list[int]], processes: int
) -> Iterator[tuple[list[int], Played]]:
    """Each part with what came of it, as they are finished."""
    if not processes:
        yield from ((part, play(template, part)) for part in parts)
        return
    round_size = processes * _PARTS_PER_PROCESS
    for at in range(0, len(parts), round_size):
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            playing = {pool.submit(play, template, part): part for part in parts[at:][:round_size]}
            for done in as_completed(playing):
                yield playing[done], done.result()


def read_record(record: Path, sources: str) -> Iterator[tuple[list[int], Played]]:
    """Parts played with these sources; a line cut short by a power cut is none."""
    if not record.exists():
        return
    for text in filter(None, record.read_text().splitlines()):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["sources"] == sources:
            broken = {int(seed): fault for seed, fault in line["broken"].items()}
            seeds = line["seeds"]
            yield seeds, Played(len(seeds), Counter(line["happened"]), broken)


def digest_of_sources() -> str:
    """Changes with any of our Python files that a run is made of."""
    digest = hashlib.sha256()
    for folder in _OURS:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(_ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
