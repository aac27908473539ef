"""The store: one schema on SQLite or PostgreSQL, every acknowledged reading once."""
