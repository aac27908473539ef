"""Limits attempts to sign in: a guesser waits, the store of waits stays small."""

from collections import OrderedDict
from threading import Lock

# Ten tries let a tired human succeed; at one more every 30 s a guesser gets 2,880 a day.
ATTEMPTS_MAX = 10
REFILL_MS = 30_000
# One entry is about 200 bytes; beyond this many names and addresses the oldest are forgotten.
SUBJECTS_MAX = 10_000


class Throttle:
    """A bucket of attempts for every name and address. Time is an argument; safe for threads."""

    def __init__(self) -> None:
        self._full_at_ms: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._full_at_ms)

    def wait_s(self, subjects: tuple[str, ...], now_ms: int) -> int:
        """Counts an attempt for each subject: 0 when it may go on, else seconds to wait first."""
        with self._lock:
            wait_ms = max(self._excess_ms(subject, now_ms) for subject in subjects)
            if wait_ms > 0:
                return -(-wait_ms // 1000)
            for subject in subjects:
                full_at_ms = max(self._full_at_ms.pop(subject, 0), now_ms)
                self._full_at_ms[subject] = full_at_ms + REFILL_MS
            while len(self._full_at_ms) > SUBJECTS_MAX:
                self._full_at_ms.popitem(last=False)
            return 0

    def forget(self, subject: str) -> None:
        """A success: earlier failures no longer count."""
        with self._lock:
            self._full_at_ms.pop(subject, None)

    def _excess_ms(self, subject: str, now_ms: int) -> int:
        """How long until one attempt has come back; not above 0 while some are left."""
        full_in_ms = self._full_at_ms.get(subject, now_ms) - now_ms
        return full_in_ms - (ATTEMPTS_MAX - 1) * REFILL_MS
