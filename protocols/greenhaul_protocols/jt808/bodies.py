"""Bodies to messages, in the edition they fit."""

from typing import Any

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.jt808.declaration import MESSAGES, decode

# Editions in the order in which they are tried.
_ORDER = {2011: (2011, 2013, 2019), 2013: (2013, 2011, 2019), 2019: (2019, 2013, 2011)}


def read_body(message_id: int, body: bytes, revision: int) -> tuple[Any, bytes, int]:
    """Message, bytes left over, and the revision in which it was read.

    Terminals send bodies of one edition under headers of another, and some messages have variants.
    The revision given is tried first; another counts only if it leaves nothing over. Raises
    DecodeError as the revision given sees it.
    """
    spec = MESSAGES[message_id]
    own: tuple[Any, bytes, int] | None = None
    failure: DecodeError | None = None
    for candidate in _ORDER[revision]:
        for message_class in spec.classes_of(candidate):
            try:
                message, rest = decode(message_class, body, candidate)
            except DecodeError as error:
                failure = failure or error
                continue
            if not rest:
                return message, rest, candidate
            if candidate == revision:
                own = own or (message, rest, candidate)
    if own is None:
        assert failure is not None
        raise failure
    return own
