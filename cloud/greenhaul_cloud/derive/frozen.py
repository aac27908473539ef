"""What retention has taken is folded no more: history before it stands as it was told."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from greenhaul_cloud.fences.model import ALWAYS_MS
from greenhaul_cloud.fold.windows import Interval
from greenhaul_cloud.store.kept import positions_kept_from
from greenhaul_cloud.store.tracks import Bound


def frozen_before(conn: Connection) -> int:
    """Results before this instant stand: the readings they came from are no longer kept."""
    kept_ms = positions_kept_from(conn)
    return ALWAYS_MS if kept_ms is None else kept_ms


def since(bounds: Sequence[Bound], from_ms: int) -> list[Bound]:
    """The sources from an instant on. A straggler from before it is shown, but folded no more:
    it alone is left of its time, and what it says would contradict what the others said."""
    return [
        replace(bound, from_ms=max(bound.from_ms, from_ms))
        for bound in bounds
        if bound.to_ms > from_ms
    ]


def clamped(changes: Sequence[Interval], from_ms: int) -> list[Interval]:
    """What of these closed spans lies at or after an instant."""
    return [
        (max(first_ms, from_ms), last_ms) for first_ms, last_ms in changes if last_ms >= from_ms
    ]
