"""kill -9 of edge, cloud and broker at random points, starting ones too: nothing is lost.

Terminals resend until they are acknowledged, so everything they made is acknowledged in the end;
what they were promised is what the store must hold, each reading once and nothing beside it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from tests.conftest import free_port, start_mosquitto
from tests.process_chain import Chain, until

KILLS = 8
SOAK_KILLS = 2_000
# A process is up after one to two seconds: about half of them die while they start.
PAUSE_S_MAX = 2.0


class Killing:
    """A chain under a fleet, and a broker of its own."""

    def __init__(self, folder: Path, *, speed: float) -> None:
        self._broker_folder, self._port = folder / "broker", free_port()
        self._broker = start_mosquitto(self._broker_folder, self._port)
        self.chain = Chain(folder, self._port)
        self.ledger = folder / "ledger.jsonl"
        self.chain.start_cloud()
        self.chain.start_edge()
        self._log = (folder / "fleet.log").open("wb")
        self._fleet = subprocess.Popen(
            [
                sys.executable, "-m", "greenhaul_sim", "fleet", "--terminals", "20", "--seed", "7",
                "--revision", "mixed", "--to", self.chain.terminals, "--speed", f"{speed:g}",
                "--drain", "240", "--ledger", str(self.ledger),
            ],
            cwd=folder, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def kill(self, name: str) -> None:
        """kill -9, and start it again without waiting for it."""
        if name != "broker":
            self.chain.kill(name)
            self.chain.launch(name)
            return
        self._broker.kill()
        self._broker.wait()
        self._broker = start_mosquitto(self._broker_folder, self._port)

    def recover(self) -> None:
        """Everything is up; the fleet makes no more, and gets its last acknowledgements."""
        self.chain.await_cloud()
        self.chain.await_edge()
        self._fleet.send_signal(signal.SIGINT)
        assert self._fleet.wait(300) == 0, (self.chain.folder / "fleet.log").read_text()
        self.chain.await_drained()

    def close(self) -> None:
        """End whatever still runs."""
        for process in (self._fleet, *self.chain.processes.values(), self._broker):
            process.kill()
            process.wait()
        self._log.close()


def kill_at_random(folder: Path, kills: int, seed: int, *, speed: float) -> None:
    print(f"kill seed {seed}")
    random = Random(seed)
    killing = Killing(folder, speed=speed)
    chain = killing.chain
    try:
        until(lambda: killing.ledger.exists() and killing.ledger.stat().st_size, "reports")
        victims = ["edge", "cloud", "broker"]
        for number in range(kills):
            time.sleep(random.uniform(0, PAUSE_S_MAX))  # any moment will do
            # each of the three at least once in three
            if number % len(victims) == 0:
                random.shuffle(victims)
            killing.kill(victims[number % len(victims)])
        killing.recover()
        proof = chain.sim(
            "verify", "--ledger", str(killing.ledger), "--api", chain.url, "--token-file", "token",
            "--wait", "30",
        )  # fmt: skip
        assert_exact(proof)
        for lane in chain.status["lanes"]:
            named = lane["stored"] + lane["duplicate"] + lane["quarantined"] + lane["dropped"]
            assert lane["appended"] == named + lane["waiting"], lane
        chain.stop()
    finally:
        killing.close()


def assert_exact(proof: str) -> None:
    """The stored set is the produced set."""
    figures = {
        name: int(re.search(rf"{name} (\d+)", proof)[1])  # type: ignore[index]
        for name in ("stored", "missing", "repeated", "dropped with a record", "without a line")
    }
    assert figures.pop("stored") > 100, proof
    assert set(figures.values()) == {0}, proof


def test_what_terminals_were_promised_outlives_8_kills(tmp_path: Path) -> None:
    kill_at_random(tmp_path, KILLS, int(os.environ.get("GREENHAUL_SEED", "808")), speed=20)


@pytest.mark.soak
def test_what_terminals_were_promised_outlives_2000_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("GREENHAUL_SEED", "0")) or Random().randrange(10**6)
    kill_at_random(tmp_path, SOAK_KILLS, seed, speed=2)
