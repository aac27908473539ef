"""Clocks that wake in 1970, 2013 or 2046, or that jump: what is believed, and when."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenhaul_edge.clock import BUILT_MS, CONFIRMATIONS, HORIZON_MS, STALE_MS, Clock
from greenhaul_edge.last_seen import LastSeen
from greenhaul_protocols.block import WallQuality

HOUR_MS = 3_600_000
TRUE_MS = round(datetime(2026, 11, 20, 7, 4, 5, tzinfo=UTC).timestamp() * 1000)
WRONG = {
    "1970": 0,
    "2013": round(datetime(2013, 9, 1, tzinfo=UTC).timestamp() * 1000),
    "2046": round(datetime(2046, 1, 1, tzinfo=UTC).timestamp() * 1000),
    "an hour back": TRUE_MS - HOUR_MS,
    "an hour ahead": TRUE_MS + HOUR_MS,
}


@dataclass
class Box:
    """A machine whose clocks are told. `true_ms` and the boot's clock go on together."""

    system_ms: int = TRUE_MS
    boot_ms: int = 60_000
    is_synchronised: bool = False

    @property
    def true_ms(self) -> int:
        """UTC as it is."""
        return TRUE_MS + self.boot_ms - 60_000

    def pass_ms(self, ms: int) -> None:
        """Time goes on."""
        self.boot_ms += ms
        self.system_ms += ms

    def clock(self, floor_ms: int = BUILT_MS) -> Clock:
        """A clock on this machine."""
        return Clock(
            floor_ms=floor_ms,
            boot=1,
            read_system_ms=lambda: self.system_ms,
            read_monotonic_ms=lambda: self.boot_ms,
            read_is_synchronised=lambda: self.is_synchronised,
        )


@pytest.mark.parametrize("name", WRONG)
def test_a_boot_that_learns_the_time_knows_it_to_the_second(name: str) -> None:
    box = Box(system_ms=WRONG[name])
    clock = box.clock()
    assert not clock.ask_system()
    assert clock.offset_ms is None
    for quality in (WallQuality.CLOUD, WallQuality.NTP, WallQuality.GNSS):
        box.pass_ms(7_000)
        assert clock.learn(box.true_ms + 400, quality)
        assert abs(clock.now_ms() - box.true_ms) <= 1_000
        box.system_ms = WRONG[name]  # jumps again
        box.pass_ms(HOUR_MS // 2)
        assert abs(clock.now_ms() - box.true_ms) <= 1_000


@pytest.mark.parametrize("name", ["1970", "2013", "2046"])
def test_unmapped_time_is_never_in_the_future(name: str) -> None:
    box = Box(system_ms=WRONG[name])
    floor_ms = TRUE_MS - 24 * HOUR_MS
    clock = box.clock(floor_ms)
    assert not clock.is_plausible
    assert clock.now_ms() == floor_ms
    box.pass_ms(5_000)
    assert clock.now_ms() == floor_ms + 5_000
    assert clock.now_ms() <= box.true_ms
    moment = clock.moment()
    assert not moment.is_known
    assert not moment.is_system


def test_a_plausible_system_clock_may_judge_but_maps_nothing() -> None:
    clock = Box().clock()
    assert clock.is_plausible
    assert clock.now_ms() == TRUE_MS
    assert clock.offset_ms is None


def test_a_clock_set_by_hand_is_no_evidence() -> None:
    box = Box(is_synchronised=True)
    clock = box.clock()
    assert clock.ask_system()
    box.system_ms += HOUR_MS
    box.is_synchronised = False  # what the kernel says after `date -s`
    assert not clock.ask_system()
    assert clock.now_ms() == box.true_ms


def test_one_contradiction_is_not_believed_a_repeated_one_is() -> None:
    box = Box()
    clock = box.clock()
    clock.learn(box.true_ms - HOUR_MS, WallQuality.NTP)
    for heard in range(CONFIRMATIONS):
        assert clock.now_ms() == box.true_ms - HOUR_MS, heard
        box.pass_ms(60_000)
        clock.learn(box.true_ms, WallQuality.NTP)
        if heard == 0:
            clock.learn(box.true_ms + 9 * HOUR_MS, WallQuality.NTP)  # not the same again
            clock.learn(box.true_ms, WallQuality.NTP)
        if clock.now_ms() == box.true_ms:
            break
    assert clock.now_ms() == box.true_ms


def test_better_evidence_replaces_worse_and_not_the_other_way_round() -> None:
    box = Box()
    clock = box.clock()
    assert clock.learn(box.true_ms - 5_000, WallQuality.CLOUD)
    assert clock.learn(box.true_ms, WallQuality.GNSS)
    assert not clock.learn(box.true_ms - 5_000, WallQuality.NTP)
    assert clock.quality is WallQuality.GNSS
    box.pass_ms(STALE_MS + 1)
    clock.learn(box.true_ms + 300, WallQuality.NTP)  # the antenna is off for an hour: drift
    assert clock.now_ms() == box.true_ms + 300


@pytest.mark.parametrize("utc_ms", [0, BUILT_MS - 1, HORIZON_MS + 1, WRONG["2013"], WRONG["2046"]])
@pytest.mark.parametrize("quality", [WallQuality.CLOUD, WallQuality.NTP, WallQuality.GNSS])
def test_a_date_outside_of_reason_is_never_learnt(utc_ms: int, quality: WallQuality) -> None:
    clock = Box().clock()
    assert not clock.learn(utc_ms, quality)
    assert clock.offset_ms is None
    assert clock.refused == 1


def test_the_latest_moment_told_is_kept_and_only_a_reasonable_one(tmp_path: Path) -> None:
    path = tmp_path / "last-seen.json"
    seen = LastSeen(path)
    assert seen.utc_ms == BUILT_MS
    seen.note(TRUE_MS)
    seen.note(TRUE_MS + 1_000)  # once an hour is enough
    seen.note(WRONG["2046"])
    seen.note(TRUE_MS - HOUR_MS)
    assert LastSeen(path).utc_ms == TRUE_MS
    for rubbish in ("", "{}", "[]", '{"utc_ms": "x"}', '{"utc_ms": 2400000000000}'):
        path.write_text(rubbish)
        assert LastSeen(path).utc_ms == BUILT_MS
