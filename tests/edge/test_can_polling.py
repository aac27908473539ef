"""Asking control units: only where allowed, seldom, and never beside a tester."""

import os
import re
import threading
import tty
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import CanSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.can import CanSource
from greenhaul_edge.sources.can_interface import LISTEN_ONLY, bus_arguments, filters_of
from greenhaul_edge.sources.can_mapping import RequestSettings, load_mapping
from greenhaul_edge.sources.can_poll import (
    GAP_MS,
    LISTEN_MS,
    TESTER_QUIET_MS,
    Frame,
    Poller,
    is_request,
)
from greenhaul_protocols.catalogue import BatteryReading, Reading
from greenhaul_protocols.errors import ConfigError

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]

BATTERY = RequestSettings(0x7E4, 0x7EC, "22 01 01", period_s=10.0)
CELLS = RequestSettings(0x7E4, 0x7EC, "220102", period_s=10.0)
TRUCK = RequestSettings(0x18DAEFF1, 0x18DAF1EF, "22 F1 90", period_s=10.0)
ASK_BATTERY = Frame(0x7E4, False, bytes.fromhex("0322010100000000"))
GO_ON = Frame(0x7E4, False, bytes.fromhex("30000a0000000000"))


def asked(poller: Poller, from_ms: int, to_ms: int) -> list[tuple[int, Frame]]:
    """What it asks, turned ten times a second."""
    found = ((at_ms, poller.turn(at_ms)) for at_ms in range(from_ms, to_ms, 100))
    return [(at_ms, frame) for at_ms, frame in found if frame]


def test_the_bus_is_listened_to_before_the_first_request_and_answers_are_taken() -> None:
    poller = Poller([BATTERY], 0)
    assert asked(poller, 0, LISTEN_MS + 100) == [(LISTEN_MS, ASK_BATTERY)]
    at_ms = LISTEN_MS + 50
    assert poller.take(0x7EC, False, bytes.fromhex("101062010112340a"), at_ms) == GO_ON
    assert poller.take(0x7EC, False, bytes.fromhex("2101020304050607"), at_ms) is None
    assert poller.counts.answered == 0
    assert poller.take(0x7EC, False, bytes.fromhex("2201020300000000"), at_ms) is None
    assert (poller.counts.asked, poller.counts.answered, poller.counts.unanswered) == (1, 1, 0)
    assert asked(poller, LISTEN_MS + 100, LISTEN_MS + 10_100) == [(LISTEN_MS + 10_000, ASK_BATTERY)]


def test_one_request_a_second_and_one_at_a_time() -> None:
    poller = Poller([BATTERY, CELLS, TRUCK], 0)
    times = []
    for at_ms in range(0, 60_000, 100):
        frame = poller.turn(at_ms)
        if frame:
            times.append(at_ms)
            answer = 0x18DAF1EF if frame.is_extended else 0x7EC
            poller.take(answer, frame.is_extended, bytes.fromhex("0462010155"), at_ms + 20)
    assert min(b - a for a, b in pairwise(times)) >= GAP_MS
    assert poller.counts.answered == len(times)
    assert len(times) in range(16, 19)  # three in ten seconds, after five of listening


def test_a_unit_that_needs_longer_is_waited_for_and_one_that_refuses_is_done() -> None:
    poller = Poller([BATTERY, CELLS], 0)
    ((at_ms, _),) = asked(poller, 0, LISTEN_MS + 100)
    poller.take(0x7EC, False, bytes.fromhex("037f2278"), at_ms + 40)
    assert asked(poller, at_ms + 100, at_ms + 5_000) == []
    poller.take(0x7EC, False, bytes.fromhex("037f2231"), at_ms + 4_900)
    assert (poller.counts.refused_requests, poller.counts.unanswered) == (1, 0)
    assert len(asked(poller, at_ms + 5_000, at_ms + 6_000)) == 1


