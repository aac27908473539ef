"""Marks of one subject kept apart, with their age; room for rows that are updated often."""

import sqlalchemy as sa
from alembic import op

from greenhaul_cloud.store.schema import Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Rows that nearly every flush or fold updates: with room on their page no index is touched.
_UPDATED = ("latest", "source", "source_day", "gateway_day", "gateway", "gateway_epoch", "lane",
            "dirty", "fold_state")  # fmt: skip


def upgrade() -> None:
    """Give each mark a slot and the time it was made."""
    now = "now()" if _is_postgres() else "CAST(strftime('%s', 'now') AS INTEGER) * 1000"
    with op.batch_alter_table("dirty") as batch:
        batch.add_column(sa.Column("slot", sa.SmallInteger(), server_default="0", nullable=False))
        batch.add_column(sa.Column("marked_at", Instant(), nullable=True))
    op.execute(f"UPDATE dirty SET marked_at = {now}")  # noqa: S608
    with op.batch_alter_table("dirty") as batch:
        batch.alter_column("slot", existing_type=sa.SmallInteger(), server_default=None)
        batch.alter_column("marked_at", existing_type=Instant(), nullable=False)
        for subject in ("source_id", "vehicle_id"):
            batch.drop_constraint(op.f(f"uq_dirty_{subject}"), type_="unique")
            batch.create_unique_constraint(op.f(f"uq_dirty_{subject}_slot"), [subject, "slot"])
    op.create_index(op.f("ix_violation_visit_id"), "violation", ["visit_id"])
    waiting = sa.text("released_at IS NULL")
    op.create_index(
        "ix_quarantine_waiting", "quarantine", ["gateway_id", "epoch", "lane", "first"],
        postgresql_where=waiting, sqlite_where=waiting,
    )  # fmt: skip
    if _is_postgres():
        for table in _UPDATED:
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"
