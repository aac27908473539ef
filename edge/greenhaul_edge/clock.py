"""The gateway's clock: a boot's monotonic time, and what is known of UTC."""

import ctypes
import threading
import time
from hashlib import blake2b
from pathlib import Path

from greenhaul_protocols.block import WallQuality

# `adjtimex` returns this while no NTP client has set the kernel's clock (adjtimex(2)).
_TIME_ERROR = 5
# `struct timex` is 208 bytes on 64-bit Linux; zeros mean: only read.
_TIMEX_SIZE = 512
# 2024-01-01: a system clock before the software was written was never set.
_WRITTEN_MS = 1_704_067_200_000


class Clock:
    """Monotonic milliseconds since boot, and their mapping to UTC once somebody told it.

    Better evidence replaces worse: GNSS over NTP over the cloud's answer.
    """

    def __init__(self) -> None:
        self.boot = boot_id()
        self._lock = threading.Lock()
        self._offset_ms: int | None = None  # UTC = monotonic + offset
        self._quality = WallQuality.UNSET

    def monotonic_ms(self) -> int:
        """Milliseconds since boot; goes on in suspend."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def now_ms(self) -> int:
        """UTC: by the mapping, or what the system clock says while there is none."""
        offset_ms = self._offset_ms
        if offset_ms is None:
            return time.time_ns() // 1_000_000
        return self.monotonic_ms() + offset_ms

    @property
    def is_plausible(self) -> bool:
        """Whether `now_ms` can judge other clocks: it was told UTC, or its date can be."""
        return self._offset_ms is not None or self.now_ms() >= _WRITTEN_MS

    @property
    def offset_ms(self) -> int | None:
        """UTC minus monotonic, or None while nobody told."""
        return self._offset_ms

    @property
    def quality(self) -> WallQuality:
        """Who told."""
        return self._quality

    def learn(self, utc_ms: int, quality: WallQuality, at_monotonic_ms: int | None = None) -> bool:
        """UTC at a monotonic moment (default: now). Whether it was better than what was known."""
        at_ms = self.monotonic_ms() if at_monotonic_ms is None else at_monotonic_ms
        with self._lock:
            if self._offset_ms is not None and quality < self._quality:
                return False
            was_better = self._offset_ms is None or quality > self._quality
            self._offset_ms, self._quality = utc_ms - at_ms, quality
            return was_better

    def ask_system(self) -> bool:
        """Take the system clock where an NTP client keeps it; whether that was better."""
        system_ms = time.time_ns() // 1_000_000
        if system_ms < _WRITTEN_MS or not is_synchronised():
            return False
        return self.learn(system_ms, WallQuality.NTP)


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
