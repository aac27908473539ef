"""Recorded drives read point for point, whatever wrote them.

`read_track(path, …)` looks at the content, not at the name. What a file says and a point cannot
be made of comes back as `Unreadable`, with its reason: nothing is skipped in silence.
"""

from greenhaul_sim.tracks.point import LocalTimes, Track, TrackPoint, Unreadable
from greenhaul_sim.tracks.reading import FORMATS, read_track

__all__ = ["FORMATS", "LocalTimes", "Track", "TrackPoint", "Unreadable", "read_track"]
