"""Bodies to messages, in the edition they fit."""

from collections.abc import Callable
from functools import cache
from typing import Any

from greenhaul_protocols.errors import DecodeError
from greenhaul_protocols.jt808.declaration import MESSAGES, Reader, reader_of

# Editions in the order in which they are tried.
_ORDER = {2011: (2011, 2013, 2019), 2013: (2013, 2011, 2019), 2019: (2019, 2013, 2011)}


def read_body(message_id: int, body: bytes, revision: int) -> tuple[Any, bytes, int]:
    """Message, bytes left over, and the revision in which it was read.

    Terminals send bodies of one edition under headers of another, and some messages have variants.
    The revision given is tried first; another counts only if it leaves nothing over. Raises
    DecodeError as the revision given sees it.
    """
    own: tuple[Any, bytes, int] | None = None
    failure: DecodeError | None = None
    for read, candidate, is_plausible in _readers(message_id, revision):
        try:
            message, at = read(body, 0)
        except DecodeError as error:
            failure = failure or error
            continue
        fits = at == len(body)
        if fits and (is_plausible is None or is_plausible(message, candidate, len(body))):
            return message, b"", candidate
        if candidate == revision:
            own = own or (message, body[at:], candidate)
    if own is None:
        assert failure is not None
        raise failure
    return own


# A reader, its edition, and what its class says of a message that fits by chance, given the
# edition and the size of the body.
_Candidate = tuple[Reader, int, Callable[[Any, int, int], bool] | None]


@cache
def _readers(message_id: int, revision: int) -> tuple[_Candidate, ...]:
    """Readers of a message in the order in which they are tried."""
    spec = MESSAGES[message_id]
    return tuple(
        (reader_of(cls, candidate), candidate, getattr(cls, "is_plausible", None))
        for candidate in _ORDER[revision]
        for cls in spec.classes_of(candidate)
    )
