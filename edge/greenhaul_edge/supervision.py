"""Who is alive: every stage notes its progress, and a stage that hangs is made anew.

A hung thread cannot be ended, only abandoned; so a stage gets a few new lives, then the whole
process ends and its service manager starts it again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

# A stage's turn takes milliseconds; a slow card's commit or a name lookup, seconds.
HUNG_MS = 60_000
# New lives of one stage within the hour before the process is to end.
RESTARTS_MAX = 3
_RESTARTS_PERIOD_MS = 3_600_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Beat:
    """The progress of one stage. Noted by its thread, read by the supervisor's."""

    def __init__(self, read_ms: Callable[[], int] = _steady_ms) -> None:
        self._read_ms = read_ms
        self.at_ms = read_ms()

    def note(self) -> None:
        """The stage did a turn of its loop."""
        self.at_ms = self._read_ms()


class Care(Enum):
    """What to do about a stage."""

    LEAVE = auto()
    RESTART = auto()
    END_PROCESS = auto()


@dataclass(slots=True)
class _Stage:
    can_restart: bool
    restarts_ms: list[int] = field(default_factory=list)


class Supervisor:
    """Decides; the caller acts. Times are milliseconds of a steady clock that stops in suspend."""

    def __init__(self, hung_ms: int = HUNG_MS) -> None:
        self._hung_ms = hung_ms
        self._stages: dict[str, _Stage] = {}

    def watch(self, name: str, *, can_restart: bool) -> None:
        """Take a stage into care."""
        self._stages[name] = _Stage(can_restart)

    def forget(self, name: str) -> None:
        """The stage is no more."""
        self._stages.pop(name, None)

    def judge(self, name: str, beat: Beat, now_ms: int) -> Care:
        """What to do about a stage whose last progress was then."""
        stage = self._stages[name]
        if now_ms - beat.at_ms < self._hung_ms:
            return Care.LEAVE
        since_ms = now_ms - _RESTARTS_PERIOD_MS
        stage.restarts_ms = [at_ms for at_ms in stage.restarts_ms if at_ms > since_ms]
        if not stage.can_restart or len(stage.restarts_ms) >= RESTARTS_MAX:
            return Care.END_PROCESS
        stage.restarts_ms.append(now_ms)
        return Care.RESTART
