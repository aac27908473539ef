"""Derive: dirty marks in, visits and violations out, each vehicle in its own transaction."""
