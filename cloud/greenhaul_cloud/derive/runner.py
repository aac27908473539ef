"""Takes dirty marks, folds vehicles, writes what changed.

A vehicle is claimed first, so that several processes share the work and none folds what another is
at. It is folded from a snapshot, so that a long fold holds nobody up; what it says is written in
one short transaction under the vehicle's lock, and only if no other fold of the vehicle came
between: a claim may be lost without noticing. The mark goes only if nothing widened it meanwhile.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from zlib import crc32

from sqlalchemy import Connection, Row, delete, select

from greenhaul_cloud.derive.frozen import clamped, frozen_before, since
from greenhaul_cloud.derive.inputs import FenceSet, FenceShelf, StoredReadings, windows_for
from greenhaul_cloud.derive.results import FoldWriter, has_older, load_folds
from greenhaul_cloud.fences.model import ALWAYS_MS
from greenhaul_cloud.fold.refold import VehicleRefold, refold, wanting_fences
from greenhaul_cloud.fold.windows import Interval, next_border_ms
from greenhaul_cloud.store.calendars import seed_calendar
from greenhaul_cloud.store.claims import KEY_MAX, Space
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.marks import forget, hand_over_sources
from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import dirty, fold_failure, fold_state
from greenhaul_cloud.store.tracks import bound_sources
from greenhaul_protocols.errors import Unavailable
from greenhaul_protocols.times import TIME_MS_MAX, format_time, to_datetime

log = logging.getLogger(__name__)

# Vehicles of one turn; the rest are taken in the next, so that new marks of sources come in.
VEHICLES_MAX = 500
# Vehicles claimed at a time: few enough that others find some, enough to ask the store seldom.
VEHICLES_CLAIMED = 25
REASON_LENGTH_MAX = 500
# Ten minutes before a change nearly always have an anchor (`fold/readings.py`), a day more so.
LOOK_BACK_MS = 86_400_000
MS_PER_DAY = 86_400_000


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

    @property
    def has_more(self) -> bool:
        """Whether another turn would find vehicles that this one left."""
        return self.marked > self.folded + self.failed + self.elsewhere


@dataclass(frozen=True, slots=True)
class _Mark:
    """Why a vehicle is folded: a dirty mark, or (without id) time that has come."""

    vehicle_id: str
    mark_id: int | None
    revision: int


@dataclass(frozen=True, slots=True)
class _Folded:
    """A fold on its way to be written, with what it was based on."""

    result: VehicleRefold[int]
    fences: FenceSet
    last_as_of_ms: int | None
    as_of_ms: int
    due_ms: int | None


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

    def run(self, now_ms: int, is_stopping: Callable[[], bool] = lambda: False) -> DeriveResult:
        """One turn over the marked vehicles, cut short when stopping. Raises Unavailable."""
        self._hand_over(now_ms)
        with self._store.read() as conn:
            marks = self._marks(conn, now_ms)
        total = DeriveResult(marked=len(marks))
        for at in range(0, len(marks), VEHICLES_CLAIMED):
            if total.folded + total.failed >= VEHICLES_MAX or is_stopping():
                break
            total = self._fold_some(marks[at : at + VEHICLES_CLAIMED], now_ms, total)
        return replace(total, set_aside=len(self._set_aside))

    def _hand_over(self, now_ms: int) -> None:
        """Marks of sources become marks of vehicles; whoever is at it does it for all."""
        if not self._is_seeded:
            with self._store.write() as conn:
                seed_calendar(conn, self._calendar, now_ms)
            self._is_seeded = True
        with self._claimed(Space.HAND_OVER, {0}) as ours:
            if ours:
                with self._store.write() as conn:
                    hand_over_sources(conn, now_ms)

    def _fold_some(self, marks: Sequence[_Mark], now_ms: int, total: DeriveResult) -> DeriveResult:
        keys = {_claim_of(mark.vehicle_id) for mark in marks}
        with self._claimed(Space.VEHICLE, keys) as ours:
            for mark in marks:
                if _claim_of(mark.vehicle_id) in ours:
                    total = self._fold_or_set_aside(mark, now_ms, total)
                    # a claim is lost by silence, and a long fold is silent
                    self._store.claims.renew()
                else:
                    total = replace(total, elsewhere=total.elsewhere + 1)
        return total

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
        query = select(dirty.c.vehicle_id, dirty.c.id, dirty.c.revision)
        query = query.where(dirty.c.vehicle_id.is_not(None)).order_by(dirty.c.from_time)
        marked = [_Mark(*row) for row in conn.execute(query)]
        known = {mark.vehicle_id for mark in marked}
        due = select(fold_state.c.vehicle_id, fold_state.c.due_at)
        due = due.where(fold_state.c.due_at <= now_ms).order_by(fold_state.c.due_at)
        marked += [
            _Mark(row.vehicle_id, None, row.due_at)
            for row in conn.execute(due)
            if row.vehicle_id not in known
        ]
        return [mark for mark in marked if self._set_aside.get(mark.vehicle_id) != mark.revision]

    def _fold_or_set_aside(self, mark: _Mark, now_ms: int, total: DeriveResult) -> DeriveResult:
        try:
            folded = self._fold(mark, now_ms)
            changed = 0 if folded is None else self._write(mark, folded, now_ms)
        except Unavailable:
            raise
        except Exception as error:
            log.exception("event=fold_failed vehicle=%s", mark.vehicle_id)
            self._set_aside[mark.vehicle_id] = mark.revision
            self._note_failure(mark.vehicle_id, error, now_ms)
            return replace(total, failed=total.failed + 1)
        self._set_aside.pop(mark.vehicle_id, None)
        if folded is None:
            return replace(total, elsewhere=total.elsewhere + 1)
        return replace(
            total,
            folded=total.folded + 1,
            changed=total.changed + changed,
            readings_read=total.readings_read + folded.result.readings_read,
        )

    def _fold(self, mark: _Mark, now_ms: int) -> _Folded | None:
        """None when another process has done it between our look and our claim."""
        with self._store.read() as conn:
            row = conn.execute(select(dirty).where(dirty.c.id == mark.mark_id)).one_or_none()
            last_as_of_ms = _as_of(conn, mark.vehicle_id)
            if row is None and last_as_of_ms is not None and last_as_of_ms >= now_ms:
                return None
            # time does not go back for a fold, whatever the clock does
            as_of_ms = max(now_ms, last_as_of_ms or now_ms)
            fences = self._shelf.take(conn)
            self._say_unknown_year(fences, as_of_ms)
            bounds = bound_sources(conn, mark.vehicle_id)
            windows = windows_for(conn, mark.vehicle_id, fences, bounds)
            frozen_before_ms = frozen_before(conn)
            readings = StoredReadings(conn, since(bounds, frozen_before_ms))
            changes = _changes(row, last_as_of_ms, as_of_ms)
            if row is not None and row.from_time < frozen_before_ms:
                log.info(
                    "event=mark_clamped vehicle=%s from=%s kept_from=%s",
                    mark.vehicle_id,
                    format_time(row.from_time),
                    format_time(frozen_before_ms),
                )
            changes = clamped(changes, frozen_before_ms)
            # nearly always the last day of what stands is enough; all of it grows without end
            for since_ms in (_look_back(changes), ALWAYS_MS):
                result = refold(
                    readings,
                    windows,
                    load_folds(conn, mark.vehicle_id, since_ms, wanting_fences(fences.index)),
                    changes,
                    as_of_ms=as_of_ms,
                    index=fences.index,
                    why="refolded",
                    frozen_before_ms=frozen_before_ms,
                )
                if result.looked_back_ms >= since_ms:
                    break
                if not has_older(conn, mark.vehicle_id, since_ms):
                    break
            borders = [next_border_ms(one, as_of_ms) for one in windows.values()]
            borders.append(readings.first_from(as_of_ms + 1))
            borders.append(result.due_ms)
        due = [border for border in borders if border is not None and border <= TIME_MS_MAX]
        return _Folded(result, fences, last_as_of_ms, as_of_ms, min(due, default=None))

    def _say_unknown_year(self, fences: FenceSet, as_of_ms: int) -> None:
        """Once a year: rules ask for days off that nobody has entered yet."""
        year = to_datetime(as_of_ms).year
        calendar = fences.calendar
        if not fences.asks_calendar or not calendar.name or year in calendar.years:
            return
        if year not in self._years_said:
            self._years_said.add(year)
            log.warning("event=calendar_unknown calendar=%s year=%d", calendar.name, year)

    def _write(self, mark: _Mark, folded: _Folded, now_ms: int) -> int:
        with self._store.write() as conn:
            if not self._store.driver.lock_vehicle(conn, mark.vehicle_id):
                return 0  # another process is at it; the mark stays
            if _as_of(conn, mark.vehicle_id) != folded.last_as_of_ms:
                return 0  # another process was faster
            writer = FoldWriter(conn, mark.vehicle_id, folded.fences, now_ms)
            for fence_id, result in folded.result.fences.items():
                writer.write(fence_id, result)
            state = {"as_of": folded.as_of_ms, "due_at": folded.due_ms}
            conn.execute(
                insert_into(conn, fold_state)
                .values(vehicle_id=mark.vehicle_id, **state)
                .on_conflict_do_update(index_elements=["vehicle_id"], set_=state)
            )
            conn.execute(delete(fold_failure).where(fold_failure.c.vehicle_id == mark.vehicle_id))
            if mark.mark_id is not None:
                forget(conn, mark.mark_id, mark.revision)
            if not writer.has_news:
                return 0
            self._store.driver.lock_feed(conn)
            return writer.write_feed()

    def _note_failure(self, vehicle_id: str, error: Exception, now_ms: int) -> None:
        reason = f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX]
        with self._store.write() as conn:
            values = {"failed_at": now_ms, "reason": reason}
            conn.execute(
                insert_into(conn, fold_failure)
                .values(vehicle_id=vehicle_id, count=1, **values)
                .on_conflict_do_update(
                    index_elements=["vehicle_id"],
                    set_={**values, "count": fold_failure.c.count + 1},
                )
            )


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


def _as_of(conn: Connection, vehicle_id: str) -> int | None:
    query = select(fold_state.c.as_of).where(fold_state.c.vehicle_id == vehicle_id)
    found = conn.execute(query).scalar()
    return None if found is None else int(found)


def _look_back(changes: Sequence[Interval]) -> int:
    """From where on stored visits are loaded at first."""
    return min((first_ms for first_ms, _ in changes), default=TIME_MS_MAX) - LOOK_BACK_MS


def _changes(
    mark: Row[tuple[object, ...]] | None, last_as_of_ms: int | None, as_of_ms: int
) -> list[Interval]:
    """Closed spans to fold anew: what was marked, and what time itself has uncovered since."""
    changes: list[Interval] = []
    if mark is not None and mark.from_time <= as_of_ms:
        changes.append((mark.from_time, min(mark.to_time, as_of_ms)))
    if last_as_of_ms is not None and last_as_of_ms < as_of_ms:
        changes.append((last_as_of_ms + 1, as_of_ms))
    return changes
