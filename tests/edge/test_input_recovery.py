"""Cables pulled, buses off, interfaces down, twenty times each; the other inputs do not notice."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import can
import pytest
from tests.edge.faulty_bus import FaultyBus
from tests.edge.nmea_sentences import gga, rmc
from tests.edge.serial_line import Line
from tests.edge.terminal_peer import PHONE, Dial, Listen, report

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings, GnssSettings, Jt808Settings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can import CanSource
from greenhaul_edge.sources.gnss import BAUD_RATES, GnssSource, Rates
from greenhaul_edge.sources.gnss_watch import FixChange, FixWatch
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Event, Position, Reading

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]

PULLS = 20
# What the product promises; a machine that is busy with other tests gets no more.
RECOVERY_S = 5.0


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Line]:
    """An slcan adapter's line, plugged in."""
    line = Line(tmp_path / "ttyCAN")
    line.plug()
    yield line
    line.close()


Start = Callable[[GnssSource | CanSource], None]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a source; it is stopped at the end."""
    sources: list[GnssSource | CanSource] = []

    def begin(source: GnssSource | CanSource) -> None:
        source.start()
        sources.append(source)

    yield begin
    for source in sources:
        source.stop()


FRAME = b"T18F091F38007D0F0F0F0FFFFF\r"


def test_twenty_replugs_each_under_other_names_and_the_other_inputs_go_on(
    start: Start,
    listen: Listen,
    dial: Dial,
    outbox: Outbox,
    clock: Clock,
    receiver: Line,
    bus: Line,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    gnss = GnssSource("gnss", GnssSettings(str(receiver.link), cadence_s=0), outbox, clock)
    battery = CanSource(
        "can", CanSettings(str(bus.link), Path("j1939-hvess"), "slcan"), outbox, clock
    )
    start(gnss)
    start(battery)
    terminal = dial(listen(Jt808Settings(auth="open")))
    sent_ms = clock.now_ms() - 3_600_000
    slowest_s = 0.0

    def is_open(source: GnssSource | CanSource) -> bool:
        return str(source.state()["link"]).startswith("open")

    until(lambda: is_open(gnss) and is_open(battery))
    for count in range(2 * PULLS):
        pulled, line = (gnss, receiver) if count % 2 else (battery, bus)
        line.unplug()
        until(lambda: not is_open(pulled))  # noqa: B023
        assert terminal.ask(report(sent_ms + count * 1000)) is not None  # after its commit
        if pulled is gnss:
            bus.say(FRAME)
        else:
            receiver.say(rmc(count % 20).encode())
        plugged_s = time.monotonic()
        line.plug()
        until(lambda: is_open(pulled))  # noqa: B023
        slowest_s = max(slowest_s, time.monotonic() - plugged_s)
        bus.say(FRAME)
        receiver.say((rmc(20 + count % 20) + rmc(40 + count % 20)).encode())
        # Three of the one that was not pulled for two of the other; unread, a pull would lose them.
        sentences, frames = 2 * (count + 1) + (count + 2) // 2, count + 1 + (count + 1) // 2
        until(lambda: int(gnss.state()["sentences"]) == sentences)  # noqa: B023
        until(lambda: int(battery.state()["frames"]) == frames)  # noqa: B023
    assert slowest_s < RECOVERY_S
    for line in (receiver, bus):
        assert len(line.names) == PULLS + 1
        assert all(a != b for a, b in pairwise(line.names))
    assert {one.state()["opened"] for one in (gnss, battery)} == {PULLS + 1}

    def kept() -> Counter[str]:
        positions = [one for one in readings_in(outbox_path) if isinstance(one, Position)]
        return Counter(one.source for one in positions)

    until(lambda: kept() == {"gw-test/gnss": 5 * PULLS, f"808:{PHONE}": 2 * PULLS})


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[FaultyBus]:
    """An interface named `faulty`."""
    monkeypatch.setitem(can.interfaces.BACKENDS, "faulty", (FaultyBus.__module__, "FaultyBus"))
    names = can.interfaces.VALID_INTERFACES | {"faulty"}
    monkeypatch.setattr("can.util.VALID_INTERFACES", names)
    FaultyBus.is_down = False
    return FaultyBus


VOLTAGES = can.Message(arbitration_id=0x18F091F3, data=bytes.fromhex("007D0F0F0F0FFFFF"))
BUS_OFF = can.Message(arbitration_id=0x40, is_error_frame=True, is_extended_id=False, data=bytes(8))


@pytest.mark.parametrize("fault", ["bus off", "interface down", "driver error"])
def test_a_bus_that_fails_twenty_times_is_heard_again_and_the_receiver_is_not_disturbed(
    start: Start,
    outbox: Outbox,
    clock: Clock,
    receiver: Line,
    faulty: type[FaultyBus],
    until: Until,
    fault: str,
) -> None:
    gnss = GnssSource("gnss", GnssSettings(str(receiver.link)), outbox, clock)
    battery = CanSource("can", CanSettings("x", Path("j1939-hvess"), "faulty"), outbox, clock)
    start(gnss)
    start(battery)
    until(lambda: str(gnss.state()["link"]).startswith("open"))
    slowest_s = 0.0
    for count in range(1, PULLS + 1):
        faulty.coming.put(VOLTAGES)
        until(lambda: int(battery.state()["frames"]) == count)  # noqa: B023
        faulty.is_down = fault == "interface down"
        faulty.coming.put(BUS_OFF if fault == "bus off" else can.CanOperationError(fault))
        until(lambda: int(battery.state()["lost"]) >= count)  # noqa: B023
        faulty.is_down = False
        failed_s = time.monotonic()
        until(lambda: int(battery.state()["opened"]) == count + 1)  # noqa: B023
        slowest_s = max(slowest_s, time.monotonic() - failed_s)
        receiver.say((rmc(count) + gga(count)).encode())
        until(lambda: int(gnss.state()["sentences"]) == 2 * count)  # noqa: B023
    assert slowest_s < RECOVERY_S
    assert battery.state()["bus_off"] == (PULLS if fault == "bus off" else 0)
    assert (gnss.state()["lost"], gnss.state()["opened"]) == (0, 1)


class Receiver:
    """Speaks a burst whenever it is asked; at another rate than the reader's it is noise."""

    def __init__(self, line: Line) -> None:
        self.baud = BAUD_RATES[0]
        self._line = line
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Silence."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        second = 0
        while not self._stop.wait(0.5):
            second = (second + 1) % 60
            words = (rmc(second) + gga(second)).encode()
            if self._line.baud() != self.baud:
                words = bytes(byte << 3 & 0xF8 | 0x81 for byte in words)
            self._line.say(words)


