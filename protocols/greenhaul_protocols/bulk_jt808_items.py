"""The vectorised reader's half for additional items: those of thousands of reports at once."""

import numpy as np
from numpy.typing import NDArray

from greenhaul_protocols.bulk import Bools, Int64s, NumberColumn

Bytes = NDArray[np.uint8]

# Items by id and length: the column of Position they fill. All are tenths or ones, as the catalogue
# keeps them.
_POSITION_ITEMS = {
    0x0104: "odometer_km",
    0x0202: "fuel_l",
    0x0302: "recorder_speed_kmh",
    0x3001: "signal_strength",
    0x3101: "satellites",
}
# Items that make a reading of another kind; they stay among the others too, see border.
_TEMPERATURE, _TEMPERATURE_TENTHS, _TEMPERATURES = 0x0602, 0x5102, 0x5110
_CARGO_ITEMS = (_TEMPERATURE, _TEMPERATURE_TENTHS, _TEMPERATURES)
_BATTERY_ITEMS = (0xD401, 0xE402)
_COMPARTMENTS = tuple(f"compartment_temperature_{number}_c" for number in range(1, 5))
_SOC = "soc_percent"
_NO_SENSOR = 0xFFFF


def read_items(wire: Bytes, spans: Int64s) -> "tuple[ItemColumns, Bools]":
    """Columns of the items that have one, and whether there are others. Item by item, all reports
    at once."""
    count = len(spans)
    columns = ItemColumns(count)
    has_others = np.zeros(count, np.bool_)
    rows, at, end = np.arange(count), spans[:, 0], spans[:, 1]
    while len(rows):
        has_head = at + 2 <= end
        # Bytes behind the last whole item count as others.
        has_others[rows[~has_head & (at < end)]] = True
        rows, at, end = rows[has_head], at[has_head], end[has_head]
        if len(rows) == 0:
            break
        sizes = wire[at + 1].astype(np.int64)
        behind = at + 2 + sizes
        fits = behind <= end
        if not fits.all():
            has_others[rows[~fits]] = True
            rows, at, end = rows[fits], at[fits], end[fits]
            sizes, behind = sizes[fits], behind[fits]
        codes = wire[at].astype(np.int64) << 8 | sizes
        is_named = columns.take(wire, codes, rows, behind)
        has_others[rows[~is_named]] = True
        at = behind
    return columns, has_others


class ItemColumns:
    """What the items of n reports say."""

    def __init__(self, count: int) -> None:
        self.position, self.battery, self.cargo = (
            {
                name: NumberColumn(np.zeros(count, np.int64), np.zeros(count, np.bool_))
                for name in names
            }
            for names in (_POSITION_ITEMS.values(), (_SOC,), _COMPARTMENTS)
        )
        # Whether an item that makes another reading stands twice.
        self.is_repeated = np.zeros(count, np.bool_)

    def take(self, wire: Bytes, codes: Int64s, rows: Int64s, behind: Int64s) -> Bools:
        """Fill columns from one item of each row; whether a column of Position has it now."""
        is_named = np.zeros(len(rows), np.bool_)
        for code in np.unique(codes).tolist():
            hit = np.flatnonzero(codes == code)
            row, raw = rows[hit], _raw(wire, behind[hit], code & 0xFF)
            if code in _POSITION_ITEMS:
                is_named[hit] = self._take_position(code, row, raw)
            elif code in _BATTERY_ITEMS:
                # FF: charging, the level is not known
                level = raw[:, -1].astype(np.int64)
                self._put(self.battery, row, {_SOC: (level * 10, level <= 100)})
            elif code in _CARGO_ITEMS:
                self._put(self.cargo, row, _temperatures(code, raw))
        return is_named

    def _take_position(self, code: int, row: Int64s, raw: Bytes) -> Bools:
        column = self.position[_POSITION_ITEMS[code]]
        is_first = ~column.present[row]
        values = np.zeros(len(row), np.int64)
        for byte in raw.T:
            values = values << 8 | byte
        if column is self.position["fuel_l"]:
            is_first &= values < 0x8000  # a share of the tank with some terminals
        column.values[row[is_first]] = values[is_first]
        column.present[row[is_first]] = True
        return is_first

    def _put(
        self, columns: dict[str, NumberColumn], row: Int64s, said: dict[str, tuple[Int64s, Bools]]
    ) -> None:
        """A reading of another kind for each row, with values and where there are any."""
        self.is_repeated[row] |= is_told(columns)[row]
        for name, (values, is_said) in said.items():
            columns[name].values[row[is_said]] = values[is_said]
            columns[name].present[row[is_said]] = True


def is_told(columns: dict[str, NumberColumn]) -> Bools:
    """Where any of the columns has a value."""
    told: Bools = np.logical_or.reduce([column.present for column in columns.values()])
    return told


def _raw(wire: Bytes, behind: Int64s, size: int) -> Bytes:
    """(n, size) bytes that end where the items do."""
    raw: Bytes = wire[behind[:, None] + np.arange(-size, 0)]
    return raw


def _temperatures(code: int, raw: Bytes) -> dict[str, tuple[Int64s, Bools]]:
    """Tenths of a degree of the compartments; bit 15 means minus."""
    words = raw[:, 0::2].astype(np.int64) << 8 | raw[:, 1::2]
    tenths = np.where(words & 0x8000, -(words & 0x7FFF), words)
    if code == _TEMPERATURE:
        return {_COMPARTMENTS[0]: (tenths[:, 0] * 10, np.ones(len(raw), np.bool_))}
    return {
        name: (one, word != _NO_SENSOR)
        for name, one, word in zip(_COMPARTMENTS, tenths.T, words.T, strict=False)
    }
