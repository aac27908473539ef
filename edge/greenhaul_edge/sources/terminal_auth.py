"""Which terminals are let in, and the code that proves it.

A code is 16 characters: five that stand for the box (maker, terminal id, plate), eleven that only
the gateway's secret makes of its number and those five. So a code can be judged without any file,
a lost one locks nobody out, and the code of a box that was replaced is worth nothing.
"""

import hmac
import os
import secrets
from base64 import b32encode
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from greenhaul_edge.sources.terminal_registry import Binding, Claim, TerminalRegistry
from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.jt808 import Registration

AuthMode = Literal["register", "allow-list", "open"]

# Results of a registration answer (JT/T 808, 0x8100).
REGISTERED, OTHER_VEHICLE, NO_SUCH_VEHICLE, OTHER_TERMINAL, NO_SUCH_TERMINAL = range(5)

_RESULTS = {
    Claim.BOUND: REGISTERED,
    Claim.OTHER_VEHICLE: OTHER_VEHICLE,
    Claim.OTHER_BOX: OTHER_TERMINAL,
    Claim.NO_ROOM: NO_SUCH_TERMINAL,
}

_SECRET_SIZE = 32
# Of 32 letters and digits each. Terminals keep 20 characters and more.
_TAG_LENGTH, _PROOF_LENGTH = 5, 11
# The tag of a terminal that never registered here (open listeners, tools).
NO_TAG = "A" * _TAG_LENGTH


class Standing(NamedTuple):
    """What is remembered of a terminal that authenticated; 0 is not known."""

    revision: int = 0
    heartbeat_s: int = 0


@dataclass(frozen=True, slots=True)
class TerminalAuth:
    """Registration and authentication of terminals.

    allowed: for mode "allow-list", numbers without leading zeros and the plate each must register,
    "" for any. registry: without one nothing is bound, and whoever may register is.
    """

    mode: AuthMode
    secret: bytes
    allowed: Mapping[str, str] = field(default_factory=dict)
    registry: TerminalRegistry | None = None

    def register(
        self, phone: str, registration: Registration, revision: int, now_ms: int
    ) -> "Future[int]":
        """The result of a registration, once it is durable.

        The future fails with Unavailable if the disk does not take it.
        """
        number = phone.lstrip("0")
        done: Future[int] = Future()
        refusal = self._refusal(number, registration.plate)
        if refusal or self.registry is None or self.mode == "open":
            done.set_result(refusal)
            return done
        wanted = Binding(
            phone=number,
            tag=tag_of(registration),
            maker=registration.maker_id,
            model=registration.model,
            terminal_id=registration.terminal_id,
            plate_colour=registration.plate_colour,
            plate=registration.plate,
            bound_ms=now_ms,
            revision=revision,
        )
        self.registry.claim(wanted).add_done_callback(lambda claim: _pass_on(claim, done))
        return done

    def authenticate(self, phone: str, code: str, now_ms: int) -> Standing | None:
        """What is remembered of the terminal whose code this is; None if it is not let in."""
        number = phone.lstrip("0")
        if self.mode == "open":
            return Standing()
        if self.mode == "allow-list" and number not in self.allowed:
            return None
        code = code.strip("\0 ")
        tag = code[:_TAG_LENGTH]
        if not hmac.compare_digest(self.code(number, tag).encode(), code.encode()):
            return None
        known = self.registry.find(number) if self.registry else None
        if known is not None:
            is_bound = known.released_ms is None and known.tag == tag
            return Standing(known.revision, known.heartbeat_s) if is_bound else None
        if self.registry is not None:
            # The registry was lost, but we made this code: the box it was made for is the one.
            self.registry.claim(Binding(number, tag, "", "", "", 0, "", now_ms))
        return Standing()

    def note(self, phone: str, *, revision: int = 0, heartbeat_s: int = 0) -> None:
        """Remember what a terminal was found to be."""
        if self.registry is not None and self.mode != "open":
            self.registry.note(phone, revision=revision, heartbeat_s=heartbeat_s)

    def release(self, phone: str, now_ms: int) -> "Future[bool]":
        """Any box may register with this number, once the future is done; whether one had it."""
        if self.registry is not None and self.mode != "open":
            return self.registry.release(phone.lstrip("0"), now_ms)
        done: Future[bool] = Future()
        done.set_result(False)
        return done

    def revoked(self) -> list[str]:
        """Numbers whose codes prove nothing any more, told once after a change.

        Raises Unavailable.
        """
        if self.registry is None or self.mode == "open":
            return []
        return self.registry.released()

    def code(self, phone: str, tag: str = NO_TAG) -> str:
        """The code of a number and a box."""
        message = f"{phone.lstrip('0')}/{tag}".encode()
        return tag + _letters(hmac.digest(self.secret, message, "sha256"), _PROOF_LENGTH)

    def _refusal(self, number: str, plate: str) -> int:
        if self.mode != "allow-list":
            return REGISTERED
        if number not in self.allowed:
            return NO_SUCH_TERMINAL
        return REGISTERED if self.allowed[number] in ("", plate) else NO_SUCH_VEHICLE


def allow_list(entries: Iterable[str]) -> dict[str, str]:
    """Numbers and plates of entries like `13912345678` or `13912345678 豫R12345`."""
    split = (entry.split(maxsplit=1) for entry in entries)
    return {number.lstrip("0"): plate[0] if plate else "" for number, *plate in split}


def tag_of(registration: Registration) -> str:
    """Five characters that stand for maker, terminal id and plate."""
    said = (registration.maker_id, registration.terminal_id, registration.plate)
    return _letters(sha256("\0".join(said).encode()).digest(), _TAG_LENGTH)


def _letters(digest: bytes, length: int) -> str:
    return b32encode(digest).decode()[:length]


def _pass_on(claim: "Future[Claim]", done: "Future[int]") -> None:
    error = claim.exception()
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(_RESULTS[claim.result()])


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
