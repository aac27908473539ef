"""Tracks laid over an index: what they have to do with its edges, found for all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.survey import Cuts, Meetings, Survey
from greenhaul_cloud.fold.path import Path
from greenhaul_cloud.fold.segments import Segments
from greenhaul_cloud.fold.track import Fleet, Track
from greenhaul_cloud.fold.way import Way

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Laid:
    """A fleet over an index. drawn: (n - 1,) along which segments there is a path: along none from
    one vehicle's last reading to the next one's first."""

    fleet: Fleet
    segments: Segments
    drawn: Bools
    way: Way
    meetings: Meetings

    @classmethod
    def of(cls, fleet: Fleet, index: FenceIndex) -> "Laid":
        """The same of each track as if it were alone."""
        segments = Segments.of(fleet.track)
        drawn = segments.drawn(index.settings)
        drawn[fleet.first[1:-1] - 1] = False
        way = Way.of(fleet.track, segments, index, drawn)
        at = fleet.track.longitude_deg, fleet.track.latitude_deg
        return cls(fleet, segments, drawn, way, index.meet(*at, drawn, way.curves))


def paths_of(tracks: Sequence[Track], index: FenceIndex) -> list[Path]:
    """A path for each track: surveyed together, for a survey costs a short track as much as
    hundreds of readings. The same as each alone, but for roundings within curves."""
    laid = Laid.of(Fleet.of(tracks), index)
    fleet, met, cuts = laid.fleet, laid.meetings, laid.meetings.cuts
    borders = np.append(0, np.cumsum([len(track) for track in tracks]))
    held = index.held(fleet.track.longitude_deg, fleet.track.latitude_deg)
    points = [_by_track(found, found[1], borders) for found in (held, met.near, met.on_edge)]
    columns = (cuts.slot, cuts.segment, cuts.part, cuts.place)
    of_cuts = [_by_track(column[None], cuts.segment, borders) for column in columns]
    paths = []
    for number, track in enumerate(tracks):
        low, high = int(borders[number]), int(borders[number + 1])
        if low == high:
            paths.append(Path(track, index))
            continue
        inside, near, on_edge = (_from(found[number], low) for found in points)
        slot, segment, part, place = (found[number][0] for found in of_cuts)
        survey = Survey(
            high - low, inside, Meetings(near, on_edge, Cuts(slot, segment - low, part, place))
        )
        surveyed = laid.segments.part(low, high), laid.way.part(low, high), survey
        paths.append(Path(track, index, surveyed))
    return paths


def _by_track(
    columns: NDArray[_Scalar], point: Indices, borders: Indices
) -> list[NDArray[_Scalar]]:
    """Columns (k, m) of rows about points, by the track in which the points lie; otherwise in the
    order in which they are."""
    owner = np.searchsorted(borders, point, side="right") - 1
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(1, len(borders) - 1))
    return np.split(columns[:, order], ends, axis=1)


def _from(found: Indices, low: int) -> Indices:
    """(2, m) slot and point, counted from the track's first reading."""
    return np.stack((found[0], found[1] - low))
