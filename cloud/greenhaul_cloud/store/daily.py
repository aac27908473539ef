"""What each gateway and each source brought, day by day.

Counted in the transaction that stores, by the rule of the ledgers: a number counts once, by what
first settled it. So the days of a gateway add up to the counters of its lanes, however often it
sent. `late` and `unusable_time` say of how many of the stored this is true.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table

from greenhaul_cloud.store.batch import Heard
from greenhaul_cloud.store.settling import Outcome
from greenhaul_cloud.store.statements import Upsert
from greenhaul_cloud.store.tables import gateway_day, source_day
from greenhaul_protocols.catalogue import TimeQuality
from greenhaul_protocols.times import to_datetime

# Longer on its way than a live reading with its windows and a short outage of the network.
LATE_AFTER_MS = 300_000

SOURCE_COUNTS = ("stored", "duplicate", "late", "unusable_time", "quarantined", "dropped")
GATEWAY_COUNTS = (*SOURCE_COUNTS, "damaged")

Key = TypeVar("Key", int, str)

_NOBODY = -1


def day_of(time_ms: int, zone: ZoneInfo) -> date:
    """The day an instant lies in."""
    return to_datetime(time_ms).astimezone(zone).date()


@dataclass(slots=True)
class FlushCounts:
    """One flush, number by number; arrays of shape (numbers,), one entry for each number sent.

    gateways: names; gateway_of: index into them. source_of: id, -1 where the store knows none.
    """

    gateways: list[str]
    gateway_of: NDArray[np.int64]
    outcomes: NDArray[np.int8]
    is_counted: NDArray[np.bool_]
    source_of: NDArray[np.int64]
    is_late: NDArray[np.bool_]
    is_unusable: NDArray[np.bool_]
    # numbers dropped and damaged blocks come beside the numbers sent
    dropped_of_gateway: Counter[str] = field(default_factory=Counter)
    dropped_of_source: Counter[int] = field(default_factory=Counter)
    damaged_of_gateway: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls, gateways: Sequence[str], counts: Sequence[int], outcomes: NDArray[np.int8]
    ) -> "FlushCounts":
        """Blocks of these gateways with so many numbers each; nothing is known of them yet."""
        names = sorted(set(gateways))
        place_of = {name: place for place, name in enumerate(names)}
        places = np.array([place_of[name] for name in gateways], np.int64)
        size = len(outcomes)
        return cls(
            names,
            np.repeat(places, counts),
            outcomes,
            np.zeros(size, np.bool_),
            np.full(size, _NOBODY, np.int64),
            np.zeros(size, np.bool_),
            np.zeros(size, np.bool_),
        )

    def hear(self, heard: Heard, starts: NDArray[np.int64], now_ms: int) -> None:
        """Whose readings some numbers are, and how their times are."""
        at = starts[heard.block] + heard.number
        self.source_of[at] = heard.source_id
        self.is_late[at] = heard.device_time_ms < now_ms - LATE_AFTER_MS
        self.is_unusable[at] = heard.time_quality == TimeQuality.UNUSABLE

    def by_gateway(self) -> dict[str, dict[str, int]]:
        """Counts of each gateway that has any."""
        found = {self.gateways[key]: counts for key, counts in self._by(self.gateway_of).items()}
        _add(found, "dropped", self.dropped_of_gateway, GATEWAY_COUNTS)
        _add(found, "damaged", self.damaged_of_gateway, GATEWAY_COUNTS)
        return found

    def by_source(self) -> dict[int, dict[str, int]]:
        """Counts of each source that has any."""
        found = self._by(self.source_of)
        found.pop(_NOBODY, None)
        _add(found, "dropped", self.dropped_of_source, SOURCE_COUNTS)
        return found

    def _by(self, keys: NDArray[np.int64]) -> dict[int, dict[str, int]]:
        counted = np.flatnonzero(self.is_counted)
        names, places = np.unique(keys[counted], return_inverse=True)
        outcomes = self.outcomes[counted]
        is_stored = outcomes == Outcome.STORED
        beside = np.zeros(len(counted), np.bool_)  # added by whoever knows of them
        chosen = {
            "stored": is_stored,
            "duplicate": outcomes == Outcome.DUPLICATE,
            "late": is_stored & self.is_late[counted],
            "unusable_time": is_stored & self.is_unusable[counted],
            "quarantined": outcomes == Outcome.QUARANTINED,
            "dropped": beside,
            "damaged": beside,
        }
        columns = [
            np.bincount(places[mask], minlength=len(names)).tolist() for mask in chosen.values()
        ]
        return {
            key: dict(zip(chosen, counts, strict=True))
            for key, *counts in zip(names.tolist(), *columns, strict=True)
        }


def _add(
    found: dict[Key, dict[str, int]], name: str, counts: Mapping[Key, int], names: Sequence[str]
) -> None:
    for key, count in counts.items():
        found.setdefault(key, dict.fromkeys(names, 0))[name] = count


def _adding(table: Table, key: str, names: Sequence[str]) -> Upsert:
    return Upsert(
        table,
        ["day", key, *names],
        [key, "day"],
        lambda new: {name: table.c[name] + new[name] for name in names},
    )


_OF_SOURCES = _adding(source_day, "source_id", SOURCE_COUNTS)
_OF_GATEWAYS = _adding(gateway_day, "gateway_id", GATEWAY_COUNTS)


def count_day(conn: Connection, day: date, counts: FlushCounts) -> None:
    """Add a flush to its day, sources and then gateways, each in order."""
    _OF_SOURCES.run(conn, _rows(day, SOURCE_COUNTS, counts.by_source()))
    _OF_GATEWAYS.run(conn, _rows(day, GATEWAY_COUNTS, counts.by_gateway()))


def _rows(
    day: date, names: Sequence[str], found: Mapping[Any, Mapping[str, int]]
) -> list[tuple[Any, ...]]:
    said, counts_of = day.isoformat(), itemgetter(*names)
    return [(said, subject, *counts_of(found[subject])) for subject in sorted(found)]