def test_the_rate_is_found_and_found_again_when_the_receiver_changes_it(
    start: Start, outbox: Outbox, clock: Clock, receiver: Line, until: Until
) -> None:
    speaker = Receiver(receiver)
    try:
        speaker.baud = 38_400
        gnss = GnssSource("gnss", GnssSettings(str(receiver.link)), outbox, clock)
        start(gnss)
        until(lambda: gnss.state()["baud"] == 38_400)
        assert gnss.state()["link"] == "open at 38400"
        speaker.baud = 115_200  # as a receiver does that was configured anew
        until(lambda: gnss.state()["baud"] == 115_200)
        assert gnss.state()["lost"] == 0
    finally:
        speaker.close()


def test_a_rate_that_is_told_is_kept_whatever_comes(
    start: Start, outbox: Outbox, clock: Clock, receiver: Line, until: Until
) -> None:
    gnss = GnssSource("gnss", GnssSettings(str(receiver.link), baud=4_800), outbox, clock)
    start(gnss)
    until(lambda: str(gnss.state()["link"]).startswith("open"))
    for burst in range(3):
        receiver.say(b"\x81\xf8" * 200 + b"\n")
        until(lambda: int(gnss.state()["noise"]) == burst + 1)  # noqa: B023
    receiver.say(rmc(1).encode())
    until(lambda: int(gnss.state()["sentences"]) == 1)
    assert (receiver.baud(), gnss.state()["opened"]) == (4_800, 1)


def test_rates_are_tried_in_turn_and_from_the_first_after_one_that_was_right() -> None:
    rates = Rates((1, 2, 3))
    tried = []
    for was_right in (False, False, False, False, True, False, False):
        tried.append(rates.now)
        rates.turn(was_right=was_right)
    assert tried == [1, 2, 3, 1, 2, 1, 3]


def ubx(size: int) -> bytes:
    """A binary message of a receiver that mixes protocols: any byte may come, also `$` and `*`."""
    return b"\xb5\x62\x02\x15" + size.to_bytes(2, "little") + bytes(range(256)) * (size // 256)


def test_binary_messages_between_sentences_cost_no_fix(
    start: Start, outbox: Outbox, clock: Clock, receiver: Line, until: Until
) -> None:
    gnss = GnssSource("gnss", GnssSettings(str(receiver.link), cadence_s=0), outbox, clock)
    start(gnss)
    until(lambda: str(gnss.state()["link"]).startswith("open"))
    for second in range(1, 21):
        receiver.say(ubx(1024) + rmc(second).encode() + ubx(256) + gga(second).encode())
        until(lambda: int(gnss.state()["sentences"]) == 2 * second)  # noqa: B023
    until(lambda: int(gnss.state()["fixes"]) == 20)
    assert gnss.state()["opened"] == 1


# -- fix lost, fix regained ------------------------------------------------------------------------


def test_a_fix_is_lost_after_a_while_and_regained_at_once() -> None:
    watch = FixWatch()
    assert watch.take_none(0) is None  # never had one
    assert watch.take_fix(1_000) is None
    assert watch.take_none(5_900) is None  # a bridge
    assert watch.take_fix(6_500) is None
    assert watch.take_none(11_500) == FixChange("fix_lost", 6_500, 5_000)
    assert watch.take_none(20_000) is None
    assert watch.take_fix(36_500) == FixChange("fix_regained", 36_500, 30_000)
    assert watch.take_fix(37_500) is None


def test_a_lost_fix_is_an_event_of_the_receiver(
    start: Start,
    outbox: Outbox,
    receiver: Line,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    now_ms = [1_000_000]
    clock = Clock(read_monotonic_ms=lambda: now_ms[0])
    clock.learn(time.time_ns() // 1_000_000, WallQuality.NTP)
    assert clock.offset_ms is not None
    gnss = GnssSource("gnss", GnssSettings(str(receiver.link), cadence_s=0), outbox, clock)
    start(gnss)
    until(lambda: str(gnss.state()["link"]).startswith("open"))
    for second in range(1, 9):
        now_ms[0] = 1_000_000 + 3_000 * second
        has_fix = second in (1, 2, 7, 8)
        receiver.say(rmc(second, status="A" if has_fix else "V").encode())
        until(lambda: int(gnss.state()["fixes"]) + int(gnss.state()["unfixed"]) == second)  # noqa: B023

    def events() -> list[Event]:
        return [one for one in readings_in(outbox_path) if isinstance(one, Event)]

    until(lambda: len(events()) == 2)
    lost, regained = events()
    assert (lost.code, regained.code) == ("fix_lost", "fix_regained")
    assert lost.device_time_ms == clock.offset_ms + 1_006_000
    assert regained.device_time_ms == clock.offset_ms + 1_021_000
    assert (lost.source, regained.detail) == ("gw-test/gnss", '{"without_fix_s": 15.0}')
