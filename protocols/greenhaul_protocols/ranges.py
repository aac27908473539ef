"""Sets of numbers as sorted, disjoint, inclusive ranges: what is settled, sent, evicted."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Pair = tuple[int, int]


class RangeSet:
    """A set of integers kept as ranges; neighbours are joined, so {1-3, 4-9} is {1-9}."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in pairs:
            self.add(first, last)

    def __iter__(self) -> Iterator[Pair]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        """How many ranges, not how many numbers; see `total`."""
        return len(self._firsts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self._firsts, number) - 1
        return i >= 0 and number <= self._lasts[i]

    def __repr__(self) -> str:
        return f"RangeSet({', '.join(f'{a}-{b}' for a, b in self)})"

    @property
    def total(self) -> int:
        """How many numbers."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def last(self) -> int:
        """The highest number; 0 when empty."""
        return self._lasts[-1] if self._lasts else 0

    def copy(self) -> "RangeSet":
        """An independent set with the same numbers."""
        twin = RangeSet()
        twin._firsts, twin._lasts = self._firsts[:], self._lasts[:]
        return twin

    def add(self, first: int, last: int) -> int:
        """Put in first…last; how many of them were not there."""
        if last < first:
            return 0
        i = bisect_left(self._lasts, first - 1)
        j = bisect_right(self._firsts, last + 1)
        held = sum(
            min(last, b) - max(first, a) + 1
            for a, b in zip(self._firsts[i:j], self._lasts[i:j], strict=True)
            if a <= last and b >= first
        )
        low, high = first, last
        if i < j:
            low, high = min(first, self._firsts[i]), max(last, self._lasts[j - 1])
        self._firsts[i:j], self._lasts[i:j] = [low], [high]
        return last - first + 1 - held

    def remove(self, first: int, last: int) -> int:
        """Take out first…last; how many of them were there."""
        overlap = self.overlap(first, last)
        if not overlap:
            return 0
        i = bisect_left(self._lasts, first)
        j = bisect_right(self._firsts, last)
        rest = []
        if self._firsts[i] < first:
            rest.append((self._firsts[i], first - 1))
        if self._lasts[j - 1] > last:
            rest.append((last + 1, self._lasts[j - 1]))
        self._firsts[i:j] = [a for a, _ in rest]
        self._lasts[i:j] = [b for _, b in rest]
        return sum(b - a + 1 for a, b in overlap)

    def overlap(self, first: int, last: int) -> list[Pair]:
        """The parts of first…last that are in the set."""
        if last < first:
            return []
        i = bisect_left(self._lasts, first)
        j = bisect_right(self._firsts, last)
        return [
            (max(a, first), min(b, last))
            for a, b in zip(self._firsts[i:j], self._lasts[i:j], strict=True)
        ]

    def missing(self, first: int, last: int) -> list[Pair]:
        """The parts of first…last that are not in the set."""
        gaps, at = [], first
        for a, b in self.overlap(first, last):
            if a > at:
                gaps.append((at, a - 1))
            at = b + 1
        if at <= last:
            gaps.append((at, last))
        return gaps
