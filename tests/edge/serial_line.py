"""A serial line whose far end the test holds, and may pull."""

import os
import termios
import tty
from dataclasses import dataclass, field
from pathlib import Path

from greenhaul_edge.sources.gnss import BAUD_RATES


@dataclass
class Line:
    """A pseudo terminal behind a link, as udev makes them. Plugged anew, it has another name."""

    link: Path
    names: list[str] = field(default_factory=list)
    _ends: tuple[int, int] = (-1, -1)

    def plug(self) -> None:
        """The next one."""
        if self._ends[0] < 0:
            self._ends = os.openpty()
        tty.setraw(self._ends[1])
        self.names.append(os.ttyname(self._ends[1]))
        self.link.symlink_to(self.names[-1])

    def unplug(self) -> None:
        """It is gone; the next one was made before, so it has another name."""
        self.link.unlink()
        old, self._ends = self._ends, os.openpty()
        self._close(old)

    def say(self, data: bytes) -> None:
        """On the line."""
        os.write(self._ends[0], data)

    def baud(self) -> int:
        """What the reader has set."""
        speed = termios.tcgetattr(self._ends[1])[4]
        return next(one for one in BAUD_RATES if getattr(termios, f"B{one}") == speed)

    def close(self) -> None:
        """Both ends."""
        self._close(self._ends)

    @staticmethod
    def _close(ends: tuple[int, int]) -> None:
        if ends[0] >= 0:
            os.close(ends[1])
            os.close(ends[0])
