"""What receivers of every make and age say, and how it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.nmea_sentences import sentence

from greenhaul_edge.sources.nmea import Fix, NmeaAssembler, NmeaCounts, NmeaLine
from greenhaul_protocols.times import parse_time

PLACE = "3259.5000,N,11231.2000,E"


def rmc(time: str, date: str = "201126", place: str = PLACE, talker: str = "GN") -> str:
    """Recommended minimum data."""
    return sentence(f"{talker}RMC,{time},A,{place},20.0,91.5,{date},,,A")


def gga(time: str, quality: int = 1) -> str:
    """Fix data."""
    return sentence(f"GNGGA,{time},{PLACE},{quality},12,0.9,131.2,M,0,M,,")


def read(text: str | bytes, counts: NmeaCounts | None = None, size: int | None = None) -> list[Fix]:
    """The fixes of a log, fed whole or in pieces."""
    data = text.encode("latin-1") if isinstance(text, str) else text
    line = NmeaLine(counts := counts or NmeaCounts())
    assembler = NmeaAssembler(counts)
    size = size or max(1, len(data))
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    sentences = [one for piece in pieces for one in line.feed(piece)] + [*line.finish()]
    return [fix for one in sentences for fix in assembler.feed(one, 1)] + assembler.end()


def utc(*texts: str) -> list[int | None]:
    """Instants."""
    return [parse_time(text) for text in texts]


@pytest.mark.parametrize(
    ("log", "times"),
    [
        pytest.param(
            rmc("235959.00", "311216") + rmc("235960.00", "311216") + rmc("000000.00", "010117"),
            ["2016-12-31T23:59:59Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:00Z"],
            id="leap second",
        ),
        pytest.param(
            rmc("235959.50", "311225") + gga("235959.50") + rmc("000000", "010126"),
            ["2025-12-31T23:59:59.5Z", "2026-01-01T00:00:00Z"],
            id="midnight and no fraction",
        ),
        pytest.param(
            rmc("070405.", place="03259.5,N,11231.2,E") + rmc("070406", place="3259,N,11231,E"),
            ["2026-11-20T07:04:05Z", "2026-11-20T07:04:06Z"],
            id="leading zeros, no decimals",
        ),
        pytest.param(
            "".join(rmc(f"07040{n}.00", talker=t) for n, t in enumerate(("GI", "BD", "GA", "QZ"))),
            [f"2026-11-20T07:04:0{n}Z" for n in range(4)],
            id="talkers of every system",
        ),
        pytest.param(
            rmc("070405.00", "060180") + rmc("070406.00", "220899") + rmc("070407.00", "010179"),
            ["1980-01-06T07:04:05Z", "1999-08-22T07:04:06Z", "2079-01-01T07:04:07Z"],
            id="years before and after 2000",
        ),
        pytest.param(
            "\\s:r3669961,c:1120959341*53\\"
            + rmc("070405.00")
            + "12:00:01.5 > "
            + rmc("070406.00"),
            ["2026-11-20T07:04:05Z", "2026-11-20T07:04:06Z"],
            id="tag blocks and a logger's times",
        ),
    ],
)
def test_times_as_receivers_tell_them(log: str, times: list[str]) -> None:
    for text in (log, log.replace("\r\n", "\n"), log.replace("\r\n", "\r")):
        assert [fix.utc_ms for fix in read(text)] == utc(*times)


def test_times_rounded_in_two_ways_are_one_moment() -> None:
    log = "".join(
        sentence(f"GNGLL,{PLACE},12080{n}.758,A") + gga(f"12080{n}.76") + rmc(f"12080{n}.76")
        for n in range(3)
    )
    fixes = read(log)
    assert [fix.values["altitude_m"] for fix in fixes] == [131.2] * 3
    assert [fix.utc_ms for fix in fixes] == utc(*(f"2026-11-20T12:08:0{n}.76Z" for n in range(3)))


def test_moments_ten_milliseconds_apart_are_two() -> None:
    assert len(read(rmc("102143.990") + gga("102143.990") + rmc("102144.000"))) == 2
    assert len(read("".join(rmc(f"102143.{n:03d}") for n in range(0, 20, 4)))) == 5


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("GNGNS,{0},{1},AN,12,0.9,131.2,0.0,,", id="GNS"),
        pytest.param("GPGGA,{0},{1},1,12,0.9,131.2,M,0,M,,", id="GGA"),
        pytest.param("GPGLL,{1},{0},A", id="GLL"),
    ],
)
def test_a_receiver_that_never_sends_rmc_loses_no_moment(moment: str, count: int) -> None:
    words = [sentence(moment.format(f"07040{n}.00", PLACE)) for n in range(count)]
    dates = [sentence(f"GNZDA,07040{n}.00,20,11,2026,00,00") for n in range(count)]
    assert [fix.utc_ms for fix in read("".join(words))] == [None] * count
    for pairs in (zip(words, dates, strict=True), zip(dates, words, strict=True)):
        log = "".join(a + b for a, b in pairs)
        assert [fix.utc_ms for fix in read(log)] == utc(
            *(f"2026-11-20T07:04:0{n}Z" for n in range(count))
        )


def test_moments_before_the_first_rmc_are_not_believed() -> None:
    log = "".join(gga(f"07040{n}.00") for n in range(3)) + rmc("070403.00")
    assert len(read(log)) == 1


@pytest.mark.parametrize(("letter", "quality"), [("A", 1), ("D", 2), ("R", 4), ("F", 5), ("E", 6)])
def test_rmc_alone_tells_the_quality_by_its_mode(letter: str, quality: int) -> None:
    (fix,) = read(sentence(f"GNRMC,070405.00,A,{PLACE},0.1,,201126,,,{letter},V"))
    assert (fix.values["fix_quality"], fix.values["heading_deg"]) == (quality, None)
    (old,) = read(sentence(f"GPRMC,070405.00,A,{PLACE},0.1,,201126,003.1,W"))
    assert old.values["fix_quality"] is None


def test_a_date_that_is_none_leaves_the_fix_undated() -> None:
    for date in ("320126", "201326", "290225", "", "20112"):
        (fix,) = read(rmc("070405.00", date))
        assert fix.utc_ms is None
    for time in ("250000.00", "126000.00", "", "7040"):
        (fix,) = read(rmc(time))
        assert fix.utc_ms is None


def test_void_and_empty_moments_are_none() -> None:
    counts = NmeaCounts()
    log = (
        sentence("GNRMC,,A,,,,,,,,,,N")
        + sentence("GNRMC,070405.00,A,,,,,,,201126,,,A")
        + sentence(f"GNGLL,{PLACE},070406.00,V,N")
        + sentence(f"GNRMC,070406.00,V,{PLACE},,,201126,,,N")
    )
    assert read(log, counts) == []
    assert (counts.unfixed, counts.unreadable) == (3, 0)


BINARY = b"\xb5\x62\x02\x15\x00\x08" + bytes(byte for byte in range(256) if byte not in b"\r\n") * 6


@given(st.integers(1, 700), st.integers(0, 1_500))
def test_sentences_behind_long_binary_messages_are_whole_however_they_come(
    size: int, length: int
) -> None:
    log = b"".join(
        BINARY[:length] + rmc(f"07040{n}.00").encode() + BINARY[: length // 2] for n in range(4)
    )
    counts = NmeaCounts()
    assert [fix.utc_ms for fix in read(log, counts, size)] == utc(
        *(f"2026-11-20T07:04:0{n}Z" for n in range(4))
    )
    whole = NmeaCounts()
    read(log, whole)
    assert counts == whole
