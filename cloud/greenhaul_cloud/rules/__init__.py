"""Rules judged: pure functions of visits, readings and the calendar.

Where the text leaves a choice:

* A rule with hours is judged on each part of a stay within them by itself: a truck that stays over
  night breaks `no_entry` or `max_dwell` anew when the hours begin again.
* `max_dwell` and `transit_time` begin when the limit is passed; `min_dwell` and a transit too short
  are broken at the instant of leaving, which has no length. Leaving is crossing the edge or being
  seen outside; a version or a scope that ends does not leave.
* `must_visit_by` is broken at the end of a window; the violation names the window and has no
  length. Windows cut off by the end of version or scope are not judged, a visit going on counts.
* `must_stay` is broken from leaving, or the hours' beginning, to entering or the hours' end.
* Nothing is wanted before the first reading of the vehicle.
* What time alone brings about (hours that open over a truck last seen inside, a deadline) is
  `possible` until a later reading exists, and is not concluded from more than SILENCE_MS_MAX.
* A day off is selected by `PH` and by its weekday; `; PH off` takes it out, as OSM has it.
"""
