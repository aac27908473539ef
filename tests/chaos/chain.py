"""Outbox, uplink, broker and collector in one process, all real, each to be killed by itself."""

import getpass
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry
from sqlalchemy import func, insert, select
from tests.conftest import free_port

from greenhaul_cloud.intake.service import Intake, client_id_of
from greenhaul_cloud.intake.wire import BrokerAddress
from greenhaul_cloud.store import tables
from greenhaul_cloud.store.engine import migrate, open_store
from greenhaul_edge.clock import Clock
from greenhaul_edge.config import UplinkSettings
from greenhaul_edge.outbox.file import OutboxFile
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.uplink.addresses import Lookup, look_up
from greenhaul_edge.uplink.dialer import Dialer
from greenhaul_edge.uplink.link import Uplink
from greenhaul_edge.uplink.schedule import Pace
from greenhaul_edge.uplink.wire import Report
from greenhaul_edge.uplink.wires import Wire
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Position

WAIT_S = 30.0
QUICK = Pace(send_window_ms=20, resend_after_ms=400, unreceipted_max=128 * 1024)


def until(holds: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {wait_s:g} s: {what}"
        time.sleep(0.005)


class Mosquitto:
    """A broker to be killed. `lines`: its configuration beside a listener; none is the default."""

    def __init__(self, folder: Path, *lines: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.folder = free_port(), folder
        self.config = folder / "mosquitto.conf"
        first = (f"listener {self.port} 127.0.0.1", "allow_anonymous true")
        # Started by root it would drop to a user of its own, who cannot read our folder.
        text = [*first, f"user {getpass.getuser()}", *lines]
        self.config.write_text("\n".join(text) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [program, "-c", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, "the broker listens", 10)

    def kill(self) -> None:
        """Without a chance to say or save anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Collector:
    """The real intake on an SQLite store that outlives it."""

    def __init__(self, folder: Path, port: int, gateways: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._url, self._port = f"sqlite:///{folder}/cloud.db", port
        migrate(self._url)
        self.store = open_store(self._url, 0)
        with self.store.write() as connection:
            for gateway in gateways:
                row = insert(tables.gateway).values(id=gateway, sources=["*"], created_at=0)
                connection.execute(row)
        self._intake: Intake | None = None

    def start(self) -> None:
        """Connect, whenever the broker lets it."""
        client_id = client_id_of(self.store.store_id)
        address = BrokerAddress(host="127.0.0.1", port=self._port, client_id=client_id)
        self._intake = Intake(self.store, address, CollectorRegistry())
        self._intake.start()

    def wait_connected(self) -> None:
        """Returns when blocks can come in."""
        assert self._intake is not None
        assert self._intake.wait_connected(WAIT_S)

    def stop(self) -> None:
        """Leave; the broker may keep a session."""
        intake, self._intake = self._intake, None
        if intake is not None:
            intake.stop()

    def close(self) -> None:
        """For good."""
        self.stop()
        self.store.close()

    def positions(self) -> int:
        """How many positions the store has."""
        with self.store.read() as connection:
            found = connection.execute(select(func.count()).select_from(tables.position)).scalar()
        return int(found or 0)


class Gateway:
    """An outbox and its uplink."""

    def __init__(
        self,
        folder: Path,
        gateway: str,
        settings: UplinkSettings,
        *,
        pace: Pace = QUICK,
        clock: Clock | None = None,
        lookup: Lookup = look_up,
        ack_timeout_s: float = 5.0,
        source: str = "808:1",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or Clock()
        if clock is None:
            self.clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
        path = folder / "outbox.sqlite"
        file = OutboxFile(path, gateway, boot=1, now_ms=self.clock.now_ms())
        self.outbox = Outbox(file, self.clock, commit_window_s=0.02)
        self.dialer = Dialer(settings, gateway, self.clock, folder / "broker-address.json", lookup)
        self.server_times: list[int] = []
        self.in_flight = InFlight(self.dialer)
        self.uplink = Uplink(
            self.outbox,
            path,
            self.clock,
            self.in_flight,
            pace=pace,
            ack_timeout_s=ack_timeout_s,
            renew=self.dialer.renew,
            on_server_time=lambda said: self.server_times.append(said.utc_ms),
            random=Random(1),
        )
        self.outbox.on_commit = self.uplink.note_commit
        self.appended, self._source = 0, source
        self.outbox.start()

    def append(self, count: int, rubbish: Random | None = None) -> None:
        """Commit readings that no others equal."""
        first, self.appended = self.appended, self.appended + count
        readings = [
            Position(
                source=self._source,
                device_time_ms=1_760_000_000_000 + i * 1000,
                received_time_ms=0,
                latitude_deg=30 + i % 1000 / 1000,
                longitude_deg=112.0,
                is_located=True,
                items=rubbish.randbytes(60) if rubbish else None,
            )
            for i in range(first, self.appended)
        ]
        self.outbox.append(readings, is_urgent=True).result(10)

    @property
    def waiting(self) -> int:
        """Readings no receipt has settled."""
        return sum(lane.unsettled.total for lane in self.outbox.view().lanes)

    @property
    def link(self) -> str:
        """What the uplink says about its link."""
        return str(self.uplink.state()["link"])

    def close(self) -> None:
        """End both."""
        self.uplink.stop()
        self.outbox.close()


class InFlight:
    """Makes wires, and counts what is published and not yet acknowledged on each."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer, self._lock = dialer, threading.Lock()
        self.now = self.most = self.connections = 0
        self.events: list[object] = []

    def __call__(self, connection: int, report: Report) -> Wire:
        """As the dialer does."""
        self.connections += 1

        def note(event: object) -> None:
            with self._lock:
                self.events.append(event)
                if type(event).__name__ == "Acked":
                    self.now -= 1
            report(event)  # type: ignore[arg-type]  # passed on as it came

        wire = self._dialer(connection, note)
        publish = wire.publish

        def count(topic: str, payload: bytes, *, is_retained: bool = False) -> int:
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            return publish(topic, payload, is_retained=is_retained)

        wire.publish = count  # type: ignore[method-assign]
        with self._lock:
            self.now = 0
        return wire
