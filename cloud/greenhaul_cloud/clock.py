"""The one clock everything is told by."""

import time


def system_now_ms() -> int:
    """The clock of this machine, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
