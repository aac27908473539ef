"""Writing what a refold says differently of a vehicle."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert, update

from greenhaul_cloud.derive.inputs import FenceSet
from greenhaul_cloud.fences.model import ALWAYS_MS, NEVER_MS
from greenhaul_cloud.fences.rules import RuleName
from greenhaul_cloud.fold.intervals import Violation, Visit
from greenhaul_cloud.fold.matching import Amendment, Matching
from greenhaul_cloud.fold.refold import Refold
from greenhaul_cloud.store.statements import insert_row
from greenhaul_cloud.store.tables import amendment, violation, visit
from greenhaul_protocols.times import format_time

# Where an interval was open and now has its end, the truck drove on; nothing was taken back.
_PROGRESS = {
    "left_ms", "left_by", "left_certainty", "ended_ms", "certainty", "detail",
}  # fmt: skip


class FoldWriter:
    """Writes what changed of one vehicle, and keeps what the streams are to be told."""

    def __init__(self, conn: Connection, vehicle_id: str, fences: FenceSet, now_ms: int) -> None:
        self._conn, self._vehicle_id = conn, vehicle_id
        self._fences, self._now_ms = fences, now_ms
        self._changed: list[tuple[str, dict[str, Any]]] = []

    def write(self, fence_id: str, result: Refold[int]) -> None:
        """One fence's outcome."""
        ids = self._write_visits(fence_id, result.visits)
        self._write_violations(fence_id, result, ids)

    def news(self) -> list[dict[str, Any]]:
        """What to tell the streams, once all is written: rows of the feed."""
        return [
            {"at": self._now_ms, "topic": topic, "vehicle_id": self._vehicle_id, "body": body}
            for topic, body in self._changed
        ]

    def _write_visits(self, fence_id: str, matching: Matching[int, Visit]) -> dict[int, int]:
        """Ids of the visits that stand, by their beginning."""
        ids = {now.entered_ms: visit_id for visit_id, now in matching.kept.items()}
        for visit_id, now in matching.retold.items():
            ids[now.entered_ms] = visit_id
            self._retell(visit, visit_id, _visit_values(now))
        for change in matching.amended:
            self._amend(visit, change, _visit_values(change.now))
            ids[change.now.entered_ms] = change.id
        for now in matching.added:
            values = self._key(fence_id) | _visit_values(now)
            ids[now.entered_ms] = insert_row(
                self._conn, visit, {**values, "state": "standing", "amended": False}
            )
            self._tell(visit, ids[now.entered_ms])
        for visit_id, was in matching.withdrawn:
            self._withdraw(visit, visit_id, was)
        return ids

    def _write_violations(
        self, fence_id: str, result: Refold[int], visit_ids: Mapping[int, int]
    ) -> None:
        matching = result.violations
        for change in matching.amended:
            values = self._violation_values(fence_id, change.now, visit_ids)
            self._amend(violation, change, values)
            self._show(change.id, result.evidence.get(_evidence_key(change.now)))
        for now in matching.added:
            values = self._key(fence_id) | self._violation_values(fence_id, now, visit_ids)
            evidence = result.evidence[_evidence_key(now)]
            row = {**values, "evidence": evidence, "state": "open", "amended": False}
            self._tell(violation, insert_row(self._conn, violation, row))
        for violation_id, now in matching.retold.items():
            self._retell(violation, violation_id, self._violation_values(fence_id, now, visit_ids))
        for violation_id, now in (*matching.kept.items(), *matching.retold.items()):
            self._show(violation_id, result.evidence.get(_evidence_key(now)))
        if not result.visits.is_unchanged:
            self._relink(matching.kept, visit_ids)
        for violation_id, was in matching.withdrawn:
            self._withdraw(violation, violation_id, was)

    def _key(self, fence_id: str) -> dict[str, Any]:
        return {
            "vehicle_id": self._vehicle_id,
            "fence_id": fence_id,
            "changed_at": self._now_ms,
        }

    def _violation_values(
        self, fence_id: str, now: Violation, visit_ids: Mapping[int, int]
    ) -> dict[str, Any]:
        version = self._fences.version(fence_id, now.fence_version)
        names = [rule.name for rule in version.rules]
        return {
            "visit_id": _visit_id(now, visit_ids),
            "fence_version": now.fence_version,
            "rule": now.rule,
            "rule_index": names.index(now.rule),
            "severity": version.severity,
            "began_at": now.began_ms,
            "ended_at": now.ended_ms,
            "window_began_at": now.window and _said(now.window[0]),
            "window_ended_at": now.window and _said(now.window[1]),
            "certainty": now.certainty,
            "detail": now.detail,
        }

    def _amend(self, table: Table, change: Amendment[int, Any], values: dict[str, Any]) -> None:
        """New values under the old id; kept in the history unless it is mere progress."""
        values = {**values, "changed_at": self._now_ms}
        if not _is_progress(change):
            values["amended"] = True
            was = {name: before for name, (before, _) in change.changed.items()}
            became = {name: after for name, (_, after) in change.changed.items()}
            self._remember(table, change.id, was, became, change.why)
        self._conn.execute(update(table).where(table.c.id == change.id).values(values))
        self._tell(table, change.id)

    def _retell(self, table: Table, row_id: int, values: dict[str, Any]) -> None:
        """Values nobody sees."""
        self._conn.execute(update(table).where(table.c.id == row_id).values(values))

    def _relink(self, kept: Mapping[int, Violation], visit_ids: Mapping[int, int]) -> None:
        """Unchanged violations may lie in a visit that has another id now."""
        links = [
            {"of_violation": violation_id, "of_visit": _visit_id(now, visit_ids)}
            for violation_id, now in kept.items()
        ]
        if links:
            self._conn.execute(
                update(violation)
                .where(violation.c.id == bindparam("of_violation"))
                .values(visit_id=bindparam("of_visit")),
                links,
            )

    def _withdraw(self, table: Table, row_id: int, was: Visit | Violation) -> None:
        values = {"state": "withdrawn", "amended": True, "changed_at": self._now_ms}
        self._conn.execute(update(table).where(table.c.id == row_id).values(values))
        seen = (field.name for field in fields(was) if field.name not in was.UNSEEN)
        named = {name: getattr(was, name) for name in seen}
        self._remember(table, row_id, named, None, "withdrawn")
        self._tell(table, row_id)

    def _remember(
        self,
        table: Table,
        row_id: int,
        was: dict[str, Any],
        became: dict[str, Any] | None,
        why: str,
    ) -> None:
        self._conn.execute(
            insert(amendment).values(
                **{f"{table.name}_id": row_id},
                at=self._now_ms,
                was=readable(was.items()),
                became=None if became is None else readable(became.items()),
                why=why,
            )
        )

    def _show(self, violation_id: int, evidence: dict[str, Any] | None) -> None:
        if evidence is not None:
            self._conn.execute(
                update(violation).where(violation.c.id == violation_id).values(evidence=evidence)
            )

    def _tell(self, table: Table, row_id: int) -> None:
        self._changed.append((f"{table.name}s", {f"{table.name}_id": row_id}))


