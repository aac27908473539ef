"""Keeps a collector's pieces: claims its share, gives up what others should have.

Everything follows from looking once a second: who is there, what is free. A collector that dies
leaves its claims to the others' next look; one that cannot reach the store any more stops before
the server ends its session, so that two never hold on to one session at the broker for long.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from greenhaul_cloud.shards.pieces import Piece
from greenhaul_cloud.shards.sharing import share_out
from greenhaul_cloud.store.claims import Claims, Space
from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# A holder the store has not heard of for so long has lost its claims.
IDLE_S = 6.0
# … and stops before. A restart of the database is over sooner, and disturbs no connection.
LEASE_S = 4.0
# Collectors of one range that are counted; a city has a handful.
COLLECTORS_MAX = 256
# Looks until a collector that finds nothing free says that it stands by: the others see it at
# their next look, and give up what is its share.
_SETTLING_LOOKS = 4


class ShardKeeper:
    """Looks after the pieces of a range of shards, in a thread of its own."""

    def __init__(
        self,
        claims: Claims,
        pieces: Sequence[Piece],
        *,
        on_take: Callable[[Piece], None],
        on_leave: Callable[[Piece], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_take, on_leave: called from the keeper's thread, a piece at a time."""
        self._claims, self._pieces = claims, sorted(pieces)
        self._on_take, self._on_leave = on_take, on_leave
        self._monotonic_s = monotonic_s
        self._slots = (self._pieces[0].first << 16) + (self._pieces[-1].last << 8)
        self._slot: int | None = None
        self._held: set[Piece] = set()
        self._renewed_s = monotonic_s()
        self._looks = 0
        self._fault: str | None = "no shards taken yet"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shards", daemon=True)

    @property
    def held(self) -> frozenset[Piece]:
        """Pieces this collector takes just now; none while others have them all."""
        return frozenset(self._held)

    @property
    def fault(self) -> str | None:
        """Why shards cannot be taken just now."""
        return self._fault

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Leave every piece, and give the claims back."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._let_go(self._held.copy())
        self._claims.close()

    def look(self) -> None:
        """One look, and what follows from it."""
        try:
            self._claims.renew()
            self._share()
        except Unavailable as error:
            if self._monotonic_s() - self._renewed_s >= LEASE_S:
                self._fault = "the store cannot be asked which shards are ours"
                if self._held:
                    log.warning("event=shards_lost error=%s", error)
                self._let_go(self._held.copy())
            return
        self._renewed_s = self._monotonic_s()

    def _share(self) -> None:
        place, collectors = self._enter()
        # nothing is asked of the store for what is held; after a loss it is taken anew
        self._let_go({piece for piece in self._held if not self._take(piece)})
        wish = share_out(self._pieces, self._held, collectors, place)
        self._let_go(set(wish.to_leave))
        for piece in wish.to_leave:
            self._claims.leave(Space.SHARD, piece.shards)
        left = wish.take_max
        for piece in wish.to_try:
            if left == 0:
                break
            if self._take(piece):
                self._held.add(piece)
                log.info("event=shards_taken shards=%s collectors=%d", piece, collectors)
                self._on_take(piece)
                left -= 1
        self._looks += 1
        share = len(self._pieces) // collectors
        is_settled = len(self._held) >= share or self._looks >= _SETTLING_LOOKS
        self._fault = None if is_settled else "waiting for others to give up shards"

    def _enter(self) -> tuple[int, int]:
        """Which of the collectors of this range we are, and how many they are."""
        slots = (
            range(COLLECTORS_MAX) if self._slot is None else (self._slot, *range(COLLECTORS_MAX))
        )
        for slot in slots:
            if self._claims.take(Space.COLLECTOR, [self._slots + slot]):
                self._slot = slot
                break
        found = self._claims.count(Space.COLLECTOR, self._slots, self._slots + COLLECTORS_MAX - 1)
        return self._slot or 0, max(found, 1)

    def _take(self, piece: Piece) -> bool:
        got = self._claims.take(Space.SHARD, piece.shards)
        if len(got) == len(piece.shards):
            return True
        self._claims.leave(Space.SHARD, got)
        return False

    def _let_go(self, pieces: set[Piece]) -> None:
        for piece in sorted(pieces):
            self._held.discard(piece)
            log.info("event=shards_left shards=%s", piece)
            self._on_leave(piece)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                log.exception("event=shards_look_failed")
            self._stopping.wait(LOOK_EVERY_S)
