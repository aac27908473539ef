"""Pieces: the runs of shards that change hands as one, each a session at the broker (pure).

A session belongs to the piece, not to the collector: whoever takes the piece takes over what the
broker has queued for it, and the broker itself ends the connection of who had it before.
"""

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

    def __str__(self) -> str:
        return f"{self.first:02x}-{self.last:02x}"


def cut(first: int, last: int) -> list[Piece]:
    """Shards first…last in pieces that begin at multiples of PIECE_SHARDS, whatever the range.

    So collectors whose ranges overlap in whole pieces mean the same ones.
    """
    starts = range(first - first % PIECE_SHARDS, last + 1, PIECE_SHARDS)
    return [Piece(max(at, first), min(at + PIECE_SHARDS - 1, last)) for at in starts]
