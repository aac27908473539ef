"""The engine against a city of which everything is known: what it is told, what it finds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenhaul_cloud.fences.feature import parse_feature
from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Fence, FenceVersion
from greenhaul_cloud.fold.fleet import fold_fleet
from greenhaul_cloud.fold.intervals import Visit
from greenhaul_cloud.fold.track import Fleet, Track
from greenhaul_cloud.fold.windows import windows_of
from greenhaul_sim.truth import Truth
from greenhaul_sim.truth_reports import Report, reports_of

AS_OF_MS = 10**12

Stay = tuple[float, float]  # seconds; an open end far in the future
Key = tuple[int, str]  # vehicle, fence

OPEN_S = 1e9


def track_of(reports: Sequence[Report]) -> Track:
    """Reports as the store would hand them out; time counts from 1970."""
    return Track.of(
        [r.time_s * 1000 for r in reports],
        [r.latitude_deg for r in reports],
        [r.longitude_deg for r in reports],
        speed_kmh=[r.speed_kmh for r in reports],
        heading_deg=[r.heading_deg for r in reports],
        odometer_km=[r.odometer_km for r in reports],
        ignition=[int(r.is_ignition_on) for r in reports],
        digest=[r.time_s for r in reports],
    )


def versions_of(truth: Truth, **properties: Any) -> list[FenceVersion]:
    """The fences of a truth, each with these properties."""
    return [parse_feature(fence.feature(truth.town.plane, **properties)) for fence in truth.fences]


def found_in(tracks: Sequence[Track], versions: Sequence[FenceVersion]) -> dict[Key, list[Visit]]:
    """What the engine finds, by vehicle and fence."""
    windows = {version.fence_id: windows_of(Fence.of([version])) for version in versions}
    index = FenceIndex(versions)
    found = fold_fleet(Fleet.of(tracks), windows, as_of_ms=AS_OF_MS, index=index)
    return {
        (vehicle, fence_id): visits
        for vehicle, fences in found.by_vehicle().items()
        for fence_id, visits in fences.items()
    }


def reported(truth: Truth, every_s: int, noise_m: float = 0.0) -> list[Track]:
    """Each truck's track as reported every so many seconds."""
    return [
        track_of(reports_of(number, drive, truth.town.plane, every_s=every_s, noise_m=noise_m))
        for number, drive in enumerate(truth.drives)
    ]


def true_stays(truth: Truth) -> dict[Key, list[Stay]]:
    """The visits of a truth, by vehicle and fence."""
    stays: dict[Key, list[Stay]] = defaultdict(list)
    for visit in truth.visits:
        left_s = OPEN_S if visit.left_s is None else visit.left_s
        stays[visit.vehicle, visit.fence_id].append((visit.entered_s, left_s))
    return stays


def reported_on(truth: Truth, tracks: Sequence[Track]) -> float:
    """The share of true visits with a report from inside: all that reports alone can tell."""
    asked = seen = 0
    for visit in truth.visits:
        time_s = tracks[visit.vehicle].device_time_ms / 1000
        left_s = OPEN_S if visit.left_s is None else visit.left_s
        if left_s > time_s[0] and visit.entered_s < time_s[-1]:
            asked += 1
            seen += bool(((time_s >= visit.entered_s) & (time_s <= left_s)).any())
    return seen / asked


def stays_of(visits: Mapping[Key, Sequence[Visit]]) -> dict[Key, list[Stay]]:
    """Visits as the engine tells them, in seconds."""
    return {key: [_stay(visit) for visit in found] for key, found in visits.items()}


def _stay(visit: Visit) -> Stay:
    return visit.entered_ms / 1000, OPEN_S if visit.left_ms is None else visit.left_ms / 1000


@dataclass(frozen=True, slots=True)
class Score:
    """How what was found compares to what is true."""

    true_visits: int
    found_share: float  # of true visits, those that some visit found overlaps
    certain_precision: float  # of visits found and certain, those that overlap a true one
    entry_errors_s: list[float]  # of entries by crossing that match, sorted

    def error_s(self, part: float) -> float:
        """A quantile of the errors."""
        return self.entry_errors_s[int(part * (len(self.entry_errors_s) - 1))]


def scored(
    truth: Mapping[Key, Sequence[Stay]],
    found: Mapping[Key, Sequence[Visit]],
    tracks: Sequence[Track],
) -> Score:
    """Match visits to the truth; true visits before the first or after the last report are none."""
    asked = hits = 0
    errors_s: list[float] = []
    matched: set[tuple[int, str, int]] = set()
    for (vehicle, fence_id), stays in truth.items():
        times_ms = tracks[vehicle].device_time_ms
        here = found.get((vehicle, fence_id), [])
        for entered_s, left_s in stays:
            if left_s <= times_ms[0] / 1000 or entered_s >= times_ms[-1] / 1000:
                continue
            asked += 1
            overlapping = [
                visit for visit in here if _stay(visit)[0] < left_s and _stay(visit)[1] > entered_s
            ]
            hits += bool(overlapping)
            matched.update((vehicle, fence_id, visit.entered_ms) for visit in overlapping)
            if overlapping and overlapping[0].entered_by == "crossing":
                errors_s.append(abs(overlapping[0].entered_ms / 1000 - entered_s))
    certain = [
        (*key, visit.entered_ms)
        for key, visits in found.items()
        for visit in visits
        if visit.certainty == "certain"
    ]
    right = sum(key in matched for key in certain)
    return Score(asked, hits / asked, right / len(certain), sorted(errors_s))
