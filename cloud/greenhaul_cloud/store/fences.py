"""Fences and their versions in time: a change of what is judged makes a version."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, or_, select, update

from greenhaul_cloud.fences.feature import PROPERTIES, parse_feature
from greenhaul_cloud.fences.model import Fence, FenceVersion
from greenhaul_cloud.store.marks import mark_vehicles
from greenhaul_cloud.store.pages import Page, PageSpec, read_page
from greenhaul_cloud.store.tables import binding, fence, fence_version, latest, visit
from greenhaul_protocols.errors import Rejected
from greenhaul_protocols.times import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time

# A fence may be back-dated this far, for the time it takes to draw it; further back the past has
# been told to people already, and a change of it is shown before it is made (dry-run, apply).
BACKDATED_MS_MAX = 3_600_000

# Fences asked for by name; of more, all are read, which costs no more and needs no parameters.
FENCES_ASKED_MAX = 1_000

# What a PUT changes in place; everything else is judged by, and makes a version.
_ATTRIBUTES = ("name", "severity")
_VALIDITY = ("valid_from", "valid_to")
_DEFAULTS: dict[str, Any] = {
    "severity": "serious", "datum": "wgs84", "confirm_s": 30, "hysteresis_m": 20, "gap_s": 120,
    "gap_m": 2000, "path": "curve", "timezone": "Asia/Shanghai", "applies_to": {}, "rules": [],
    "valid_to": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PutFence:
    """What a PUT did: the fence's version now, and whether it or anything is new."""

    fence_id: str
    version: int
    is_new_fence: bool
    is_new_version: bool


def put_fence(
    conn: Connection,
    feature: Mapping[str, Any],
    now_ms: int,
    user: str,
    *,
    is_applied: bool = False,
) -> PutFence:
    """Enter a fence, a version of it, or new attributes, whichever the feature says.

    Past events keep the version they were judged by. is_applied: the version may begin in the past,
    for what it changes has been looked at (`planned_version`). Raises FeatureError for a feature
    that cannot be honoured, Rejected for a version too far in the past; a first version may begin
    whenever it likes if no vehicle was about since then, so that nobody was told anything else.
    """
    wanted = parse_feature(feature, default_valid_from_ms=now_ms)
    held = _newest(conn, wanted.fence_id)
    if held is None:
        if vehicles_concerned(conn, wanted.fence_id, wanted.valid_from_ms):
            _refuse_past(wanted, now_ms, is_applied=is_applied)
        conn.execute(insert(fence).values(id=wanted.fence_id, created_at=now_ms, changed_at=now_ms))
        _insert_version(conn, wanted, feature, 1, now_ms, user)
        return PutFence(wanted.fence_id, 1, is_new_fence=True, is_new_version=True)
    filled = _filled(feature, wanted)
    before = held["feature"]
    if _judged(filled) == _judged(before) and not (is_applied and _begins_anew(feature, before)):
        _update_in_place(conn, held, filled, wanted, now_ms)
        return PutFence(wanted.fence_id, held["version"], False, False)
    if _says_old_start(feature, before) and not is_applied:
        # somebody changed what they had read: the change begins now, not when the old one did
        feature = _without_start(feature)
        wanted = parse_feature(feature, default_valid_from_ms=now_ms)
    _refuse_past(wanted, now_ms, is_applied=is_applied)
    version = held["version"] + 1
    _insert_version(conn, wanted, feature, version, now_ms, user)
    return PutFence(wanted.fence_id, version, is_new_fence=False, is_new_version=True)


def _refuse_past(wanted: FenceVersion, now_ms: int, *, is_applied: bool) -> None:
    if wanted.valid_from_ms < now_ms - BACKDATED_MS_MAX and not is_applied:
        began = format_time(max(wanted.valid_from_ms, TIME_MS_MIN))
        raise Rejected(
            f"fence {wanted.fence_id!r}: valid_from {began} is more than an hour ago; a change of "
            "the past is tried with dry-run and made with apply"
        )


def planned_version(
    conn: Connection, feature: Mapping[str, Any], now_ms: int
) -> FenceVersion | None:
    """The version that applying a feature would make; None if it would make none.

    Raises FeatureError.
    """
    wanted = parse_feature(feature, default_valid_from_ms=now_ms)
    held = _newest(conn, wanted.fence_id)
    if held is None:
        return wanted
    before = held["feature"]
    if _judged(_filled(feature, wanted)) == _judged(before) and not _begins_anew(feature, before):
        return None
    return replace(wanted, version=held["version"] + 1)


