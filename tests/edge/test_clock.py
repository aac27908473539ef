"""Clocks that wake in 1970, 2013 or 2046, or that jump: what is believed, and when."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from greenhaul_edge.clock import (
    BUILT_MS,
    CONFIRMATIONS,
    HORIZON_MS,
    ROUGH_MS_MIN,
    STALE_MS,
    Clock,
    ServerTime,
)
from greenhaul_edge.last_seen import LastSeen
from greenhaul_edge.uplink.hello import HELLO_MS_MAX, HELLO_MS_MIN, TIME_PERIOD_MS, Hello
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


# What the cloud answers, over links of any slowness.


def ask(
    box: Box, up_ms: int, down_ms: int, *, stale_ms: int = 0, is_certain: bool = True
) -> ServerTime:
    """A hello and its answer; stale: how long before the hello it was made."""
    asked_ms = box.boot_ms
    box.pass_ms(up_ms)
    utc_ms = box.true_ms - stale_ms
    box.pass_ms(down_ms)
    return ServerTime(utc_ms, asked_ms, box.boot_ms, is_certain)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(("up_ms", "down_ms"), [(20, 30), (1_900, 50), (50, 1_900)])
def test_an_answer_within_two_seconds_tells_the_time_to_the_second(
    name: str, up_ms: int, down_ms: int
) -> None:
    box = Box(system_ms=WRONG[name])
    clock = box.clock()
    assert clock.hear(ask(box, up_ms, down_ms))
    assert abs(clock.now_ms() - box.true_ms) <= 1_000
    assert clock.quality is WallQuality.CLOUD
    assert not clock.wants_answer
    assert clock.error_ms == (up_ms + down_ms) // 2


@pytest.mark.parametrize("name", WRONG)
def test_a_link_that_is_always_slow_tells_the_time_roughly(name: str) -> None:
    """Judged by at once; readings wait for something better, then say that they are rough."""
    box, chance = Box(system_ms=WRONG[name]), Random(808)
    clock = box.clock()
    while (rough := clock.rough) is None:
        assert clock.offset_ms is None
        clock.hear(ask(box, chance.randrange(2_500, 4_000), chance.randrange(2_500, 4_000)))
        assert clock.is_plausible
        assert clock.wants_answer
        assert -8_000 <= clock.now_ms() - box.true_ms <= 0
        box.pass_ms(60_000)
    assert box.boot_ms >= ROUGH_MS_MIN
    assert rough.low_ms <= box.true_ms - box.boot_ms <= rough.high_ms
    assert rough.width_ms == clock.error_ms
    assert rough.width_ms < 6_000, "many answers narrow it down"
    clock.learn(box.true_ms, WallQuality.GNSS)
    assert clock.rough is None
    assert clock.error_ms is None


def test_slow_answers_that_were_quick_one_way_tell_the_second() -> None:
    box = Box(system_ms=0)
    clock = box.clock()
    assert not clock.hear(ask(box, 100, 5_000))
    assert clock.hear(ask(box, 5_000, 100))
    assert abs(clock.now_ms() - box.true_ms) <= 100


def test_an_answer_that_may_be_another_s_must_be_confirmed() -> None:
    box = Box(system_ms=0)
    clock = box.clock()
    for stale_ms in (60_000, 0):
        assert not clock.hear(ask(box, 50, 50, stale_ms=stale_ms, is_certain=False))
        assert clock.wants_answer
    assert clock.hear(ask(box, 50, 50, is_certain=False))
    assert abs(clock.now_ms() - box.true_ms) <= 100
    clock.hear(ask(box, 50, 50))
    clock.hear(ask(box, 50, 50, stale_ms=30, is_certain=False))
    assert clock.error_ms == 50, "what is certain is not mixed with what is not"


def test_a_crystal_that_drifts_is_followed() -> None:
    """30 ppm are 2.6 s a day."""
    box = Box(system_ms=0)
    clock = box.clock()
    clock.hear(ask(box, 50, 50))
    for _ in range(48):
        box.pass_ms(TIME_PERIOD_MS)
        box.boot_ms += TIME_PERIOD_MS * 30 // 10**6
        drift_ms = box.boot_ms - 60_000  # true_ms goes by the boot's clock
        said = ask(box, 50, 50)
        behind_ms = (drift_ms * 30) // 10**6
        clock.hear(ServerTime(said.utc_ms - behind_ms, said.asked_ms, said.answered_ms, True))
        assert abs(clock.now_ms() - (box.true_ms - behind_ms)) <= 1_000


def test_hello_is_said_until_it_is_answered_then_for_the_time() -> None:
    hello, now_ms = Hello(Random(1)), 1_000_000
    for sent in range(20):
        hello.said(now_ms, 7_000 + sent, is_probe=False)
        assert hello.at_ms is not None
        assert not hello.is_due(now_ms)
        now_ms = hello.at_ms
        assert hello.is_due(now_ms)
    assert hello.take_answered(6_999) is None, "another boot's"
    found = hello.take_answered(7_018)
    assert found is not None
    assert found.boot_ms == 7_018
    assert hello.take_answered(7_017) is None, "an answer to an earlier one came too late"
    assert hello.take_answered(0) is None, "answers none, where receipts say which they answer"
    hello.rest(now_ms, is_time_wanted=True)
    assert hello.is_due(now_ms + HELLO_MS_MAX)
    hello.rest(now_ms, is_time_wanted=False)
    assert not hello.is_due(now_ms + HELLO_MS_MAX)
    assert not hello.take_time_probe(now_ms + TIME_PERIOD_MS - 1)
    assert hello.take_time_probe(now_ms + TIME_PERIOD_MS)
    assert not hello.take_time_probe(now_ms + TIME_PERIOD_MS)


def test_who_was_answered_too_slowly_asks_again_at_once_then_less_and_less() -> None:
    """The first hello of a connection counts: it is the one that opens the gate."""
    hello, waits_ms = Hello(Random(1)), []
    for _ in range(4):
        hello.said(0, 1, is_probe=False)
        assert hello.take_answered(0) is not None
        hello.rest(0, is_time_wanted=True)
        assert hello.at_ms is not None
        waits_ms.append(hello.at_ms)
    assert waits_ms[0] == 0
    assert HELLO_MS_MIN < waits_ms[1] < waits_ms[2] < waits_ms[3]


def newest_release_ms(changelog: str) -> int | None:
    """When the newest version of a changelog was released; None while there is none."""
    found = re.search(r"^## \[\d+\.\d+\.\d+\] - (\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    return found and round(datetime.fromisoformat(f"{found[1]}T00:00:00Z").timestamp() * 1000)


def test_no_release_is_newer_than_what_the_clock_calls_now() -> None:
    text = "## [Unreleased]\n\n## [1.2.0] - 2027-03-01\n\n## [1.1.0] - 2026-12-01\n"
    assert newest_release_ms(text) == round(datetime(2027, 3, 1, tzinfo=UTC).timestamp() * 1000)
    changelog = Path(__file__).parents[2] / "CHANGELOG.md"
    released_ms = newest_release_ms(changelog.read_text(encoding="utf-8"))
    assert released_ms is None or released_ms <= BUILT_MS, "raise BUILT_MS to the release's day"
