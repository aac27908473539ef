"""Random secrets we hand out and recognise again by their hash."""

import hashlib
import secrets
from base64 import urlsafe_b64encode

# 256 bits: nobody guesses one, so a plain SHA-256 is hash enough.
SECRET_BYTES = 32
# What a leaked token looks like to a scanner.
TOKEN_PREFIX = "greenhaul_"  # noqa: S105  # no secret: what secrets begin with


def new_token() -> str:
    """A bearer token, shown once."""
    return TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def new_session_key() -> str:
    """The value of a session cookie."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """What the store keeps in place of a token or session key: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def csrf_token_of(session_key: str) -> str:
    """The token a page must repeat in X-CSRF-Token.

    Derived, so that a page loaded anew learns it again while the store still keeps hashes only;
    another site can neither read the cookie nor ask for this.
    """
    digest = hashlib.sha256(b"greenhaul csrf\0" + session_key.encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_same(one: bytes, other: bytes) -> bool:
    """Compare without telling by time where they differ."""
    return secrets.compare_digest(one, other)
