"""Which datum a coordinate is in, said by its type; and the way from one to another.

GNSS gives WGS-84. Chinese map providers publish GCJ-02 (some 500 m off, by a formula of their
own), Baidu BD-09 (a second shift on top of it). A conversion takes one type and gives another, so
what is converted already cannot be converted again.

GCJ-02 is the identity outside a box around China, as in every map provider's own code. The box
also holds parts of neighbouring countries; within 1 km of its border the inverse is not unique.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
DatumName = Literal["wgs84", "gcj02", "bd09"]

CHINA_LONGITUDES_DEG = (72.004, 137.8347)
CHINA_LATITUDES_DEG = (0.8293, 55.8271)

# Krasovsky 1940, on which the published formula of GCJ-02 is built.
_SEMI_MAJOR_M = 6_378_245.0
_ECCENTRICITY_SQUARED = 0.006_693_421_622_965_943

# Each step leaves about a hundredth of the error: six take half a kilometre to well below a micron.
_INVERSE_STEPS = 6

_BD09_LONGITUDE_DEG, _BD09_LATITUDE_DEG = 0.0065, 0.006
_BD09_WAVE = np.pi * 3000 / 180


@dataclass(frozen=True, slots=True)
class Wgs84:
    """Columns of shape (n,) as a GNSS receiver gives them (≈ CGCS2000)."""

    longitude_deg: Float64s
    latitude_deg: Float64s


@dataclass(frozen=True, slots=True)
class Gcj02:
    """Columns of shape (n,) as on the maps of Amap and Tencent."""

    longitude_deg: Float64s
    latitude_deg: Float64s


@dataclass(frozen=True, slots=True)
class Bd09:
    """Columns of shape (n,) as on Baidu's maps, in degrees."""

    longitude_deg: Float64s
    latitude_deg: Float64s


def gcj02_of(at: Wgs84 | Bd09) -> Gcj02:
    """The same places in GCJ-02."""
    if isinstance(at, Bd09):
        return Gcj02(*_inverse(_to_bd09, at.longitude_deg, at.latitude_deg))
    assert isinstance(at, Wgs84), "already in GCJ-02"
    is_shifted = is_in_china(at.longitude_deg, at.latitude_deg)
    longitude_deg, latitude_deg = _to_gcj02(at.longitude_deg, at.latitude_deg)
    return Gcj02(
        np.where(is_shifted, longitude_deg, at.longitude_deg),
        np.where(is_shifted, latitude_deg, at.latitude_deg),
    )


def bd09_of(at: Wgs84 | Gcj02) -> Bd09:
    """The same places in BD-09."""
    if isinstance(at, Wgs84):
        at = gcj02_of(at)
    assert isinstance(at, Gcj02), "already in BD-09"
    return Bd09(*_to_bd09(at.longitude_deg, at.latitude_deg))


def wgs84_of(at: Gcj02 | Bd09) -> Wgs84:
    """The same places in WGS-84; exact to less than a millimetre."""
    if isinstance(at, Bd09):
        at = gcj02_of(at)
    assert isinstance(at, Gcj02), "already in WGS-84"
    is_shifted = is_in_china(at.longitude_deg, at.latitude_deg)
    longitude_deg, latitude_deg = _inverse(_to_gcj02, at.longitude_deg, at.latitude_deg)
    return Wgs84(
        np.where(is_shifted, longitude_deg, at.longitude_deg),
        np.where(is_shifted, latitude_deg, at.latitude_deg),
    )


# By the name a fence feature or a query gives: columns of degrees read as what they are.
READ_AS: dict[DatumName, Callable[[Float64s, Float64s], Wgs84 | Gcj02 | Bd09]] = {
    "wgs84": Wgs84,
    "gcj02": Gcj02,
    "bd09": Bd09,
}


def is_in_china(longitude_deg: Float64s, latitude_deg: Float64s) -> NDArray[np.bool_]:
    """Whether GCJ-02 shifts a place: the box of the map providers, not the border of the state."""
    west, east = CHINA_LONGITUDES_DEG
    south, north = CHINA_LATITUDES_DEG
    is_inside: NDArray[np.bool_] = (
        (longitude_deg >= west)
        & (longitude_deg <= east)
        & (latitude_deg >= south)
        & (latitude_deg <= north)
    )
    return is_inside


def _to_gcj02(longitude_deg: Float64s, latitude_deg: Float64s) -> tuple[Float64s, Float64s]:
    """The published formula: metres of shift by polynomials and waves around 105° E, 35° N."""
    x, y = longitude_deg - 105.0, latitude_deg - 35.0
    root, ripple = np.sqrt(np.abs(x)), _waves(x, (20, 6), (20, 2))
    east_m = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + ripple
    east_m += _waves(x, (20, 1), (40, 1 / 3)) + _waves(x, (150, 1 / 12), (300, 1 / 30))
    north_m = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + ripple
    north_m += _waves(y, (20, 1), (40, 1 / 3)) + _waves(y, (160, 1 / 12), (320, 1 / 30))
    phi = np.radians(latitude_deg)
    curvature = 1 - _ECCENTRICITY_SQUARED * np.sin(phi) ** 2
    meridian_m = _SEMI_MAJOR_M * (1 - _ECCENTRICITY_SQUARED) / curvature**1.5
    parallel_m = _SEMI_MAJOR_M / np.sqrt(curvature) * np.cos(phi)
    return longitude_deg + np.degrees(east_m / parallel_m), latitude_deg + np.degrees(
        north_m / meridian_m
    )


def _waves(x: Float64s, *terms: tuple[float, float]) -> Float64s:
    """Two thirds of a sum of sines, each of (amplitude, half-turns a degree)."""
    total: Float64s = np.zeros_like(x)
    for amplitude, half_turns in terms:
        total = total + amplitude * np.sin(half_turns * np.pi * x)
    return total * (2 / 3)


def _to_bd09(longitude_deg: Float64s, latitude_deg: Float64s) -> tuple[Float64s, Float64s]:
    """The published formula: a ripple in polar coordinates and a fixed shift."""
    radius = np.hypot(longitude_deg, latitude_deg) + 2e-5 * np.sin(latitude_deg * _BD09_WAVE)
    angle = np.arctan2(latitude_deg, longitude_deg) + 3e-6 * np.cos(longitude_deg * _BD09_WAVE)
    return (
        radius * np.cos(angle) + _BD09_LONGITUDE_DEG,
        radius * np.sin(angle) + _BD09_LATITUDE_DEG,
    )


def _inverse(
    shift: Callable[[Float64s, Float64s], tuple[Float64s, Float64s]],
    longitude_deg: Float64s,
    latitude_deg: Float64s,
) -> tuple[Float64s, Float64s]:
    """Where a shift leads to the given place, by fixed-point steps."""
    guess_longitude, guess_latitude = longitude_deg, latitude_deg
    for _ in range(_INVERSE_STEPS):
        reached_longitude, reached_latitude = shift(guess_longitude, guess_latitude)
        guess_longitude = guess_longitude - (reached_longitude - longitude_deg)
        guess_latitude = guess_latitude - (reached_latitude - latitude_deg)
    return guess_longitude, guess_latitude
