"""A recorded drive as a terminal would report it, point for point.

What the protocol cannot carry is refused, with a reason, and counted: no time, a time before 2000
or after 2099 or in the future, coordinates off the Earth. Everything else is sent in the order of
the file: repeated times, backward steps and jumps are part of the drive. Resolution on the wire is
a millionth of a degree and a second (finer times are cut, not rounded).
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from greenhaul_protocols.errors import ConfigError
from greenhaul_protocols.jt808 import Item, LocationReport
from greenhaul_protocols.jt808.border import battery_item
from greenhaul_protocols.jt808.clock import digits_of, time_ms_of
from greenhaul_protocols.jt808.items_table import LOCATION_ITEMS
from greenhaul_protocols.jt808.tables import item_of
from greenhaul_sim.identity import identity_of
from greenhaul_sim.ledger import LedgerEntry, LedgerWriter
from greenhaul_sim.link import Address, Link
from greenhaul_sim.session import Manners, Session, Stage
from greenhaul_sim.streets import METRES_PER_DEGREE
from greenhaul_sim.tracks import Track, TrackPoint
from greenhaul_sim.tracks.point import USABLE_FROM_MS

_UNTIL_MS = 4_102_415_999_000  # 2099-12-31T15:59:59Z: the last second two digits of year can say

# Clocks differ a little; the edge takes five minutes.
_AHEAD_MS_MAX = 60_000

_STATUS_ACC, _STATUS_LOCATED, _STATUS_SOUTH, _STATUS_WEST = 1, 2, 4, 8

# Speed from positions: over a longer gap it is no speed, and beyond this it is a jump of the fix.
_SPEED_GAP_S_MAX = 60.0
_SPEED_KMH_MAX = 200.0
_HEADING_FROM_M = 2.0  # below this the bearing is the receiver's noise

_ALTITUDE_M_MAX = 32_767  # the wire's; what the file says beyond is cut to it
_WIRE_SPEED_KMH_MAX = 6_553.5

# Outstanding at once; the server's commits are shared, so a window costs one commit.
_WINDOW_MAX = 64

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Planned:
    """A point ready to be sent."""

    time_ms: int
    report: LocationReport


@dataclass(slots=True)
class ReplayResult:
    """What became of a file's points: read = sent + refused, unless there was a problem."""

    name: str
    read: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    problem: str = ""  # why nothing was sent

    @property
    def is_complete(self) -> bool:
        """Whether everything that could be sent was sent and taken."""
        is_something = self.sent > 0 or not self.read
        return is_something and not self.problem and self.acknowledged == self.sent

    def line(self) -> str:
        """One line for people."""
        text = (
            f"{self.name}: read={self.read} sent={self.sent} acknowledged={self.acknowledged} "
            f"refused={self.refused.total()}"
        )
        reasons = "; ".join(f"{count}× {reason}" for reason, count in self.refused.most_common())
        text = f"{text} ({reasons})" if reasons else text
        return f"{text}: {self.problem}" if self.problem else text


def shift_of(track: Track, start_ms: int | None, *, shift_dated: bool = False) -> int:
    """Milliseconds to add to a track's times.

    A dated track keeps its times unless `shift_dated`. Raises ConfigError for an undated one
    without a start.
    """
    if track.is_dated and not (shift_dated and start_ms is not None):
        return 0
    if start_ms is None:
        raise ConfigError(f"{track.name}: no usable dates; say --start, as in 2026-11-20T08:00:00Z")
    first_ms = next((p.time_ms for p in track.points if p.time_ms is not None), None)
    return 0 if first_ms is None else start_ms - first_ms


def plan(track: Track, shift_ms: int, result: ReplayResult) -> list[Planned]:
    """The reports of a track, in its order; what cannot be sent is counted in `result`."""
    result.read += len(track.points) + len(track.unreadable)
    result.refused.update(each.reason.partition(":")[0] for each in track.unreadable)
    planned: list[Planned] = []
    carried: list[TrackPoint] = []
    for point in track.points:
        reason = _refusal(point, shift_ms)
        if reason:
            result.refused[reason] += 1
        else:
            carried.append(point)
    speeds = _speeds_kmh(carried)
    headings = _headings_deg(carried)
    for point, speed_kmh, heading_deg in zip(carried, speeds, headings, strict=True):
        assert point.time_ms is not None
        time_ms = point.time_ms + shift_ms
        planned.append(Planned(time_ms, _report(point, time_ms, speed_kmh, heading_deg)))
    return planned


def _refusal(point: TrackPoint, shift_ms: int) -> str | None:
    if point.time_ms is None:
        return "no time"
    if point.time_ms + shift_ms < USABLE_FROM_MS:
        return "time before 2000"
    if point.time_ms + shift_ms > _UNTIL_MS:
        return "time after 2099"
    if not abs(point.latitude_deg) <= 90 or not abs(point.longitude_deg) <= 180:
        return "position not on Earth"
    return None


