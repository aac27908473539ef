"""Two collectors on one PostgreSQL: they share the shards, and one takes over when one dies."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.chaos.chain import until
from tests.chaos.collectors import Collectors, Fleet, running
from tests.chaos.database import Database, database
from tests.chaos.line import Line

TAKEN_S_MAX = 10.0
PIECES = 16


@pytest.fixture
def server() -> Iterator[Database]:
    """A database of the test's own."""
    with database() as made:
        yield made


def connected(collectors: Collectors, name: str) -> set[str]:
    """Pieces whose sessions at the broker a collector has just now."""
    found: set[str] = set()
    for line in collectors.log(name).splitlines():
        piece = line.partition("shards=")[2][:5]
        if "event=broker_connected" in line:
            found.add(piece)
        elif "event=shards_left" in line:
            found.discard(piece)
    return found


def holds(collectors: Collectors, name: str, pieces: set[str]) -> bool:
    """Whether a collector has opened the sessions of all these."""
    return pieces <= connected(collectors, name)


def take_turns(
    collectors: Collectors, *, kills: int, overlap_s: float, random: Random
) -> list[float]:
    """Two at a time; one after another dies, and another comes. How long each taking over took."""
    took = []
    alive = ["c0", "c1"]
    for name in alive:
        collectors.start(name)
    for number in range(kills):
        until(
            lambda: [len(collectors.shards(name)) for name in alive] == [PIECES // 2] * 2,
            "each has half",
        )
        assert not collectors.shards(alive[0]) & collectors.shards(alive[1])
        time.sleep(overlap_s * random.uniform(0.5, 1.5))  # any moment will do
        victim = random.choice(alive)
        alive.remove(victim)
        orphans = collectors.shards(victim)
        collectors.kill(victim)
        killed_s = time.monotonic()
        survivor = alive[0]
        until(partial(holds, collectors, survivor, orphans), "its shards are taken")
        took.append(time.monotonic() - killed_s)
        alive.append(f"c{number + 2}")
        collectors.start(alive[-1])
    return took


def play(folder: Path, server: Database, *, kills: int, overlap_s: float, seed: int) -> None:
    print(f"seed={seed}")
    with running(folder, server.url) as (_, collectors, fleet):
        fleet.start()
        took = take_turns(collectors, kills=kills, overlap_s=overlap_s, random=Random(seed))
        print(f"taken over after {', '.join(f'{one:.1f} s' for one in took)}")
        settle(collectors, fleet, server)
    assert max(took) <= TAKEN_S_MAX


def settle(collectors: Collectors, fleet: Fleet, server: Database) -> None:
    """Everything sent is stored once, and nobody waited in a circle."""
    fleet.await_settled()
    fleet.await_folded()
    collectors.stop()
    readings = fleet.assert_exact()
    print(f"{readings} readings, each stored once")
    assert readings > 500
    for name in [path.stem for path in collectors.folder.glob("*.log")]:
        assert "Traceback" not in collectors.log(name), collectors.log(name)
    assert server.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = 'greenhaul'") == [
        (0,)
    ]


def test_a_dead_collectors_shards_are_taken_and_nothing_is_lost(
    tmp_path: Path, server: Database
) -> None:
    play(tmp_path, server, kills=1, overlap_s=2.0, seed=808)


def test_a_collector_cut_off_from_the_broker_leaves_its_shards(
    tmp_path: Path, server: Database
) -> None:
    """It has its database, and would keep its claims for ever."""
    with running(tmp_path, server.url) as (broker, near, fleet):
        line = Line(broker.port)
        far = Collectors(tmp_path / "far", server.url, line.port)
        try:
            near.start("near")
            far.start("far")
            fleet.start()
            until(lambda: len(connected(near, "near")) == PIECES // 2, "each has half")
            orphans = connected(far, "far")
            line.close()
            cut_s = time.monotonic()
            until(partial(holds, near, "near", orphans), "its shards are taken")
            assert time.monotonic() - cut_s <= TAKEN_S_MAX
            assert "broker" in readyz(far, "far")
            line = Line(broker.port, at=line.port)
            until(lambda: len(connected(far, "far")) == PIECES // 2, "it is back by itself")
            until(lambda: not readyz(far, "far"), "it is ready again")
            far.stop()
            settle(near, fleet, server)
        finally:
            far.close()
            line.close()


def readyz(collectors: Collectors, name: str) -> dict[str, str]:
    """What one complains of; empty when it is ready."""
    told = json.loads((collectors.folder / f"{name}.ready").read_text())
    url = told["metrics"].replace("/metrics", "/readyz")
    try:
        with urlopen(url, timeout=10):
            return {}
    except HTTPError as error:
        with error:
            found: dict[str, str] = json.loads(error.read())["faults"]
            return found


def test_what_one_process_stores_another_tells_live(tmp_path: Path, server: Database) -> None:
    """Two collectors, two API processes: a stream of each hears of every vehicle."""
    with running(tmp_path, server.url) as (_, collectors, fleet):
        token = fleet.token()
        names = {"c0": "collect", "c1": "collect", "a0": "api", "a1": "api"}
        for name, command in names.items():
            collectors.launch(name, command)
        for name in names:
            collectors.await_ready(name)
        fleet.start()
        vehicles = {f"truck-{number}" for number in range(0, len(fleet.gateways), 2)}
        for name in ("a0", "a1"):
            told = json.loads((collectors.folder / f"{name}.ready").read_text())
            assert vehicles <= heard_live(told["api"], token, vehicles)
        fleet.await_settled()
        collectors.stop()


def heard_live(url: str, token: str, wanted: set[str]) -> set[str]:
    """Vehicles that a stream's `positions` spoke of, until all wanted were among them."""
    request = Request(f"{url}/api/v1/live", headers={"Authorization": f"Bearer {token}"})
    found: set[str] = set()
    with urlopen(request, timeout=30) as stream:
        event = b""
        while not wanted <= found:
            line = stream.readline()
            assert line, "the stream ended"
            if line.startswith(b"event:"):
                event = line.removeprefix(b"event:").strip()
            elif line.startswith(b"data:") and event == b"positions":
                items = json.loads(line.removeprefix(b"data:"))["items"]
                found |= {item["vehicle_id"] for item in items}
    return found


@pytest.mark.soak
def test_ten_minutes_of_overlap_with_kills(tmp_path: Path, server: Database) -> None:
    play(tmp_path, server, kills=20, overlap_s=30.0, seed=Random().randrange(10**6))
