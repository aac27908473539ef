"""The outbox: a log of readings that nothing acknowledged is ever lost from."""
