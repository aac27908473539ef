"""Which terminals are let in, and the code that proves it."""

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.jt808 import RegistrationAnswer

AuthMode = Literal["register", "allow-list", "open"]

# Results of a registration answer (JT/T 808, 0x8100).
REGISTERED, NO_SUCH_TERMINAL = 0, 4

_SECRET_SIZE = 32


@dataclass(frozen=True, slots=True)
class TerminalAuth:
    """Registration and authentication of terminals.

    The code is an HMAC of the gateway's secret and the terminal's number, so it stays the same over
    restarts, and a lost outbox locks nobody out.
    """

    mode: AuthMode
    secret: bytes
    allowed: frozenset[str] = frozenset()  # numbers without leading zeros

    def register(self, phone: str, serial: int) -> RegistrationAnswer:
        """What a registration is answered with."""
        if self.mode == "allow-list" and phone.lstrip("0") not in self.allowed:
            return RegistrationAnswer(serial, NO_SUCH_TERMINAL, None)
        return RegistrationAnswer(serial, REGISTERED, self.code(phone))

    def authenticate(self, phone: str, code: str) -> bool:
        """Whether the code is the terminal's, or no code is asked for."""
        if self.mode == "open":
            return True
        if self.mode == "allow-list" and phone.lstrip("0") not in self.allowed:
            return False
        return hmac.compare_digest(self.code(phone).encode(), code.strip("\0 ").encode())

    def code(self, phone: str) -> str:
        """Sixteen characters that every terminal can keep."""
        return hmac.digest(self.secret, phone.lstrip("0").encode(), "sha256").hex()[:16]


def load_secret(folder: Path) -> bytes:
    """The gateway's secret, made at the first start, readable by its owner only.

    Raises ConfigError if the file is there but is no secret.
    """
    path = folder / "terminals.secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != _SECRET_SIZE:
            raise ConfigError(f"{path}: not a secret of {_SECRET_SIZE} bytes; remove it") from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_bytes(_SECRET_SIZE)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret
