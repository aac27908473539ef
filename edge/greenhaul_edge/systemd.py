"""What systemd hears from us (sd_notify(3)), over its socket; nothing where there is none."""

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

# A manager that does not read must not hang us: its socket's queue is ten messages long.
_SEND_S_MAX = 0.2


class ServiceManager:
    """The manager that started this process, if it wants to hear."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._path = found.get("NOTIFY_SOCKET", "")
        microseconds = found.get("WATCHDOG_USEC", "")
        is_ours = found.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Seconds without a sign of life until it kills us; None: it does not watch.
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and is_ours else None

    def ready(self) -> None:
        """Everything is up; also after a reload."""
        self.tell("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Every stage made progress."""
        if self.watchdog_s is not None:
            self.tell("WATCHDOG=1")

    def stopping(self) -> None:
        """On our way out."""
        self.tell("STOPPING=1")

    def tell(self, *lines: str) -> None:
        """Send assignments. Never raises: a manager that is gone is no reason to stop."""
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_S_MAX)
                sender.connect(address)
                sender.send("\n".join(lines).encode())
        except OSError as error:
            log.debug("service manager not told: %s", error)