def test_a_unit_that_sleeps_is_left_to_sleep() -> None:
    poller = Poller([BATTERY], 0)
    times = [at_ms for at_ms, _ in asked(poller, 0, 600_000)]
    assert times[:3] == [5_000, 15_000, 25_000]
    assert times[3] - times[2] >= 300_000
    assert poller.counts.unanswered == len(times)


@pytest.mark.parametrize(
    ("frame_id", "is_extended"),
    [(0x7DF, False), (0x7E0, False), (0x7E7, False), (0x18DA10F1, True), (0x18DB33F1, True)],
)
def test_beside_a_tester_nothing_is_asked(frame_id: int, is_extended: bool) -> None:
    poller = Poller([BATTERY], 0)
    assert is_request(frame_id, is_extended)
    last_ms = 0
    for at_ms in range(1_000, 200_000, 20_000):
        assert poller.take(frame_id, is_extended, bytes.fromhex("021001"), at_ms) is None
        assert asked(poller, at_ms, at_ms + 20_000) == []
        last_ms = at_ms
    assert poller.is_held_off(last_ms + 20_000)
    assert poller.counts.tester_frames == 10
    (again, *_) = asked(poller, last_ms, last_ms + 2 * TESTER_QUIET_MS)
    assert again[0] == pytest.approx(last_ms + TESTER_QUIET_MS, abs=100)


def test_a_tester_that_comes_in_between_has_the_answers_for_itself() -> None:
    poller = Poller([BATTERY], 0)
    ((at_ms, _),) = asked(poller, 0, LISTEN_MS + 100)
    poller.take(0x7E4, False, bytes.fromhex("0322010500000000"), at_ms + 10)
    assert poller.take(0x7EC, False, bytes.fromhex("101062010112340a"), at_ms + 20) is None


@pytest.mark.parametrize("frame_id", [0x7EC, 0x7E8, 0x123, 0x700])
def test_answers_and_broadcasts_are_no_tester(frame_id: int) -> None:
    assert not is_request(frame_id, False)
    assert not is_request(0x18DAF110, True)


def test_shipped_requests_are_well_formed_and_listened_to() -> None:
    for name, ids in (("hyundai-kia-uds", {0x7E4}), ("nissan-leaf-2019-uds", {0x79B})):
        mapping = load_mapping(Path(name))
        assert {one.id for one in mapping.requests} == ids
        wanted = filters_of(mapping, is_polling=True)
        heard = [*ids, 0x7DF, 0x7E3]
        for one in heard:
            assert any(one & f["can_mask"] == f["can_id"] & f["can_mask"] for f in wanted)
        assert len(filters_of(mapping)) == 1


