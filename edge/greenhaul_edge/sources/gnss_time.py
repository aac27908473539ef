"""Whose time a fix takes: the receiver's, unless it cannot be (pure).

A receiver's week counter has ten bits: one that is older than its firmware expected tells a date
1024 weeks, or a multiple, too early. Only a date that is off by exactly that is corrected; age
alone makes no date wrong.
"""

from dataclasses import dataclass

from greenhaul_edge.clock import BUILT_MS, HORIZON_MS
from greenhaul_protocols.catalogue import TimeQuality

ROLLOVER_MS = 1024 * 7 * 86_400_000
# How well UTC must be known to tell a rolled-over date from an old log: a day where the clock is
# mapped; where only the system clock's date is plausible, what a box without battery may lag.
_ROLLOVER_ERROR_MS = 86_400_000
_ROLLOVER_ERROR_UNMAPPED_MS = 30 * 86_400_000
# 2000-01-01: before it, no date is believed. As for terminals.
TIME_MS_MIN = 946_684_800_000
TIME_AHEAD_MS_MAX = 5 * 60_000
# So many fixes in a row must agree on UTC within a second before the clock believes them.
STEADY_FIXES = 5
STEADY_MS = 1_000


@dataclass(frozen=True, slots=True)
class FixTime:
    """A reading's device time. None: the receiver's cannot be; the gateway's clock is to tell."""

    device_time_ms: int | None
    quality: TimeQuality
    may_teach: bool = False  # whether the clock may learn from it


_BY_GATEWAY = FixTime(None, TimeQuality.GATEWAY)


def judge(
    utc_ms: int | None, now_ms: int, *, is_mapped: bool, is_plausible: bool = True
) -> FixTime:
    """What to make of the time a receiver tells.

    now_ms: the gateway's idea of UTC at the same moment. is_mapped: somebody told it;
    is_plausible: at least the system clock's date can be.
    """
    if utc_ms is None or (utc_ms < TIME_MS_MIN and not is_plausible):
        return _BY_GATEWAY
    if is_plausible:
        error_ms = _ROLLOVER_ERROR_MS if is_mapped else _ROLLOVER_ERROR_UNMAPPED_MS
        weeks, rest_ms = divmod(now_ms - utc_ms + error_ms, ROLLOVER_MS)
        if weeks >= 1 and rest_ms <= 2 * error_ms:
            return FixTime(utc_ms + weeks * ROLLOVER_MS, TimeQuality.GATEWAY)
        is_ahead = is_mapped and utc_ms > now_ms + TIME_AHEAD_MS_MAX
    else:
        is_ahead = utc_ms < BUILT_MS  # no clock, and a date before this program
    if utc_ms < TIME_MS_MIN or is_ahead or utc_ms > HORIZON_MS:
        # Better evidence may still correct the clock itself: a GNSS fix outweighs NTP.
        return FixTime(None, TimeQuality.GATEWAY, BUILT_MS <= utc_ms <= HORIZON_MS)
    return FixTime(utc_ms, TimeQuality.SOURCE, utc_ms >= BUILT_MS)


class Steadiness:
    """Whether a receiver's time can be believed: one that searches for satellites may jump."""

    def __init__(self) -> None:
        self._offset_ms = self._agreeing = 0

    def take(self, offset_ms: int) -> bool:
        """A fix whose UTC is so far ahead of the monotonic clock; whether enough have agreed."""
        is_steady = abs(offset_ms - self._offset_ms) <= STEADY_MS
        self._agreeing = self._agreeing + 1 if is_steady else 1
        self._offset_ms = offset_ms
        return self._agreeing >= STEADY_FIXES

    def forget(self) -> None:
        """The fix was lost, or its time makes no sense."""
        self._agreeing = 0
