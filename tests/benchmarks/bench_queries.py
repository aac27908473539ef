"""The API asked over HTTP while many positions lie in the table, and bytes a position.

    bench_queries.py [--rows N]    N positions, of 2,000 vehicles (default 1 million)

The server is `greenhaul-cloud api`, a process of its own; the client keeps its connection. The
baseline of a ratio is the same rows fetched by the engine's own driver and written by `json.dumps`,
with no server between. A *first position* is there when the answer's first coordinate is.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from sqlalchemy import Connection, text

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.benchmarks.bench_store import (
    DAY_READINGS,
    START_MS,
    STEP_MS,
    VEHICLES,
    batch_at,
    blocks,
    in_batches,
    opened,
    show,
)
from tests.postgres_server import find_programs, has_timescale, make_database, running

from greenhaul_cloud.auth.secrets import hash_secret, new_token
from greenhaul_cloud.store import accounts, registry
from greenhaul_cloud.store.bindings import bind
from greenhaul_cloud.store.engine import Store
from greenhaul_protocols.times import format_time

DAY_MS = 86_400_000
# Readings of a vehicle that lie together, as a gateway sends them.
TOGETHER = 10
REQUESTS = 200
START_S = 60
PLAIN_TIMES = 20
# Bytes of an answer in which the first coordinate is sure to be.
OPENINGS = {"geojson": 200, "csv": 300, "gpx": 300}
PLAIN = ("latitude_deg", "longitude_deg", "altitude_m", "speed_kmh", "heading_deg", "odometer_km")


def fill(store: Store, rows: int) -> int:
    """The last whole day of as many vehicles as that makes, and days before; how many vehicles.

    In the order in which a fleet that drives together would have sent them.
    """
    now_ms = time.time_ns() // 1_000_000
    vehicles = min(max(rows // DAY_READINGS, 1), VEHICLES)
    each = -(-rows // vehicles)
    first_ms = START_MS + (DAY_READINGS - each) * STEP_MS
    for at in range(0, each, TOGETHER):
        times = first_ms + np.arange(at, min(at + TOGETHER, each)) * STEP_MS
        with store.write() as conn:
            store.driver.insert_new(conn, batch_at(times, now_ms, vehicles))
    return vehicles


def furnish(store: Store) -> str:
    """Everybody's names, sources, `latest` and vehicles; a bearer token of an administrator."""
    in_batches(store, blocks(VEHICLES * 5, 5, START_MS + 86_000_000), 5)
    token = new_token()
    with store.write() as conn:
        registry.add_enterprise(conn, "e", "Enterprise", START_MS)
        for number in range(VEHICLES):
            vehicle = {"id": f"v-{number}", "plate": f"豫R{number:05}", "enterprise_id": "e"}
            registry.add_vehicle(conn, vehicle, START_MS)
            bind(conn, f"808:{number}", f"v-{number}", valid_from_ms=0, now_ms=START_MS)
        user_id = accounts.add_user(
            conn, name="bench", password_hash="none", role="admin", enterprise_id=None,
            now_ms=START_MS,
        )  # fmt: skip
        accounts.add_token(
            conn, user_id=user_id, name="bench", token_hash=hash_secret(token),
            expires_at_ms=None, now_ms=START_MS,
        )  # fmt: skip
    return token


