"""Run by Alembic: migrates on the connection the store hands over."""

from alembic import context

from greenhaul_cloud.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot ALTER most things in place
)
context.run_migrations()
