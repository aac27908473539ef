"""Tracks of many vehicles laid over an index: per vehicle and fence version, what changes when.

The columns hold what `path.WindowPath` says of one track and one version, for all at once. Pairs of
vehicle and version of which columns cannot tell everything are named *hard* instead.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenhaul_cloud.fences.index import FenceIndex
from greenhaul_cloud.fences.model import Settings
from greenhaul_cloud.fences.survey import IN_NEAR, Cuts, class_of
from greenhaul_cloud.fold.glimpses import glimpsed
from greenhaul_cloud.fold.laid import Laid
from greenhaul_cloud.fold.path import cut_instants_ms
from greenhaul_cloud.fold.segments import GAP, PATH, STILL
from greenhaul_cloud.fold.stays import Events
from greenhaul_cloud.fold.track import Fleet

Int64s = NDArray[np.int64]
Uint8s = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

# What lies between the last reading of one vehicle and the first of the next.
_BREAK = 3


@dataclass(frozen=True, slots=True)
class Course:
    """Events by stream, the slot and vehicle of each stream, and which of them are hard."""

    events: Events
    slot: Indices  # (streams,)
    vehicle: Indices  # (streams,)
    is_hard: Bools  # (streams,) what events say of it is not all
    is_gap: Bools  # (n - 1,) the segments of the fleet that nobody saw


class Courses:
    """A fleet surveyed once; each group of versions of like settings then takes its part."""

    def __init__(self, fleet: Fleet, index: FenceIndex) -> None:
        self._index = index
        self._fleet = fleet
        self._track = fleet.track
        self._size = len(fleet.track)
        self._vehicle = fleet.vehicle
        self._at = fleet.track.longitude_deg + 1j * fleet.track.latitude_deg
        self._is_break = np.zeros(max(self._size - 1, 0), bool)
        self._is_break[fleet.first[1:-1] - 1] = True
        laid = Laid.of(fleet, index)
        self._segments, self._way, self._meetings = laid.segments, laid.way, laid.meetings
        self._near = self._keys(*self._meetings.near)
        self._on_edge = self._keys(*self._meetings.on_edge)

    def course(self, settings: Settings, slots: Indices) -> Course:
        """What concerns these versions, all of these settings as far as gaps go."""
        kinds = np.where(self._is_break, _BREAK, self._segments.kinds(settings))
        is_chosen = np.zeros(len(self._index.versions), bool)
        is_chosen[slots] = True
        cuts = self._meetings.cuts
        rows = np.flatnonzero(is_chosen[cuts.slot] & (kinds[cuts.segment] == PATH))
        cuts = Cuts(cuts.slot[rows], cuts.segment[rows], cuts.part[rows], cuts.place[rows])
        unseen = self._unseen(kinds, is_chosen)
        met = _each_once(cuts.slot * self._size + cuts.segment)
        jumps = unseen[kinds[unseen % self._size] == PATH]
        known = _merged(met, met + 1, jumps, jumps + 1)
        place = self._places(known)
        events, slot, vehicle, is_hard = self._joined(
            cuts, known, place, self._hard(kinds, unseen), is_chosen
        )
        return Course(events, slot, vehicle, is_hard, kinds == GAP)

    def _keys(self, slot: Indices, point: Indices) -> Indices:
        """Sorted numbers, each for a slot and a point (or the segment that begins there)."""
        return _merged(slot * self._size + point)

    def _places(self, keys: Indices) -> Uint8s:
        """Class of each point by its slot."""
        slot, point = keys // self._size, keys % self._size
        return class_of(self._index.contains(slot, self._at[point]), _is_in(keys, self._near))

    def _unseen(self, kinds: Uint8s, is_chosen: Bools) -> Indices:
        """Keys of the segments along which no path is drawn, by the slots their ends have met."""
        is_drawn = (kinds == PATH) & (self._segments.duration_ms > 0)
        here = np.zeros(self._size, bool)
        here[:-1] = ~is_drawn & (kinds != _BREAK)
        # Where no edge is, both ends of a segment are of one class: only a gap asks for it, too.
        is_asked = here.copy()
        quiet = np.flatnonzero(here[:-1] & (kinds != GAP))
        is_asked[quiet] = self._index.is_busy(
            self._at[quiet], self._at[quiet + 1] - self._at[quiet]
        )
        ends = is_asked.copy()
        ends[1:] |= is_asked[:-1]
        point = np.flatnonzero(ends)
        slot, held = self._index.held(self._at.real[point], self._at.imag[point])
        near = self._near[ends[self._near % self._size]]
        touched = _merged(slot * self._size + point[held], near)
        touched = touched[is_chosen[touched // self._size]]
        candidates = _merged(touched, touched - 1)
        segment = candidates % self._size
        unseen: Indices = candidates[(candidates >= 0) & is_asked[segment]]
        return unseen

    def _hard(self, kinds: Uint8s, unseen: Indices) -> Indices:
        """Keys of (slot, segment) that make a stream hard: a gap that is met by either end, and
        a parked truck seen in two classes."""
        kind = kinds[unseen % self._size]
        still = unseen[kind == STILL]
        before, after = (self._places(keys) for keys in (still, still + 1))
        met = unseen[kind == GAP]
        is_met = (self._places(met) > 0) | (self._places(met + 1) > 0)
        return np.concatenate((still[before != after], met[is_met]))

    def _joined(
        self, cuts: Cuts, known: Indices, place: Uint8s, hard: Indices, is_chosen: Bools
    ) -> tuple[Events, Indices, Indices, Bools]:
        """Events of cuts, of known points, and of the first reading of each stream."""
        size, vehicles = self._size, len(self._fleet)
        first = self._fleet.first[:-1]
        slot, vehicle = self._index.held(self._at.real[first], self._at.imag[first])
        begins = slot[is_chosen[slot]] * vehicles + vehicle[is_chosen[slot]]
        met = [keys // size * vehicles + self._vehicle[keys % size] for keys in (known, hard)]
        streams = _merged(begins, *met)
        slot, vehicle = streams // vehicles, streams % vehicles
        begin_keys = slot * size + first[vehicle]
        time_ms = self._track.device_time_ms
        cut_keys, cut_ms, cut_place, cut_glimpsed = self._timed(cuts, known, place)
        is_later = ~_is_in(known, np.sort(begin_keys))
        # A reading comes after all cuts of the segment that leads to it.
        keys = np.concatenate((begin_keys * 2, known[is_later] * 2, cut_keys * 2 + 1))
        order = np.argsort(keys, kind="stable")
        at_ms = np.concatenate(
            (time_ms[begin_keys % size], time_ms[known[is_later] % size], cut_ms)
        )[order]
        places = np.concatenate((self._places(begin_keys), place[is_later], cut_place))[order]
        is_glimpse = np.zeros(len(keys), bool)
        is_glimpse[len(keys) - len(cut_keys) :] = cut_glimpsed
        point = keys[order] // 2
        stream = np.searchsorted(streams, point // size * vehicles + self._vehicle[point % size])
        is_hard = np.zeros(len(streams), bool)
        is_hard[np.searchsorted(streams, met[1])] = True
        return Events(stream, at_ms, places, is_glimpse[order]), slot, vehicle, is_hard

    def _timed(
        self, cuts: Cuts, known: Indices, place: Uint8s
    ) -> tuple[Indices, Int64s, Uint8s, Bools]:
        """Keys, instants, places of the cuts that say something new, and which are glimpses."""
        time_ms = self._track.device_time_ms
        keys = cuts.slot * self._size + cuts.segment
        starts_as = place[np.searchsorted(known, keys)]
        kept = (cuts.part > 0) | (cuts.place != starts_as)
        keys, segment, part, after = (
            keys[kept],
            cuts.segment[kept],
            cuts.part[kept],
            cuts.place[kept],
        )
        is_straight = self._index.is_straight[cuts.slot[kept]]
        starts_inside = starts_as[kept] >= IN_NEAR
        is_glimpse = glimpsed(self._way, keys, segment, part, after, starts_inside, is_straight)
        begin_ms = time_ms[segment]
        duration_ms = time_ms[segment + 1] - begin_ms if len(segment) else begin_ms
        cut_ms = cut_instants_ms(begin_ms, duration_ms, part, _is_in(keys, self._on_edge))
        is_last = np.ones(len(keys), bool)
        is_last[:-1] = (np.diff(keys) != 0) | (np.diff(cut_ms) != 0)
        return keys[is_last], cut_ms[is_last], after[is_last], is_glimpse[is_last]


def _merged(*columns: Indices) -> Indices:
    """All numbers of some columns, sorted, each once."""
    # A stable sort runs through what is sorted already: much of it is.
    return _each_once(np.sort(np.concatenate(columns), kind="stable"))


def _each_once(ordered: Indices) -> Indices:
    """The numbers of a sorted column, each once."""
    kept = np.ones(len(ordered), bool)
    kept[1:] = ordered[1:] != ordered[:-1]
    return ordered[kept]


def _is_in(keys: Indices, among: Indices) -> Bools:
    """(n,) whether each key is one of a sorted column."""
    if len(among) == 0:
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    is_in: Bools = among[at] == keys
    return is_in
