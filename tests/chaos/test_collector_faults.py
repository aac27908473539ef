"""A running collector while database, broker and disk fail: not ready, then ready by itself."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.chain import until
from tests.chaos.collectors import Collectors, Fleet, running
from tests.chaos.database import database
from tests.chaos.small_disk import fill, mounted

DISK_SIZE = 48 << 20
# A collector that waits as it should makes few attempts; one in a circle makes thousands.
ATTEMPTS_MAX = 100
# In a second of a fault; what waits takes a hundredth of one, a thread that spins all of it.
CPU_S_MAX = 0.5


class Service:
    """`greenhaul-cloud serve`, as a balancer and Prometheus see it."""

    def __init__(self, collectors: Collectors) -> None:
        collectors.start("c", "serve")
        self._url = json.loads((collectors.folder / "c.ready").read_text())["api"]

    @property
    def faults(self) -> dict[str, str]:
        """What /readyz complains of; empty when it is ready."""
        try:
            with urllib.request.urlopen(f"{self._url}/readyz", timeout=10):
                return {}
        except urllib.error.HTTPError as error:
            with error:
                found: dict[str, str] = json.loads(error.read())["faults"]
                return found

    @property
    def attempts(self) -> float:
        """Flushes the store could not take, and connections to the broker."""
        return self._sum("greenhaul_intake_store_retries_total", "greenhaul_intake_connects_total")

    @property
    def cpu_s(self) -> float:
        """Processor time it has taken."""
        return self._sum("process_cpu_seconds_total")

    def _sum(self, *names: str) -> float:
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.split()[0] in names)


def suffer(service: Service, fleet: Fleet, fault: str, begin: Callable[[], Any]) -> None:
    """Until it says that it is not ready for this reason; then some more of it."""
    attempts = service.attempts
    begin()
    until(lambda: fault in service.faults, f"{fault} is missed")
    until(lambda: all(gateway.waiting for gateway in fleet.gateways), "all gateways wait")
    cpu_s = service.cpu_s
    time.sleep(1)  # of the fault: long enough for thousands of attempts
    assert service.cpu_s - cpu_s < CPU_S_MAX, "it does not wait, it spins"
    assert service.attempts - attempts < ATTEMPTS_MAX


def test_database_and_broker_may_fail_and_come_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(database())
        broker, collectors, fleet = stack.enter_context(running(tmp_path, server.url))
        service = Service(collectors)
        fleet.start()
        until(lambda: not service.faults, "it is ready")
        for fault, begin, end in (
            ("store", server.kill, server.start),
            ("store", server.freeze, server.thaw),
            ("broker", broker.kill, broker.start),
        ):
            suffer(service, fleet, fault, begin)
            end()
            until(lambda: not service.faults, "it is ready again")
        assert server.cut_connections() > 3
        fleet.await_settled()
        until(lambda: not service.faults, "it is ready again")
        fleet.await_folded()
        collectors.stop()
        assert fleet.assert_exact() > 500
        assert "Traceback" not in collectors.log("c"), collectors.log("c")


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_full_disk_is_waited_out(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(mounted(DISK_SIZE, request, as_root=engine == "postgresql"))
        if engine == "postgresql":
            url = stack.enter_context(database(disk)).url
        else:
            url = f"sqlite:///{disk}/store.db"
        _, collectors, fleet = stack.enter_context(running(tmp_path, url))
        service = Service(collectors)
        fleet.start()
        until(lambda: not service.faults, "it is ready")
        suffer(service, fleet, "intake", lambda: fill(disk))
        (disk / "filler").unlink()
        until(lambda: not service.faults, "it is ready again")
        fleet.await_settled()
        collectors.stop()
        assert fleet.assert_exact() > 100
