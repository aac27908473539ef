"""What new positions change at once: `latest`, and the span the fold has to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, case, or_

from greenhaul_cloud.store.batch import Bools, KindBatch
from greenhaul_cloud.store.marks import APART_MS, Span
from greenhaul_cloud.store.statements import Upsert
from greenhaul_cloud.store.tables import latest
from greenhaul_protocols.catalogue import TimeQuality


def told(row: Any) -> ColumnElement[int]:
    """What a position is newest by: none is newer than its storing.

    One of a clock that runs days ahead gives way to the next, and so does the next of that clock.
    """
    return case((row.device_time > row.stored_time, row.stored_time), else_=row.device_time)


LATEST_COLUMNS = [column.name for column in latest.columns]
_NEWER = Upsert(
    latest,
    LATEST_COLUMNS,
    ["source_id"],
    lambda new: {name: new[name] for name in LATEST_COLUMNS if name != "source_id"},
    lambda new: or_(
        told(latest.c) < told(new),
        and_(
            told(latest.c) == told(new),
            or_(
                latest.c.device_time < new.device_time,
                and_(latest.c.device_time == new.device_time, latest.c.digest < new.digest),
            ),
        ),
    ),
)
FOLDABLE = [quality for quality in TimeQuality if quality.is_foldable]


def on_tracks(batch: KindBatch) -> Bools:
    """(rows,) positions that tracks use: with a fix, and a time that can be believed."""
    is_located, says_located = batch.steps_of("is_located")
    usable: Bools = says_located & (is_located != 0) & np.isin(batch.time_quality(), FOLDABLE)
    for name in ("latitude_deg", "longitude_deg"):
        usable &= batch.steps_of(name)[1]
    return usable


def spans_of(batch: KindBatch, inserted: Bools) -> dict[int, list[Span]]:
    """First and last device time of each source's new positions on tracks, parted at silences."""
    rows = np.flatnonzero(inserted & on_tracks(batch))
    if not len(rows):
        return {}
    # rows are in order of time within a source
    ids, time_ms = batch.source_id[rows], batch.device_time_ms[rows]
    borders = np.flatnonzero((np.diff(ids) != 0) | (np.diff(time_ms) > APART_MS)) + 1
    first, last = np.concatenate(([0], borders)), np.concatenate((borders, [len(ids)])) - 1
    columns = (ids[first].tolist(), time_ms[first].tolist(), time_ms[last].tolist())
    spans: dict[int, list[Span]] = {}
    for source_id, from_ms, to_ms in zip(*columns, strict=True):
        spans.setdefault(source_id, []).append((from_ms, to_ms))
    return spans


def write_latest(conn: Connection, batch: KindBatch, inserted: Bools) -> None:
    """Put forward the newest new position of each source, if it is newer than what is known."""
    rows = np.flatnonzero(inserted & on_tracks(batch))
    if not len(rows):
        return
    ids = batch.source_id[rows]
    is_last = np.append(np.diff(ids) != 0, [True])
    newest = rows[is_last]
    columns = {column.name: column.taken(newest) for column in batch.columns}
    absent = [None] * len(newest)
    ordered = [columns.get(name, absent) for name in LATEST_COLUMNS]
    put_forward(conn, list(zip(*ordered, strict=True)))


def put_forward(conn: Connection, positions: Sequence[Sequence[Any]]) -> None:
    """Positions on tracks as LATEST_COLUMNS, one a source, in order of their sources."""
    _NEWER.run(conn, positions)
