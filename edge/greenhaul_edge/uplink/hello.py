"""When to say hello (pure): until somebody answers, and for the time where nobody else tells it."""

from collections import deque
from dataclasses import dataclass
from random import Random

# A hello without an answer is said again, at growing intervals.
HELLO_MS_MIN, HELLO_MS_MAX = 5_000, 120_000
# How often the cloud is asked for the time where it alone tells: before its word is stale.
TIME_PERIOD_MS = 3_000_000
# Hellos of which an answer may be on its way; who answers later than the tenth answers nobody.
_SAID_MAX = 10


@dataclass(frozen=True, slots=True)
class Said:
    """A hello: when it was sent, and the boot's time that stands in it."""

    sent_ms: int
    boot_ms: int


class Hello:
    """The hellos of one connection after the other. Times are milliseconds of a steady clock.

    at_ms: when the next is due; None while nothing is asked.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._interval_ms = HELLO_MS_MIN
        self._time_at_ms = 0
        self._said: deque[Said] = deque(maxlen=_SAID_MAX)
        self._is_said = False  # whether receipts of this connection say which hello they answer
        self.at_ms: int | None = None

    def reset(self) -> None:
        """A connection begins or ends: nobody will answer what was said before."""
        self._interval_ms, self.at_ms, self._is_said = HELLO_MS_MIN, None, False
        self._said.clear()

    def said(self, now_ms: int, boot_ms: int, *, is_probe: bool) -> None:
        """One is on its way; a probe is said once, whoever wants an answer says it again."""
        self._said.append(Said(now_ms, boot_ms))
        if not is_probe:
            self.at_ms = now_ms + round(self._interval_ms * self._random.uniform(0.7, 1.3))
            self._interval_ms = min(2 * self._interval_ms, HELLO_MS_MAX)

    def take_answered(self, boot_ms: int) -> Said | None:
        """The hello that a receipt answers, by the boot's time in it; None: it answers another's.

        boot_ms 0: from a collector that never says, it may be any since the last answer, so nothing
        may be concluded from a later than the first; from one that does, it answers none.
        """
        self._is_said |= boot_ms != 0
        if self._is_said and not boot_ms:
            return None
        found = [one for one in self._said if boot_ms in (0, one.boot_ms)]
        if not found:
            return None
        while boot_ms and self._said[0] is not found[0]:
            self._said.popleft()
        self._said.popleft() if boot_ms else self._said.clear()
        return found[0]

    def rest(self, now_ms: int, *, is_time_wanted: bool) -> None:
        """An answer came. A first one about the time is confirmed at once; on a slow link many
        narrow it down.
        """
        self.at_ms, self._time_at_ms = None, now_ms + TIME_PERIOD_MS
        if is_time_wanted:
            is_first = self._interval_ms <= 2 * HELLO_MS_MIN
            self.at_ms = now_ms + (0 if is_first else self._interval_ms)

    def is_due(self, now_ms: int) -> bool:
        """Whether to ask again."""
        return self.at_ms is not None and now_ms >= self.at_ms

    def take_time_probe(self, now_ms: int) -> bool:
        """Whether the cloud's word about the time is growing old; then again later."""
        if now_ms < self._time_at_ms:
            return False
        self._time_at_ms = now_ms + TIME_PERIOD_MS
        return True
