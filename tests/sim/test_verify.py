"""The proof, against a small HTTP server that stores what a test tells it to."""

import csv
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.errors import ConfigError, DecodeError, Rejected, Unavailable
from greenhaul_protocols.times import format_time, parse_time
from greenhaul_sim.api import Api
from greenhaul_sim.commands.verify import prove
from greenhaul_sim.drops import Drop, unnamed
from greenhaul_sim.ledger import Claim, LedgerEntry, LedgerWriter
from greenhaul_sim.main import main
from greenhaul_sim.verify import Proof, verify

TOKEN = "let-me-in"
START_MS = parse_time("2026-11-20T08:00:00Z")


def claim(second: int, **changes: int) -> Claim:
    return Claim(START_MS + 1000 * second, 32_990_000 + second, 112_530_000, 365)._replace(
        **changes
    )


def entry(second: int, terminal: str = "013912345678") -> LedgerEntry:
    return LedgerEntry(terminal, second, 0x0200, claim(second), 0, 0)


class Store:
    """Rows by source, and what the gateways report as given up."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Claim]] = {}
        self.drops: list[dict[str, Any]] = []
        self.requests = 0
        self.url = ""

    def put(self, *claims: Claim, source: str = "808:13912345678") -> None:
        self.rows.setdefault(source, []).extend(claims)

    def track(self, source: str, from_ms: int, to_ms: int) -> str | None:
        if source not in self.rows:
            return None
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["device_time", "latitude_deg", "longitude_deg", "speed_kmh", "more"])
        for time_ms, latitude_e6, longitude_e6, speed_e1 in self.rows[source]:
            if from_ms <= time_ms < to_ms:
                place = latitude_e6 / 1e6, longitude_e6 / 1e6, speed_e1 / 10
                writer.writerow([format_time(time_ms), *place, ""])
        return out.getvalue()

    def gateways(self, cursor: str | None) -> dict[str, Any]:
        """Two pages."""
        return {"items": [{"id": "gw-2" if cursor else "gw-1"}], "next": None if cursor else "2"}

    def drop(self, count: int, seconds: tuple[int, int] | None) -> None:
        """A record of so many readings between two seconds, or at times nobody knows."""
        from_time, to_time = (
            (format_time(START_MS + 1000 * second) for second in seconds)
            if seconds
            else (None, None)
        )
        record = {"first": 11, "last": 10 + count, "from_time": from_time, "to_time": to_time}
        self.drops.append({**record, "reason": "outbox full"})


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            store.requests += 1
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            body: str | None = None
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._answer(401, "who are you?")
                return
            if parts.path == "/api/v1/gateways":
                body = json.dumps(store.gateways(query.get("cursor")))
            elif parts.path == "/api/v1/gateways/gw-2/dropped":
                body = json.dumps({"items": store.drops, "next": None})
            elif parts.path == "/api/v1/gateways/gw-1/dropped":
                unknown = {"first": None, "last": None, "from_time": None, "to_time": None}
                body = json.dumps({"items": [{**unknown, "reason": "old"}], "next": None})
            elif parts.path.startswith("/api/v1/sources/"):
                source = unquote(parts.path.split("/")[4])
                body = store.track(source, parse_time(query["from"]), parse_time(query["to"]))
            self._answer(200 if body is not None else 404, body or "no such thing")

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    store.url = f"http://127.0.0.1:{server.server_port}"
    yield store
    server.shutdown()
    thread.join()
    server.server_close()


def proof_of(store: Store, *entries: LedgerEntry) -> Proof:
    return verify(entries, Api(store.url, TOKEN))


def test_everything_stored_once_holds(store: Store) -> None:
    store.put(claim(1), claim(2), claim(99), claim(-5))
    proof = proof_of(store, entry(1), entry(2))
    assert proof.holds
    assert (proof.acknowledged, proof.stored, proof.beyond) == (2, 2, 0)
    assert proof.text().endswith("\nholds")


def test_a_missing_reading_is_named(store: Store) -> None:
    store.put(claim(1), claim(2, latitude_e6=32_990_001), claim(3))
    proof = proof_of(store, entry(1), entry(2), entry(3))
    assert not proof.holds
    assert [fault.claim for fault in proof.missing] == [claim(2)]
    assert "missing: 808:13912345678 2026-11-20T08:00:02Z 32.990002 112.530000 36.5" in proof.text()
    assert proof.beyond == 1, "another reading of that second is not the one that was promised"


def test_a_reading_stored_twice_does_not_hold(store: Store) -> None:
    store.put(claim(1), claim(2), claim(2))
    proof = proof_of(store, entry(1), entry(2))
    assert not proof.holds
    assert [fault.claim for fault in proof.repeated] == [claim(2)]


def test_lines_alike_are_one_reading_or_several(store: Store) -> None:
    store.put(claim(1))
    assert proof_of(store, entry(1), entry(1)).holds
    store.put(claim(1))
    assert proof_of(store, entry(1), entry(1)).holds
    assert not proof_of(store, entry(1)).holds


def test_a_source_nobody_knows_has_nothing(store: Store) -> None:
    store.put(claim(1))
    proof = proof_of(store, entry(1), entry(1, "000000000007"))
    assert [fault.source for fault in proof.missing] == ["808:7"]
    assert proof.terminals == 2


def test_what_is_dropped_with_a_record_may_be_missing(store: Store) -> None:
    store.put(claim(1))
    store.drop(1, (2, 9))
    proof = proof_of(store, entry(1), entry(2))
    assert (proof.holds, proof.named, proof.missing) == (True, 1, [])
    assert "gw-2 gave up 1, 2026-11-20T08:00:02Z to 2026-11-20T08:00:09Z: outbox full" in (
        proof.text()
    )
    assert not proof_of(store, entry(1), entry(2), entry(3)).holds, "one was named, not two"
    assert not proof_of(store, entry(1), entry(10)).holds, "after the window"


def test_a_record_without_times_speaks_by_its_number(store: Store) -> None:
    store.drop(2, None)
    assert proof_of(store, entry(1), entry(90)).holds
    assert not proof_of(store, entry(1), entry(2), entry(90)).holds


DROPS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(0, 9)).map(
        lambda one: Drop("gw", one[0], min(one[1:]), max(one[1:]), "full")
    ),
    max_size=4,
)


@given(st.lists(st.integers(0, 9), max_size=5), DROPS)
def test_records_are_shared_out_as_well_as_can_be(times_ms: list[int], drops: list[Drop]) -> None:
    """Against every way to give each reading to a record or to none."""
    fewest = len(times_ms)
    for choice in product([None, *range(len(drops))], repeat=len(times_ms)):
        taken = Counter(one for one in choice if one is not None)
        windows = [(drops[i].from_ms, drops[i].to_ms) for i in range(len(drops))]
        fits = all(
            one is None or (windows[one][0] or 0) <= time_ms <= (windows[one][1] or 0)
            for one, time_ms in zip(choice, times_ms, strict=True)
        )
        if fits and all(times <= drops[i].numbers for i, times in taken.items()):
            fewest = min(fewest, choice.count(None))
    assert len(unnamed(times_ms, drops)) == fewest


def test_waiting_ends_when_it_holds(store: Store) -> None:
    store.put(claim(1))
    late = threading.Timer(0.05, lambda: store.put(claim(2)))
    late.start()
    proof = prove([entry(1), entry(2)], Api(store.url, TOKEN), wait_s=10)
    late.join()
    assert proof.holds
    assert store.requests >= 3


def test_many_faults_are_cut_short(store: Store) -> None:
    store.put(claim(-1))
    text = proof_of(store, *(entry(second) for second in range(25))).text()
    assert text.count("missing: 808") == 10
    assert "and 15 more" in text


def test_a_collector_that_is_gone_or_refuses_is_said(store: Store) -> None:
    with pytest.raises(Rejected) as refusal:
        verify([entry(1)], Api(store.url, "wrong"))
    assert str(refusal.value).startswith("GET /sources/808%3A13912345678/track: 401 ")
    with pytest.raises(Unavailable):
        verify([entry(1)], Api("http://127.0.0.1:9"))
    with pytest.raises(ConfigError):
        Api("localhost:8080")


def test_a_track_that_cannot_be_read_is_no_proof(store: Store) -> None:
    store.put(claim(1))
    store.track = lambda *_: "device_time,latitude_deg\n2026-11-20T08:00:00Z,x\n"  # type: ignore[method-assign]
    with pytest.raises(DecodeError, match="track of 808:13912345678"):
        proof_of(store, entry(1))


def test_the_command_answers_with_its_exit_code(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, token, empty = (tmp_path / name for name in ("ledger", "token", "empty"))
    token.write_text(TOKEN + "\n")
    empty.touch()
    with LedgerWriter(ledger) as writer:
        writer.append([entry(1)])
    options = ["verify", "--api", store.url + "/api/v1/", "--token-file", str(token)]
    assert main([*options, "--ledger", str(ledger)]) == 1
    assert "DOES NOT HOLD" in capsys.readouterr().out
    store.put(claim(1))
    assert main([*options, "--ledger", str(ledger)]) == 0
    assert main([*options, "--ledger", str(empty)]) == 1
    assert main([*options, "--ledger", str(tmp_path / "none")]) == 2
    assert main([*options[:-1], str(tmp_path / "none"), "--ledger", str(ledger)]) == 2
