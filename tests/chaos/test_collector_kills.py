"""kill -9 of collector, broker and database at random: what was sent is stored once, all of it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from tests.chaos.chain import until
from tests.chaos.collectors import START_S, Collectors, running
from tests.chaos.database import Database, database

KILLS_EACH, SOAK_KILLS_EACH = 5, 50
# A collector is up after one to two seconds: some die while they start, more in the short form.
PAUSE_S_MAX, SOAK_PAUSE_S_MAX = 1.2, 2.0


def kill_at_random(folder: Path, engine: str, *, each: int, pause_s_max: float, seed: int) -> None:
    """Each of the victims so often, taking turns in random order; then count."""
    print(f"seed={seed}")
    random = Random(seed)
    with ExitStack() as stack:
        server = stack.enter_context(database()) if engine == "postgresql" else None
        url = server.url if server else f"sqlite:///{folder}/store.db"
        broker, collectors, fleet = stack.enter_context(running(folder, url))

        def restart_broker() -> None:
            broker.kill()
            broker.start()

        victims: list[Callable[[], None]] = [restart_broker, lambda: restart(collectors)]
        if server:
            victims.append(lambda: revive(server))
        collectors.start("c")
        fleet.start()
        for number in range(each * len(victims)):
            time.sleep(random.uniform(0, pause_s_max))  # any moment will do
            if number % len(victims) == 0:
                random.shuffle(victims)
            collectors.revive("c")
            victims[number % len(victims)]()
        until(lambda: collectors.revive("c"), "the collector is ready", START_S)
        fleet.await_settled()
        fleet.await_folded()
        collectors.stop()
        readings = fleet.assert_exact()
        print(f"{each} kills each of {len(victims)}, {readings} readings, each stored once")
        assert readings > 500


def restart(collectors: Collectors) -> None:
    """The collector; on SQLite the database dies with it."""
    collectors.kill("c")
    collectors.launch("c")


def revive(server: Database) -> None:
    """The database, which recovers from its log."""
    server.kill()
    server.start()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_was_sent_outlives_5_kills_of_each(tmp_path: Path, engine: str) -> None:
    kill_at_random(tmp_path, engine, each=KILLS_EACH, pause_s_max=PAUSE_S_MAX, seed=808)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_what_was_sent_outlives_50_kills_of_each(tmp_path: Path, engine: str) -> None:
    seed = Random().randrange(10**6)
    kill_at_random(tmp_path, engine, each=SOAK_KILLS_EACH, pause_s_max=SOAK_PAUSE_S_MAX, seed=seed)
