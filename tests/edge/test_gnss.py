"""A GNSS receiver, played on a pseudo terminal."""

import os
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_edge.sources.nmea import NmeaAssembler, Steadiness
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Position, Reading
from greenhaul_protocols.times import parse_time

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]


def sentence(body: str) -> str:
    """With its checksum."""
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n"


def rmc(second: int, status: str = "A", date: str = "201126", talker: str = "GN") -> str:
    """Recommended minimum data at 07:04:SS."""
    return sentence(
        f"{talker}RMC,0704{second:02d}.000,{status},3259.5000,N,11231.2000,E,20.0,91.5,{date},,,A"
    )


def gga(second: int) -> str:
    """Fix data at 07:04:SS."""
    return sentence(f"GNGGA,0704{second:02d}.000,3259.5000,N,11231.2000,E,1,12,0.9,131.2,M,0,M,,")


def feed(assembler: NmeaAssembler, *lines: str) -> list[Position]:
    """What the lines give."""
    return [position for line in lines for position in assembler.feed(line, 1)]


@pytest.fixture
def assembler() -> NmeaAssembler:
    """Of a gateway's receiver."""
    return NmeaAssembler("gw/gnss")


@pytest.mark.parametrize("is_rmc_first", [True, False])
def test_one_moment_is_one_reading(assembler: NmeaAssembler, is_rmc_first: bool) -> None:
    lines = [rmc(5), gga(5)] if is_rmc_first else [gga(5), rmc(5)]
    (position,) = feed(assembler, *lines)
    assert position.device_time_ms == parse_time("2026-11-20T07:04:05Z")
    assert position.latitude_deg == pytest.approx(32 + 59.5 / 60)
    assert position.longitude_deg == pytest.approx(112 + 31.2 / 60)
    assert position.speed_kmh == pytest.approx(37.04)
    assert (position.heading_deg, position.altitude_m) == (91.5, 131.2)
    assert (position.satellites, position.hdop, position.fix_quality) == (12, 0.9, 1)
    assert position.is_located


def test_a_receiver_that_sends_only_rmc_is_read_a_moment_later(assembler: NmeaAssembler) -> None:
    found = feed(assembler, rmc(5), rmc(6), rmc(7))
    assert [position.device_time_ms % 60_000 for position in found] == [5_000, 6_000]


def test_moments_without_a_fix_give_nothing(assembler: NmeaAssembler) -> None:
    assert not feed(assembler, rmc(5, status="V"), gga(5))
    assert assembler.counts.unfixed == 1


def test_a_week_counter_that_rolled_over_is_not_believed(assembler: NmeaAssembler) -> None:
    assert not feed(assembler, rmc(5, date="070407"), gga(5))
    assert assembler.counts.implausible_dates == 1


def test_damaged_sentences_are_counted_and_their_neighbours_read(
    assembler: NmeaAssembler,
) -> None:
    flipped = rmc(5).replace("3259", "3258")
    cut = rmc(5)[:30]
    found = feed(assembler, flipped, cut, "\x00\xff rubbish", "", "$", gga(6), rmc(6))
    assert len(found) == 1
    assert assembler.counts.damaged == 5


@dataclass
class Receiver:
    """The other end of the serial line; its port is a link, so that it can be plugged anew."""

    path: Path
    master: int = -1

    def plug(self) -> None:
        """A new pty under the old name."""
        self.master, slave = os.openpty()
        tty.setraw(slave)
        name = os.ttyname(slave)
        self._slave = slave
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(name)

    def unplug(self) -> None:
        """Both ends vanish."""
        if self.master >= 0:
            os.close(self._slave)
            os.close(self.master)
            self.master = -1

    def say(self, text: str) -> None:
        """On the line."""
        os.write(self.master, text.encode("latin-1"))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """Plugged in."""
    receiver = Receiver(tmp_path / "ttyGNSS")
    receiver.plug()
    yield receiver
    receiver.unplug()


@pytest.fixture
def source(outbox: Outbox, receiver: Receiver) -> Iterator[GnssSource]:
    """Reading the receiver."""
    settings = GnssSettings(port=str(receiver.path), cadence_s=0)
    source = GnssSource("gnss", settings, outbox, Clock())
    source.start()
    yield source
    source.stop()


def test_positions_from_a_serial_line_reach_the_outbox(
    source: GnssSource,
    receiver: Receiver,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    until(lambda: str(source.state()["link"]).startswith("open"))
    receiver.say("noise\x80\xff\n" + "".join(rmc(s) + gga(s) for s in range(10)))
    until(lambda: len(readings_in(outbox_path)) == 10)
    assert {reading.source for reading in readings_in(outbox_path)} == {"gw-test/gnss"}


def test_a_receiver_plugged_in_again_is_read_again(
    source: GnssSource,
    receiver: Receiver,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    until(lambda: str(source.state()["link"]).startswith("open"))
    receiver.say(rmc(1) + gga(1))
    until(lambda: len(readings_in(outbox_path)) == 1)
    receiver.unplug()
    until(lambda: int(source.state()["lost"]) > 0)
    receiver.plug()
    until(lambda: int(source.state()["opened"]) > 1)
    until(lambda: str(source.state()["link"]).startswith("open"))
    receiver.say(rmc(2) + gga(2))
    until(lambda: len(readings_in(outbox_path)) == 2)


def test_only_steady_fixes_are_believed() -> None:
    steadiness = Steadiness()
    offsets_ms = [10**12, 10**12, 10**12 + 900, 5, 7, 8, 9]
    assert not any(steadiness.take(offset_ms) for offset_ms in offsets_ms)
    assert steadiness.take(10)


def test_steady_fixes_teach_the_clock(outbox: Outbox, receiver: Receiver, until: Until) -> None:
    clock = Clock()
    source = GnssSource("gnss", GnssSettings(port=str(receiver.path)), outbox, clock)
    source.start()
    try:
        until(lambda: str(source.state()["link"]).startswith("open"))
        for _ in range(5):
            receiver.say(rmc(5) + gga(5))
        until(lambda: clock.quality is WallQuality.GNSS)
        assert abs(clock.now_ms() - parse_time("2026-11-20T07:04:05Z")) < 30_000
    finally:
        source.stop()
