"""Passwords, kept as argon2 hashes."""

from functools import cache
from threading import BoundedSemaphore

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

# NIST SP 800-63B-4, section 3.1.1.2: a password alone has at least 15 characters; with a
# second wall (attempts are limited) 8. We ask for 12 and cap what a caller can make us hash.
PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 256

# One hash takes 64 MiB; as many at a time as a small machine bears. Others wait in line.
HASHES_AT_A_TIME_MAX = 4

_turn = BoundedSemaphore(HASHES_AT_A_TIME_MAX)
_HASHER = PasswordHash((Argon2Hasher(),))


def hash_password(password: str) -> str:
    """Argon2 hash of a new password. Raises ValueError that says what is wrong with it."""
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise ValueError(
            f"a password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters"
        )
    with _turn:
        return _HASHER.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether the password fits; an unknown user (None) takes just as long to refuse."""
    try:
        with _turn:
            fits = _HASHER.verify(password[:PASSWORD_LENGTH_MAX], password_hash or _nobody())
    except UnknownHashError:
        return False
    return fits and password_hash is not None and len(password) <= PASSWORD_LENGTH_MAX


@cache
def _nobody() -> str:
    return _HASHER.hash("the password of nobody")
