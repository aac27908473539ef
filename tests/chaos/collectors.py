"""Gateways of one process, collectors as processes of their own, and a ledger of what was sent."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, insert, select
from tests.chaos.chain import Gateway, Mosquitto, until

from greenhaul_cloud.auth.principal import Role
from greenhaul_cloud.auth.secrets import hash_secret, new_token
from greenhaul_cloud.clock import system_now_ms
from greenhaul_cloud.store import accounts, tables
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import migrate, open_store
from greenhaul_cloud.store.fences import put_fence
from greenhaul_edge.config import UplinkSettings

START_S = 60.0
# What a collector may take over and the gateways send again.
DRAIN_S = 120.0
# Each drives north through it once in a thousand readings.
_FENCE = {
    "type": "Feature",
    "geometry": {
        "type": "Polygon",
        "coordinates": [
            [[111.9, 30.1], [112.1, 30.1], [112.1, 30.3], [111.9, 30.3], [111.9, 30.1]]
        ],
    },
    "properties": {
        "id": "centre",
        "valid_from": "2014-01-01T00:00:00Z",
        "rules": [{"rule": "no_entry"}],
    },
}


class Collectors:
    """`greenhaul-cloud collect` on one configuration, by name."""

    def __init__(self, folder: Path, store_url: str, broker_port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.store_url = folder, store_url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "cloud.toml").write_text(
            f'[store]\nurl = "{store_url}"\n[broker]\nport = {broker_port}\n'
            '[api]\nlisten = "127.0.0.1:0"\n'
        )

    def launch(self, name: str, command: str = "collect") -> None:
        """Start one, and wait for nothing."""
        (self.folder / f"{name}.ready").unlink(missing_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    sys.executable, "-m", "greenhaul_cloud.main", command, "-c", "cloud.toml",
                    "--ready-file", f"{name}.ready",
                ],
                cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def start(self, name: str, command: str = "collect") -> None:
        """Start one; returns when it takes blocks."""
        self.launch(name, command)
        self.await_ready(name)

    def await_ready(self, name: str) -> None:
        """Returns when one takes blocks."""
        path = self.folder / f"{name}.ready"
        until(lambda: path.exists() or self._has_ended(name), f"{name} is ready", START_S)
        assert path.exists(), self.log(name)

    def revive(self, name: str) -> bool:
        """As systemd does with one that ended by itself; whether it takes blocks.

        A collector that starts while its database recovers from a kill ends.
        """
        if self._has_ended(name):
            self.launch(name)
        return (self.folder / f"{name}.ready").exists()

    def kill(self, name: str) -> None:
        """End one as a power cut would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End all in good order."""
        for name, process in self.processes.items():
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, self.log(name)
        self.processes.clear()

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        """What one has said."""
        return (self.folder / f"{name}.log").read_text()

    def shards(self, name: str) -> set[str]:
        """Pieces one holds, by what it said; a name is good for one life."""
        held: set[str] = set()
        told = re.findall(r"event=shards_(taken|left) shards=([0-9a-f-]+)", self.log(name))
        for event, piece in told:
            (held.add if event == "taken" else held.discard)(piece)
        return held

    def _has_ended(self, name: str) -> bool:
        return self.processes[name].poll() is not None


class Fleet:
    """Gateways with outboxes, which send while the world around them breaks.

    Each second one hears the source that the one before it hears, reading for reading: what a
    collector stores of the one, another may store of the other at that moment.
    """

    def __init__(self, folder: Path, store_url: str, broker_port: int, gateways: int) -> None:
        self._store_url = store_url
        settings = UplinkSettings(host="127.0.0.1", port=broker_port, tls=False)
        names = [f"gw-{number}" for number in range(gateways)]
        migrate(store_url)
        store = open_store(store_url, 0)
        with store.write() as connection:
            rows = [{"id": name, "sources": ["*"], "created_at": 0} for name in names]
            connection.execute(insert(tables.gateway), rows)
            put_fence(connection, _FENCE, 0, "test")
            for number in range(0, gateways, 2):
                vehicle = insert(tables.vehicle).values(id=f"truck-{number}", created_at=0)
                connection.execute(vehicle)
                bind(connection, _source(number), f"truck-{number}", valid_from_ms=0, now_ms=0)
        store.close()
        self.gateways = [
            Gateway(folder / name, name, settings, source=_source(number))
            for number, name in enumerate(names)
        ]
        for gateway in self.gateways:
            gateway.uplink.start()
        self._stopping = threading.Event()
        self._driving = threading.Thread(target=self._drive, daemon=True)

    def token(self) -> str:
        """Of somebody who may see everything."""
        store, token = open_store(self._store_url, 0), new_token()
        now_ms = system_now_ms()
        with store.write() as connection:
            user_id = accounts.add_user(
                connection, name="lin", password_hash="", role=Role.ADMIN, enterprise_id=None,
                now_ms=now_ms,
            )  # fmt: skip
            accounts.add_token(
                connection, user_id=user_id, name="test", token_hash=hash_secret(token),
                expires_at_ms=None, now_ms=now_ms,
            )  # fmt: skip
        store.close()
        return token

    def start(self) -> None:
        """Every gateway commits readings, again and again."""
        self._driving.start()

    def _drive(self) -> None:
        while not self._stopping.wait(0.05):
            for gateway in self.gateways:
                gateway.append(10)

    def await_settled(self) -> None:
        """No more readings; returns when a receipt has settled each."""
        self._stopping.set()
        self._driving.join()
        until(
            lambda: not any(gateway.waiting for gateway in self.gateways),
            "receipts for everything",
            DRAIN_S,
        )

    def close(self) -> None:
        """End all."""
        self._stopping.set()
        if self._driving.is_alive():
            self._driving.join()
        for gateway in self.gateways:
            gateway.close()

    def assert_exact(self) -> int:
        """What the store holds is what was sent, each reading once; how many they are."""
        sent = {
            (_source(number), i)
            for number, gateway in enumerate(self.gateways)
            for i in range(gateway.appended)
        }
        appended = sum(gateway.appended for gateway in self.gateways)
        store = open_store(self._store_url, 0)
        with store.read() as connection:
            position, source = tables.position.c, tables.source
            query = select(source.c.name, position.device_time)
            rows = connection.execute(query.where(position.source_id == source.c.id)).all()
            lane = tables.lane.c
            settled, aside = connection.execute(
                select(func.sum(lane.stored + lane.duplicate), func.sum(lane.quarantined))
            ).one()
        store.close()
        found = [(name, (time_ms - 1_760_000_000_000) // 1000) for name, time_ms in rows]
        assert len(found) == len(sent), f"{len(found)} rows, {len(sent)} sent"
        assert set(found) == sent
        assert (int(settled), int(aside)) == (appended, 0)
        return len(sent)

    def await_folded(self) -> None:
        """Returns when no vehicle waits to be folded; none was set aside, and all were seen."""
        store = open_store(self._store_url, 0)

        def is_folded() -> bool:
            with store.read() as connection:
                return connection.execute(select(tables.dirty.c.id)).first() is None

        try:
            until(is_folded, "no vehicle is marked", DRAIN_S)
            with store.read() as connection:
                assert connection.execute(select(tables.fold_failure)).all() == []
                seen = set(connection.execute(select(tables.visit.c.vehicle_id)).scalars())
        finally:
            store.close()
        assert seen == {f"truck-{number}" for number in range(0, len(self.gateways), 2)}


def _source(number: int) -> str:
    return f"808:{number // 2}"


@contextlib.contextmanager
def running(
    folder: Path, store_url: str, gateways: int = 6
) -> Iterator[tuple[Mosquitto, Collectors, Fleet]]:
    """A broker, no collector yet, and a fleet that does not drive yet."""
    broker = Mosquitto(folder / "broker", "max_inflight_messages 1000", "max_queued_messages 0")
    broker.start()
    collectors = Collectors(folder / "cloud", store_url, broker.port)
    fleet = Fleet(folder, store_url, broker.port, gateways)
    try:
        yield broker, collectors, fleet
    finally:
        fleet.close()
        collectors.close()
        broker.kill()