@contextmanager
def served(url: str, folder: Path, token: str) -> Iterator["Client"]:
    """`greenhaul-cloud api` of a store, and somebody who asks it."""
    config, ready = folder / "cloud.toml", folder / "ready.json"
    config.write_text(f'[store]\nurl = "{url}"\n[api]\nlisten = "127.0.0.1:0"\n')
    command = [sys.executable, "-m", "greenhaul_cloud.main", "api", "-c", str(config)]
    server = subprocess.Popen([*command, "--ready-file", str(ready)])
    try:
        deadline_s = time.monotonic() + START_S
        while not ready.exists():
            assert server.poll() is None, "it did not start"
            assert time.monotonic() < deadline_s, "it starts too long"
            time.sleep(0.05)
        at = urlsplit(json.loads(ready.read_text())["api"])
        yield Client(HTTPConnection(str(at.hostname), at.port), token, server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


class Client:
    """One that keeps its connection, and takes times."""

    def __init__(self, connection: HTTPConnection, token: str, server: int) -> None:
        """server: its process, whose time is counted, too."""
        self._connection = connection
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}"}

    def server_cpu_s(self) -> float:
        """Seconds of CPU the server has used; what else runs on the machine does not show in it."""
        fields = Path(f"/proc/{self._server}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def come_back(self) -> None:
        """After a pause: the server gives up a connection that is idle for some seconds."""
        self._connection.close()
        self.ask("/enterprises")

    def ask(self, path: str, first_bytes: int = 0) -> tuple[float, float, bytes]:
        """Seconds until so many bytes of the body were there, until all were, and the body."""
        begun = time.perf_counter()
        self._connection.request("GET", f"/api/v1{path}", headers=self._headers)
        answer: HTTPResponse = self._connection.getresponse()
        body = answer.read(first_bytes) if first_bytes else b""
        first = time.perf_counter() - begun
        body += answer.read()
        whole = time.perf_counter() - begun
        assert answer.status == 200, body
        return first, whole, body


def spread(seconds: Sequence[float]) -> str:
    """p50 and p99."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return f"p50 {statistics.median(ordered) * 1e3:.1f} p99 {p99 * 1e3:.1f} ms"


def against(seconds: Sequence[float], base_s: float, cpu_s: float) -> str:
    """A ratio to the plain way, and the server's own share."""
    ratio = statistics.median(seconds) / base_s
    return f"median x {ratio:.1f} of plain rows as JSON; server {cpu_s * 1e3:.1f} ms CPU"


def plainly(store: Store, query: str) -> float:
    """Median seconds of fetching a query's rows by the engine's own driver and writing JSON."""

    def run() -> None:
        with store.read() as conn:
            driver: Any = conn.connection.driver_connection
            rows = driver.execute(query).fetchall()
        assert rows
        json.dumps(rows, default=str)

    found = []
    for _ in range(PLAIN_TIMES):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def bench_latest(engine: str, store: Store, client: Client) -> None:
    """Everybody's newest position."""
    begun_s = client.server_cpu_s()
    _, whole, body = zip(*(client.ask("/positions/latest") for _ in range(REQUESTS)), strict=True)
    cpu_s = (client.server_cpu_s() - begun_s) / REQUESTS
    assert len(json.loads(body[0])["features"]) == VEHICLES
    base = plainly(store, "SELECT * FROM latest JOIN source ON source.id = source_id")
    show(f"{engine}: latest of {VEHICLES:,}", spread(whole),
         against(whole, base, cpu_s))  # fmt: skip


def bench_day(engine: str, store: Store, client: Client, vehicles: int) -> None:
    """One vehicle's day, of another vehicle each time."""
    span = f"from={format_time(START_MS)}&to={format_time(START_MS + DAY_MS)}"
    numbers = np.random.default_rng(1).integers(1, vehicles + 1, REQUESTS).tolist()
    with store.read() as conn:
        found = conn.execute(text("SELECT id, substr(name, 5) FROM source")).all()
    names = {row[0]: row[1] for row in found}
    low, high = (
        f"'{format_time(at)}'" if store.driver.is_shared else str(at)
        for at in (START_MS, START_MS + DAY_MS)
    )
    base = plainly(
        store,
        f"SELECT device_time, {', '.join(PLAIN)} FROM position WHERE source_id = 1 "
        f"AND device_time >= {low} AND device_time < {high} ORDER BY device_time",
    )
    client.come_back()
    for wanted, opening in OPENINGS.items():
        path = f"/vehicles/v-{{}}/track?format={wanted}&{span}"
        begun_s = client.server_cpu_s()
        asked = [client.ask(path.format(names[number]), opening) for number in numbers]
        cpu_s = (client.server_cpu_s() - begun_s) / REQUESTS
        first, whole, body = zip(*asked, strict=True)
        assert min(text.count(b"Z") for text in body) >= DAY_READINGS
        show(f"{engine}: a vehicle's day as {wanted}, first position", spread(first))
        show(f"{engine}: a vehicle's day as {wanted}, whole", spread(whole),
             against(whole, base, cpu_s))  # fmt: skip


def bench_size(engine: str, store: Store) -> None:
    """Bytes a position."""
    with store.read() as conn:
        count = conn.execute(text("SELECT count(*) FROM position")).scalar_one()
        size = bytes_of(conn)
    if store.driver.is_shared:
        with store.write() as conn:
            conn.execute(text("ANALYZE"))
    store.tidy()
    with store.read() as conn:
        tidied = bytes_of(conn)
    show(f"{engine}: {count:,} positions with their index", f"{tidied / count:.1f} bytes each",
         f"once housekeeping has been; {size / count:.1f} before")  # fmt: skip


def bytes_of(conn: Connection) -> int:
    """Bytes of positions and their indexes."""
    if conn.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        query = "SELECT pg_total_relation_size('position_main')"
    return int(conn.execute(text(query)).scalar_one())


def bench(engine: str, url: str, rows: int, folder: Path) -> None:
    """All of it in one store."""
    with opened(url) as store:
        token = furnish(store)
        vehicles = fill(store, rows)
        bench_size(engine, store)
        with served(url, folder, token) as client:
            client.ask("/positions/latest")
            bench_latest(engine, store, client)
            bench_day(engine, store, client, vehicles)


def main() -> None:
    """Every engine there is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["sqlite", "postgresql", "timescaledb"])
    options = parser.parse_args()
    engines = ["sqlite", "postgresql", *(["timescaledb"] if has_timescale() else [])]
    programs = find_programs()
    for engine in engines if options.only is None else [options.only]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if engine == "sqlite":
                bench(engine, f"sqlite:///{folder}/queries.db", options.rows, folder)
                continue
            if programs is None:
                print(f"{engine}: no PostgreSQL here")
                continue
            with running(programs, "shared_buffers=512MB", "max_wal_size=4GB") as dsn:
                url = make_database(dsn, "queries", engine)
                bench(engine, url, options.rows, folder)


if __name__ == "__main__":
    main()
