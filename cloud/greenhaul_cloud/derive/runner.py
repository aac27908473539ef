"""Takes dirty marks, folds vehicles, writes what changed.

A vehicle is claimed first, so that several processes share the work and none folds what another is
at. It is folded from a snapshot, so that a long fold holds nobody up; what it says is written in
one short transaction under the vehicle's lock, and only if no other fold of the vehicle came
between: a claim may be lost without noticing. The mark goes only if nothing widened it meanwhile.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from zlib import crc32

from sqlalchemy import BigInteger, Connection, cast, func, select

from greenhaul_cloud.derive.cases import in_groups, open_cases
from greenhaul_cloud.derive.folding import Folded, Raised, fold_cases
from greenhaul_cloud.derive.inputs import FenceSet, FenceShelf
from greenhaul_cloud.derive.writing import note_failure, write_folds
from greenhaul_cloud.store.calendars import seed_calendar
from greenhaul_cloud.store.claims import KEY_MAX, Space
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.marks import hand_over_sources
from greenhaul_cloud.store.tables import dirty, fold_state
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.times import to_datetime

log = logging.getLogger(__name__)

# Vehicles claimed and folded together, in one turn: few enough that others find some, that what is
# marked meanwhile comes in and that a stop is heard soon; enough that few groups are written: under
# load SQLite's one writer is long waited for.
VEHICLES_MAX = 500
# A group that takes longer is written as far as it is, the claims renewed: few do, of vehicles with
# months to fold anew.
GROUP_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class DeriveResult:
    """What a turn did. changed: rows of the feed, that is visits and violations told anew.

    marked: vehicles that waited to be folded. set_aside: vehicles left out since their fold raised.
    elsewhere: vehicles that another process folds, or has folded meanwhile.
    """

    folded: int = 0
    failed: int = 0
    changed: int = 0
    readings_read: int = 0
    marked: int = 0
    set_aside: int = 0
    elsewhere: int = 0

    def plus(self, other: "DeriveResult") -> "DeriveResult":
        """Both together."""
        return DeriveResult(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def has_more(self) -> bool:
        """Whether another turn would find vehicles that this one left."""
        return self.marked > self.folded + self.failed + self.elsewhere


@dataclass(frozen=True, slots=True)
class _Mark:
    """Why a vehicle is folded: dirty marks, or time that has come.

    revision: tells whether anything came after. since_ms: since when it waits.
    """

    vehicle_id: str
    revision: int
    since_ms: int


class Deriver:
    """Folds whatever is marked. One at a time per process; many processes may share a store."""

    def __init__(self, store: Store, *, calendar: str = "CN") -> None:
        self._store = store
        self._calendar = calendar
        self._is_seeded = False
        self._years_said: set[int] = set()
        self._shelf = FenceShelf(calendar)
        # vehicles whose fold raised, by the revision it raised at: tried again when that grows
        self._set_aside: dict[str, int] = {}
        # vehicles still to be folded of those that waited when it was last looked
        self._waiting: list[_Mark] = []
        # since when the vehicle that has waited longest waits; None: nobody waits
        self.waiting_since_ms: int | None = None

    def run(self, now_ms: int, is_stopping: Callable[[], bool] = lambda: False) -> DeriveResult:
        """Fold those that have waited longest, with all that was marked until now; cut short when
        stopping. Raises Unavailable."""
        self._hand_over(now_ms)
        if not self._waiting:
            with self._store.read() as conn:
                self._waiting = self._marks(conn, now_ms)
        total = DeriveResult(marked=len(self._waiting))
        # some of them another process may have
        while self._waiting and not (total.folded or total.failed or is_stopping()):
            self.waiting_since_ms = self._waiting[0].since_ms
            some, self._waiting = self._waiting[:VEHICLES_MAX], self._waiting[VEHICLES_MAX:]
            total = total.plus(self._fold_some(some, now_ms, is_stopping))
        self.waiting_since_ms = self._waiting[0].since_ms if self._waiting else None
        return replace(total, set_aside=len(self._set_aside))

    def _hand_over(self, now_ms: int) -> None:
        """Marks of sources become marks of vehicles; whoever is at it does it for all."""
        if not self._is_seeded:
            with self._store.write() as conn:
                seed_calendar(conn, self._calendar, now_ms)
            self._is_seeded = True
        with self._claimed(Space.HAND_OVER, {0}) as ours:
            from_id: int | None = 0 if ours else None
            while from_id is not None:
                with self._store.write() as conn:
                    from_id = hand_over_sources(conn, now_ms, from_id)

    def _fold_some(
        self, marks: Sequence[_Mark], now_ms: int, is_stopping: Callable[[], bool]
    ) -> DeriveResult:
        keys = {_claim_of(mark.vehicle_id) for mark in marks}
        with self._claimed(Space.VEHICLE, keys) as ours:
            claimed = [mark for mark in marks if _claim_of(mark.vehicle_id) in ours]
            done = self._fold_claimed(claimed, now_ms, is_stopping)
        return replace(done, elsewhere=done.elsewhere + len(marks) - len(claimed))

    @contextmanager
    def _claimed(self, space: Space, keys: set[int]) -> Iterator[set[int]]:
        """Those of the keys that nobody else has, ours until the end."""
        claims = self._store.claims
        ours = claims.take(space, keys)
        try:
            yield ours
        finally:
            claims.leave(space, ours)

    def _marks(self, conn: Connection, now_ms: int) -> list[_Mark]:
        # the sum grows with each mark that is made or widened
        revision = cast(func.sum(dirty.c.revision), BigInteger)
        query = select(dirty.c.vehicle_id, revision, func.min(dirty.c.marked_at))
        query = query.where(dirty.c.vehicle_id.is_not(None)).group_by(dirty.c.vehicle_id)
        marked = sorted((_Mark(*row) for row in conn.execute(query)), key=lambda m: m.since_ms)
        known = {mark.vehicle_id for mark in marked}
        due = select(fold_state.c.vehicle_id, fold_state.c.due_at)
        due = due.where(fold_state.c.due_at <= now_ms).order_by(fold_state.c.due_at)
        marked += [
            _Mark(row.vehicle_id, row.due_at, row.due_at)
            for row in conn.execute(due)
            if row.vehicle_id not in known
        ]
        return [mark for mark in marked if self._set_aside.get(mark.vehicle_id) != mark.revision]

    def _fold_claimed(
        self, marks: Sequence[_Mark], now_ms: int, is_stopping: Callable[[], bool]
    ) -> DeriveResult:
        """Fold these vehicles together; one that cannot be folded does not hold up the others."""
        total = DeriveResult()
        waiting = {mark.vehicle_id: mark for mark in marks}
        while waiting and not is_stopping():
            try:
                done, left = self._fold_group(waiting, now_ms, is_stopping)
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001  # it is set aside, and logged
                # not a fold, but loading or writing: it shows alone whose they are
                if len(waiting) == 1:
                    (mark,) = waiting.values()
                    return total.plus(self._set_apart(mark, error, now_ms))
                for mark in waiting.values():
                    total = total.plus(self._fold_claimed([mark], now_ms, is_stopping))
                return total
            total, waiting = total.plus(done), left
            # a claim is lost by silence, and a long fold is silent
            self._store.claims.renew()
        return total

    def _fold_group(
        self, marks: Mapping[str, _Mark], now_ms: int, is_stopping: Callable[[], bool]
    ) -> tuple[DeriveResult, dict[str, _Mark]]:
        """Fold as many as can be held at a time; what was done, and who is left."""
        begun_s = time.monotonic()
        with self._store.read() as conn:
            fences = self._shelf.take(conn)
            self._say_unknown_year(fences, now_ms)
            cases = open_cases(conn, list(marks), fences, now_ms)
            group = next(in_groups(cases), [])
            folds = []
            for fold in fold_cases(conn, group, fences):
                folds.append(fold)
                if is_stopping() or time.monotonic() - begun_s > GROUP_S_MAX:
                    break
        told = [fold for fold in folds if isinstance(fold, Folded)]
        changed = write_folds(self._store, told, fences, now_ms) if told else 0
        done = DeriveResult(
            folded=len(told),
            changed=changed,
            readings_read=sum(f.result.readings_read for f in told),
            # another process has folded them between our look and our claim
            elsewhere=len(marks) - len(cases),
        )
        for fold in folds:
            vehicle_id = fold.case.vehicle_id
            if isinstance(fold, Raised):
                done = done.plus(self._set_apart(marks[vehicle_id], fold.error, now_ms))
            else:
                self._set_aside.pop(vehicle_id, None)
        folded = {fold.case.vehicle_id for fold in folds}
        left = {case.vehicle_id: marks[case.vehicle_id] for case in cases}
        return done, {key: mark for key, mark in left.items() if key not in folded}

    def _set_apart(self, mark: _Mark, error: Exception, now_ms: int) -> DeriveResult:
        """Leave a vehicle out until something about it changes."""
        log.error("event=fold_failed vehicle=%s", mark.vehicle_id, exc_info=error)
        self._set_aside[mark.vehicle_id] = mark.revision
        note_failure(self._store, mark.vehicle_id, error, now_ms)
        return DeriveResult(failed=1)

    def _say_unknown_year(self, fences: FenceSet, as_of_ms: int) -> None:
        """Once a year: rules ask for days off that nobody has entered yet."""
        year = to_datetime(as_of_ms).year
        calendar = fences.calendar
        if not fences.asks_calendar or not calendar.name or year in calendar.years:
            return
        if year not in self._years_said:
            self._years_said.add(year)
            log.warning("event=calendar_unknown calendar=%s year=%d", calendar.name, year)


def derive_once(store: Store, now_ms: int) -> DeriveResult:
    """Fold everything marked, as of now, with nothing remembered from before."""
    deriver = Deriver(store)
    result = deriver.run(now_ms)
    while result.has_more:
        result = deriver.run(now_ms)
    return result


def _claim_of(vehicle_id: str) -> int:
    """Two vehicles of one number only wait for each other."""
    return crc32(vehicle_id.encode()) & KEY_MAX
