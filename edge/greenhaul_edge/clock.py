"""The gateway's clock: a boot's monotonic time, and what is known of UTC.

A box without a battery wakes in 1970; one with a bad one in 2046. Dates are believed only between
the *floor* (when this was written, or the latest moment the cloud or NTP told) and the *horizon*.

What the cloud says lies between two moments of ours: a question's and its answer's. On a slow
link that leaves the time *rough*: good enough to judge others by, not to date readings with.
Answers that agree narrow it; it becomes a mapping once it is known to the second.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from greenhaul_protocols.block import WallQuality

# `adjtimex` returns this while no NTP client has set the kernel's clock (adjtimex(2)).
_TIME_ERROR = 5
# `struct timex` is 208 bytes on 64-bit Linux; zeros mean: only read.
_TIMEX_SIZE = 512
# 2025-01-01: no clock that is right shows an earlier date. To be raised with every release; a test
# compares it with the changelog.
BUILT_MS = 1_735_689_600_000
# No release runs for so long. A GNSS week counter that is off by 1024 weeks lies outside, too.
HORIZON_MS = BUILT_MS + 15 * 365 * 86_400_000
# Evidence that differs by more contradicts what is known; it must then be heard so often.
STEP_MS = 1_000
CONFIRMATIONS = 3
# A mapping not refreshed for so long has drifted (100 ppm are 0.4 s an hour): lesser evidence may
# refresh it.
STALE_MS = 3_600_000
# What a crystal may be off: 100 ppm.
_DRIFT_ONE_IN = 10_000
# How long readings wait for something better than a rough time.
ROUGH_MS_MIN = 600_000
# A system clock this far from what is known cannot judge certificates.
_SYSTEM_ERROR_MS_MAX = 3_600_000


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, as far as certificates are concerned."""

    utc_ms: int
    is_known: bool  # somebody told; else it is at least so late
    is_system: bool  # the system clock says the same: OpenSSL may judge by it


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The cloud's UTC at some time between two moments of the boot's clock.

    is_certain: what came is the answer to what was asked. Else it may have been on its way before.
    """

    utc_ms: int
    asked_ms: int
    answered_ms: int
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Rough:
    """UTC minus monotonic, at least and at most, by the cloud's answers; when it was so."""

    low_ms: int
    high_ms: int
    at_ms: int  # monotonic
    is_certain: bool
    is_confirmed: bool  # by a second answer, where one alone is not certain

    @property
    def width_ms(self) -> int:
        """How much too early a time by `low_ms` may be."""
        return self.high_ms - self.low_ms

    def narrowed(self, other: "Rough") -> "Rough":
        """By a later one that agrees, as far as clocks drift; the later one where it does not.

        What is certain is not mixed with what is not, and goes before it for an hour.
        """
        if self.is_certain != other.is_certain:
            is_old = other.at_ms - self.at_ms > STALE_MS
            return other if other.is_certain or is_old else self
        drift_ms = (other.at_ms - self.at_ms) // _DRIFT_ONE_IN
        low_ms = max(self.low_ms - drift_ms, other.low_ms)
        high_ms = min(self.high_ms + drift_ms, other.high_ms)
        if low_ms > high_ms:
            return other
        return Rough(low_ms, high_ms, other.at_ms, other.is_certain, True)


