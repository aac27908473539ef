"""The state machine of one vehicle and one fence: a side and, perhaps, a pending transition.

A *run* is the uninterrupted path on the other side of the true edge; where it began is the instant
of the transition it may become. While the run is also *beyond* the hysteresis, a timer counts;
it is confirmed when the timer reaches `confirm_ms`. Back within the hysteresis the timer is
forgotten, back on the confirmed side of the true edge the run is. So a reading strictly on the
confirmed side leaves nothing pending, which is what makes it an anchor.
"""

from dataclasses import dataclass

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.survey import IN_FAR, IN_NEAR, OUT_FAR
from greenhaul_cloud.fold.intervals import Certainty, How, Side, Transition

# A stay has a length. Without this a side reached just at a reading would be confirmed at that
# reading by a path that begins there, and a fold resumed from it would know the future.
HOLD_MS_MIN = 1


@dataclass(frozen=True, slots=True)
class _Run:
    began_ms: int
    how: How
    certainty: Certainty


class Presence:
    """Folds what the path does, in order, into transitions."""

    def __init__(self, side: Side, confirm_ms: int) -> None:
        self.side = side
        self.transitions: list[Transition] = []
        self._confirm_ms = max(confirm_ms, HOLD_MS_MIN)
        self._confirm_since_ms: int | None = None
        self._run: _Run | None = None
        self._beyond_since_ms: int | None = None
        self._gaps_ms: list[int] = []  # gaps and glimpses whose doubt waits for what is pending

    @property
    def leaving_ms(self) -> int:
        """Where a run out began that is not confirmed yet; NEVER_MS if there is none."""
        if self.side is Side.OUTSIDE or self._run is None:
            return NEVER_MS
        return self._run.began_ms

    def begin(
        self, time_ms: int, how: How, certainty: Certainty, *, is_glimpse: bool = False
    ) -> None:
        """First known inside: presence needs no confirmation. is_glimpse: in a pass too short to
        be sure of, which puts the end of the stay in doubt, too."""
        self.side = Side.INSIDE
        self._emit(time_ms, time_ms, how, certainty)
        if is_glimpse:
            self._emit(time_ms, time_ms, How.GAP, Certainty.POSSIBLE)

    def end(self, time_ms: int, known_ms: int, how: How, certainty: Certainty) -> None:
        """The fence binds no longer, as known at `known_ms`; whatever is pending lapses."""
        if self.side is Side.INSIDE:
            self._settle_gaps(known_ms)
            self.side = Side.OUTSIDE
            self._emit(time_ms, known_ms, how, certainty)

    def require(self, time_ms: int, confirm_ms: int) -> None:
        """From now on a side must hold this long."""
        self.pass_time(time_ms)
        self._confirm_ms, self._confirm_since_ms = max(confirm_ms, HOLD_MS_MIN), time_ms

    def pass_time(self, until_ms: int) -> None:
        """The path keeps its class until then; a pending transition may be confirmed on the way."""
        since_ms = self._beyond_since_ms
        if since_ms is None or until_ms - since_ms < self._confirm_ms:
            return
        run = self._run
        assert run is not None, "only a run is beyond"
        at_ms = since_ms + self._confirm_ms
        if self._confirm_since_ms is not None and at_ms < self._confirm_since_ms:
            at_ms = self._confirm_since_ms
        self.side = Side.INSIDE if self.side is Side.OUTSIDE else Side.OUTSIDE
        self._emit(run.began_ms, at_ms, run.how, run.certainty)
        if self.side is Side.INSIDE:
            self._settle_gaps(at_ms)
        self._forget()

    def occupy(self, time_ms: int, place: int, run: _Run | None = None) -> None:
        """From now on the path is of class `place`; `run` says how a run that begins here did."""
        self.pass_time(time_ms)
        if (place >= IN_NEAR) == (self.side is Side.INSIDE):
            self._return(time_ms)
            return
        if self._run is None:
            self._run = run or _Run(time_ms, How.CROSSING, Certainty.CERTAIN)
        if place not in (OUT_FAR, IN_FAR):
            self._beyond_since_ms = None
        elif self._beyond_since_ms is None:
            self._beyond_since_ms = time_ms

    def glimpse(self, time_ms: int, place: int) -> None:
        """The path is inside at `place`, but in a pass too short to be sure of: a stay that begins
        or goes on by it does so possibly."""
        self.pass_time(time_ms)
        if (self.side is Side.INSIDE) == (self._run is not None):
            self._gaps_ms.append(time_ms)
        self.occupy(time_ms, place, _Run(time_ms, How.CROSSING, Certainty.POSSIBLE))

    def stand(self, time_ms: int, place: int) -> None:
        """A parked truck is seen at `place`: it does not cross, but it can be seen to be back."""
        self.pass_time(time_ms)
        if (place >= IN_NEAR) == (self.side is Side.INSIDE):
            self._return(time_ms)

    def jump(self, time_ms: int, place: int, to_time_ms: int, to_place: int) -> None:
        """Nobody saw the path between two readings: a gap that nothing bridges.

        Both ends of one class: that class is held to have lasted. Both inside: the visit goes on,
        possibly. One inside: that reading is the end of the stay, possibly.
        """
        self.pass_time(time_ms)
        if self.side is Side.INSIDE or self._run is not None:
            self._gaps_ms.append(time_ms)
        if place == to_place:
            self.occupy(to_time_ms, to_place)
            return
        self._beyond_since_ms = None
        is_entry = to_place >= IN_NEAR
        began_ms = to_time_ms if is_entry else time_ms
        self.occupy(to_time_ms, to_place, _Run(began_ms, How.GAP, Certainty.POSSIBLE))

    def _return(self, time_ms: int) -> None:
        """Seen on the confirmed side: what was pending is not; a visit went on over its gaps."""
        if self.side is Side.INSIDE:
            self._settle_gaps(time_ms)
        self._forget()

    def _forget(self) -> None:
        self._run, self._beyond_since_ms, self._gaps_ms = None, None, []

    def _settle_gaps(self, known_ms: int) -> None:
        for gap_ms in self._gaps_ms:
            self._emit(gap_ms, known_ms, How.GAP, Certainty.POSSIBLE)
        self._gaps_ms = []

    def _emit(self, time_ms: int, known_ms: int, how: How, certainty: Certainty) -> None:
        self.transitions.append(Transition(time_ms, known_ms, self.side, how, certainty))
