"""Whose a source was, when. Making or ending a binding touches no reading."""

from sqlalchemy import Connection, or_, select, update

from greenhaul_cloud.store.marks import mark_vehicles
from greenhaul_cloud.store.statements import insert_into, insert_row
from greenhaul_cloud.store.tables import binding, source, vehicle
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.times import TIME_MS_MAX, format_time

PRIORITY_DEFAULT = 0  # a higher number leads


def bind(
    conn: Connection,
    source_name: str,
    vehicle_id: str,
    *,
    valid_from_ms: int,
    valid_to_ms: int | None = None,
    priority: int = PRIORITY_DEFAULT,
    now_ms: int,
) -> int:
    """Say that a source was a vehicle's in [valid_from, valid_to); the binding's id.

    The source need not have sent anything yet. A binding without end that began earlier is ended
    where this one begins: that is how a terminal moves. Raises Rejected for an unknown vehicle, an
    empty span, or a span in which the source is bound already.
    """
    if valid_to_ms is not None and valid_to_ms <= valid_from_ms:
        raise Rejected("valid_to must be later than valid_from")
    if conn.execute(select(vehicle.c.id).where(vehicle.c.id == vehicle_id)).first() is None:
        raise Rejected(f"vehicle {vehicle_id!r} is not known")
    source_id = _lock_source(conn, source_name)
    _make_room(conn, source_id, source_name, valid_from_ms, valid_to_ms, now_ms)
    binding_id = insert_row(
        conn,
        binding,
        {
            "source_id": source_id,
            "vehicle_id": vehicle_id,
            "valid_from": valid_from_ms,
            "valid_to": valid_to_ms,
            "priority": priority,
            "created_at": now_ms,
        },
    )
    until_ms = TIME_MS_MAX if valid_to_ms is None else valid_to_ms
    mark_vehicles(conn, {vehicle_id: (valid_from_ms, until_ms)}, now_ms)
    return binding_id


def end_binding(conn: Connection, binding_id: int, valid_to_ms: int, now_ms: int) -> None:
    """Let a binding end at an instant, earlier or later than it did.

    Raises Rejected when it is not known, would end before it begins, or would run into the
    source's next one.
    """
    found = conn.execute(select(binding).where(binding.c.id == binding_id)).one_or_none()
    if found is None:
        raise Rejected(f"binding {binding_id} is not known")
    if valid_to_ms <= found.valid_from:
        raise Rejected("valid_to must be later than valid_from")
    following = select(binding.c.valid_from).where(
        binding.c.source_id == found.source_id,
        binding.c.valid_from > found.valid_from,
        binding.c.valid_from < valid_to_ms,
    )
    if conn.execute(following).first():
        raise Rejected("the source is bound to another vehicle before that")
    _end(conn, binding_id, found.vehicle_id, found.valid_to, valid_to_ms, now_ms)


def _lock_source(conn: Connection, name: str) -> int:
    conn.execute(insert_into(conn, source).values(name=name).on_conflict_do_nothing())
    query = select(source.c.id).where(source.c.name == name).with_for_update()
    return int(conn.execute(query).scalar_one())


def _make_room(
    conn: Connection,
    source_id: int,
    source_name: str,
    from_ms: int,
    to_ms: int | None,
    now_ms: int,
) -> None:
    overlapping = select(binding).where(
        binding.c.source_id == source_id,
        or_(binding.c.valid_to.is_(None), binding.c.valid_to > from_ms),
    )
    if to_ms is not None:
        overlapping = overlapping.where(binding.c.valid_from < to_ms)
    for row in conn.execute(overlapping).all():
        if row.valid_to is not None or row.valid_from >= from_ms:
            raise Rejected(
                f"source {source_name!r} is bound to vehicle {row.vehicle_id!r} from "
                f"{format_time(row.valid_from)}; end that binding first"
            )
        _end(conn, row.id, row.vehicle_id, None, from_ms, now_ms)


def _end(
    conn: Connection,
    binding_id: int,
    vehicle_id: str,
    was_ms: int | None,
    to_ms: int,
    now_ms: int,
) -> None:
    conn.execute(update(binding).where(binding.c.id == binding_id).values(valid_to=to_ms))
    before_ms = TIME_MS_MAX if was_ms is None else was_ms
    mark_vehicles(conn, {vehicle_id: (min(before_ms, to_ms), max(before_ms, to_ms))}, now_ms)
