"""Keeps a collector's pieces: claims its share, gives up what others should have.

Everything follows from looking once a second: who is there, what is free. A collector that dies
leaves its claims to the others' next look; one that cannot reach the store any more stops before
the server ends its session, so that two never hold on to one session at the broker for long; one
that cannot reach the broker gives back what it holds, and does not count until it can.
"""

import logging
import threading
import time
from collections.abc import Callable

from greenhaul_cloud.shards import roster
from greenhaul_cloud.shards.pieces import Piece, clashes
from greenhaul_cloud.shards.sharing import share_out
from greenhaul_cloud.store.claims import Claims, Space
from greenhaul_protocols.errors import Unavailable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# A holder the store has not heard of for so long has lost its claims.
IDLE_S = 6.0
# … and stops before. A restart of the database is over sooner, and disturbs no connection.
LEASE_S = 4.0
# Looks until a collector that finds nothing free says that it stands by: the others see it at
# their next look, and give up what is its share.
_SETTLING_LOOKS = 4


class ShardKeeper:
    """Looks after the pieces of a range of shards, in a thread of its own."""

    def __init__(
        self,
        claims: Claims,
        whole: Piece,
        divide: Callable[[Piece], list[Piece]],
        *,
        on_take: Callable[[Piece], None],
        on_leave: Callable[[Piece], None],
        can_serve: Callable[[], bool] = lambda: True,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """divide: how every collector of this store cuts its range into pieces.

        on_take, on_leave: called from the keeper's thread, a piece at a time. can_serve: whether
        pieces are any use to this collector; asked at every look, and may take some seconds while
        none is held.
        """
        self._claims, self._whole, self._divide = claims, whole, divide
        self._pieces = sorted(divide(whole))
        self._on_take, self._on_leave = on_take, on_leave
        self._can_serve, self._monotonic_s = can_serve, monotonic_s
        self._slot: int | None = None
        self._held: set[Piece] = set()
        self._renewed_s = monotonic_s()
        self._looks = 0
        self._is_aside = False
        self._clash = ""
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
        if not self._can_serve():
            self._stand_aside()
            return
        if self._is_aside:
            self._is_aside, self._looks = False, 0
            log.info("event=broker_reached action=take_shards")
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

    def _stand_aside(self) -> None:
        """Others have everything, and share without us."""
        if not self._is_aside:
            self._is_aside = True
            log.warning("event=broker_not_reached action=leave_shards held=%d", len(self._held))
        self._fault = "the broker is not reached"
        self._let_go(self._held.copy())
        self._claims.close()

    def _share(self) -> None:
        self._slot = roster.enter(self._claims, self._whole, self._slot)
        running = roster.running(self._claims)
        collectors = max(running[self._whole], 1)
        # nothing is asked of the store for what is held; after a loss it is taken anew
        self._let_go({piece for piece in self._held if not self._take(piece)})
        wish = share_out(self._pieces, self._held, collectors, self._slot or 0)
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
        is_settled = len(self._held) >= len(self._pieces) // collectors
        is_settled = is_settled or self._looks >= _SETTLING_LOOKS
        self._fault = None if is_settled else "waiting for others to give up shards"
        self._note_clash(set(running) - {self._whole})

    def _note_clash(self, ranges: set[Piece]) -> None:
        """Ranges that cut each other's pieces: of two such pieces one is served, never both."""
        found = [
            (ours, theirs, whole)
            for whole in sorted(ranges)
            for ours, theirs in clashes(self._pieces, self._divide(whole))
        ]
        said = ", ".join(f"our {ours} and {theirs} of {whole}" for ours, theirs, whole in found)
        if said and said != self._clash:
            log.error("event=shards_clash ranges=%r action=serve_one_of_two", said)
        self._clash = said
        if any(ours not in self._held for ours, _, _ in found):
            self._fault = f"another collector's range cuts ours ({said})"

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
