"""Fleets of terminals, honest or hostile, and the proof of what arrived."""