class Clock:
    """Monotonic milliseconds since boot, and their mapping to UTC once somebody told it.

    Better evidence replaces worse: GNSS over NTP over the cloud's answer. Evidence of the same
    worth that contradicts the mapping must repeat itself: a clock set by hand is no evidence.
    """

    def __init__(
        self,
        *,
        floor_ms: int = BUILT_MS,
        boot: int | None = None,
        read_system_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        read_monotonic_ms: Callable[[], int] = lambda: (
            time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        ),
        read_is_synchronised: Callable[[], bool] = lambda: is_synchronised(),
    ) -> None:
        self.boot = boot_id() if boot is None else boot
        self._floor_ms = min(max(floor_ms, BUILT_MS), HORIZON_MS)
        self.system_ms, self.is_kept_by_ntp = read_system_ms, read_is_synchronised
        self.monotonic_ms = read_monotonic_ms  # since boot; goes on in suspend
        self._started_ms = read_monotonic_ms()
        self._lock = threading.Lock()
        self._offset_ms: int | None = None  # UTC = monotonic + offset
        self._quality = WallQuality.UNSET
        self._refreshed_ms = 0
        self._rough: Rough | None = None
        self._unmapped_since_ms: int | None = None  # first rough answer of this boot
        self._contradiction: tuple[int, WallQuality, int] | None = None  # offset, by, how often
        self.refused = 0  # evidence outside of all reason

    def now_ms(self) -> int:
        """UTC: by the mapping; else roughly; else the system's if it is plausible; else the floor.

        Never later than it is, unless the system clock lies within reason.
        """
        offset_ms, rough = self._offset_ms, self._rough
        if offset_ms is not None:
            return self.monotonic_ms() + offset_ms
        if rough is not None:
            return self.monotonic_ms() + rough.low_ms
        system_ms = self.system_ms()
        if self._is_reasonable(system_ms):
            return system_ms
        return self._floor_ms + self.monotonic_ms() - self._started_ms

    @property
    def is_plausible(self) -> bool:
        """Whether `now_ms` can judge other clocks: it was told UTC, or its date can be."""
        is_told = self._offset_ms is not None or self._rough is not None
        return is_told or self._is_reasonable(self.system_ms())

    @property
    def offset_ms(self) -> int | None:
        """UTC minus monotonic, or None while nobody told."""
        return self._offset_ms

    @property
    def quality(self) -> WallQuality:
        """Who told."""
        return self._quality

    @property
    def rough(self) -> Rough | None:
        """What is known while `offset_ms` is not; None also while something better may come."""
        since_ms = self._unmapped_since_ms
        if self._offset_ms is not None or since_ms is None:
            return None
        return self._rough if self.monotonic_ms() - since_ms >= ROUGH_MS_MIN else None

    @property
    def error_ms(self) -> int | None:
        """How far `now_ms` may be off by what the cloud answered; None where that is not known."""
        rough = self._rough
        if rough is None or self._quality > WallQuality.CLOUD:
            return None
        return rough.width_ms if self._offset_ms is None else -(-rough.width_ms // 2)

    @property
    def wants_answer(self) -> bool:
        """Whether to ask the cloud again: nobody better told, and what it said is not confirmed."""
        is_confirmed = self._rough is not None and self._rough.is_confirmed
        return self._quality <= WallQuality.CLOUD and (self._offset_ms is None or not is_confirmed)

    def moment(self) -> Moment:
        """What to judge a certificate's dates by."""
        utc_ms, system_ms = self.now_ms(), self.system_ms()
        if self._offset_ms is None and self._rough is None:
            is_system = self._is_reasonable(system_ms)
            return Moment(utc_ms, is_system, is_system)
        return Moment(utc_ms, True, abs(system_ms - utc_ms) <= _SYSTEM_ERROR_MS_MAX)

    def learn(self, utc_ms: int, quality: WallQuality, at_monotonic_ms: int | None = None) -> bool:
        """UTC at a monotonic moment (default: now). Whether it was better than what was known."""
        at_ms = self.monotonic_ms() if at_monotonic_ms is None else at_monotonic_ms
        if not self._is_reasonable(utc_ms):
            self.refused += 1
            return False
        with self._lock:
            offset_ms = utc_ms - at_ms
            if not self._is_acceptable(offset_ms, quality, at_ms):
                return False
            was_better = self._offset_ms is None or quality > self._quality
            self._offset_ms, self._quality, self._refreshed_ms = offset_ms, quality, at_ms
            self._contradiction = None
            return was_better

    def hear(self, said: ServerTime) -> bool:
        """The cloud answered; as `learn`, once that says UTC to the second.

        Of answers that are not certain two must agree.
        """
        utc_ms, at_ms = said.utc_ms, said.answered_ms
        if not self._is_reasonable(utc_ms):
            self.refused += 1
            return False
        with self._lock:
            low_ms, high_ms = utc_ms - at_ms, utc_ms - said.asked_ms
            heard = Rough(low_ms, high_ms, at_ms, said.is_certain, said.is_certain)
            rough = self._rough.narrowed(heard) if self._rough else heard
            self._rough = rough
            if self._unmapped_since_ms is None:
                self._unmapped_since_ms = at_ms
        if not rough.is_confirmed or rough.width_ms > 2 * STEP_MS:
            return False
        middle_ms = (rough.low_ms + rough.high_ms) // 2
        return self.learn(middle_ms + at_ms, WallQuality.CLOUD, at_ms)

    def ask_system(self) -> bool:
        """Take the system clock where an NTP client keeps it; whether that was better."""
        return self.is_kept_by_ntp() and self.learn(self.system_ms(), WallQuality.NTP)

    def _is_reasonable(self, utc_ms: int) -> bool:
        return self._floor_ms <= utc_ms <= HORIZON_MS

    def _is_acceptable(self, offset_ms: int, quality: WallQuality, at_ms: int) -> bool:
        if self._offset_ms is None or quality > self._quality:
            return True
        if quality < self._quality and at_ms - self._refreshed_ms <= STALE_MS:
            return False
        if abs(offset_ms - self._offset_ms) <= STEP_MS:
            return True
        heard_ms, by, count = self._contradiction or (0, quality, 0)
        is_same = by is quality and abs(offset_ms - heard_ms) <= STEP_MS
        count = count + 1 if is_same else 1
        self._contradiction = (offset_ms, quality, count)
        return count >= CONFIRMATIONS


def is_synchronised() -> bool:
    """Whether the kernel says that an NTP client keeps its clock."""
    try:
        return ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE)) not in (
            -1,
            _TIME_ERROR,
        )
    except (OSError, AttributeError):
        return False


def boot_id() -> int:
    """63 bits that are the same for every process of one boot."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        text = str(time.time_ns() - time.monotonic_ns())[:-10]
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
