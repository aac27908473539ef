"""Recorded logs of real receivers: what their README measured is what we read, by both ways."""

import gzip
import os
import re
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_edge.sources.nmea import Fix, NmeaAssembler, NmeaCounts, NmeaLine
from greenhaul_protocols.catalogue import Position, Reading
from greenhaul_protocols.times import parse_time

pytestmark = pytest.mark.corpus

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]
ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(os.environ.get("GREENHAUL_SHARED", ROOT.parent / "shared")) / "data" / "nmea"


@dataclass(frozen=True)
class Told:
    """What the README says of a log."""

    name: str
    sentences: int
    valid: int
    moments: int
    void: int
    box_deg: tuple[float, ...]  # west, south, east, north
    first_ms: int
    last_ms: int


def told() -> list[Told]:
    """Every log of the folder's README."""
    readme = FOLDER / "README.md"
    found = []
    for chapter in readme.read_text().split("\n## ")[1:] if readme.exists() else ():
        name = chapter.split("\n")[0]
        valid = re.search(r"(\d+) sentences with a checksum, (\d+) valid", chapter)
        void = re.search(r"RMC (\d+) of which void \(V\) (\d+)", chapter)
        box = re.search(r"bbox \(([^)]+)\)", chapter)
        utc = re.search(r"UTC (\S+ \S+) \.\. (\S+ [^;]+);", chapter)
        if not (valid and void and box and utc):
            continue
        found.append(
            Told(
                name,
                int(valid[1]),
                int(valid[2]),
                int(void[1]),
                int(void[2]),
                tuple(float(one) for one in box[1].split(",")),
                parse_time(f"{utc[1]}Z"),
                parse_time(f"{utc[2]}Z"),
            )
        )
    return found


LOGS = [pytest.param(log, id=log.name) for log in told()]


@cache
def content(name: str) -> bytes:
    """A log, unpacked."""
    packed = (FOLDER / name).read_bytes()
    return gzip.decompress(packed) if name.endswith(".gz") else packed


def fixes_of(data: bytes, counts: NmeaCounts) -> list[Fix]:
    """Every fix of a log."""
    line, assembler = NmeaLine(counts), NmeaAssembler(counts)
    sentences = [*line.feed(data), *line.finish()]
    return [fix for one in sentences for fix in assembler.feed(one, 0)] + assembler.finish()


def test_the_readme_names_logs() -> None:
    assert len(LOGS) >= 14


@pytest.mark.parametrize("log", LOGS)
def test_a_log_gives_the_fixes_its_readme_counts(log: Told) -> None:
    counts = NmeaCounts()
    fixes = fixes_of(content(log.name), counts)
    assert (counts.sentences, counts.bad_checksums) == (log.valid, log.sentences - log.valid)
    assert len(fixes) == counts.fixes == log.moments - log.void
    assert counts.unreadable == 0
    times_ms = [fix.utc_ms for fix in fixes if fix.utc_ms is not None]
    assert len(times_ms) == len(fixes)
    assert log.first_ms <= min(times_ms) <= max(times_ms) <= log.last_ms
    if not log.void:
        assert (min(times_ms), max(times_ms)) == (log.first_ms, log.last_ms)
    west, south, east, north = log.box_deg
    # The README rounds to four places.
    for fix in fixes:
        assert west - 6e-5 <= fix.values["longitude_deg"] <= east + 6e-5
        assert south - 6e-5 <= fix.values["latitude_deg"] <= north + 6e-5


@pytest.mark.parametrize("log", LOGS)
def test_a_log_through_a_serial_line_gives_the_same(
    log: Told, outbox: Outbox, outbox_path: Path, readings_in: ReadingsIn, until: Until
) -> None:
    expected = fixes_of(content(log.name), NmeaCounts())
    master, slave = os.openpty()
    tty.setraw(slave)
    settings = GnssSettings(port=os.ttyname(slave), baud=115_200, cadence_s=0)
    source = GnssSource("gnss", settings, outbox, Clock())
    source.start()
    try:
        until(lambda: str(source.state()["link"]).startswith("open"))
        with open(master, "wb", buffering=0, closefd=False) as line:
            writer = threading.Thread(target=line.write, args=[content(log.name)])
            writer.start()
            until(lambda: not writer.is_alive())

        def is_read() -> bool:
            state = source.state()
            figures = (state["fixes"], state["sentences"], state["bad_checksums"])
            return figures == (len(expected), log.valid, log.sentences - log.valid)

        until(is_read)
    finally:
        source.stop()
        os.close(slave)
        os.close(master)
    outbox.append([], is_urgent=True).result(10)
    found = [one for one in readings_in(outbox_path) if isinstance(one, Position)]
    by_gateway = int(source.state()["by_gateway_clock"])  # they wait until the clock is known
    assert len(found) == len(expected) - by_gateway
    if not by_gateway:
        for one, fix in zip(found, expected, strict=True):
            assert one.device_time_ms == fix.utc_ms
            assert one.latitude_deg == pytest.approx(fix.values["latitude_deg"], abs=1e-7)
            assert one.longitude_deg == pytest.approx(fix.values["longitude_deg"], abs=1e-7)
