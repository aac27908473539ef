"""Readings of one kind on their way into their table: columns, or rows, in one order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from json import dumps
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.store.reading_tables import IDENTITY_COLUMNS, steps_max
from greenhaul_protocols.bulk import BytesColumn, NumberColumn
from greenhaul_protocols.bulk_bodies import KindColumns
from greenhaul_protocols.catalogue import KINDS, FieldSpec, KindSpec

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """One column of a table for all rows of a batch.

    values: (rows,) int64, float64 or bool, or a list of texts or bytes; instants are integers of
    milliseconds. present: (rows,) where there is a value, None when everywhere.
    """

    name: str
    values: NDArray[Any] | list[Any]
    present: Bools | None = None

    def tolist(self) -> list[Any]:
        """Values as Python's own types, None where there is none."""
        if isinstance(self.values, list):
            return self.values
        found: list[Any] = self.values.tolist()
        if self.present is not None:
            for i in np.flatnonzero(~self.present).tolist():
                found[i] = None
        return found

    def taken(self, rows: Int64s) -> list[Any]:
        """The same of some rows only."""
        if isinstance(self.values, list):
            return [self.values[i] for i in rows.tolist()]
        present = None if self.present is None else self.present[rows]
        return ValueColumn(self.name, self.values[rows], present).tolist()


class Rows(Protocol):
    """Rows of one kind on their way into their table: in order of identity, none twice."""

    kind: KindSpec
    stored_time_ms: int  # of this flush: tells which dates are odd

    def __len__(self) -> int: ...

    @property
    def device_time_ms(self) -> Int64s:
        """(rows,) milliseconds."""

    @property
    def columns(self) -> list[ValueColumn]:
        """Columns in the order they are written."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The same as rows."""

    def which_are(self, identities: set[tuple[int, int, int]]) -> Bools:
        """(rows,) whether a row's (source_id, device_time, digest) is among these."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Readings as they came, columns of shape (readings,): number counts within the block."""

    block: Int64s
    number: Int64s
    source_id: Int64s
    device_time_ms: Int64s
    time_quality: NDArray[np.int16]


