"""GPX 1.0 and 1.1: the points of all tracks; of routes, or way points, where there is no track."""

from datetime import UTC
from typing import TYPE_CHECKING

from greenhaul_protocols.errors import DecodeError
from greenhaul_sim.tracks.point import LocalTimes, Track, TrackPoint

if TYPE_CHECKING:
    from gpxpy.gpx import GPXRoutePoint, GPXTrackPoint, GPXWaypoint

_UTC = LocalTimes(zone=UTC)  # what GPX times without a zone are, by its schema


def read_gpx(name: str, text: str, times: LocalTimes) -> Track:  # noqa: ARG001
    """A GPX document. Its times are UTC by its schema. Raises DecodeError."""
    import gpxpy
    from gpxpy.gpx import GPXException

    try:
        document = gpxpy.parse(text)
    except (GPXException, ValueError) as error:
        raise DecodeError(f"{name}: not GPX: {error}") from error

    chosen: list[GPXTrackPoint | GPXRoutePoint | GPXWaypoint] = [
        point for track in document.tracks for segment in track.segments for point in segment.points
    ]
    chosen = chosen or [point for route in document.routes for point in route.points]
    chosen = chosen or [*document.waypoints]
    return Track(name, tuple(_point(number, point) for number, point in enumerate(chosen, 1)))


def _point(number: int, point: "GPXTrackPoint | GPXRoutePoint | GPXWaypoint") -> TrackPoint:
    speed_ms = getattr(point, "speed", None)
    return TrackPoint(
        number,
        _UTC.to_ms(point.time) if point.time else None,
        point.latitude,
        point.longitude,
        altitude_m=point.elevation,
        speed_kmh=None if speed_ms is None else speed_ms * 3.6,
        heading_deg=getattr(point, "course", None),
        satellites=None if point.satellites is None else round(point.satellites),
    )