def end_fence(conn: Connection, fence_id: str, at_ms: int, now_ms: int) -> bool:
    """Let a fence's newest version end at an instant; False when there is no such fence."""
    held = _newest(conn, fence_id)
    if held is None:
        return False
    feature = held["feature"]
    properties = {
        **feature["properties"],
        "valid_to": format_time(max(at_ms, held["valid_from"] + 1)),
    }
    ended = {**feature, "properties": properties}
    _update_in_place(conn, held, ended, parse_feature(ended), now_ms)
    return True


def list_fences(conn: Connection, page: PageSpec) -> Page:
    """The newest version of every fence, by id."""
    query = select(fence_version).where(_is_newest())
    return read_page(conn, query, [fence_version.c.fence_id], page)


def newest_features(conn: Connection) -> list[dict[str, Any]]:
    """The feature of every fence, as its newest version has it, by id."""
    query = select(fence_version.c.feature).where(_is_newest())
    return list(conn.execute(query.order_by(fence_version.c.fence_id)).scalars())


def _is_newest() -> ColumnElement[bool]:
    versions = fence_version.alias()
    newest = select(func.max(versions.c.version)).where(
        versions.c.fence_id == fence_version.c.fence_id
    )
    return fence_version.c.version == newest.scalar_subquery()


def find_fence(conn: Connection, fence_id: str) -> RowMapping | None:
    """The newest version of a fence."""
    return _newest(conn, fence_id)


def list_versions(conn: Connection, fence_id: str, page: PageSpec) -> Page:
    """Every version of a fence, newest first."""
    query = select(fence_version).where(fence_version.c.fence_id == fence_id)
    return read_page(conn, query, [fence_version.c.version], page, is_descending=True)


def fences_state(conn: Connection) -> tuple[int, int]:
    """Changes with every change of any fence."""
    count, changed_at = conn.execute(select(func.count(), func.max(fence.c.changed_at))).one()
    return int(count), int(changed_at or 0)


def fence_changes(conn: Connection) -> dict[str, int]:
    """When each fence was last changed (ms), by id: another number means to load it anew."""
    return {
        row.id: int(row.changed_at) for row in conn.execute(select(fence.c.id, fence.c.changed_at))
    }


def load_fences(conn: Connection, fence_ids: Collection[str] | None = None) -> dict[str, Fence]:
    """Fences with all their versions, by id: the ones asked for, or every one."""
    versions: dict[str, list[FenceVersion]] = {}
    query = select(fence_version.c.fence_id, fence_version.c.version, fence_version.c.feature)
    if fence_ids is not None and len(fence_ids) <= FENCES_ASKED_MAX:
        query = query.where(fence_version.c.fence_id.in_(fence_ids))
    for row in conn.execute(query):
        parsed = parse_feature(row.feature, version=row.version)
        versions.setdefault(row.fence_id, []).append(parsed)
    return {fence_id: Fence.of(found) for fence_id, found in sorted(versions.items())}


def _newest(conn: Connection, fence_id: str) -> RowMapping | None:
    conn.execute(select(fence.c.id).where(fence.c.id == fence_id).with_for_update())
    query = select(fence_version).where(fence_version.c.fence_id == fence_id)
    newest = query.order_by(fence_version.c.version.desc()).limit(1)
    return conn.execute(newest).mappings().one_or_none()


def _filled(feature: Mapping[str, Any], parsed: FenceVersion) -> dict[str, Any]:
    """The feature with every default written out, so that later defaults do not change it."""
    stated = feature.get("properties") or {}
    given = {k: v for k, v in stated.items() if v is not None and k != "version"}
    properties = {
        **_DEFAULTS,
        **given,
        "id": parsed.fence_id,
        "name": parsed.name,
        "valid_from": format_time(parsed.valid_from_ms),
    }
    return {"type": "Feature", "geometry": _geometry(feature), "properties": properties}


