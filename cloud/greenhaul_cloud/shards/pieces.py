"""Pieces: the runs of shards that change hands as one, each a session at the broker (pure).

A session belongs to the piece, not to the collector: whoever takes the piece takes over what the
broker has queued for it, and the broker itself ends the connection of who had it before.
"""

from collections.abc import Iterable
from dataclasses import dataclass

# Sixteen pieces: a city's handful of collectors share them evenly enough, and one collector alone
# holds sixteen connections.
PIECE_SHARDS = 16


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """Shards first…last."""

    first: int
    last: int

    @property
    def shards(self) -> range:
        """Every shard of it."""
        return range(self.first, self.last + 1)

    def overlaps(self, other: "Piece") -> bool:
        """Whether a shard is in both."""
        return self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{self.first:02x}-{self.last:02x}"


def cut(whole: Piece) -> list[Piece]:
    """A range in pieces that begin at multiples of PIECE_SHARDS, wherever the range begins.

    So collectors whose ranges overlap in whole pieces mean the same ones.
    """
    starts = range(whole.first - whole.first % PIECE_SHARDS, whole.last + 1, PIECE_SHARDS)
    return [Piece(max(at, whole.first), min(at + PIECE_SHARDS - 1, whole.last)) for at in starts]


def uncut(whole: Piece) -> list[Piece]:
    """A range as one piece, for a store that one collector at a time writes."""
    return [whole]


def clashes(ours: Iterable[Piece], theirs: Iterable[Piece]) -> list[tuple[Piece, Piece]]:
    """Pieces that share shards without being the same: while one is held, the other cannot be."""
    others = list(theirs)
    return [
        (one, other) for one in ours for other in others if one != other and one.overlaps(other)
    ]
