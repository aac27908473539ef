"""Which collectors run on a store, and on which shards: each holds a slot of its range."""

from collections import Counter

from greenhaul_cloud.shards.pieces import Piece
from greenhaul_cloud.store.claims import Claims, Space

# Collectors of one range that are counted; a city has a handful.
COLLECTORS_MAX = 256
_SLOTS_END = 1 << 24


def running(claims: Claims) -> Counter[Piece]:
    """How many collectors run, by the range each was given. Raises Unavailable."""
    found = claims.found(Space.COLLECTOR, 0, _SLOTS_END - 1)
    return Counter(Piece(key >> 16, key >> 8 & 0xFF) for key in found)


def enter(claims: Claims, whole: Piece, last_slot: int | None) -> int | None:
    """Take a slot of a range, the last one if it is free; None when all are taken."""
    slots = range(COLLECTORS_MAX) if last_slot is None else (last_slot, *range(COLLECTORS_MAX))
    for slot in slots:
        if claims.take(Space.COLLECTOR, [(whole.first << 16) + (whole.last << 8) + slot]):
            return slot
    return None
