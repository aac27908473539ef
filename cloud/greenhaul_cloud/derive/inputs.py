"""Everything a vehicle's fold looks at, read from one snapshot of the store."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection, select

from greenhaul_cloud.fences.feature import attributes_of
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS, Attributes, Fence, FenceVersion
from greenhaul_cloud.fences.rules import hours_of
from greenhaul_cloud.fold.windows import Interval, Window, joined, scope_of, windows_of
from greenhaul_cloud.hours.calendar import CHINA, Calendar
from greenhaul_cloud.hours.expression import depends_on_weekdays
from greenhaul_cloud.store.asking import among
from greenhaul_cloud.store.calendars import calendar_state, load_calendar
from greenhaul_cloud.store.fences import fence_changes, fences_state, load_fences
from greenhaul_cloud.store.tables import vehicle_attributes
from greenhaul_cloud.store.tracks import Bound
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN

# What a vehicle is in [from_ms, to_ms).
AttributeSpan = tuple[int, int, Attributes]


@dataclass(frozen=True)
class FenceSet:
    """All fences, one index over all their versions, and the calendar their hours ask.

    asks_calendar: whether any rule's hours look at weekdays or days off.
    """

    fences: Mapping[str, Fence]
    index: FenceIndex
    calendar: Calendar = CHINA
    asks_calendar: bool = False

    def version(self, fence_id: str, number: int) -> FenceVersion:
        """One version of a fence."""
        return self.index.versions[self.index.slot_of[fence_id, number]]

    def next_border_ms(self, after_ms: int) -> int:
        """When the next version of any fence begins or ends; NEVER_MS: none ever will."""
        at = bisect_right(self._borders_ms, after_ms)
        return self._borders_ms[at] if at < len(self._borders_ms) else NEVER_MS

    @cached_property
    def _borders_ms(self) -> list[int]:
        held = (version for fence in self.fences.values() for version in fence.versions)
        return sorted({border for one in held for border in (one.valid_from_ms, one.valid_to_ms)})


class FenceShelf:
    """The fence set as it is now; built anew only when a fence changed, of what did not change."""

    def __init__(self, calendar: str = "CN") -> None:
        self._calendar = calendar
        self._state: tuple[tuple[int, int], ...] | None = None
        self._changed_ms: dict[str, int] = {}
        self._held = FenceSet({}, FenceIndex([]))

    def take(self, conn: Connection) -> FenceSet:
        """The fences of this snapshot."""
        state = fences_state(conn), calendar_state(conn)
        if state != self._state:
            changed_ms = fence_changes(conn)
            fences = self._fences(conn, changed_ms)
            versions = [version for fence in fences.values() for version in fence.versions]
            calendar = load_calendar(conn, self._calendar)
            hours = (hours_of(rule) for version in versions for rule in version.rules)
            asks = any(depends_on_weekdays(text) for text in hours if text is not None)
            self._held = FenceSet(fences, FenceIndex(versions), calendar, asks)
            self._state, self._changed_ms = state, changed_ms
        return self._held

    def _fences(self, conn: Connection, changed_ms: Mapping[str, int]) -> dict[str, Fence]:
        """All fences, by id, in order; those that have not changed are taken over."""
        stale = [key for key, at_ms in changed_ms.items() if self._changed_ms.get(key) != at_ms]
        known = {**self._held.fences, **load_fences(conn, stale)}
        return {key: known[key] for key in sorted(changed_ms)}


class VehicleWindows(Mapping[str, tuple[Window, ...]]):
    """When each fence binds a vehicle: its versions, while it is bound and in scope.

    Of hundreds of fences a fold asks for a few: each is worked out when asked for.
    """

    def __init__(
        self, fences: FenceSet, bounds: Sequence[Bound], attributes: Sequence[AttributeSpan]
    ) -> None:
        """attributes: without a break."""
        self._fences, self._attributes = fences, attributes
        self._bound = joined((_open(one.from_ms), _open(one.to_ms)) for one in bounds)
        self._made: dict[str, tuple[Window, ...]] = {}

    def __getitem__(self, fence_id: str) -> tuple[Window, ...]:
        made = self._made.get(fence_id)
        if made is None:
            fence = self._fences.fences[fence_id]
            scope = _common(scope_of(fence, self._attributes), self._bound)
            made = self._made[fence_id] = windows_of(fence, scope, self._fences.calendar)
        return made

    def __contains__(self, fence_id: object) -> bool:
        return fence_id in self._fences.fences

    def __iter__(self) -> Iterator[str]:
        return iter(self._fences.fences)

    def __len__(self) -> int:
        return len(self._fences.fences)

    def next_border_ms(self, after_ms: int) -> int:
        """No window begins, ends or changes its version before that; NEVER_MS: none ever will."""
        borders = [self._fences.next_border_ms(after_ms)]
        borders += [from_ms for from_ms, _, _ in self._attributes if from_ms > after_ms]
        borders += [border for span in self._bound for border in span if border > after_ms]
        return min(borders)


def windows_for(
    conn: Connection, vehicle_id: str, fences: FenceSet, bounds: Sequence[Bound]
) -> VehicleWindows:
    """The windows of one vehicle, as they are now."""
    return VehicleWindows(fences, bounds, attributes_of_many(conn, [vehicle_id])[vehicle_id])


def _open(time_ms: int) -> int:
    if time_ms <= TIME_MS_MIN:
        return ALWAYS_MS
    return NEVER_MS if time_ms >= TIME_MS_MAX else time_ms


def attributes_of_many(
    conn: Connection, vehicle_ids: Sequence[str]
) -> dict[str, list[AttributeSpan]]:
    """What each vehicle is, without a break; before its first entry nothing is known."""
    columns = vehicle_attributes.c
    query = select(vehicle_attributes).where(among(conn, columns.vehicle_id, vehicle_ids))
    rows = conn.execute(query.order_by(columns.vehicle_id, columns.valid_from)).mappings()
    found: dict[str, list[AttributeSpan]] = {
        vehicle_id: [(ALWAYS_MS, NEVER_MS, Attributes())] for vehicle_id in vehicle_ids
    }
    for row in rows:
        held, from_ms = found[row["vehicle_id"]], row["valid_from"]
        held[-1] = (held[-1][0], from_ms, held[-1][2])
        said = attributes_of(row["energy"], row["class"], row["tags"])
        held.append((from_ms, NEVER_MS, said))
    return found


def _common(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """What two disjoint, ordered lists of [from, to) share."""
    pieces = [
        (max(a_from, b_from), min(a_to, b_to)) for a_from, a_to in one for b_from, b_to in other
    ]
    return joined(piece for piece in pieces if piece[0] < piece[1])
