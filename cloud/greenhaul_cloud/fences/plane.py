"""The local affine plane in which a fence's metres are measured.

An edge is a straight line in longitude and latitude (RFC 7946). An affine plane keeps straight
lines straight, so crossings found in metres are those of the drawn edge; only lengths are
approximate: within 0.2 % at 20 km from the origin at 60° of latitude, better nearer the equator.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]


def metres_per_degree(latitude_deg: Float64s | float) -> tuple[Float64s, Float64s]:
    """Length of a degree of longitude and of latitude on the WGS-84 ellipsoid, in metres."""
    # Cosines of 2, 3, 4 and 5 times the latitude as polynomials in that of the latitude itself.
    cosine = np.cos(np.radians(np.asarray(latitude_deg, dtype=np.float64)))
    square = cosine * cosine
    three, five = 4 * square - 3, (16 * square - 20) * square + 5
    east_m = cosine * (111_412.84 - 93.5 * three + 0.118 * five)
    north_m = 111_132.954 - 559.822 * (2 * square - 1) + 1.175 * (8 * square * (square - 1) + 1)
    return east_m, north_m


def distances_m(
    longitude_deg: Float64s,
    latitude_deg: Float64s,
    to_longitude_deg: Float64s,
    to_latitude_deg: Float64s,
) -> Float64s:
    """Distance of each pair of points, shape as the inputs; meant for up to some tens of km."""
    east_m, north_m = metres_per_degree((latitude_deg + to_latitude_deg) / 2)
    distances: Float64s = np.hypot(
        (to_longitude_deg - longitude_deg) * east_m, (to_latitude_deg - latitude_deg) * north_m
    )
    return distances


@dataclass(frozen=True, slots=True)
class Plane:
    """Affine map from degrees to metres around an origin."""

    longitude_deg: float
    latitude_deg: float
    east_m: float  # metres per degree of longitude
    north_m: float  # metres per degree of latitude

    @classmethod
    def around(cls, bounds: tuple[float, float, float, float]) -> "Plane":
        """The plane of a box (west, south, east, north) in degrees, true at its middle."""
        west, south, east, north = bounds
        latitude_deg = (south + north) / 2
        east_m, north_m = metres_per_degree(latitude_deg)
        return cls((west + east) / 2, latitude_deg, float(east_m), float(north_m))

    def margin_deg(self, distance_m: float) -> tuple[float, float]:
        """Degrees of longitude and latitude that surely cover a distance, for box searches."""
        slack = 1.001 * distance_m + 0.01
        return slack / max(self.east_m, math.ulp(1.0)), slack / self.north_m
