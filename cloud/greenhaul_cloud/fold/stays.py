"""The state machine of presence over columns: every stream of events at once.

The same machine as `presence.Presence`, said without a loop. A side is confirmed where the path
stays beyond the hysteresis for long enough; a transition is a confirmation of the other side than
the one before it; its instant is where the run on that side began.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.model import NEVER_MS
from greenhaul_cloud.fences.survey import IN_FAR, IN_NEAR, OUT_FAR
from greenhaul_cloud.fold.presence import HOLD_MS_MIN

Int64s = NDArray[np.int64]
Uint8s = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Events:
    """From `time_ms` on the path of a stream is of class `place`: columns, by stream and in order.

    A stream is one vehicle and one fence; its first event is its first reading. is_glimpse: inside
    in a pass too short to be sure of.
    """

    stream: Indices
    time_ms: Int64s
    place: Uint8s
    is_glimpse: Bools


@dataclass(frozen=True, slots=True)
class Stays:
    """Visits as columns, by stream and time. `left_ms`, `left_confirmed_ms`: NEVER_MS if open.

    is_glimpsed: begins by a glimpse. Each begins or goes on by the glimpses that begin at
    `glimpse_ms[first_glimpse:past_glimpse]`, a column of its own.
    """

    stream: Indices
    entered_ms: Int64s
    entered_confirmed_ms: Int64s
    is_first_reading: Bools
    left_ms: Int64s
    left_confirmed_ms: Int64s
    is_glimpsed: Bools
    first_glimpse: Indices
    past_glimpse: Indices
    glimpse_ms: Int64s

    def take(self, which: Bools | Indices) -> "Stays":
        """The chosen stays."""
        return Stays(
            self.stream[which], self.entered_ms[which], self.entered_confirmed_ms[which],
            self.is_first_reading[which], self.left_ms[which], self.left_confirmed_ms[which],
            self.is_glimpsed[which], self.first_glimpse[which], self.past_glimpse[which],
            self.glimpse_ms,
        )  # fmt: skip


def stays_of(events: Events, confirm_ms: Int64s, last_ms: Int64s) -> Stays:
    """All visits; confirm_ms, last_ms: (streams,) the hold, and when the path ends."""
    events = _without_repeats(events)
    stream, time_ms, place = events.stream, events.time_ms, events.place
    is_first = _changes(stream)
    until_ms = np.append(time_ms[1:], 0)
    is_last = np.append(is_first[1:], True)[: len(stream)]
    until_ms[is_last] = last_ms[stream[is_last]]
    is_inside = place >= IN_NEAR
    begins_run = is_first | _changes(is_inside)
    run = _last_true(begins_run)
    glimpses = events.is_glimpse & is_inside & begins_run
    hold_ms = np.maximum(confirm_ms, HOLD_MS_MIN)[stream]
    is_held = ((place == IN_FAR) | (place == OUT_FAR)) & (until_ms - time_ms >= hold_ms)
    # What the first reading says of the side needs no confirmation.
    said = np.flatnonzero(is_held | is_first)
    side = is_inside[said]
    differs = is_first[said] & side
    differs[1:] |= ~is_first[said][1:] & (side[1:] != side[:-1])
    turn = said[differs]
    begins = is_first[turn]
    instant_ms = np.where(begins, time_ms[turn], time_ms[run[turn]])
    confirmed_ms = time_ms[turn] + np.where(begins, 0, hold_ms[turn])
    entry = np.flatnonzero(is_inside[turn])
    turn_stream = np.append(stream[turn], -1)
    has_left = turn_stream[entry + 1] == turn_stream[entry]
    leave = np.where(has_left, entry + 1, 0)
    began = run[turn[entry]]
    over = np.searchsorted(stream, stream[began], side="right")
    ended = np.where(has_left, run[turn[leave]], over) if len(entry) else began
    seen = np.append(0, np.cumsum(glimpses))
    return Stays(
        turn_stream[entry],
        instant_ms[entry],
        confirmed_ms[entry],
        begins[entry],
        np.where(has_left, instant_ms[leave], NEVER_MS),
        np.where(has_left, confirmed_ms[leave], NEVER_MS),
        glimpses[began],
        seen[began],
        seen[ended],
        time_ms[glimpses],
    )


def _without_repeats(events: Events) -> Events:
    """Events that change nothing left out."""
    kept = _changes(events.stream) | _changes(events.place)
    return Events(
        events.stream[kept], events.time_ms[kept], events.place[kept], events.is_glimpse[kept]
    )


def _changes(column: NDArray[np.generic]) -> Bools:
    """(n,) whether each differs from the one before; the first does."""
    changes = np.ones(len(column), bool)
    changes[1:] = column[1:] != column[:-1]
    return changes


def _last_true(marked: Bools) -> Indices:
    """(n,) index of the last marked row at or before each; the first is marked."""
    last: Indices = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), 0))
    return last
