"""The ledger's lines, and what a killed writer leaves."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhaul_protocols.errors import ConfigError, DecodeError
from greenhaul_protocols.jt808 import Conversation, LocationReport, Received
from greenhaul_sim.ledger import Claim, LedgerEntry, LedgerWriter, claim_of, read_ledger

ENTRY = LedgerEntry(
    terminal="13912345678",
    serial=7,
    message_id=0x0200,
    claim=Claim(1_795_161_845_000, 32_990_001, -112_530_002, 365),
    sent_at_ms=1_795_161_846_001,
    acked_at_ms=1_795_161_846_020,
)


def test_a_line_has_the_keys_of_the_interface(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.append([ENTRY])
    assert json.loads(path.read_text()) == {
        "terminal": "13912345678",
        "serial": 7,
        "message_id": "0x0200",
        "device_time": "2026-11-20T08:04:05Z",
        "latitude_deg": 32.990001,
        "longitude_deg": -112.530002,
        "speed_kmh": 36.5,
        "sent_at": "2026-11-20T08:04:06.001Z",
        "acked_at": "2026-11-20T08:04:06.020Z",
    }
    assert list(read_ledger(path)) == [ENTRY]


def test_lines_are_in_the_file_before_append_returns_and_are_added(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.append([ENTRY, ENTRY])
        assert len(path.read_text().splitlines()) == 2
    with LedgerWriter(path) as ledger:
        ledger.append([ENTRY])
        assert ledger.lines == 1
    assert len(list(read_ledger(path))) == 3


def test_a_torn_last_line_is_skipped_and_a_torn_one_before_is_not(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with LedgerWriter(path) as ledger:
        ledger.append([ENTRY])
    line = path.read_text()
    path.write_text(line + line[:40])
    assert list(read_ledger(path)) == [ENTRY]
    path.write_text(line[:40] + "\n" + line)
    with pytest.raises(DecodeError, match="line 1"):
        list(read_ledger(path))
    with pytest.raises(ConfigError):
        list(read_ledger(tmp_path / "none"))


@given(
    st.integers(-90_000_000, 90_000_000),
    st.integers(-180_000_000, 180_000_000),
    st.integers(0, 65_535),
)
def test_a_claim_survives_the_wire_and_the_file(
    latitude_e6: int, longitude_e6: int, speed_e1: int
) -> None:
    status = 3 | (4 if latitude_e6 < 0 else 0) | (8 if longitude_e6 < 0 else 0)
    report = LocationReport(
        alarms=0,
        status=status,
        latitude_deg=abs(latitude_e6) / 1e6,
        longitude_deg=abs(longitude_e6) / 1e6,
        altitude_m=0,
        speed_kmh=speed_e1 / 10,
        heading_deg=0,
        device_time="261120160405",
    )
    expected = Claim(1_795_161_845_000, latitude_e6, longitude_e6, speed_e1)
    assert claim_of(report) == expected
    frame = Conversation(phone="1", revision=2013).send(report)
    (event,) = Conversation().receive(frame)
    assert isinstance(event, Received)
    assert claim_of(event.message) == expected
    line = LedgerEntry("1", 0, 0x0200, expected, 0, 0).to_json()
    assert round(line["latitude_deg"] * 1e6) == latitude_e6
    assert round(line["speed_kmh"] * 10) == speed_e1


def test_a_report_whose_time_is_no_time_makes_no_claim() -> None:
    report = LocationReport(0, 3, 32.0, 112.0, 0, 0.0, 0, "261399996161")
    assert claim_of(report) is None
