"""What a vehicle is, in time: energy, class, tags."""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, select

from greenhaul_cloud.store import tables
from greenhaul_cloud.store.marks import mark_vehicles
from greenhaul_cloud.store.statements import insert_into
from greenhaul_protocols.times import TIME_MS_MAX

_attributes = tables.vehicle_attributes.c

# "Always" in a column that must hold an instant RFC 3339 can say.
ALWAYS_FROM_MS = 0


@dataclass(frozen=True, slots=True)
class Attributes:
    """What fences' `applies_to` asks for; None: not known."""

    energy: str | None
    vehicle_class: str | None
    tags: tuple[str, ...]


def set_attributes(
    connection: Connection, vehicle_id: str, from_ms: int | None, value: Attributes, now_ms: int
) -> None:
    """Says what a vehicle is from an instant (None: always) until the next entry, if any.

    Marks the vehicle dirty over that span, in the same transaction.
    """
    since_ms = ALWAYS_FROM_MS if from_ms is None else from_ms
    values = asdict(value)
    row = {"energy": values["energy"], "class": values["vehicle_class"], "tags": list(value.tags)}
    statement = insert_into(connection, tables.vehicle_attributes).values(
        vehicle_id=vehicle_id, valid_from=since_ms, **row
    )
    connection.execute(
        statement.on_conflict_do_update(index_elements=["vehicle_id", "valid_from"], set_=row)
    )
    following = select(func.min(_attributes.valid_from)).where(
        _attributes.vehicle_id == vehicle_id, _attributes.valid_from > since_ms
    )
    until_ms = connection.execute(following).scalar_one()
    span = (since_ms, TIME_MS_MAX if until_ms is None else until_ms)
    mark_vehicles(connection, {vehicle_id: span}, now_ms)
