"""A circular fence, solved exactly in its local plane; maps and boxes get a polygon around it."""

from dataclasses import dataclass

import numpy as np
from shapely import Polygon

from greenhaul_cloud.fences.plane import Plane

# The polygon lies outside the circle by at most a thousandth of its radius.
_CORNERS = 72


@dataclass(frozen=True, slots=True)
class Circle:
    """All places no farther than `radius_m` from the centre, in the plane around it (WGS-84)."""

    longitude_deg: float
    latitude_deg: float
    radius_m: float

    @property
    def plane(self) -> Plane:
        """The plane in which its metres are measured."""
        at = (self.longitude_deg, self.latitude_deg)
        return Plane.around((*at, *at))

    def polygon(self) -> Polygon:
        """A regular polygon that holds the circle and touches it in the middle of each side."""
        plane = self.plane
        angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        reach_m = self.radius_m / np.cos(np.pi / _CORNERS)
        return Polygon(
            np.stack(
                (
                    self.longitude_deg + reach_m * np.cos(angle) / plane.east_m,
                    self.latitude_deg + reach_m * np.sin(angle) / plane.north_m,
                ),
                axis=1,
            )
        )
