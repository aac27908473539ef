"""What the figures of an input say to a person at the truck."""

from typing import Any

import pytest

from greenhaul_edge.sources.input_checks import CHECKS

WELL = {
    "link": "open at 9600",
    "sentences": 1_000,
    "bad_checksums": 3,
    "frames": 5_000,
    "readings": 12,
    "never_heard": "",
    "stale": "",
}


def test_a_source_that_is_well_has_no_complaints() -> None:
    assert not [one for check in CHECKS.values() for one in check(WELL)]
    assert not [one for check in CHECKS.values() for one in check({})]


@pytest.mark.parametrize(
    ("check", "figures", "said"),
    [
        ("input-link", {"link": "gone: no such file"}, "no such file"),
        ("gnss-checksums", {"bad_checksums": 400}, "400 of 1400"),
        ("gnss-date", {"by_gateway_clock": 7}, "7 fixes"),
        ("can-errors", {"bus_off": 2, "error_frames": 99}, "bus off 2 times"),
        ("can-errors", {"error_frames": 99}, "99 error frames"),
        ("can-losses", {"kernel_dropped": 12}, "12 frames"),
        ("can-ids", {"readings": 0, "unknown_ids": "123, 124"}, "123, 124"),
        ("can-never-heard", {"never_heard": "BMS_Cells"}, "BMS_Cells"),
        ("can-stale", {"stale": "battery.soc_percent"}, "battery.soc_percent"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    check: str, figures: dict[str, Any], said: str
) -> None:
    ((wrong, advice),) = CHECKS[check](WELL | figures)
    assert said in wrong
    assert advice
    others = [
        one for name, other in CHECKS.items() if name != check for one in other(WELL | figures)
    ]
    assert not others
