"""Housekeeping: backup and restore, archive, moving a store, retention."""
