"""What new positions change at once: `latest`, and the span the fold has to look at."""

import numpy as np
from sqlalchemy import Connection, and_, or_

from greenhaul_cloud.store.batch import Bools, KindBatch
from greenhaul_cloud.store.statements import insert_into
from greenhaul_cloud.store.tables import latest
from greenhaul_protocols.catalogue import TimeQuality

_COLUMNS = [column.name for column in latest.columns]
FOLDABLE = [quality for quality in TimeQuality if quality.is_foldable]


def on_tracks(batch: KindBatch) -> Bools:
    """(rows,) positions that tracks use: with a fix, and a time that can be believed."""
    is_located, says_located = batch.steps_of("is_located")
    usable: Bools = says_located & (is_located != 0) & np.isin(batch.time_quality(), FOLDABLE)
    for name in ("latitude_deg", "longitude_deg"):
        usable &= batch.steps_of(name)[1]
    return usable


def spans_of(batch: KindBatch, inserted: Bools) -> dict[int, tuple[int, int]]:
    """First and last device time of each source's new positions on tracks."""
    rows = np.flatnonzero(inserted & on_tracks(batch))
    time_ms = batch.device_time_ms[rows].tolist()
    spans: dict[int, tuple[int, int]] = {}
    ids = batch.source_id[rows].tolist()
    for source_id, at_ms in zip(ids, time_ms, strict=True):
        # rows are in order of time within a source
        spans[source_id] = (spans.get(source_id, (at_ms, at_ms))[0], at_ms)
    return spans


def write_latest(conn: Connection, batch: KindBatch, inserted: Bools) -> None:
    """Put forward the newest new position of each source."""
    rows = np.flatnonzero(inserted & on_tracks(batch))
    if not len(rows):
        return
    ids = batch.source_id[rows]
    is_last = np.append(np.diff(ids) != 0, [True])
    newest = rows[is_last]
    columns = {column.name: column.taken(newest) for column in batch.columns}
    absent = [None] * len(newest)
    ordered = [columns.get(name, absent) for name in _COLUMNS]
    values = [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*ordered, strict=True)]
    statement = insert_into(conn, latest)
    new = statement.excluded
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["source_id"],
            set_={name: new[name] for name in _COLUMNS if name != "source_id"},
            where=or_(
                latest.c.device_time < new.device_time,
                and_(latest.c.device_time == new.device_time, latest.c.digest < new.digest),
            ),
        ),
        values,
    )
