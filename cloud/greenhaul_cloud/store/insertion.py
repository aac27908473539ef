"""Readings into their tables, by identity alone, and what follows from them at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from greenhaul_cloud.store.batch import Heard, KindBatch
from greenhaul_cloud.store.engine import Store
from greenhaul_cloud.store.inspection import Accepted
from greenhaul_cloud.store.marks import Span
from greenhaul_cloud.store.newest import spans_of, write_latest
from greenhaul_cloud.store.sources import Carried, note_sources, source_ids
from greenhaul_protocols.catalogue import KIND_OF, Dropped, Position
from greenhaul_protocols.topics import LANE_MAX

_POSITION = KIND_OF[Position].number
_DROPPED = KIND_OF[Dropped].number


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
    spans: dict[int, list[Span]] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)


def insert_readings(
    store: Store, conn: Connection, accepted: Sequence[Accepted], now_ms: int
) -> Insertion:
    """Insert what is new, and bring sources and `latest` up to date."""
    done = Insertion()
    carried = _carried(accepted)
    ids = source_ids(store, conn, carried)
    note_sources(conn, carried, ids, now_ms)
    batches = []
    for one in accepted:
        id_of = np.array([ids.get(name, 0) for name in one.sources], np.int64)
        batches.append(KindBatch(one.readings, one.block, id_of[one.source], now_ms))
    store.driver.prepare_insert(conn, batches)
    for one, batch in zip(accepted, batches, strict=True):
        kind = batch.kind.number
        inserted = store.driver.insert_new(conn, batch)
        known = ~batch.is_new(inserted)
        done.known.append((batch.block[known], batch.number[known]))
        done.heard.append(batch.heard())
        if kind == _POSITION:
            write_latest(conn, batch, inserted)
            for source_id, spans in spans_of(batch, inserted).items():
                done.spans.setdefault(source_id, []).extend(spans)
        elif kind == _DROPPED:
            done.drops += _drops_of(batch, one.gateways)
    return done


def _carried(accepted: Sequence[Accepted]) -> dict[str, Carried]:
    """Of each source, the reading that was received last."""
    found: dict[str, Carried] = {}
    for one in accepted:
        received_ms = one.readings.received_time_ms
        order = np.lexsort((one.block, received_ms, one.source))
        is_last = np.append(np.diff(one.source[order]) != 0, [True])
        rows = order[is_last]
        columns = (one.source[rows], received_ms[rows], one.block[rows])
        for source, at_ms, block in zip(*(column.tolist() for column in columns), strict=True):
            name = one.sources[source]
            if name not in found or found[name].received_ms < at_ms:
                found[name] = Carried(at_ms, one.gateways[block])
    return found


def _drops_of(batch: KindBatch, gateways: Sequence[str]) -> list[Drop]:
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
