"""One module a schema version, oldest first by its number."""
