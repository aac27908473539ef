"""Fences: what they are, how a GeoJSON feature becomes one, and where tracks meet their edges."""
