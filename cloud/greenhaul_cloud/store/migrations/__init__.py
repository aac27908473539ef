"""Alembic's environment; the versions are beside it."""
