"""How far long work has come: one line rewritten on a terminal, nothing in a pipe."""

import sys
import time
from typing import TextIO

# A human eye follows no faster.
SHOWN_EVERY_S = 0.2


class Progress:
    """Counts rows of one subject after another."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = self._stream.isatty()
        self._not_before_s = 0.0

    def show(self, subject: str, rows: int) -> None:
        """So many rows of the subject are done."""
        now_s = time.monotonic()
        if self._is_shown and now_s >= self._not_before_s:
            self._not_before_s = now_s + SHOWN_EVERY_S
            self._stream.write(f"\r\x1b[K{subject}: {rows:,} rows")
            self._stream.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
