"""Edges: when a bit of the alarm or status word changed, in device time, source by source."""

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


def edges_of(
    device_time_ms: NDArray[np.int64],
    source: NDArray[np.int64],
    alarms: NDArray[np.float64],
    status: NDArray[np.float64],
) -> list[Edge]:
    """Edges of columns (n,) in order of time, NaN where a reading lacks the word."""
    found: list[Edge] = []
    for number in np.unique(source).tolist():
        of_source = np.flatnonzero(source == number)
        for words, bits in ((alarms, _ALARM_CODES), (status, {IGNITION_BIT: "ignition"})):
            rows = of_source[np.isfinite(words[of_source])]
            values = words[rows].astype(np.int64)
            changed = values[1:] ^ values[:-1]
            for at in np.flatnonzero(changed).tolist():
                row = int(rows[at + 1])
                found += [
                    Edge(
                        int(device_time_ms[row]),
                        code,
                        bool(values[at + 1] >> bit & 1),
                        int(number),
                        row,
                    )
                    for bit, code in bits.items()
                    if changed[at] >> bit & 1
                ]
    return sorted(found, key=lambda edge: (edge.device_time_ms, edge.source, edge.code))


def _alarm_code(bit: int) -> str:
    name = ALARM_BITS.names.get(bit)
    if isinstance(name, dict):
        name = next((text for text in name.values() if text), None)
    return f"alarm.{name or f'bit_{bit}'}"


_ALARM_CODES = {bit: _alarm_code(bit) for bit in range(ALARM_BIT_COUNT)}
