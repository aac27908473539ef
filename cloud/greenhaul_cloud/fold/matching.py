"""Which new interval is which old one: ids survive a refold by overlap."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.rules import RuleName
from greenhaul_cloud.fold.intervals import Violation, Visit

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", Visit, Violation)


@dataclass(frozen=True, slots=True)
class Amendment(Generic[K, V]):
    """An interval that keeps its id and its handling, but not its values."""

    id: K
    was: V
    now: V
    why: str

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Fields a user sees that differ, each as (was, now)."""
        names = (f.name for f in fields(self.was) if f.name not in self.was.UNSEEN)
        pairs = ((name, getattr(self.was, name), getattr(self.now, name)) for name in names)
        return {name: (was, now) for name, was, now in pairs if was != now}


@dataclass(frozen=True, slots=True)
class Matching(Generic[K, V]):
    """New intervals against stored ones: what to leave, amend, insert and mark withdrawn.

    retold: nothing a user sees differs, only `UNSEEN` fields, which the store keeps all the same.
    """

    kept: Mapping[K, V]
    retold: Mapping[K, V]
    amended: tuple[Amendment[K, V], ...]
    added: tuple[V, ...]
    withdrawn: tuple[tuple[K, V], ...]

    @property
    def is_unchanged(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.retold or self.amended or self.added or self.withdrawn)


def match(stored: Iterable[tuple[K, V]], now: Iterable[V], why: str) -> Matching[K, V]:
    """Match intervals of one vehicle and fence; violations only with those of their rule.

    Equal ones first, then those that overlap most as far as is known (touching counts), earlier
    ones on a tie.
    """
    old, new = list(stored), list(now)
    kept: dict[K, V] = {}
    waiting: dict[tuple[Any, ...], list[int]] = {}
    for i, (_, interval) in enumerate(old):
        waiting.setdefault(_key(interval), []).append(i)
    unmatched_new = []
    taken: set[int] = set()
    for interval in new:
        equal = waiting.get(_key(interval))
        if equal:
            taken.add(equal[0])
            kept[old[equal.pop(0)][0]] = interval
        else:
            unmatched_new.append(interval)
    free = [i for i in range(len(old)) if i not in taken]
    pairs = _by_overlap([old[i][1] for i in free], unmatched_new)
    retold, amended = {}, []
    for i, j in sorted(pairs):
        amendment = Amendment(*old[free[i]], unmatched_new[j], why)
        if amendment.changed:
            amended.append(amendment)
        else:
            retold[amendment.id] = amendment.now
    old_done, new_done = {i for i, _ in pairs}, {j for _, j in pairs}
    return Matching(
        kept,
        retold,
        tuple(amended),
        tuple(interval for j, interval in enumerate(unmatched_new) if j not in new_done),
        tuple(old[i] for n, i in enumerate(free) if n not in old_done),
    )


def _by_overlap(old: list[V], new: list[V]) -> list[tuple[int, int]]:
    ends = [end for interval in (*old, *new) for end in interval.span if end < NEVER_MS]
    latest_ms = max(ends, default=0) + 1  # how long an open interval will be, nobody knows

    def overlap_ms(was: V, now: V) -> int:
        return min(was.span[1], now.span[1], latest_ms) - max(was.span[0], now.span[0])

    candidates = [
        (-overlap_ms(was, now), now.span[0], i, j)
        for i, was in enumerate(old)
        for j, now in enumerate(new)
        if overlap_ms(was, now) >= 0 and _rule(was) == _rule(now)
    ]
    pairs: list[tuple[int, int]] = []
    old_done: set[int] = set()
    new_done: set[int] = set()
    for _, _, i, j in sorted(candidates):
        if i not in old_done and j not in new_done:
            pairs.append((i, j))
            old_done.add(i)
            new_done.add(j)
    return pairs


def _rule(interval: Visit | Violation) -> RuleName | None:
    return interval.rule if isinstance(interval, Violation) else None


def _key(interval: Visit | Violation) -> tuple[Any, ...]:
    """Equal for equal intervals, and hashable (a violation's detail is a dict)."""
    values = (getattr(interval, f.name) for f in fields(interval))
    return tuple(repr(sorted(v.items())) if isinstance(v, dict) else v for v in values)