def _geometry(feature: Mapping[str, Any]) -> Any:
    """The geometry as put; a rectangle given as `bbox` alone is written out as its polygon."""
    if feature.get("geometry") is not None:
        return feature["geometry"]
    sides: list[float] = feature["bbox"]  # RFC 7946, clause 5: with or without altitudes
    (west, south), (east, north) = sides[:2], sides[len(sides) // 2 :][:2]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _judged(feature: Mapping[str, Any]) -> tuple[Any, Any]:
    """What decides visits and violations. Foreign properties, the `version` shown among them, do
    not: whoever puts what he read changes nothing."""
    own = feature["properties"]
    kept = {k: own[k] for k in own.keys() & PROPERTIES if k not in (*_ATTRIBUTES, *_VALIDITY)}
    return feature["geometry"], kept


def _says_old_start(feature: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    said = (feature.get("properties") or {}).get("valid_from")
    return said is not None and said == before["properties"]["valid_from"]


def _begins_anew(feature: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the feature says another beginning than the newest version has."""
    said = (feature.get("properties") or {}).get("valid_from")
    return said is not None and parse_time(said) != parse_time(before["properties"]["valid_from"])


def _without_start(feature: Mapping[str, Any]) -> dict[str, Any]:
    return {**feature, "properties": {**feature["properties"], "valid_from": None}}


def _insert_version(
    conn: Connection,
    wanted: FenceVersion,
    feature: Mapping[str, Any],
    version: int,
    now_ms: int,
    user: str,
) -> None:
    filled = _filled(feature, wanted)
    valid_to_ms = _valid_to_ms(wanted)
    conn.execute(
        insert(fence_version).values(
            fence_id=wanted.fence_id,
            version=version,
            valid_from=wanted.valid_from_ms,
            valid_to=valid_to_ms,
            feature=filled,
            created_at=now_ms,
            created_by=user,
        )
    )
    _touch(conn, wanted.fence_id, now_ms)
    _mark(conn, wanted.fence_id, wanted.valid_from_ms, now_ms)


def _update_in_place(
    conn: Connection,
    held: RowMapping,
    filled: dict[str, Any],
    wanted: FenceVersion,
    now_ms: int,
) -> None:
    """New attributes, or another end; the beginning stays."""
    before = held["feature"]
    properties = {**filled["properties"], "valid_from": before["properties"]["valid_from"]}
    feature = {**filled, "properties": properties}
    if feature == before:
        return
    valid_to_ms = _valid_to_ms(wanted)
    conn.execute(
        update(fence_version)
        .where(
            fence_version.c.fence_id == held["fence_id"],
            fence_version.c.version == held["version"],
        )
        .values(feature=feature, valid_to=valid_to_ms)
    )
    _touch(conn, held["fence_id"], now_ms)
    if valid_to_ms != held["valid_to"]:
        ends = [end for end in (valid_to_ms, held["valid_to"]) if end is not None]
        _mark(conn, held["fence_id"], min(ends), now_ms)


def _valid_to_ms(version: FenceVersion) -> int | None:
    return version.valid_to_ms if version.valid_to_ms <= TIME_MS_MAX else None


def _touch(conn: Connection, fence_id: str, now_ms: int) -> None:
    newest = conn.execute(select(func.max(fence.c.changed_at))).scalar() or 0
    conn.execute(
        update(fence).where(fence.c.id == fence_id).values(changed_at=max(newest + 1, now_ms))
    )


def _mark(conn: Connection, fence_id: str, from_ms: int, now_ms: int) -> None:
    vehicles = vehicles_concerned(conn, fence_id, from_ms)
    mark_vehicles(conn, dict.fromkeys(vehicles, (from_ms, TIME_MS_MAX)), now_ms)


def vehicles_concerned(conn: Connection, fence_id: str, from_ms: int) -> list[str]:
    """Every vehicle with positions since then, or that is inside as far as is known."""
    since = (
        select(binding.c.vehicle_id)
        .join(latest, latest.c.source_id == binding.c.source_id)
        .where(
            latest.c.device_time >= from_ms,
            or_(binding.c.valid_to.is_(None), binding.c.valid_to > from_ms),
        )
    )
    inside = select(visit.c.vehicle_id).where(
        visit.c.fence_id == fence_id, visit.c.left_at.is_(None), visit.c.state == "standing"
    )
    return sorted(conn.execute(since.union(inside)).scalars())
