"""What the figures of an input say to a person at the truck."""

from pathlib import Path
from typing import Any

import can
import pytest

from greenhaul_edge.sources.can import controller_state
from greenhaul_edge.sources.can_mapping import load_mapping
from greenhaul_edge.sources.can_state import CanState
from greenhaul_edge.sources.input_checks import CHECKS

WELL = {
    "link": "open at 9600",
    "baud": 9_600,
    "silent_s": 1,
    "sentences": 1_000,
    "fixes": 200,
    "unfixed": 12,
    "bad_checksums": 3,
    "frames": 5_000,
    "error_frames": 2,
    "bus_state": "error-active",
    "readings": 12,
    "ids_known": 4,
    "ids_unknown": 90,
    "unknown_ids": "100, 101",
    "never_heard": "",
    "stale": "",
    "polling": "asking",
    "answered": 7,
    "unanswered": 1,
}
NO_GNSS = {"sentences": 0, "fixes": 0, "unfixed": 0, "bad_checksums": 0, "silent_s": 40}


def test_a_source_that_is_well_has_no_complaints() -> None:
    assert not [one for check in CHECKS.values() for one in check(WELL)]
    assert not [one for check in CHECKS.values() for one in check({})]
    assert not [one for check in CHECKS.values() for one in check({"link": "not open yet"})]
    overheard = {"transport": "isotp", "ids_known": 0, "never_heard": "KiaBattery"}
    assert not [one for check in CHECKS.values() for one in check(WELL | overheard)]


@pytest.mark.parametrize(
    ("check", "figures", "said", "remedy"),
    [
        ("input-link", {"link": "gone: [Errno 13] Permission denied: '/dev/ttyUSB0'"},
         "Permission", "dialout"),
        ("input-link", {"link": "gone: Could not exclusively lock port"}, "lock", "ModemManager"),
        ("input-link", {"link": "gone: [Errno 2] No such file or directory"}, "file", "by-id"),
        ("input-link", {"link": "gone: usb:1546:01a8: not plugged in"}, "1546", "lsusb"),
        ("input-link", {"link": "gone: receiving: Network is down"}, "down", "ip link set"),
        ("input-link", {"link": "gone: bus off"}, "bus off", "restart-ms"),
        ("input-link", {"link": "gone: x"}, "x", "plug it in"),
        ("gnss-sentences", {"silent_s": 31}, "for 31 s (last at 9600 baud)", "power"),
        ("gnss-sentences", NO_GNSS | {"noise": 5}, "no NMEA sentence", "auto"),
        ("gnss-sentences", NO_GNSS, "nothing comes", "TX and RX"),
        ("gnss-checksums", {"bad_checksums": 400}, "400 of 1400", "baud"),
        ("gnss-fix", {"fixes": 0}, "never a fix", "antenna"),
        ("gnss-date", {"by_gateway_clock": 7}, "7 fixes", "firmware"),
        ("can-errors", {"bus_off": 2, "error_frames": 99}, "bus off 2 times", "terminators"),
        ("can-errors", {"bus_state": "error-passive"}, "error-passive", "terminators"),
        ("can-errors", {"error_frames": 99}, "99 error frames among 5000", "terminators"),
        ("can-losses", {"kernel_dropped": 12}, "12 frames", "load"),
        ("can-adapter", {"garbled": 3}, "3 lines", "RATE"),
        ("can-ids", {"ids_known": 0}, "none of 90 ids on the bus (100, 101)", "bit 31"),
        ("can-never-heard", {"never_heard": "BMS_Cells"}, "BMS_Cells", "wake the bus"),
        ("can-stale", {"stale": "battery.soc_percent"}, "battery.soc_percent", "sleep"),
        ("can-polling", {"answered": 0, "unanswered": 3}, "none answered", "another id"),
        ("can-polling", {"polling": "held off", "tester_frames": 4}, "a tester", "unplug"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(
    check: str, figures: dict[str, Any], said: str, remedy: str
) -> None:
    ((wrong, advice),) = CHECKS[check](WELL | figures)
    assert said in wrong
    assert remedy in advice
    others = [
        one for name, other in CHECKS.items() if name != check for one in other(WELL | figures)
    ]
    assert not others


def test_ids_and_signals_are_held_against_the_dbc_files() -> None:
    state = CanState(load_mapping(Path("j1939-hvess")), "gw/can", 1_000)
    assert "HVESSD1" in state.never_heard()
    state.take(0x18F090F3, True, bytes.fromhex("D007B004302AFFFF"), 0)  # no current
    state.take(0x18FE1234, True, bytes(8), 0)
    state.take(0x123, False, bytes(8), 0)
    missing = state.never_heard()
    assert "HVESSD1" not in missing
    assert [one for one in missing if one.startswith("HVESSD1.")] == ["HVESSD1.PackCurrent"]
    assert (len(state.known_ids), len(state.unknown_ids)) == (1, 2)
    state.take(0x18F090F3, True, bytes.fromhex("D007B004302AB478"), 10)
    assert not [one for one in state.never_heard() if one.startswith("HVESSD1.")]


@pytest.mark.parametrize(
    ("error_id", "data", "state"),
    [
        (0x004, "0004000000000000", "error-warning"),
        (0x004, "0020000000000000", "error-passive"),
        (0x004, "0040000000000000", "error-active"),
        (0x004, "0001000000000000", None),  # its own receive queue ran over
        (0x040, "0000000000000000", "bus-off"),
        (0x100, "0000000000000000", "error-active"),
        (0x008, "0000010000000000", None),
    ],
)
def test_error_frames_tell_the_controllers_state(
    error_id: int, data: str, state: str | None
) -> None:
    frame = can.Message(
        arbitration_id=error_id,
        is_error_frame=True,
        is_extended_id=False,
        data=bytes.fromhex(data),
    )
    assert controller_state(frame) == state