class KindBatch:
    """Every reading of one kind in a flush, each identity once, in order of identity.

    Row i is reading `reading_of[i]` of those given; reading j has row `row_of[j]`: two readings of
    one identity share a row, and the first to come is kept.
    """

    def __init__(
        self, readings: KindColumns, block: Int64s, source_id: Int64s, stored_time_ms: int
    ) -> None:
        """block, source_id: (readings,) of each reading."""
        self.kind: KindSpec = KINDS[readings.kind]
        self.stored_time_ms = stored_time_ms
        self.block, self.number, self.source_of = block, readings.numbers, source_id
        self._readings = readings
        keys = (source_id, readings.device_time_ms, readings.digests())
        order = np.lexsort(keys[::-1])  # stable
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
        self.reading_of = order[is_first]
        self.source_id, self.device_time_ms, self.digest = (key[self.reading_of] for key in keys)
        self.row_of = np.empty(len(order), np.int64)
        self.row_of[order] = np.cumsum(is_first) - 1
        self._is_kept = np.zeros(len(order), np.bool_)
        self._is_kept[self.reading_of] = True

    def __len__(self) -> int:
        return len(self.reading_of)

    def is_new(self, inserted: Bools) -> Bools:
        """(readings,) whether each reading was stored, given (rows,) which rows were inserted."""
        return inserted[self.row_of] & self._is_kept

    def heard(self) -> Heard:
        """What came, reading by reading, doubles among them."""
        readings = self._readings
        return Heard(
            self.block, self.number, self.source_of, readings.device_time_ms, readings.time_quality
        )

    def which_are(self, identities: set[tuple[int, int, int]]) -> Bools:
        """(rows,) whether a row's (source_id, device_time, digest) is among these."""
        keys = zip(*(column.tolist() for column in self._identity()), strict=True)
        return np.fromiter((key in identities for key in keys), np.bool_, len(self))

    def steps_of(self, name: str) -> tuple[Int64s, Bools]:
        """(rows,) stored integers of a numeric field, and where there are any."""
        number = next(spec.number for spec in self.kind.fields if spec.name == name)
        column = self._readings.columns.get(number)
        if not isinstance(column, NumberColumn):
            return np.zeros(len(self), np.int64), np.zeros(len(self), np.bool_)
        return column.values[self.reading_of], column.present[self.reading_of]

    def time_quality(self) -> NDArray[np.int16]:
        """(rows,) how each device_time is known."""
        return self._readings.time_quality[self.reading_of]

    @cached_property
    def columns(self) -> list[ValueColumn]:
        """Columns in the order they are written; fields no reading has are left out."""
        identity = zip(IDENTITY_COLUMNS, self._identity(), strict=True)
        found = [
            *(ValueColumn(name, values) for name, values in identity),
            ValueColumn("received_time", self._readings.received_time_ms[self.reading_of]),
            ValueColumn("stored_time", np.full(len(self), self.stored_time_ms, np.int64)),
            ValueColumn("time_quality", self.time_quality()),
            ValueColumn("flags", self._readings.flags[self.reading_of]),
        ]
        extra: dict[int, dict[str, int | str]] = {}
        for number, column in self._readings.columns.items():
            spec = self.kind.by_number.get(number)
            if spec is None:
                self._put_extra(extra, number, column, np.ones(len(self), np.bool_))
            elif isinstance(column, BytesColumn):
                found.append(self._readable(spec, column))
            else:
                found.append(self._scaled(spec, column, extra))
        if extra:
            texts = [dumps(extra[i]) if i in extra else None for i in range(len(self))]
            found.append(ValueColumn("extra", texts, _are_there(texts)))
        return found

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The same as rows."""
        return list(zip(*(column.tolist() for column in self.columns), strict=True))

    def _identity(self) -> tuple[Int64s, Int64s, Int64s]:
        return self.source_id, self.device_time_ms, self.digest

    def _readable(self, spec: FieldSpec, column: BytesColumn) -> ValueColumn:
        kept = (column.values[i] for i in self.reading_of.tolist())
        values = [None if value is None else _readable(spec, value) for value in kept]
        return ValueColumn(spec.name, values, _are_there(values))

    def _scaled(
        self, spec: FieldSpec, column: NumberColumn, extra: dict[int, dict[str, int | str]]
    ) -> ValueColumn:
        """A numeric field in its unit; what its table's column cannot keep goes to `extra`."""
        steps, present = column.values[self.reading_of], column.present[self.reading_of]
        if spec.value_type == "flag":
            return ValueColumn(spec.name, steps != 0, _unless_all(present))
        limit = steps_max(spec)
        if len(steps) and (steps.max() > limit or steps.min() < -limit):
            is_large = present & ((steps > limit) | (steps < -limit))
            self._put_extra(extra, spec.number, column, is_large)
            present = present & ~is_large
            steps = np.where(is_large, 0, steps)
        values: NDArray[Any] = steps if spec.per_unit == 1 else steps / spec.per_unit
        return ValueColumn(spec.name, values, _unless_all(present))

    def _put_extra(
        self,
        extra: dict[int, dict[str, int | str]],
        number: int,
        column: NumberColumn | BytesColumn,
        chosen: Bools,
    ) -> None:
        for row in np.flatnonzero(chosen).tolist():
            value = _stored(column, self.reading_of[row])
            if value is not None:
                extra.setdefault(row, {})[str(number)] = value


def _readable(spec: FieldSpec, value: bytes) -> str | bytes:
    text = spec.from_bytes(value)
    # PostgreSQL's text cannot hold NUL; the digest was taken of the bytes as they came
    return text.replace("\0", "\ufffd") if isinstance(text, str) else text


def _stored(column: NumberColumn | BytesColumn, i: int) -> int | str | None:
    if isinstance(column, BytesColumn):
        value = column.values[i]
        return None if value is None else value.hex()
    return int(column.values[i]) if column.present[i] else None


def _are_there(values: Sequence[object]) -> Bools:
    return np.array([value is not None for value in values], np.bool_)


def _unless_all(present: Bools) -> Bools | None:
    return None if present.all() else present