def _report(
    point: TrackPoint, time_ms: int, speed_kmh: float, heading_deg: float
) -> LocationReport:
    status = _STATUS_ACC | _STATUS_LOCATED
    status |= _STATUS_SOUTH if point.latitude_deg < 0 else 0
    status |= _STATUS_WEST if point.longitude_deg < 0 else 0
    items: list[Item] = []
    if point.satellites is not None and 0 <= point.satellites <= 255:
        items.append(item_of(LOCATION_ITEMS, "satellites", point.satellites))
    if point.soc_percent is not None and 0 <= point.soc_percent <= 100:
        items.append(battery_item(point.soc_percent))
    altitude_m = point.altitude_m if point.altitude_m and math.isfinite(point.altitude_m) else 0.0
    return LocationReport(
        alarms=0,
        status=status,
        latitude_deg=abs(point.latitude_deg),
        longitude_deg=abs(point.longitude_deg),
        altitude_m=round(min(max(altitude_m, -_ALTITUDE_M_MAX), _ALTITUDE_M_MAX)),
        speed_kmh=min(speed_kmh, _WIRE_SPEED_KMH_MAX),
        heading_deg=round(heading_deg) % 360,
        device_time=digits_of(time_ms),
        items=tuple(items),
    )


def _speeds_kmh(points: Sequence[TrackPoint]) -> list[float]:
    """What the file says; else from the positions before, or for want of any, after."""
    speeds: list[float] = []
    for index, point in enumerate(points):
        said = point.speed_kmh
        if said is not None and math.isfinite(said) and said >= 0:
            speeds.append(said)
            continue
        before = _speed_between(points[index - 1], point) if index else None
        after = _speed_between(point, points[index + 1]) if index + 1 < len(points) else None
        last = speeds[-1] if speeds else 0.0
        speeds.append(next((each for each in (before, after) if each is not None), last))
    return speeds


def _speed_between(first: TrackPoint, second: TrackPoint) -> float | None:
    assert first.time_ms is not None
    assert second.time_ms is not None
    seconds = (second.time_ms - first.time_ms) / 1000
    if not 0 < seconds <= _SPEED_GAP_S_MAX:
        return None
    speed_kmh = math.hypot(*_step_m(first, second)) / seconds * 3.6
    return speed_kmh if speed_kmh <= _SPEED_KMH_MAX else None


def _headings_deg(points: Sequence[TrackPoint]) -> list[float]:
    headings: list[float] = []
    last = 0.0
    for index, point in enumerate(points):
        said = point.heading_deg
        if said is not None and math.isfinite(said):
            last = said
        elif index:
            east_m, north_m = _step_m(points[index - 1], point)
            if math.hypot(east_m, north_m) >= _HEADING_FROM_M:
                last = math.degrees(math.atan2(east_m, north_m)) % 360
        headings.append(last)
    return headings


def _step_m(first: TrackPoint, second: TrackPoint) -> tuple[float, float]:
    """Metres east and north."""
    north_m = (second.latitude_deg - first.latitude_deg) * METRES_PER_DEGREE
    shrink = math.cos(math.radians((first.latitude_deg + second.latitude_deg) / 2))
    east_m = (second.longitude_deg - first.longitude_deg) * METRES_PER_DEGREE * shrink
    return east_m, north_m


class Player:
    """Sends planned reports through one terminal's session."""

    def __init__(
        self, phone: str, revision: int, address: Address, ledger: LedgerWriter | None
    ) -> None:
        self.session = Session(identity_of(phone, revision), Manners(window_max=_WINDOW_MAX))
        self._ledger = ledger
        wall_offset_s = time.time() - asyncio.get_running_loop().time()
        self._link = Link(
            self.session,
            address,
            rng=random.Random(f"replay {phone}"),
            record=self._record,
            wall_offset_s=wall_offset_s,
        )

    async def play(
        self, planned: list[Planned], result: ReplayResult, *, speed: float, drain_s: float
    ) -> None:
        """Send at `speed` times the recorded pace, 0: as fast as acknowledged; then wait for the
        last acknowledgements, as long as some keep coming within `drain_s`."""
        running = asyncio.ensure_future(self._link.run())
        taken_before = self.session.counts.acknowledged
        try:
            await self._until(lambda: self.session.stage is Stage.ONLINE, drain_s)
            if self.session.stage is Stage.ONLINE:
                await self._send(planned, result, speed)
                await self._until(lambda: self.session.is_idle, drain_s)
            else:
                result.problem = self.session.last_refusal or "no server answers"
        finally:
            running.cancel()
            await asyncio.wait([running])
            result.acknowledged += self.session.counts.acknowledged - taken_before

    async def _send(self, planned: list[Planned], result: ReplayResult, speed: float) -> None:
        loop = asyncio.get_running_loop()
        started_at, first_ms = loop.time(), planned[0].time_ms if planned else 0
        for each in planned:
            if speed:
                due_at = started_at + (each.time_ms - first_ms) / 1000 / speed
                if due_at > loop.time():
                    await asyncio.sleep(due_at - loop.time())
            said_ms = time_ms_of(each.report.device_time)
            if said_ms is None or said_ms > time.time() * 1000 + _AHEAD_MS_MAX:
                result.refused["time in the future"] += 1
                continue
            if not self.session.has_room:
                await self._until(lambda: self.session.has_room, math.inf)
            self.session.put(each.report)
            result.sent += 1
            self._link.poke()
            if not speed and result.sent % _WINDOW_MAX == 0:
                await asyncio.sleep(0)

    async def _until(self, holds: Callable[[], bool], patience_s: float) -> None:
        """Wait while there is progress; `patience_s` after the last one give up."""
        loop = asyncio.get_running_loop()
        seen, seen_at = -1, loop.time()
        while not holds() and loop.time() - seen_at < patience_s:
            if self.session.counts.acknowledged != seen:
                seen, seen_at = self.session.counts.acknowledged, loop.time()
            self._link.poke()
            await asyncio.sleep(_POLL_S)

    def _record(self, entries: list[LedgerEntry]) -> None:
        if self._ledger:
            self._ledger.append(entries)
