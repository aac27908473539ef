"""A GNSS receiver, played on a pseudo terminal."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.nmea_sentences import gga, rmc, sentence
from tests.edge.serial_line import Line

from greenhaul_edge.clock import Clock
from greenhaul_edge.config import GnssSettings
from greenhaul_edge.outbox.writer import Outbox
from greenhaul_edge.sources.gnss import GnssSource
from greenhaul_edge.sources.gnss_time import FixTime, Steadiness, judge
from greenhaul_edge.sources.nmea import Fix, NmeaAssembler, NmeaCounts, NmeaLine
from greenhaul_edge.sources.serial_ports import SerialPort, find_port
from greenhaul_protocols.block import WallQuality
from greenhaul_protocols.catalogue import Reading, TimeQuality
from greenhaul_protocols.times import parse_time

Until = Callable[[Callable[[], bool]], None]
ReadingsIn = Callable[[Path], list[Reading]]


def fixes_in(text: str | bytes, counts: NmeaCounts | None = None) -> list[Fix]:
    """What a receiver's words give."""
    counts = counts or NmeaCounts()
    line, assembler = NmeaLine(counts), NmeaAssembler(counts)
    data = text.encode("latin-1") if isinstance(text, str) else text
    sentences = [*line.feed(data), *line.finish()]
    return [fix for one in sentences for fix in assembler.feed(one, 1)] + assembler.finish()


@pytest.mark.parametrize("is_rmc_first", [True, False])
@pytest.mark.parametrize("talker", ["GP", "GN", "GL", "GA", "GB", "BD", "QZ"])
def test_one_moment_is_one_fix(is_rmc_first: bool, talker: str) -> None:
    lines = [rmc(5, talker=talker), gga(5)] if is_rmc_first else [gga(5), rmc(5, talker=talker)]
    (fix,) = fixes_in("".join(lines))
    assert fix.utc_ms == parse_time("2026-11-20T07:04:05Z")
    assert fix.values["latitude_deg"] == pytest.approx(32 + 59.5 / 60)
    assert fix.values["longitude_deg"] == pytest.approx(112 + 31.2 / 60)
    assert fix.values["speed_kmh"] == pytest.approx(37.04)
    assert (fix.values["heading_deg"], fix.values["altitude_m"]) == (91.5, 131.2)
    assert [fix.values[name] for name in ("satellites", "hdop", "fix_quality")] == [12, 0.9, 1]
    assert fix.values["is_located"]


def test_every_kind_of_sentence_adds_what_it_knows() -> None:
    moment = [
        sentence("GNRMC,070405.00,A,3259.5000,S,11231.2000,W,,,201126,,,A"),
        sentence("GNVTG,91.5,T,,M,20.0,N,37.0,K,A"),
        sentence("GNGNS,070405.00,3259.5000,S,11231.2000,W,RD,17,,131.2,,,"),
        sentence("GNGSA,A,3,01,02,,,,,,,,,,,1.5,0.8,1.2,1"),
        sentence("GNGST,070405.00,1.0,,,,3.0,4.0,6.0"),
    ]
    (fix,) = fixes_in("".join(moment))
    assert (fix.values["latitude_deg"], fix.values["longitude_deg"]) < (0, 0)
    assert (fix.values["speed_kmh"], fix.values["heading_deg"]) == (pytest.approx(37.04), 91.5)
    assert (fix.values["satellites"], fix.values["fix_quality"]) == (17, 4)
    assert (fix.values["hdop"], fix.values["accuracy_m"]) == (0.8, 5.0)


def test_a_receiver_without_rmc_is_dated_by_zda() -> None:
    moments = [gga(s) + sentence(f"GNZDA,0704{s:02d}.00,20,11,2026,00,00") for s in range(6)]
    *_, fix = fixes_in("".join(moments))
    assert fix.utc_ms == parse_time("2026-11-20T07:04:05Z")
    *_, undated = fixes_in("".join(gga(second) for second in range(6)))
    assert undated.utc_ms is None


def test_a_moment_whose_rmc_was_damaged_is_none() -> None:
    found = fixes_in(rmc(5) + gga(5) + rmc(6).replace("3259", "3258") + gga(6) + rmc(7) + gga(7))
    assert [fix.utc_ms and fix.utc_ms % 60_000 for fix in found] == [5_000, 7_000]


def test_moments_without_a_fix_give_nothing_and_the_next_fix_is_not_lost() -> None:
    counts = NmeaCounts()
    searching = sentence("GNRMC,,V,,,,,,,,,,N") + sentence("GNGGA,,,,,,0,,,,,,,,")
    found = fixes_in(
        2 * searching + rmc(5) + gga(5) + rmc(6, status="V") + gga(6) + rmc(7) + gga(7), counts
    )
    assert [fix.utc_ms and fix.utc_ms % 60_000 for fix in found] == [5_000, 7_000]
    assert (counts.fixes, counts.unfixed, counts.fixes_lost) == (2, 3, 1)


