"""Claims: who does what, among processes that share a store.

A claim is held by one process and is gone with it, however it ends: nothing has to be cleaned up.
Claims only spread work. What is stored stays right without them (identity, row order, the lock of
the vehicle), so a process that lost one without noticing does harm to nothing but its own time.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol

# Keys are non-negative and fit a signed 32-bit word.
KEY_MAX = 2**31 - 1


class Space(IntEnum):
    """What is claimed. The numbers are PostgreSQL's first key of advisory locks."""

    SHARD = 0x6710  # key: the shard
    COLLECTOR = 0x6711  # key: range of shards and a slot, so that collectors are known
    VEHICLE = 0x6712  # key: a hash of the vehicle's id; held while it is folded
    HAND_OVER = 0x6713  # key 0: marks of sources become marks of vehicles


class Claims(Protocol):
    """The claims of one holder. Methods may be called from any thread.

    All raise Unavailable when the store cannot be asked; everything held is lost then.
    """

    def renew(self) -> None:
        """See that what is held is still held; to be called within the `idle_s` of its making."""

    def take(self, space: Space, keys: Iterable[int]) -> set[int]:
        """Claim what is free; which of the keys are held now, the ones held before among them."""

    def leave(self, space: Space, keys: Iterable[int]) -> None:
        """Give back; keys that are not held are passed over."""

    def found(self, space: Space, first: int, last: int) -> set[int]:
        """Which of the keys first…last somebody holds, we among them."""

    def close(self) -> None:
        """Give everything back."""
