"""The latest moment the cloud or NTP told, kept for a box that wakes in 1970.

Never what GNSS or the system clock alone said: a date in 2046 believed once would make every
certificate look expired for good.
"""

import json
import logging
from pathlib import Path

from greenhaul_edge.clock import BUILT_MS, HORIZON_MS

log = logging.getLogger(__name__)

# Between two writes: the floor need not be sharp, and flash wears out.
_WRITE_PERIOD_MS = 3_600_000


class LastSeen:
    """A file of one number beside the outbox. Losing it costs nothing but sharpness."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.utc_ms = _read(path)

    def note(self, utc_ms: int) -> None:
        """It is so late, somebody who knows said; written once an hour."""
        if not self.utc_ms + _WRITE_PERIOD_MS <= utc_ms <= HORIZON_MS:
            return
        self.utc_ms = utc_ms
        draft = self._path.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps({"utc_ms": utc_ms}), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("last seen time not kept: %s", error)


def _read(path: Path) -> int:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["utc_ms"]
    except (OSError, ValueError, KeyError, TypeError):
        return BUILT_MS
    is_reasonable = isinstance(found, int) and BUILT_MS <= found <= HORIZON_MS
    return found if is_reasonable else BUILT_MS
