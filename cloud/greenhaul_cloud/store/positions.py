"""Where everybody is: the newest position of every vehicle, and of every unclaimed source."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, bindparam, case, exists, or_, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.marks import LEAD_GAP_MS
from greenhaul_cloud.store.scope import Scope
from greenhaul_cloud.store.statements import time_ms_of

# A terminal reports at least each minute while on; five silent minutes are no jitter.
OFFLINE_AFTER_MS = 300_000
# Slower than a walk is GNSS noise of a parked truck.
MOVING_FROM_KMH = 2.0

_latest = tables.latest.c
_source = tables.source.c
_binding = tables.binding.c
_vehicle = tables.vehicle.c
_violation = tables.violation.c


class Whereabouts(NamedTuple):
    """A vehicle, or an unclaimed source (vehicle_id None), its position and how it is doing.

    Times in milliseconds.
    """

    vehicle_id: str | None
    source: str
    plate: str | None
    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None
    speed_kmh: float | None
    heading_deg: float | None
    odometer_km: float | None
    device_time: int
    received_time: int
    stored_time: int
    time_quality: int
    state: str  # moving, stopped, offline
    is_violating: bool
    enterprise_id: str | None
    gateway_id: str | None
    digest: int
    priority: int | None

    @property
    def key(self) -> str:
        """Names the mark on a map."""
        return f"source:{self.source}" if self.vehicle_id is None else f"vehicle:{self.vehicle_id}"


def where_everybody(
    connection: Connection, scope: Scope, now_ms: int, *, fleet_id: str | None = None
) -> list[Whereabouts]:
    """Newest position of every vehicle the caller may see, by vehicle, then unclaimed sources.

    fleet_id: only of its vehicles.
    """
    query = _query(connection.dialect.name, scope, fleet_id is not None)
    values = {"silent_since": now_ms - OFFLINE_AFTER_MS, "fleet_id": fleet_id}
    rows = connection.execute(query, values).all()
    found = _leaders(map(Whereabouts._make, rows))
    return sorted(found, key=lambda one: (one.vehicle_id is None, one.vehicle_id or one.source))


# Made once for each caller's scope: making it costs more than finding a truck.
@lru_cache(maxsize=64)
def _query(dialect: str, scope: Scope, is_of_fleet: bool) -> Select[Any]:
    at = _latest.device_time
    silent_since = bindparam("silent_since", type_=at.type)
    is_silent = and_(
        _latest.received_time < silent_since,
        or_(_source.last_received_time.is_(None), _source.last_received_time < silent_since),
    )
    is_violating = exists().where(
        _violation.vehicle_id == _binding.vehicle_id,
        _violation.ended_at.is_(None),
        _violation.state != "withdrawn",
    )
    shown = {
        **{name: _latest[name] for name in Whereabouts._fields if name in _latest},
        "vehicle_id": _binding.vehicle_id,
        "source": _source.name,
        "plate": _vehicle.plate,
        "device_time": time_ms_of(dialect, at),
        "received_time": time_ms_of(dialect, _latest.received_time),
        "stored_time": time_ms_of(dialect, _latest.stored_time),
        "state": case(
            (is_silent, "offline"),
            (_latest.speed_kmh >= MOVING_FROM_KMH, "moving"),
            else_="stopped",
        ),
        "is_violating": is_violating,
        "enterprise_id": _vehicle.enterprise_id,
        "gateway_id": _source.gateway_id,
        "priority": _binding.priority,
    }
    query = (
        select(*(shown[name].label(name) for name in Whereabouts._fields))
        .select_from(tables.latest)
        .join(tables.source, _source.id == _latest.source_id)
        .outerjoin(
            tables.binding,
            and_(
                _binding.source_id == _latest.source_id,
                _binding.valid_from <= at,
                or_(_binding.valid_to.is_(None), _binding.valid_to > at),
            ),
        )
        .outerjoin(tables.vehicle, _vehicle.id == _binding.vehicle_id)
    )
    if is_of_fleet:
        query = query.where(_vehicle.fleet_id == bindparam("fleet_id"))
    return scope.narrow(query, _binding.vehicle_id)


def _leaders(everybody: Iterable[Whereabouts]) -> list[Whereabouts]:
    """Of several sources of a vehicle the one that leads its track now."""
    by_vehicle: dict[str | tuple[str], list[Whereabouts]] = {}
    for one in everybody:
        by_vehicle.setdefault(one.vehicle_id or (one.source,), []).append(one)
    return [found[0] if len(found) == 1 else _leader(found) for found in by_vehicle.values()]


def _leader(candidates: list[Whereabouts]) -> Whereabouts:
    newest = max(map(_told_ms, candidates))
    fresh = (one for one in candidates if _told_ms(one) >= newest - LEAD_GAP_MS)
    # as on the track: by priority, and of equals by name
    return min(fresh, key=lambda one: (-(one.priority or 0), one.source))


def _told_ms(one: Whereabouts) -> int:
    """A clock that is ahead says nothing of later than when it was heard."""
    return min(one.device_time, one.stored_time)
