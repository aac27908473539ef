"""JT/T 808 areas and routes as fence features, and back: nothing is lost on the way there and back.

What a fence says of itself stands where a fence says it: geometry, `valid_from`, rules with their
hours and limits. What only terminals know (ids, whom to tell, doors, radio, points of a route, the
digits of times) stands in the foreign property `jt808`.

| message | fence |
|---|---|
| circle, rectangle, polygon | Point with `radius_m`, Polygon, Polygon |
| route | LineString; `half_width_m` is half the widest segment |
| entering tells, leaving does not | `no_entry` |
| leaving tells, entering does not | `must_stay` |
| both tell, or none | visits alone |
| times of day | `hours` of these rules |
| dates | `valid_from`, `valid_to` |
| speed, its seconds, speed at night | `speed_limit`, night being 22:00-06:00 |
| times of all segments of a route | `transit_time`, their sums |
"""
