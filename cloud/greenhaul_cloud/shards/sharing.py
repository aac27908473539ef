"""How many pieces a collector holds, and which it gives up (pure)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from greenhaul_cloud.shards.pieces import Piece


@dataclass(frozen=True, slots=True)
class Wish:
    """What a collector should do next. to_try: in this order, until `take_max` are taken."""

    to_leave: list[Piece]
    to_try: list[Piece]
    take_max: int


def share_out(
    pieces: Sequence[Piece], held: Collection[Piece], collectors: int, place: int
) -> Wish:
    """What one of `collectors` equal ones should leave or take; place: which of them, from 0.

    Nobody holds more than an equal share, rounded up, so together they may hold everything: no
    piece stays free. Each begins to try elsewhere, so that they do not all ask for the same.
    """
    share = -(-len(pieces) // max(collectors, 1))
    mine = sorted(held)
    if len(mine) > share:
        return Wish(mine[share:], [], 0)
    free = [piece for piece in pieces if piece not in held]
    start = len(free) * place // max(collectors, 1)
    return Wish([], free[start:] + free[:start], share - len(mine))
