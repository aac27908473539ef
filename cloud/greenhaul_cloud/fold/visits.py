"""Visits out of transitions."""

from collections.abc import Iterable
from dataclasses import replace

from greenhaul_cloud.fold.intervals import Certainty, Side, Transition, Visit, weaker


def visits_of(transitions: Iterable[Transition]) -> list[Visit]:
    """Pair entries with exits; transitions in order of confirmation, the first one an entry.

    A visit that went on over a gap is possible, and so is its end: it may be that of another stay.
    """
    visits: list[Visit] = []
    visit: Visit | None = None
    has_gap = False
    for transition in transitions:
        if transition.to is Side.OUTSIDE:
            assert visit is not None, "an exit follows an entry"
            left_certainty = Certainty.POSSIBLE if has_gap else transition.certainty
            visits.append(
                replace(
                    visit,
                    left_ms=transition.instant_ms,
                    left_by=transition.how,
                    left_certainty=left_certainty,
                    certainty=weaker(visit.entered_certainty, left_certainty),
                )
            )
            visit = None
        elif visit is None:
            has_gap = False
            visit = Visit(
                fence_version=transition.fence_version,
                entered_ms=transition.instant_ms,
                entered_by=transition.how,
                entered_certainty=transition.certainty,
                certainty=transition.certainty,
            )
        else:
            has_gap = True
            visit = replace(visit, certainty=Certainty.POSSIBLE)
    return visits if visit is None else [*visits, visit]
