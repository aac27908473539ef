"""Cells and the coarse grid against asking every box about every other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from greenhaul_cloud.fences import cells as cells_module
from greenhaul_cloud.fences.cells import Cells
from greenhaul_cloud.fences.occupancy import Occupancy

Float64s = NDArray[np.float64]


def _edges(seed: int, size: int) -> tuple[Float64s, Float64s, Float64s]:
    """Short and long edges of a city, with a margin each."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 0.1, (size, 2))
    end = start + rng.normal(0, 1, (size, 2)) * rng.choice([0.0005, 0.02], (size, 1))
    return start, end, rng.choice([0.0, 0.0003], (size, 2))


def _asked(seed: int, size: int) -> tuple[Float64s, Float64s]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-0.05, 0.15, (size, 2))
    return low, low + rng.uniform(0, 0.03, (size, 2)) * rng.integers(0, 2, (size, 1))


def _near(start: Float64s, end: Float64s, margin: Float64s, low: Float64s, high: Float64s) -> bool:
    """Whether a box comes within the margin of some point of an edge, looked at closely."""
    along = np.linspace(0, 1, 200)[:, None]
    points = start + (end - start) * along
    is_here = (points >= low - margin) & (points <= high + margin)
    return bool(is_here.all(axis=1).any())


@pytest.mark.parametrize("entries_max", [10_000_000, 2_000])
def test_cells_find_every_edge_a_box_may_meet_and_few_others(
    entries_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "_ENTRIES_MAX", entries_max)
    start, end, margin = _edges(1, 150)
    low, high = _asked(2, 120)
    row, edge = Cells(start, end, margin).query(low, high)
    found = set(zip(row.tolist(), edge.tolist(), strict=True))
    boxes_low, boxes_high = np.minimum(start, end) - margin, np.maximum(start, end) + margin
    must = 0
    for i in range(len(low)):
        for j in range(len(start)):
            overlaps = (low[i] <= boxes_high[j]).all() and (high[i] >= boxes_low[j]).all()
            if overlaps and _near(start[j], end[j], margin[j], low[i], high[i]):
                assert (i, j) in found
                must += 1
            assert overlaps or (i, j) not in found
    assert must > 60
    assert len(row) < 5 * must


def test_the_grid_dismisses_only_what_meets_nothing() -> None:
    start, end, margin = _edges(3, 40)
    low, high = _asked(4, 400)
    high = low + (high - low) / 30
    row, _ = Cells(start, end, margin).query(low, high)
    is_met = Occupancy(start, end, margin).meets(*low.T, *high.T)
    assert is_met[np.unique(row)].all()
    assert not is_met.all()


def test_no_edges_meet_nothing() -> None:
    nothing = np.empty((0, 2))
    low, high = _asked(5, 10)
    assert len(Cells(nothing, nothing, nothing).query(low, high)[0]) == 0
    assert not Occupancy(nothing, nothing, nothing).meets(*low.T, *high.T).any()
