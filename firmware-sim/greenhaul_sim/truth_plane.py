"""The plane of the truth, with the lengths of the WGS-84 ellipsoid.

Towns make do with a mean sphere, a third of a percent off; a circle of a kilometre would lie three
metres beside the one it is held against.
"""

import math
from dataclasses import dataclass

from greenhaul_sim.streets import Plane, Point

_SEMI_MAJOR_M = 6_378_137.0
_FLATTENING = 1 / 298.257_223_563


@dataclass(frozen=True, slots=True)
class EllipsoidPlane(Plane):
    """The local plane around a centre, true to the ellipsoid there."""

    def to_degrees(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude of a place."""
        east_m, north_m = self._metres_per_degree()
        return self.latitude_deg + y_m / north_m, self.longitude_deg + x_m / east_m

    def to_metres(self, latitude_deg: float, longitude_deg: float) -> Point:
        """The inverse of `to_degrees`."""
        east_m, north_m = self._metres_per_degree()
        return Point(
            (longitude_deg - self.longitude_deg) * east_m,
            (latitude_deg - self.latitude_deg) * north_m,
        )

    def _metres_per_degree(self) -> tuple[float, float]:
        """By the radii of curvature along the parallel and along the meridian."""
        phi = math.radians(self.latitude_deg)
        squared = _FLATTENING * (2 - _FLATTENING)
        curvature = 1 - squared * math.sin(phi) ** 2
        along_m = _SEMI_MAJOR_M / math.sqrt(curvature) * math.cos(phi)
        across_m = _SEMI_MAJOR_M * (1 - squared) / curvature**1.5
        return math.radians(along_m), math.radians(across_m)
