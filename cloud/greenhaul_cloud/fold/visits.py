"""Visits out of transitions, and back."""

from collections.abc import Callable, Iterable

from greenhaul_cloud.fold.intervals import Certainty, How, Side, Transition, Visit, weaker


def visits_of(transitions: Iterable[Transition], version_at: Callable[[int], int]) -> list[Visit]:
    """Pair entries with exits; transitions in order of confirmation, the first one an entry.

    A visit that went on over a gap is possible, and so is its end: it may be that of another stay.
    version_at: number of the fence version in force at an instant.
    """
    visits: list[Visit] = []
    entry: Transition | None = None
    gaps: list[Transition] = []
    for transition in transitions:
        if transition.to is Side.OUTSIDE:
            assert entry is not None, "an exit follows an entry"
            visits.append(_visit(entry, gaps, transition, version_at))
            entry = None
        elif entry is None:
            entry, gaps = transition, []
        else:
            gaps.append(transition)
    return visits if entry is None else [*visits, _visit(entry, gaps, None, version_at)]


def _visit(
    entry: Transition,
    gaps: list[Transition],
    leaving: Transition | None,
    version_at: Callable[[int], int],
) -> Visit:
    over_gaps = Certainty.POSSIBLE if gaps else Certainty.CERTAIN
    left_certainty = weaker(leaving.certainty, over_gaps) if leaving else None
    return Visit(
        fence_version=version_at(entry.instant_ms),
        entered_ms=entry.instant_ms,
        entered_by=entry.how,
        entered_certainty=entry.certainty,
        left_ms=leaving.instant_ms if leaving else None,
        left_by=leaving.how if leaving else How.OPEN,
        left_certainty=left_certainty,
        certainty=weaker(entry.certainty, over_gaps, left_certainty),
        entered_confirmed_ms=entry.confirmed_ms,
        left_confirmed_ms=leaving.confirmed_ms if leaving else None,
        gaps_ms=tuple((gap.instant_ms, gap.confirmed_ms) for gap in gaps),
    )


def transitions_of(visits: Iterable[Visit]) -> list[Transition]:
    """The transitions of stored visits, in order of confirmation."""
    transitions = []
    for visit in sorted(visits, key=lambda visit: visit.entered_confirmed_ms):
        entry = (visit.entered_ms, visit.entered_confirmed_ms, Side.INSIDE, visit.entered_by)
        transitions.append(Transition(*entry, visit.entered_certainty))
        for instant_ms, confirmed_ms in visit.gaps_ms:
            gap = (instant_ms, confirmed_ms, Side.INSIDE, How.GAP)
            transitions.append(Transition(*gap, Certainty.POSSIBLE))
        if visit.left_ms is not None and visit.left_confirmed_ms is not None:
            leaving = (visit.left_ms, visit.left_confirmed_ms, Side.OUTSIDE, visit.left_by)
            transitions.append(Transition(*leaving, _end_certainty(visit.left_by)))
    return transitions


def _end_certainty(how: How) -> Certainty:
    """Of an end by itself, gaps before it left aside: only one known from a gap is in doubt."""
    return Certainty.POSSIBLE if how is How.GAP else Certainty.CERTAIN
