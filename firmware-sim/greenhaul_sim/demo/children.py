"""Processes of the demo: each with its log, ended by us, never outliving us."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from greenhaul_protocols.errors import Unavailable

_LOG_LINES_SHOWN = 12
_LOG_BYTES_READ = 16_384
_POLL_S = 0.05

_PR_SET_PDEATHSIG = 1  # prctl(2)


class ChildEnded(Unavailable):
    """A process of the demo ended though nobody asked it to; the message has its last lines."""


class Child:
    """One running process; its output goes to a log file."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        parent_pid = os.getpid()
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own programs
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=os.environ | {"PYTHONUNBUFFERED": "1"},
                    # Out of the terminal's group: Ctrl-C is ours to pass on, in order.
                    process_group=0,
                    preexec_fn=lambda: _die_with(parent_pid),
                )
            except OSError as error:
                raise Unavailable(f"{name}: {command[0]}: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def insist(self) -> None:
        """Raises ChildEnded if it is not running."""
        if not self.is_running:
            raise ChildEnded(self.obituary())

    def obituary(self) -> str:
        """Which one ended, how, and what it said last."""
        lines = "\n".join(f"  {line}" for line in self.last_lines())
        return f"{self.name} ended with code {self._process.returncode}; {self.log}:\n{lines}"

    def last_lines(self) -> list[str]:
        """The end of its log."""
        with self.log.open("rb") as log:
            log.seek(max(self.log.stat().st_size - _LOG_BYTES_READ, 0))
            return log.read().decode(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]

    def wait_until(self, holds: Callable[[], bool], what: str, patience_s: float) -> None:
        """Wait for something the child does. Raises ChildEnded, Unavailable when it takes too
        long."""
        deadline = time.monotonic() + patience_s
        while not holds():
            self.insist()
            if time.monotonic() >= deadline:
                lines = "\n".join(f"  {line}" for line in self.last_lines())
                raise Unavailable(
                    f"{self.name}: no {what} in {patience_s:g} s; {self.log}:\n{lines}"
                )
            time.sleep(_POLL_S)

    def wait(self, patience_s: float) -> int | None:
        """Its exit code, or None if it has not ended by then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience_s)
        return None

    def ask_to_end(self) -> None:
        """SIGTERM, if it still runs."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its group. Waits for nothing, so a signal handler may call it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self, patience_s: float) -> None:
        """SIGTERM, and SIGKILL for what is left after `patience_s`."""
        self.ask_to_end()
        self.wait(patience_s)
        self.kill()
        self._process.wait()


def _die_with(parent_pid: int) -> None:
    """In the child, before exec: the kernel kills us when the parent is gone, however it went."""
    # Linux only; elsewhere the parent's own clean-up has to do.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)  # it went while we were being born
