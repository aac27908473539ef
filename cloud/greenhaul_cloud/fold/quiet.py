"""Which of many tracks come near to which fences: asked of a whole fleet at once.

Most vehicles drive and stand where no fence is. That alone, where nothing was going on before,
says that there is nothing to fold.
"""

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fold.laid import Laid
from greenhaul_cloud.fold.track import Fleet

Indices = NDArray[np.intp]


def touched_fences(fleet: Fleet, index: FenceIndex) -> dict[int, set[str]]:
    """By number of the vehicle, ids of the fences entered or come near to (`Path` says the same
    of each track by itself); vehicles that keep away from all of them are left out."""
    track, vehicle = fleet.track, fleet.vehicle
    if len(track) == 0 or not index.versions:
        return {}
    laid = Laid.of(fleet, index)
    meetings = laid.meetings
    # where a drawn path meets no edge, its first reading is on the side of all the others
    asked = np.flatnonzero(np.append(True, ~laid.drawn))
    slot, point = index.held(track.longitude_deg[asked], track.latitude_deg[asked])
    pairs = np.concatenate(
        (
            np.stack((slot, asked[point])),
            meetings.near,
            np.stack((meetings.cuts.slot, meetings.cuts.segment)),
        ),
        axis=1,
    )
    touched: dict[int, set[str]] = {}
    owners = fleet.number[vehicle[pairs[1]]]
    for slot, owner in np.unique(np.stack((pairs[0], owners)), axis=1).T.tolist():
        touched.setdefault(owner, set()).add(index.versions[slot].fence_id)
    return touched
