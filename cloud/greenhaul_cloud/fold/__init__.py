"""The fold: tracks and fences in, visits and violations out; pure, resumable, order-free.

Where the text leaves a choice:

* The *path* must stay beyond the hysteresis, so the hold is measured between the instants at which
  the path between readings passes the hysteresis, not between readings. A truck that passes through
  between two readings has a visit if it was beyond for long enough.
* The path is a curve where both readings say speed and heading (`fences.curves`), unless the fence
  asks for `"path": "straight"`; else straight and even. Held against trucks known second by second
  the curve finds more visits at every interval, and their instants nearer.
* A pass that no reading saw, and that is no longer than the path may be off, is possible
  (`glimpses`).
* First known inside, a truck needs no hold: at its first reading, and where a fence begins to bind.
* Two neighbouring readings are parked if both say speed 0, and both say ACC off or their odometers
  do not differ. What comes of noise then counts for nothing, except that a reading strictly on the
  confirmed side clears what is pending: so that it is an anchor like any other.
* A gap whose ends are of one class (inside or outside, beyond the hysteresis or not) counts for the
  hold; else a truck that reports every five minutes would have no visits. It is never certain.
* A visit that went on over a gap is possible and so is its left end, the visit being as certain as
  the weaker of its ends.
* A window (version × scope) that ends within a gap, or in a silence longer than one, ends its visit
  by `gap` at the last reading; else at its own end, by `version` or `scope`. A pending transition
  lapses there.
* Speed is not drawn over gaps or next to readings without a speed. At exactly the limit it is not
  above it, which parts two runs.
* Instants are whole milliseconds; a stay lasts at least one.
"""
