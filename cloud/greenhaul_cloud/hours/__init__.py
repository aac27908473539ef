"""When a rule holds: OSM opening_hours, in a zone, after a calendar of days off."""
