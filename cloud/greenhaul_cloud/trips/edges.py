"""Edges: when a bit of the alarm or status word changed, in device time, source by source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.jt808.bits_table import ALARM_BITS

IGNITION_BIT = 0
ALARM_BIT_COUNT = 32


@dataclass(frozen=True, slots=True)
class Edge:
    """A bit that was another one in the reading before, of the same source."""

    device_time_ms: int
    code: str  # ignition, or alarm.overspeed
    is_on: bool
    source: int  # as in the columns
    reading: int  # place in the columns


class EdgeReader:
    """Edges of a track that comes in parts, in order of time."""

    def __init__(self) -> None:
        # by source and word, the last one said
        self._known: dict[tuple[str, str], int] = {}

    def read(
        self,
        device_time_ms: NDArray[np.int64],
        source: NDArray[np.int64],
        sources: Sequence[str],
        words: Mapping[str, NDArray[np.float64]],
    ) -> list[Edge]:
        """Edges of the next part, in order of time; of its first readings by those before it.

        Columns (n,); source: index into `sources`; words: `alarms` and `status`, NaN where a
        reading lacks the word.
        """
        found: list[Edge] = []
        for number in np.unique(source).tolist():
            of_source = np.flatnonzero(source == number)
            for word, bits in _CODES.items():
                rows = of_source[np.isfinite(words[word][of_source])]
                if not len(rows):
                    continue
                values = words[word][rows].astype(np.int64)
                before = self._known.get((sources[number], word), int(values[0]))
                self._known[sources[number], word] = int(values[-1])
                changed = values ^ np.concatenate(([before], values[:-1]))
                for at in np.flatnonzero(changed).tolist():
                    row = int(rows[at])
                    found += [
                        Edge(int(device_time_ms[row]), code, is_on, number, row)
                        for code, is_on in _changes(bits, int(changed[at]), int(values[at]))
                    ]
        return sorted(found, key=lambda edge: (edge.device_time_ms, edge.source, edge.code))


def _changes(bits: Mapping[int, str], changed: int, value: int) -> Iterator[tuple[str, bool]]:
    """Codes of the bits that changed, and whether they are on now."""
    for bit, code in bits.items():
        if changed >> bit & 1:
            yield code, bool(value >> bit & 1)


def _alarm_code(bit: int) -> str:
    name = ALARM_BITS.names.get(bit)
    if isinstance(name, dict):
        name = next((text for text in name.values() if text), None)
    return f"alarm.{name or f'bit_{bit}'}"


_CODES = {
    "alarms": {bit: _alarm_code(bit) for bit in range(ALARM_BIT_COUNT)},
    "status": {IGNITION_BIT: "ignition"},
}
