"""Trips, stops and edges of bits: pure functions of a track in device time.

A stop is three minutes or more within 50 m of its first reading (the anchor). A reported speed
above 5 km/h ends it, unless the ignition is off: then it is noise. A silence whose ends lie within
the anchor's reach and whose odometer stood still belongs to it. Whatever lies between two stops is
a trip, `possible` if part of it was not seen. They depend on readings alone, not on the order in
which those came, and are told from the track whenever somebody asks.
"""