@pytest.mark.parametrize(
    ("request_line", "message"),
    [
        ('data = "2E F1 90 00"', "service 2E is none that reads"),
        ('data = "11 01"', "service 11 is none that reads"),
        ('data = "22 01 01 01 01 01 01 01"', "1 to 7 bytes"),
        ('data = "22 01 01"\nperiod_s = 0.1', "must lie in 1 to"),
        ('data = "22 01 01"\nanswer_id = 0x7ED', "no .*signals.* message 7ED"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    tmp_path: Path, request_line: str, message: str
) -> None:
    shipped = load_mapping(Path("hyundai-kia-uds")).path
    (tmp_path / "hyundai-kia-uds.dbc").write_text(shipped.with_suffix(".dbc").read_text())
    head = shipped.read_text().partition("[[requests]]")[0]
    answer = "" if "answer_id" in request_line else "answer_id = 0x7EC\n"
    path = tmp_path / "mine.toml"
    path.write_text(f"{head}[[requests]]\nid = 0x7E4\n{answer}{request_line}\n")
    with pytest.raises(ConfigError, match=message):
        load_mapping(path)


def test_who_does_not_ask_opens_the_bus_to_listen_only() -> None:
    for interface, arguments in LISTEN_ONLY.items():
        settings = CanSettings("0", Path("x.toml"), interface)
        assert bus_arguments(settings).items() >= arguments.items()
        asking = CanSettings("0", Path("x.toml"), interface, polling=True)
        assert not bus_arguments(asking).keys() & arguments.keys()
    assert LISTEN_ONLY["slcan"] == {"listen_only": True}


class Car:
    """An slcan adapter on a pseudo terminal, and a battery behind it that answers 22 01 01."""

    ANSWER = bytes.fromhex("620101fff7e7ff") + bytes((0x64,)) + bytes(54)  # 50.0 %

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.channel = os.ttyname(self._slave)
        self.commands: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def say(self, frame_id: int, data: bytes) -> None:
        """A frame on the bus."""
        os.write(self._master, b"t%03X8%s\r" % (frame_id, data.ljust(8, b"\0").hex().encode()))

    def close(self) -> None:
        """The adapter is pulled."""
        os.close(self._slave)
        self._thread.join()
        os.close(self._master)

    def _run(self) -> None:
        rest = b""
        while True:
            try:
                rest += os.read(self._master, 4096)
            except OSError:
                return
            *commands, rest = rest.split(b"\r")
            for command in commands:
                self.commands.append(command.decode())
                self._react(command)

    def _react(self, command: bytes) -> None:
        if re.fullmatch(rb"t7E4803220101.*", command):
            head = (0x1000 | len(self.ANSWER)).to_bytes(2, "big")
            self.say(0x7EC, head + self.ANSWER[:6])
        elif re.fullmatch(rb"t7E4830.*", command):
            rest = self.ANSWER[6:]
            for number, at in enumerate(range(0, len(rest), 7), start=1):
                self.say(0x7EC, bytes((0x20 | number & 15,)) + rest[at : at + 7])


@pytest.fixture
def car() -> Iterator[Car]:
    """Plugged in."""
    car = Car()
    yield car
    car.close()


@pytest.fixture
def listen(outbox: Outbox, clock: Clock, car: Car) -> Iterator[Callable[..., CanSource]]:
    """A source that reads the car; it is stopped before the car is."""
    sources = []

    def start(*, polling: bool) -> CanSource:
        settings = CanSettings(
            car.channel, Path("hyundai-kia-uds"), "slcan", cadence_s=0.1, polling=polling
        )
        sources.append(CanSource("battery", settings, outbox, clock))
        sources[-1].start()
        return sources[-1]

    yield start
    for source in sources:
        source.stop()


def test_a_battery_is_asked_over_a_real_line_until_a_tester_comes(
    listen: Callable[..., CanSource],
    car: Car,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    source = listen(polling=True)
    until(lambda: source.state().get("polling") == "held off")  # first it listens
    assert not [one for one in car.commands if one.startswith("t")]
    until(lambda: bool(readings_in(outbox_path)))
    reading = readings_in(outbox_path)[0]
    assert isinstance(reading, BatteryReading)
    assert reading.soc_percent == 50.0
    assert [one[:12] for one in car.commands if one[0] == "t"] == ["t7E480322010", "t7E4830000A0"]
    assert "O" in car.commands  # "L" could not send
    state = source.state()
    assert (state["polling"], state["asked"], state["answered"]) == ("asking", 1, 1)
    car.say(0x7DF, bytes.fromhex("023e00"))
    until(lambda: source.state()["polling"] == "held off")
    assert source.state()["tester_frames"] == 1


def test_without_leave_nothing_is_sent_and_others_answers_are_read(
    listen: Callable[..., CanSource],
    car: Car,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    source = listen(polling=False)
    until(lambda: source.state()["link"] == "open")
    until(lambda: "L" in car.commands)
    car._react(b"t7E4803220101")
    car._react(b"t7E4830")
    until(lambda: bool(readings_in(outbox_path)))
    assert {one for one in car.commands if one} <= {"L", "C"}
    assert "polling" not in source.state()


def test_polling_without_requests_is_a_mistake(outbox: Outbox, clock: Clock) -> None:
    settings = CanSettings("can0", Path("j1939-hvess"), polling=True)
    with pytest.raises(ConfigError, match=r"no .*requests"):
        CanSource("battery", settings, outbox, clock)
