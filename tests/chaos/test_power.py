"""Power cuts: what was acknowledged is there in every state the disk may be found in.

The real agent with real terminals, the outbox with receipts and evictions, and the collector's
store are recorded and cut off at random places. `synchronous=NORMAL` must be seen to lose.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest
from tests.chaos.power import Cut, Recording, run_traced, traced

from greenhaul_edge.clock import Clock
from greenhaul_edge.outbox.asides import asides
from greenhaul_edge.outbox.keeper import Keeper
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_edge.outbox.schema import open_to_read
from greenhaul_protocols.catalogue import Dropped, Reading
from greenhaul_protocols.jt808 import Conversation, LocationReport, PlatformAnswer, Received
from greenhaul_protocols.jt808 import clock as wire_clock
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import decode_receipt
from greenhaul_protocols.series import decode_body

SEED = 808
AGENT_CUTS, OUTBOX_CUTS, STORE_CUTS = 1_000, 1_000, 1_000
SOAK_TIMES = 34  # of 3,000 states: 102,000
FAST_DISK = Path("/dev/shm")
FAR_MS = 1_790_000_000_000
TERMINALS, REPORTS = 3, 36
GATEWAY = "gw-power"

CONFIG = f"""
[gateway]
id = "{GATEWAY}"
[uplink]
port = 1
[sources.terminals]
type = "jt808"
listen = "127.0.0.1:0"
auth = "open"
"""
# The agent with the setting that many think is enough.
HASTY_AGENT = """
import sys
from greenhaul_edge.outbox import schema
schema._PRAGMAS = tuple(p.replace("=FULL", "=NORMAL") for p in schema._PRAGMAS)
schema._DEMANDED = schema._DEMANDED | {"synchronous": 1}
from greenhaul_edge.main import main
sys.exit(main(sys.argv[1:]))
"""
# Appends, receipts, evictions, clocks, checks: each is said once it is on the disk, and a receipt
# before it is taken, since the store has those readings whatever becomes of it.
OUTBOX = """
import json, os, sys
from pathlib import Path
from random import Random
from greenhaul_edge.outbox.chunks import Batch, Priority
from greenhaul_edge.outbox.recovery import open_outbox
from greenhaul_edge.outbox.room import Bounds
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.ranges import RangeSet
from greenhaul_protocols.receipt import LaneState, Receipt
path, seed, FAR_MS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = Random(seed)
say = lambda **what: os.write(1, (json.dumps(what) + "\\n").encode())
bounds = Bounds(size_max=130_000, grace_size_max=10_000, grace_age_ms_max=0)
file = open_outbox(path, "gw-power", 1, FAR_MS, bounds)
at, stored, revision = 0, set(), 0
for turn in range(70):
    count = rng.randrange(1, 20)
    times = range(FAR_MS + at, FAR_MS + at + count)
    at += count
    readings = [Position(source="s", device_time_ms=ms, received_time_ms=ms, speed_kmh=ms % 90.0)
                for ms in times]
    first = file.ledger.lane(1).next
    is_late = rng.random() < 0.1
    if is_late:
        readings = [Position(source="s", device_time_ms=ms - FAR_MS, received_time_ms=ms)
                    for ms in times]
    priority = Priority.EVICTABLE if rng.random() < 0.7 else Priority.KEPT
    file.append([Batch(readings, priority, is_unclocked=is_late)], FAR_MS + turn)
    say(appended=[times[0], times[-1]], first=0 if is_late else first)
    if rng.random() < 0.2:
        before = file.ledger.lane(1).next
        while file.map_clock(FAR_MS, FAR_MS + turn):
            pass
    if rng.random() < 0.4:
        file.mark_sent()
        lane = file.ledger.lane(1)
        for pair in lane.unsettled():
            if rng.random() < 0.5:
                stored |= set(range(pair[0], (pair[0] + pair[1]) // 2 + 1))
        ranges = list(RangeSet((n, n) for n in sorted(stored)))
        if not stored:
            continue
        revision += 1
        say(settled=[list(pair) for pair in RangeSet(ranges)])
        state = LaneState(lane=1, settled=tuple(ranges), through=max(stored), stored=len(stored))
        receipt = Receipt(gateway="gw-power", epoch=file.ledger.epoch, store_id=7,
                          revision=revision, server_time_ms=0, lanes=(state,))
        file.take_receipt(receipt, FAR_MS + turn)
    if rng.random() < 0.5:
        file.tidy(FAR_MS + turn)
file.close()
"""
STORE = """
import os, sys
from greenhaul_cloud.store.engine import open_store
from greenhaul_cloud.store.inspection import receive_block
from greenhaul_cloud.store.tables import gateway
from greenhaul_cloud.store.write import store_blocks
from greenhaul_cloud.store import sqlite as driver
from greenhaul_protocols.block import BlockHeader, wrap_block
from greenhaul_protocols.catalogue import Position
from greenhaul_protocols.receipt import encode_receipt
from greenhaul_protocols.series import encode_body, to_series
from sqlalchemy import insert
from random import Random
path, seed, now_ms, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if mode == "NORMAL":
    driver._PRAGMAS = tuple(p.replace("FULL", "NORMAL") for p in driver._PRAGMAS)
    driver.SqliteDriver.check = lambda self, engine: None
store = open_store(f"sqlite:///{path}", now_ms)
with store.write() as conn:
    conn.execute(insert(gateway).values(id="gw-power", sources=["*"], created_at=now_ms))
rng, first = Random(seed), 1
for flush in range(40):
    blocks = []
    for _ in range(rng.randrange(1, 4)):
        count = rng.randrange(1, 25)
        readings = [Position(source=f"808:{n % 5}", device_time_ms=now_ms + n, received_time_ms=0,
                             latitude_deg=32.0, longitude_deg=112.0, is_located=True)
                    for n in range(first, first + count)]
        header = BlockHeader(gateway="gw-power", epoch=77, lane=1, first=first, count=count)
        body = encode_body(to_series(readings))
        blocks.append(receive_block("gw-power", 1, wrap_block(header, body)))
        first += count
    result = store_blocks(store, blocks, now_ms)
    for receipt in result.receipts.values():
        os.write(1, encode_receipt(receipt))
store.close()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """On a memory disk: what is recorded are calls, not what a disk does with them."""
    base = FAST_DISK if FAST_DISK.is_dir() else tmp_path_factory.mktemp("power")
    made = base / f"greenhaul-power-{secrets.token_hex(4)}"
    made.mkdir()
    yield made
    shutil.rmtree(made)


# The agent: what its sockets said to terminals is what must be there.


def terminal(address: str, number: int, acknowledged: list[int]) -> None:
    """Reports one by one, each once the one before was acknowledged."""
    host, _, port = address.rpartition(":")
    conversation = Conversation(phone=str(13900000000 + number), revision=2013)
    with socket.create_connection((host, int(port)), timeout=60) as line:
        for report in range(REPORTS):
            digits = wire_clock.digits_of(FAR_MS + report * 1000)
            line.sendall(
                conversation.send(LocationReport(0, 3, 32.9, 112.5, 130, 36.5, 90, digits))
            )
            events: list[object] = []
            while not events:
                events = [*conversation.receive(line.recv(4096))]
            acknowledged[number] += 1


def record_agent(folder: Path, program: list[str]) -> Recording:
    """Run an agent under strace with some terminals, and end it as a power cut would."""
    folder.mkdir()
    config, trace = folder / "edge.toml", folder / "trace"
    config.write_text(CONFIG)
    command = traced([sys.executable, *program, "run", "-c", str(config)], trace)
    with (folder / "log").open("wb") as log:
        strace = subprocess.Popen(command, stdout=log, stderr=log)
    running = folder / "outbox/status.json"
    deadline = time.monotonic() + 60
    while not running.exists():
        is_starting = strace.poll() is None and time.monotonic() < deadline
        assert is_starting, (folder / "log").read_text()
        time.sleep(0.05)  # the status file is what announces the address
    status = json.loads(running.read_text())
    acknowledged = [0] * TERMINALS
    address = status["sources"]["terminals"]["address"]
    threads = [
        threading.Thread(target=terminal, args=(address, number, acknowledged))
        for number in range(TERMINALS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.kill(status["pid"], signal.SIGKILL)
    strace.wait(30)
    assert acknowledged == [REPORTS] * TERMINALS
    return Recording(trace, folder / "outbox")


def acknowledged_in(sent: bytes) -> set[tuple[str, int]]:
    """Source and device time of every report a frame acknowledges."""
    found = set()
    for event in Conversation(revision=2013).receive(sent):
        if isinstance(event, Received) and isinstance(event.message, PlatformAnswer):
            source = "808:" + event.header.phone.lstrip("0")
            # Serials count reports from 0.
            found.add((source, FAR_MS + event.message.answer_serial * 1000))
    return found


@contextmanager
def found_after(cut: Cut) -> Iterator[Keeper]:
    """The outbox as the next start finds it."""
    folder = FAST_DISK / f"greenhaul-cut-{os.getpid()}"
    folder.mkdir()
    try:
        for name, data in cut.files.items():
            (folder / name).write_bytes(data)
        path = folder / "outbox.sqlite"
        file = open_outbox(path, GATEWAY, 2, FAR_MS * 2, Bounds(size_max=1 << 20))
        with closing(Keeper(file, Clock())) as keeper:
            while keeper.tidy(is_idle=True):
                pass
            yield keeper
    finally:
        shutil.rmtree(folder)


def readings_in(keeper: Keeper) -> list[Reading]:
    """Everything an outbox holds."""
    with closing(open_to_read(keeper.file.path)) as reader:
        rows = reader.execute("SELECT body FROM chunk UNION ALL SELECT body FROM unclocked")
        return [
            reading for (body,) in rows for one in decode_body(body) for reading in one.readings()
        ]


def lost_by_agent(recording: Recording, rng: Random, count: int) -> int:
    """How many acknowledged reports are missing, over all cuts."""
    words = [acknowledged_in(sent) for sent in recording.sent]
    promised: set[tuple[str, int]] = set()
    lost = said = 0
    for cut in recording.cuts(rng, count):
        promised.update(*words[said : cut.sent])
        said = cut.sent
        if not promised:
            continue
        with found_after(cut) as keeper:
            held = {(one.source, one.device_time_ms) for one in readings_in(keeper)}
            lost += len(asides(keeper.file.path))  # a power cut is no damage
        lost += len(promised - held)
    assert len(promised) > TERMINALS * REPORTS // 2, "hardly anything was acknowledged"
    return lost


@pytest.fixture(scope="module")
def agent_recording(folder: Path) -> Recording:
    """Of `greenhaul-edge run`."""
    return record_agent(folder / "agent", ["-m", "greenhaul_edge.main"])


def test_what_terminals_were_promised_survives(agent_recording: Recording) -> None:
    print(f"seed {SEED}")
    assert lost_by_agent(agent_recording, Random(SEED), AGENT_CUTS) == 0


def test_synchronous_normal_would_lose(folder: Path) -> None:
    hasty = record_agent(folder / "hasty", ["-c", HASTY_AGENT])
    assert lost_by_agent(hasty, Random(SEED), 100) > 0


# The outbox: what is appended is held, or was settled, or is named.


def lost_by_outbox(recording: Recording, rng: Random, count: int) -> int:
    """How many appended readings are missing without a reason, over all cuts."""
    words = [json.loads(line) for line in b"".join(recording.sent).splitlines()]
    lost = said = 0
    numbers: dict[int, int] = {}
    appended: set[int] = set()
    settled: set[int] = set()
    for cut in recording.cuts(rng, count):
        for word in words[said : cut.sent]:
            if "settled" in word:
                settled.update(*(range(first, last + 1) for first, last in word["settled"]))
                continue
            first, last = word["appended"]
            appended |= set(range(first, last + 1))
            if word["first"]:
                for offset, time_ms in enumerate(range(first, last + 1)):
                    numbers[time_ms] = word["first"] + offset
        said = cut.sent
        if not appended:
            continue
        with found_after(cut) as keeper:
            readings = readings_in(keeper)
            named = keeper.file.ledger.lane(1).gone.copy()
            lost += len(asides(keeper.file.path))
        held = set()
        for one in readings:
            if isinstance(one, Dropped):
                assert one.first is not None
                assert one.last is not None
                named.add(one.first, one.last)
            else:
                held.add(one.device_time_ms % FAR_MS + FAR_MS)
        for time_ms in appended - held:
            number = numbers.get(time_ms)
            lost += number is not None and number not in settled and number not in named
    return lost


@pytest.fixture(scope="module")
def outbox_recording(folder: Path) -> Recording:
    """Of an outbox with receipts, evictions and a clock that is learnt."""
    (folder / "outbox").mkdir()
    path, trace = folder / "outbox/outbox.sqlite", folder / "outbox-trace"
    run_traced([sys.executable, "-c", OUTBOX, str(path), str(SEED), str(FAR_MS)], trace)
    return Recording(trace, path.parent)


def test_what_was_appended_is_held_settled_or_named(outbox_recording: Recording) -> None:
    print(f"seed {SEED}")
    assert lost_by_outbox(outbox_recording, Random(SEED), OUTBOX_CUTS) == 0


# The collector: what a receipt says is settled is stored.


def record_store(folder: Path, mode: str) -> Recording:
    """Flushes of a collector's store, each followed by its receipts."""
    store = folder / f"store-{mode}"
    store.mkdir()
    path, trace = store / "store.db", folder / f"store-{mode}-trace"
    run_traced([sys.executable, "-c", STORE, str(path), str(SEED), str(FAR_MS), mode], trace)
    return Recording(trace, store)


def lost_by_store(recording: Recording, rng: Random, count: int) -> int:
    """How many settled readings are not in the store, over all cuts."""
    receipts = [decode_receipt(sent) for sent in recording.sent]
    lost = 0
    for cut in recording.cuts(rng, count):
        if not cut.sent:
            continue
        settled = RangeSet(receipts[cut.sent - 1].lanes[0].settled)
        stored, claimed = stored_after(cut)
        lost += sum(len(stored.missing(*pair)) + len(claimed.missing(*pair)) for pair in settled)
    return lost


def stored_after(cut: Cut) -> tuple[RangeSet, RangeSet]:
    """Numbers of stored positions, and of what the next receipt will claim; SQLite must agree."""
    folder = FAST_DISK / f"greenhaul-cut-{os.getpid()}"
    folder.mkdir()
    try:
        for name, data in cut.files.items():
            (folder / name).write_bytes(data)
        with closing(sqlite3.connect(folder / "store.db")) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return RangeSet(), RangeSet()  # not even the tables were kept
            said = connection.execute("PRAGMA quick_check").fetchone()[0]
            assert said == "ok"
            times = connection.execute("SELECT device_time FROM position").fetchall()
            rows = connection.execute("SELECT settled FROM lane").fetchall()
    finally:
        shutil.rmtree(folder)
    stored = RangeSet((one - FAR_MS, one - FAR_MS) for (one,) in sorted(times))
    return stored, RangeSet(tuple(pair) for (text,) in rows for pair in json.loads(text))


@pytest.fixture(scope="module")
def store_recording(folder: Path) -> Recording:
    """Of a collector's store as it is."""
    return record_store(folder, "FULL")


def test_what_a_receipt_settled_is_stored(store_recording: Recording) -> None:
    print(f"seed {SEED}")
    assert lost_by_store(store_recording, Random(SEED), STORE_CUTS) == 0


def test_a_store_with_synchronous_normal_would_lose(folder: Path) -> None:
    assert lost_by_store(record_store(folder, "NORMAL"), Random(SEED), 100) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, SOAK_TIMES + 1))
def test_nothing_is_lost_in_many_more_states(
    agent_recording: Recording,
    outbox_recording: Recording,
    store_recording: Recording,
    seed: int,
) -> None:
    rng = Random(seed)
    assert lost_by_agent(agent_recording, rng, AGENT_CUTS) == 0
    assert lost_by_outbox(outbox_recording, rng, OUTBOX_CUTS) == 0
    assert lost_by_store(store_recording, rng, STORE_CUTS) == 0
