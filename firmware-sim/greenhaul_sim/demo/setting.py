"""What the demo's collector is told: an enterprise, its trucks, three fences around the centre."""

from dataclasses import dataclass
from typing import Any

from greenhaul_protocols.jt808.border import source_name
from greenhaul_protocols.times import format_time
from greenhaul_sim.identity import Identity
from greenhaul_sim.streets import Plane

ENTERPRISE = {"id": "luhe", "name": "绿禾城配 Luhe City Delivery"}

# Terminals nobody has claimed: they are stored and shown all the same.
UNCLAIMED = 2

# Validity reaches back beyond the fleet's simulated past.
_VALID_BEFORE_MS = 3 * 86_400_000

# Metres east and north of the centre.
_CORE = (
    (-1050, -620),
    (-350, -1080),
    (620, -960),
    (1120, -150),
    (880, 820),
    (60, 1090),
    (-930, 760),
)
_SLOW = ((-2600, -900), (-1250, -1100), (-1150, 1250), (-2450, 1400))
_PARK = ((1500, 1300), (2300, 1250), (2450, 2100), (1650, 2250))


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One truck of the enterprise."""

    vehicle: dict[str, Any]
    binding: dict[str, Any]


def enrol(identities: list[Identity], now_ms: int) -> list[Enrolment]:
    """Vehicles and bindings for all terminals but the last few."""
    since = format_time(now_ms - _VALID_BEFORE_MS)
    enrolments = []
    for identity in identities[: max(len(identities) - UNCLAIMED, 1)]:
        vehicle_id = f"truck-{identity.phone[-4:]}"
        vehicle = {
            "id": vehicle_id,
            "plate": f"{identity.plate[:2]}·{identity.plate[2:]}",
            "enterprise_id": ENTERPRISE["id"],
            "energy": "electric" if identity.is_electric else "diesel",
            "class": "light",
            "tags": ["demo"],
        }
        binding = {
            "source": source_name(identity.phone),
            "vehicle_id": vehicle_id,
            "valid_from": since,
        }
        enrolments.append(Enrolment(vehicle, binding))
    return enrolments


def fences(plane: Plane, now_ms: int) -> list[dict[str, Any]]:
    """The fences as GeoJSON features."""
    since = format_time(now_ms - _VALID_BEFORE_MS)
    return [
        _fence(
            plane,
            _CORE,
            id="core",
            name="核心区（柴油车禁行）Zero-emission core",
            severity="serious",
            applies_to={"energy": ["diesel"]},
            rules=[{"rule": "no_entry"}],
            valid_from=since,
        ),
        _fence(
            plane,
            _SLOW,
            id="hospital",
            name="医院区限速 Hospital quarter, 40 km/h",
            severity="warning",
            rules=[{"rule": "speed_limit", "limit_kmh": 40}],
            valid_from=since,
        ),
        _fence(
            plane,
            _PARK,
            id="park",
            name="公园（货车禁行）Park, no trucks",
            severity="info",
            rules=[{"rule": "no_entry"}],
            valid_from=since,
        ),
    ]


def _fence(plane: Plane, corners: tuple[tuple[int, int], ...], **properties: Any) -> dict[str, Any]:
    degrees = [plane.to_degrees(x_m, y_m) for x_m, y_m in (*corners, corners[0])]
    ring = [[round(longitude, 6), round(latitude, 6)] for latitude, longitude in degrees]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }
