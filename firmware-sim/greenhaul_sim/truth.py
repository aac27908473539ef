"""A city of which everything is known: where each truck is each second, and what it really visits.

An engine that sees only reports, late, doubled and noisy, is held against it. Visits are those of
the path that joins the places of each second by straight lines, asked for in steps of a quarter of
a second and cut to a millisecond by halving.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from greenhaul_sim.motion import Phase, Traits, Truck
from greenhaul_sim.streets import Point, StreetMap, build_town
from greenhaul_sim.truth_fences import TrueFence, build_fences
from greenhaul_sim.truth_plane import EllipsoidPlane

# Fences are looked up by squares of this side.
_SQUARE_M = 250.0

# A truck is asked for this often each second, lest it pass a corner unseen; and halvings that cut
# such a step below a millisecond.
_STEPS_PER_S = 4
_HALVINGS = 9

# Drivers differ; the last of these speeds where the street is free.
_SPEED_FACTORS = (0.85, 0.95, 1.0, 1.25)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a truck is and what it does at one whole second."""

    place: Point
    speed_kmh: float
    heading_deg: float
    odometer_km: float
    phase: Phase


@dataclass(frozen=True, slots=True)
class TrueVisit:
    """A stay inside a fence; `left_s` None: still inside at the end of the drive."""

    vehicle: int
    fence_id: str
    entered_s: float
    left_s: float | None


@dataclass(frozen=True, slots=True)
class TrueSpeeding:
    """Faster than a limit while inside a fence, for as long as a rule asks for at least."""

    vehicle: int
    fence_id: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Truth:
    """The city, its fences, each truck's drive second by second, and all that follows from them."""

    town: StreetMap
    fences: list[TrueFence]
    drives: list[list[Moment]]
    visits: list[TrueVisit]

    def speeding(self, limit_kmh: float, for_s: float = 10.0) -> list[TrueSpeeding]:
        """Where trucks are above a limit inside a fence, by the speeds of whole seconds."""
        found = []
        for visit in self.visits:
            drive = self.drives[visit.vehicle]
            end_s = len(drive) - 1.0 if visit.left_s is None else visit.left_s
            for began_s, ended_s in _fast_runs(drive, limit_kmh):
                low_s, high_s = max(began_s, visit.entered_s), min(ended_s, end_s)
                if high_s - low_s >= for_s:
                    found.append(TrueSpeeding(visit.vehicle, visit.fence_id, low_s, high_s))
        return found


def build_truth(seed: int, *, trucks: int, fences: int, duration_s: int) -> Truth:
    """A town, fences and drives; the same arguments give the same truth."""
    town = build_town(seed, EllipsoidPlane())
    made = build_fences(town, fences, seed)
    drives = [_drive(town, seed, number, duration_s) for number in range(trucks)]
    near = _Squares(made)
    visits = [
        visit for number, drive in enumerate(drives) for visit in _visits(number, drive, near)
    ]
    return Truth(town, made, drives, visits)


def _drive(town: StreetMap, seed: int, number: int, duration_s: int) -> list[Moment]:
    rng = random.Random(f"truth {seed} {number}")
    home = town.junctions[rng.randrange(len(town.junctions))]
    factor = rng.choice(_SPEED_FACTORS)
    truck = Truck(
        town,
        Traits(f"{seed} {number}", home, factor, centre_share=0.2, gnss_noise_m=0.0),
    )
    moments = []
    for _ in range(duration_s):
        seen = truck.observe()
        place = town.plane.to_metres(seen.latitude_deg, seen.longitude_deg)
        moments.append(
            Moment(place, seen.speed_kmh, seen.heading_deg, seen.odometer_km, seen.phase)
        )
        truck.advance(1.0)
    return moments


Box = tuple[float, float, float, float]


class _Squares:
    """Fences by the squares their boxes reach into."""

    def __init__(self, fences: list[TrueFence]) -> None:
        self._held: dict[tuple[int, int], list[tuple[TrueFence, Box]]] = defaultdict(list)
        for fence in fences:
            box = fence.shape.bounds()
            west, south, east, north = (int(v // _SQUARE_M) for v in box)
            for x in range(west, east + 1):
                for y in range(south, north + 1):
                    self._held[x, y].append((fence, box))

    def around(self, place: Point) -> dict[str, TrueFence]:
        """Fences that hold a place, by id."""
        near = self._held.get((int(place.x_m // _SQUARE_M), int(place.y_m // _SQUARE_M)), ())
        return {
            fence.fence_id: fence
            for fence, (west, south, east, north) in near
            if west <= place.x_m <= east
            and south <= place.y_m <= north
            and fence.shape.holds(place)
        }


def _visits(vehicle: int, drive: list[Moment], near: _Squares) -> Iterator[TrueVisit]:
    entered_s: dict[str, float] = {}
    shapes: dict[str, TrueFence] = {}
    before = 0.0, drive[0].place
    for now in _steps(drive):
        inside = near.around(now[1])
        for fence_id in entered_s.keys() - inside.keys():
            left_s = _crossing_s(shapes[fence_id], before, now)
            yield TrueVisit(vehicle, fence_id, entered_s.pop(fence_id), left_s)
        for fence_id in inside.keys() - entered_s.keys():
            shapes[fence_id] = inside[fence_id]
            entered_s[fence_id] = _crossing_s(inside[fence_id], before, now) if now[0] else 0.0
        before = now
    for fence_id, since_s in entered_s.items():
        yield TrueVisit(vehicle, fence_id, since_s, None)


Step = tuple[float, Point]  # seconds, place


def _steps(drive: list[Moment]) -> Iterator[Step]:
    """Where a truck is, several times a second while it moves."""
    yield 0.0, drive[0].place
    for second, (begin, end) in enumerate(pairwise(moment.place for moment in drive)):
        if begin != end:
            for part in (step / _STEPS_PER_S for step in range(1, _STEPS_PER_S)):
                yield second + part, _between(begin, end, part)
        yield second + 1.0, end


def _between(begin: Point, end: Point, part: float) -> Point:
    return Point(begin.x_m + part * (end.x_m - begin.x_m), begin.y_m + part * (end.y_m - begin.y_m))


def _crossing_s(fence: TrueFence, before: Step, now: Step) -> float:
    """When the edge was crossed between two steps."""
    (begin_s, begin), (end_s, end) = before, now
    was_inside = fence.shape.holds(begin)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_same = fence.shape.holds(_between(begin, end, middle)) == was_inside
        low, high = (middle, high) if is_same else (low, middle)
    return begin_s + high * (end_s - begin_s)


def _fast_runs(drive: list[Moment], limit_kmh: float) -> Iterator[tuple[float, float]]:
    """(from, to) between which speeds, linear between seconds, are above a limit."""
    began_s: float | None = 0.0 if drive[0].speed_kmh > limit_kmh else None
    for second in range(1, len(drive)):
        before, after = drive[second - 1].speed_kmh, drive[second].speed_kmh
        if (before > limit_kmh) == (after > limit_kmh):
            continue
        at_s = second - 1 + (limit_kmh - before) / (after - before)
        if began_s is None:
            began_s = at_s
        else:
            yield began_s, at_s
            began_s = None
    if began_s is not None:
        yield began_s, len(drive) - 1.0
