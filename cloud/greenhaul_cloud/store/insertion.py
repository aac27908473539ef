"""Readings into their tables, by identity alone, and what follows from them at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from greenhaul_cloud.store.batch import Bools, Heard, KindBatch, Part
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.marks import Span
from greenhaul_cloud.store.newest import spans_of, write_latest
from greenhaul_cloud.store.sources import note_sources, source_ids
from greenhaul_protocols.bulk import BytesColumn, SeriesColumns
from greenhaul_protocols.catalogue import KIND_OF, KINDS, Dropped, Position
from greenhaul_protocols.topics import LANE_MAX

_POSITION = KIND_OF[Position].number
_DROPPED = KIND_OF[Dropped].number


@dataclass(frozen=True, slots=True)
class Accepted:
    """A series to store. block: its block's place in the flush; gateway: who carried it."""

    block: int
    gateway: str
    series: SeriesColumns


@dataclass(frozen=True, slots=True)
class Drop:
    """Numbers a gateway reports as given up; in the epoch it names, which may be an old one."""

    gateway: str
    source_id: int  # of the record
    epoch: int
    lane: int
    first: int
    last: int


@dataclass(slots=True)
class Insertion:
    """What came of it. known: (block, number) columns of readings the store had already; spans:
    of new positions on tracks, by source id; drops: what records of drops say, known or new;
    heard: every reading, by kind."""

    known: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    spans: dict[int, Span] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)


def insert_readings(
    store: Store, conn: Connection, accepted: Sequence[Accepted], now_ms: int
) -> Insertion:
    """Insert what is new, and bring sources and `latest` up to date."""
    done = Insertion()
    ids = source_ids(store, conn, (one.series.source for one in accepted))
    heard = ((ids[one.series.source], one.gateway, one.series) for one in accepted)
    note_sources(conn, heard, now_ms)
    gateways = {one.block: one.gateway for one in accepted}
    batches = [
        KindBatch(kind, parts, now_ms)
        for (kind, _), parts in sorted(_grouped(accepted, ids).items())
    ]
    store.driver.prepare_insert(conn, batches)
    for batch in batches:
        kind = batch.kind.number
        inserted = store.driver.insert_new(conn, batch)
        known = ~batch.is_new(inserted)
        done.known.append((batch.block[known], batch.number[known]))
        done.heard.append(batch.heard())
        if kind == _POSITION:
            write_latest(conn, batch, inserted)
            _widen(done.spans, batch, inserted)
        elif kind == _DROPPED:
            done.drops += _drops_of(batch, gateways)
    return done


def _grouped(
    accepted: Sequence[Accepted], ids: dict[str, int]
) -> dict[tuple[int, tuple[int, ...]], list[Part]]:
    """Parts by kind, and by which fields are bytes: of an unknown field two series may differ."""
    found: dict[tuple[int, tuple[int, ...]], list[Part]] = {}
    for one in accepted:
        series = one.series
        unknown = series.columns.keys() - KINDS[series.kind].by_number.keys()
        are_bytes = sorted(n for n in unknown if isinstance(series.columns[n], BytesColumn))
        key = (series.kind, tuple(are_bytes))
        found.setdefault(key, []).append(Part(one.block, ids[series.source], series))
    return found


def _widen(spans: dict[int, Span], batch: KindBatch, inserted: Bools) -> None:
    for source_id, (from_ms, to_ms) in spans_of(batch, inserted).items():
        low, high = spans.get(source_id, (from_ms, to_ms))
        spans[source_id] = (min(low, from_ms), max(high, to_ms))


def _drops_of(batch: KindBatch, gateways: dict[int, str]) -> list[Drop]:
    """The numbers that records name; one with an unknown count names none."""
    columns = [batch.steps_of(name) for name in ("epoch", "lane", "first", "last")]
    names_all = np.all([present for _, present in columns], axis=0)
    found = []
    for row in np.flatnonzero(names_all).tolist():
        epoch, lane, first, last = (int(values[row]) for values, _ in columns)
        if 0 <= lane <= LANE_MAX and 0 < first <= last:
            gateway = gateways[int(batch.block[batch.reading_of[row]])]
            # an epoch is 64 bits without sign, a field has one
            source_id = int(batch.source_id[row])
            found.append(Drop(gateway, source_id, epoch % 2**64, lane, first, last))
    return found
