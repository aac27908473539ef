"""Sentences nobody would send: ten thousand, and a million in the long form."""

import random

import pytest

from greenhaul_edge.sources.nmea import NmeaAssembler, NmeaCounts, NmeaLine

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
