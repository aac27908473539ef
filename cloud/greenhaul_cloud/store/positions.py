"""Where everybody is: the newest position of every vehicle, and of every unclaimed source."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, or_, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.findings import violating_vehicles
from greenhaul_cloud.store.marks import LEAD_GAP_MS
from greenhaul_cloud.store.scope import Scope

# A terminal reports at least each minute while on; five silent minutes are no jitter.
OFFLINE_AFTER_MS = 300_000
# Slower than a walk is GNSS noise of a parked truck.
MOVING_FROM_KMH = 2.0

_latest = tables.latest.c
_source = tables.source.c
_binding = tables.binding.c
_vehicle = tables.vehicle.c


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A vehicle (or unclaimed source), its position and how it is doing."""

    reading: RowMapping  # columns of `latest`, and source, vehicle_id, plate, enterprise_id
    state: str
    is_violating: bool

    @property
    def enterprise_id(self) -> str | None:
        """Whose vehicle it is."""
        return self.reading["enterprise_id"]  # type: ignore[no-any-return]

    @property
    def key(self) -> str:
        """Names the mark on a map."""
        vehicle_id = self.reading["vehicle_id"]
        return f"source:{self.reading['source']}" if vehicle_id is None else f"vehicle:{vehicle_id}"


def where_everybody(
    connection: Connection, scope: Scope, now_ms: int, *, fleet_id: str | None = None
) -> list[Whereabouts]:
    """Newest position of every vehicle the caller may see, by vehicle, then unclaimed sources.

    fleet_id: only of its vehicles.
    """
    at = _latest.device_time
    query = (
        select(
            tables.latest,
            _source.name.label("source"),
            _source.last_received_time,
            _source.gateway_id,
            _binding.vehicle_id,
            _binding.priority,
            _vehicle.plate,
            _vehicle.enterprise_id,
        )
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
    if fleet_id is not None:
        query = query.where(_vehicle.fleet_id == fleet_id)
    rows = connection.execute(scope.narrow(query, _binding.vehicle_id)).mappings().all()
    violating = violating_vehicles(connection)
    found = [
        Whereabouts(row, _state(row, now_ms), row["vehicle_id"] in violating)
        for row in _leaders(rows)
    ]
    return sorted(found, key=lambda one: (one.reading["vehicle_id"] is None, one.key))


def _leaders(rows: Iterable[RowMapping]) -> list[RowMapping]:
    """Of several sources of a vehicle the one that leads its track now."""
    by_vehicle: dict[Any, list[RowMapping]] = {}
    for row in rows:
        key = row["vehicle_id"] or (row["source"],)
        by_vehicle.setdefault(key, []).append(row)
    leaders = []
    for candidates in by_vehicle.values():
        if len(candidates) == 1:
            leaders.append(candidates[0])
            continue
        newest = max(row["device_time"] for row in candidates)
        fresh = (row for row in candidates if row["device_time"] >= newest - LEAD_GAP_MS)
        # as on the track: by priority, and of equals by name
        leaders.append(min(fresh, key=lambda row: (-(row["priority"] or 0), row["source"])))
    return leaders


def _state(row: RowMapping, now_ms: int) -> str:
    heard_ms = max(row["received_time"], row["last_received_time"] or 0)
    if now_ms - heard_ms > OFFLINE_AFTER_MS:
        return "offline"
    return "moving" if (row["speed_kmh"] or 0) >= MOVING_FROM_KMH else "stopped"
