"""What this process writes to the disk, by the kernel's own count: flash wears out by it."""

import time
from pathlib import Path

_DAY_S = 86_400
# A start writes more than an hour of work; before this the figure would frighten.
_UPTIME_S_MIN = 60.0
_started_s = time.monotonic()


def written_bytes_a_day() -> int | None:
    """At the rate since the process began; None while that is too short, or not counted here."""
    uptime_s = time.monotonic() - _started_s
    if uptime_s < _UPTIME_S_MIN:
        return None
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = dict(line.split(": ", 1) for line in lines)
    return round(int(counts["write_bytes"]) * _DAY_S / uptime_s)