def test_damaged_sentences_are_counted_and_their_neighbours_read() -> None:
    counts = NmeaCounts()
    flipped = rmc(5).replace("3259", "3258")
    half = rmc(5)[:30]
    wrong = sentence("GNRMC,070408.000,A,9959.5000,N,11231.2000,E,20.0,91.5,201126,,,A")
    found = fixes_in(
        f"{flipped}{half}\n\x00\xff rubbish\n\n$\n{half}{gga(6)}{rmc(6)}{wrong}", counts
    )
    assert len(found) == 1
    assert (counts.bad_checksums, counts.noise, counts.unreadable) == (1, 3, 1)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([rmc(5).encode(), gga(6).encode(), b"$GPRMC,", b"*00", b"\r\n", b","]),
        ),
        max_size=30,
    ),
    st.integers(1, 50),
)
def test_no_noise_raises_and_chopping_changes_nothing(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    whole, chopped = NmeaCounts(), NmeaCounts()
    found = fixes_in(data, whole)
    line, assembler = NmeaLine(chopped), NmeaAssembler(chopped)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    sentences = [one for piece in pieces for one in line.feed(piece)] + [*line.finish()]
    again = [fix for one in sentences for fix in assembler.feed(one, 1)] + assembler.finish()
    assert (again, chopped) == (found, whole)


NOW_MS = parse_time("2026-11-20T07:04:05Z")


@pytest.mark.parametrize("weeks", [1024, 2048])
def test_a_week_counter_that_rolled_over_is_corrected(weeks: int) -> None:
    told_ms = NOW_MS - weeks * 7 * 86_400_000 + 250
    judged = judge(told_ms, NOW_MS, is_mapped=True)
    assert judged == FixTime(NOW_MS + 250, TimeQuality.GATEWAY)
    assert not judged.may_teach


@pytest.mark.parametrize("date", ["1980-01-06", "1999-08-22", "2094-01-01"])
def test_a_date_that_cannot_be_leaves_it_to_the_gateways_clock(date: str) -> None:
    judged = judge(parse_time(f"{date}T00:00:00Z"), NOW_MS, is_mapped=True)
    assert (judged.device_time_ms, judged.may_teach) == (None, False)
    assert judge(None, NOW_MS, is_mapped=False).device_time_ms is None


def test_age_alone_makes_no_date_wrong_but_teaches_nothing() -> None:
    told_ms = parse_time("2010-04-11T16:57:44Z")
    assert judge(told_ms, NOW_MS, is_mapped=True) == FixTime(told_ms, TimeQuality.SOURCE)
    assert judge(told_ms, 0, is_mapped=False, is_plausible=False).device_time_ms is None


def test_a_receiver_may_correct_a_clock_that_is_behind() -> None:
    told_ms = NOW_MS + 86_400_000
    judged = judge(told_ms, NOW_MS, is_mapped=True)
    assert (judged.device_time_ms, judged.may_teach) == (None, True)
    assert judge(told_ms, NOW_MS, is_mapped=False) == FixTime(told_ms, TimeQuality.SOURCE, True)


def test_a_port_is_found_by_its_usb_identity_whatever_its_number() -> None:
    ports = [
        SerialPort("/dev/ttyS0"),
        SerialPort("/dev/ttyACM1", 0x1546, 0x01A8, "B"),
        SerialPort("/dev/ttyACM4", 0x1546, 0x01A8, "A"),
    ]
    assert find_port("usb:1546:01a8", lambda: ports) == "/dev/ttyACM1"
    assert find_port("usb:1546:01A8:A", lambda: ports) == "/dev/ttyACM4"
    assert find_port("/dev/ttyS0", lambda: ports) == "/dev/ttyS0"
    with pytest.raises(OSError, match="not plugged in"):
        find_port("usb:1546:01a9", lambda: ports)


@pytest.fixture
def source(outbox: Outbox, receiver: Line) -> Iterator[GnssSource]:
    """Reading the receiver."""
    settings = GnssSettings(port=str(receiver.link), cadence_s=0)
    source = GnssSource("gnss", settings, outbox, Clock())
    source.start()
    yield source
    source.stop()


def test_positions_from_a_serial_line_reach_the_outbox(
    source: GnssSource,
    receiver: Line,
    outbox_path: Path,
    readings_in: ReadingsIn,
    until: Until,
) -> None:
    until(lambda: str(source.state()["link"]).startswith("open"))
    receiver.say(b"noise\x80\xff\n" + "".join(rmc(s) + gga(s) for s in range(10)).encode())
    until(lambda: len(readings_in(outbox_path)) == 10)
    assert {reading.source for reading in readings_in(outbox_path)} == {"gw-test/gnss"}


def test_only_steady_fixes_are_believed() -> None:
    steadiness = Steadiness()
    offsets_ms = [10**12, 10**12, 10**12 + 900, 5, 7, 8, 9]
    assert not any(steadiness.take(offset_ms) for offset_ms in offsets_ms)
    assert steadiness.take(10)


def test_steady_fixes_teach_the_clock(outbox: Outbox, receiver: Line, until: Until) -> None:
    clock = Clock()
    source = GnssSource("gnss", GnssSettings(port=str(receiver.link)), outbox, clock)
    source.start()
    try:
        until(lambda: str(source.state()["link"]).startswith("open"))
        receiver.say("".join(rmc(second) + gga(second) for second in range(5)).encode())
        until(lambda: clock.quality is WallQuality.GNSS)
        assert abs(clock.now_ms() - parse_time("2026-11-20T07:04:05Z")) < 30_000
    finally:
        source.stop()
