"""The broker's addresses: looked up with a deadline, and the last good one when that fails."""

import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

# A resolver that has not answered by then is taken as dead for now.
LOOKUP_S_MAX = 5.0
# Addresses tried at one connecting; a name has two or four.
ADDRESSES_MAX = 4

# Addresses of a name. Raises OSError.
Lookup = Callable[[str, int], list[str]]


def look_up(host: str, port: int) -> list[str]:
    """Ask the system's resolver; may hang as long as that does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


class AddressBook:
    """Addresses to try, best first. `candidates` may take LOOKUP_S_MAX."""

    def __init__(
        self, host: str, port: int, memory: Path | None = None, lookup: Lookup = look_up
    ) -> None:
        """memory: where the last good address is kept, so that it outlives a restart."""
        self._host, self._port, self._memory, self._lookup = host, port, memory, lookup
        self._last_good = self._remembered()
        self._pending: _Answer | None = None

    def candidates(self) -> list[str]:
        """What to connect to. Raises Unavailable if the name is unknown and always was."""
        if _is_address(self._host):
            return [self._host]
        # One question at a time: a resolver that hangs must not collect threads.
        answer = self._pending or _Answer(self._lookup, self._host, self._port)
        self._pending = None if answer.done.wait(LOOKUP_S_MAX) else answer
        found, fault = answer.addresses, answer.fault or "no answer from the resolver"
        last = [self._last_good] if self._last_good else []
        if not found and not last:
            raise Unavailable(f"name {self._host}: {fault}")
        if not found:
            log.warning("name=%s fault=%r action=last_good_address %s", self._host, fault, last[0])
        return list(dict.fromkeys([*found[:ADDRESSES_MAX], *last]))

    def note_good(self, address: str) -> None:
        """The broker answered there."""
        if address == self._last_good or _is_address(self._host):
            return
        self._last_good = address
        if self._memory is None:
            return
        try:
            said = {"host": self._host, "address": address}
            self._memory.write_text(json.dumps(said), encoding="utf-8")
        except OSError as error:
            log.warning("last good address not kept: %s", error)

    def _remembered(self) -> str | None:
        try:
            said = json.loads(self._memory.read_text(encoding="utf-8")) if self._memory else {}
        except (OSError, ValueError):
            return None
        if not isinstance(said, dict) or said.get("host") != self._host:
            return None
        address = said.get("address")
        return address if isinstance(address, str) and _is_address(address) else None


class _Answer:
    """One question to the resolver, asked in a thread of its own."""

    def __init__(self, lookup: Lookup, host: str, port: int) -> None:
        self.done = threading.Event()
        self.addresses: list[str] = []
        self.fault = ""
        ask = (lookup, host, port)
        threading.Thread(target=self._ask, args=ask, name="uplink lookup", daemon=True).start()

    def _ask(self, lookup: Lookup, host: str, port: int) -> None:
        try:
            self.addresses = lookup(host, port)
        except (OSError, UnicodeError) as error:
            self.fault = str(error)
        finally:
            self.done.set()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