def _visit_id(broken: Violation, visit_ids: Mapping[int, int]) -> int | None:
    entered_ms = broken.visit_entered_ms
    return None if entered_ms is None else visit_ids[entered_ms]


def _said(border_ms: int) -> int | None:
    """An end of a window, None where it has none."""
    return None if border_ms in (ALWAYS_MS, NEVER_MS) else border_ms


def _evidence_key(broken: Violation) -> tuple[RuleName, int]:
    return broken.rule, broken.began_ms


def _is_progress(change: Amendment[int, Any]) -> bool:
    """Whether an open interval only went on or came to its end."""
    is_open = change.was.span[1] == NEVER_MS
    return is_open and change.changed.keys() <= _PROGRESS


def readable(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields as the API names them: instants as text that end in `_at`."""
    return {
        f"{name.removesuffix('_ms')}_at" if name.endswith("_ms") else name: _text(name, value)
        for name, value in values
    }


def _text(name: str, value: Any) -> Any:
    if name == "window" and value is not None:
        ends = ("began_at", _said(value[0])), ("ended_at", _said(value[1]))
        return {key: None if end is None else format_time(end) for key, end in ends}
    return format_time(value) if name.endswith("_ms") and value is not None else value


def _visit_values(now: Visit) -> dict[str, Any]:
    return {
        "fence_version": now.fence_version,
        "entered_at": now.entered_ms,
        "entered_by": now.entered_by,
        "entered_certainty": now.entered_certainty,
        "left_at": now.left_ms,
        "left_by": now.left_by,
        "left_certainty": now.left_certainty,
        "certainty": now.certainty,
        "entered_confirmed_at": now.entered_confirmed_ms,
        "left_confirmed_at": now.left_confirmed_ms,
        "gaps": now.gaps_ms,
    }
