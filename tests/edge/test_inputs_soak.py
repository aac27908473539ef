"""The long forms: a million fuzzed sentences; buses that fail again and again."""

import os
import random
import time
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings, GnssSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can import CanSource
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_edge.sources.nmea import NmeaAssembler, NmeaCounts, NmeaLine

Until = Callable[[Callable[[], bool]], None]

PULLS = 20
FIELDS = ("", "A", "V", "0", "-1", "1e999", "nan", "3259.5000", "9999.9999", "N", "E", "201126",
          "070405.00", "250000", "320199", "١", "\xff", "," * 30)  # fmt: skip
KINDS = ("GNRMC", "GPGGA", "BDGNS", "GLGST", "GAZDA", "GNVTG", "QZGSA", "GBGSV", "GPGLL", "GPXXX",
         "PMTK0", "GPRM", "")  # fmt: skip


def fuzzed(chance: random.Random) -> bytes:
    """A sentence with a good checksum and fields nobody would send."""
    size = chance.randrange(20)
    body = ",".join((chance.choice(KINDS), *(chance.choice(FIELDS) for _ in range(size))))
    data = body.encode("utf-8")[:250]
    checksum = 0
    for byte in data:
        checksum ^= byte
    return b"$%s*%02X\r\n" % (data, checksum)


def feed_fuzzed(count: int) -> NmeaCounts:
    """Feeds so many; whatever raises, fails."""
    chance = random.Random(count)
    counts = NmeaCounts()
    line, assembler = NmeaLine(counts), NmeaAssembler(counts)
    for _ in range(count):
        for sentence in line.feed(fuzzed(chance)):
            for fix in assembler.feed(sentence, 0):
                assert abs(fix.values["latitude_deg"]) <= 90
    return counts


def test_ten_thousand_fuzzed_sentences_raise_nothing() -> None:
    counts = feed_fuzzed(10_000)
    assert counts.sentences > 9_000
    assert counts.unreadable > 100


@pytest.mark.soak
def test_a_million_fuzzed_sentences_raise_nothing() -> None:
    assert feed_fuzzed(1_000_000).sentences > 900_000


class Line:
    """A pseudo terminal behind a link that stays."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self.plug()

    def plug(self) -> None:
        """A new one."""
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._link.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        """It is gone."""
        self._link.unlink()
        os.close(self._slave)
        os.close(self.master)


def test_a_bus_that_fails_twenty_times_is_heard_within_five_seconds_and_gnss_is_not_disturbed(
    outbox: Outbox, clock: Clock, tmp_path: Path, until: Until
) -> None:
    bus, receiver = Line(tmp_path / "ttyCAN"), Line(tmp_path / "ttyGNSS")
    can_settings = CanSettings(str(tmp_path / "ttyCAN"), Path("j1939-hvess"), "slcan")
    sources = (
        CanSource("can", can_settings, outbox, clock),
        GnssSource("gnss", GnssSettings(str(tmp_path / "ttyGNSS")), outbox, clock),
    )
    for source in sources:
        source.start()
    can_source, gnss_source = sources
    try:
        for count in range(1, PULLS + 1):
            until(lambda: can_source.state()["link"] == "open")
            os.write(bus.master, b"T18F091F38007D0F0F0F0FFFFF\r")
            until(lambda: int(can_source.state()["frames"]) >= count)  # noqa: B023
            opened = int(can_source.state()["opened"])
            bus.unplug()
            bus.plug()
            pulled_s = time.monotonic()
            until(lambda: int(can_source.state()["opened"]) > opened)  # noqa: B023
            assert time.monotonic() - pulled_s < 5
            body = "GNGGA,070405.00,3259.5,N,11231.2,E,1,12,0.9,131.2,M,0,M,,"
            os.write(receiver.master, b"$%s*00\r\n" % body.encode())
            until(lambda: int(gnss_source.state()["bad_checksums"]) == count)  # noqa: B023
        assert gnss_source.state()["lost"] == 0
    finally:
        for source in sources:
            source.stop()
        bus.unplug()
        receiver.unplug()
