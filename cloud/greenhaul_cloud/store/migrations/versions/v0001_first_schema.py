"""The first schema, but for the readings: who, what arrived, what it means."""

import sqlalchemy as sa
from alembic import op

from greenhaul_cloud.store.tables import Instant, Json, Serial

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "audit",
        sa.Column("id", Serial, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "enterprise",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enterprise")),
    )
    op.create_table(
        "feed",
        sa.Column("id", Serial, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=True),
        sa.Column("body", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed")),
    )
    op.create_index(op.f("ix_feed_at"), "feed", ["at"], unique=False)
    op.create_table(
        "fence",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fence")),
    )
    op.create_table(
        "gateway",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sources", Json, nullable=False),
        sa.Column("suggested_vehicle_id", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("last_block_time", Instant(), nullable=True),
        sa.Column("is_online", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway")),
    )
    op.create_table(
        "lane",
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("settled", sa.Text(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("duplicate", sa.BigInteger(), nullable=False),
        sa.Column("quarantined", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", "epoch", "lane", name=op.f("pk_lane")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", Serial, nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("stored_time", Instant(), nullable=False),
        sa.Column("released_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint(
            "gateway_id",
            "epoch",
            "lane",
            "first",
            "last",
            "digest",
            name=op.f("uq_quarantine_gateway_id_epoch_lane_first_last_digest"),
        ),
    )
    op.create_table(
        "source",
        sa.Column("id", Serial, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=True),
        sa.Column("first_stored_time", Instant(), nullable=True),
        sa.Column("last_received_time", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "store_identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_identity")),
    )
    op.create_table(
        "calendar_year",
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("plan", Json, nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("calendar", "year", name=op.f("pk_calendar_year")),
    )
    op.create_table(
        "fence_version",
        sa.Column("fence_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("valid_from", Instant(), nullable=False),
        sa.Column("valid_to", Instant(), nullable=True),
        sa.Column("feature", Json, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["fence_id"], ["fence.id"], name=op.f("fk_fence_version_fence_id")),
        sa.PrimaryKeyConstraint("fence_id", "version", name=op.f("pk_fence_version")),
    )
    op.create_table(
        "gateway_epoch",
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("first_block_time", Instant(), nullable=False),
        sa.Column("last_block_time", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateway.id"], name=op.f("fk_gateway_epoch_gateway_id")
        ),
        sa.PrimaryKeyConstraint("gateway_id", "epoch", name=op.f("pk_gateway_epoch")),
    )
    op.create_table(
        "latest",
        sa.Column("source_id", Serial, nullable=False),
        sa.Column("device_time", Instant(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("received_time", Instant(), nullable=False),
        sa.Column("stored_time", Instant(), nullable=False),
        sa.Column("time_quality", sa.SmallInteger(), nullable=False),
        sa.Column("latitude_deg", sa.Double(), nullable=True),
        sa.Column("longitude_deg", sa.Double(), nullable=True),
        sa.Column("altitude_m", sa.Double(), nullable=True),
        sa.Column("speed_kmh", sa.Double(), nullable=True),
        sa.Column("heading_deg", sa.Double(), nullable=True),
        sa.Column("satellites", sa.BigInteger(), nullable=True),
        sa.Column("hdop", sa.Double(), nullable=True),
        sa.Column("fix_quality", sa.BigInteger(), nullable=True),
        sa.Column("is_located", sa.Boolean(), nullable=True),
        sa.Column("odometer_km", sa.Double(), nullable=True),
        sa.Column("recorder_speed_kmh", sa.Double(), nullable=True),
        sa.Column("alarms", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("fuel_l", sa.Double(), nullable=True),
        sa.Column("signal_strength", sa.BigInteger(), nullable=True),
        sa.Column("accuracy_m", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_latest_source_id")),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_latest")),
    )
    op.create_table(
        "user",
        sa.Column("id", Serial, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("enterprise_id", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("disabled_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "role <> 'manager' or enterprise_id is not null", name=op.f("ck_user_scope")
        ),
        sa.CheckConstraint("role in ('admin', 'regulator', 'manager')", name=op.f("ck_user_role")),
        sa.ForeignKeyConstraint(
            ["enterprise_id"], ["enterprise.id"], name=op.f("fk_user_enterprise_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
    )
    op.create_table(
        "vehicle",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("plate", sa.Text(), nullable=True),
        sa.Column("vin", sa.Text(), nullable=True),
        sa.Column("enterprise_id", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["enterprise_id"], ["enterprise.id"], name=op.f("fk_vehicle_enterprise_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vehicle")),
    )
    op.create_index(op.f("ix_vehicle_enterprise_id"), "vehicle", ["enterprise_id"], unique=False)
    op.create_table(
        "binding",
        sa.Column("id", Serial, nullable=False),
        sa.Column("source_id", Serial, nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("valid_from", Instant(), nullable=False),
        sa.Column("valid_to", Instant(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_binding_source_id")),
        sa.ForeignKeyConstraint(["vehicle_id"], ["vehicle.id"], name=op.f("fk_binding_vehicle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_binding")),
    )
    op.create_index(
        op.f("ix_binding_source_id_valid_from"),
        "binding",
        ["source_id", "valid_from"],
        unique=False,
    )
    op.create_index(
        op.f("ix_binding_vehicle_id_valid_from"),
        "binding",
        ["vehicle_id", "valid_from"],
        unique=False,
    )
    op.create_table(
        "dirty",
        sa.Column("id", Serial, nullable=False),
        sa.Column("source_id", Serial, nullable=True),
        sa.Column("vehicle_id", sa.Text(), nullable=True),
        sa.Column("from_time", Instant(), nullable=False),
        sa.Column("to_time", Instant(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(source_id is null) <> (vehicle_id is null)", name=op.f("ck_dirty_subject")
        ),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_dirty_source_id")),
        sa.ForeignKeyConstraint(["vehicle_id"], ["vehicle.id"], name=op.f("fk_dirty_vehicle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dirty")),
        sa.UniqueConstraint("source_id", name=op.f("uq_dirty_source_id")),
        sa.UniqueConstraint("vehicle_id", name=op.f("uq_dirty_vehicle_id")),
    )
    op.create_table(
        "fold_failure",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("failed_at", Instant(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicle.id"], name=op.f("fk_fold_failure_vehicle_id")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", name=op.f("pk_fold_failure")),
    )
    op.create_table(
        "fold_state",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("as_of", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicle.id"], name=op.f("fk_fold_state_vehicle_id")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", name=op.f("pk_fold_state")),
    )
    op.create_index(op.f("ix_fold_state_due_at"), "fold_state", ["due_at"], unique=False)
    op.create_table(
        "session",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("csrf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", Serial, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_session_user_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_session")),
    )
    op.create_index(op.f("ix_session_expires_at"), "session", ["expires_at"], unique=False)
    op.create_table(
        "token",
        sa.Column("id", Serial, nullable=False),
        sa.Column("user_id", Serial, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_token_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_token_token_hash")),
    )
    op.create_table(
        "vehicle_attributes",
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("valid_from", Instant(), nullable=False),
        sa.Column("energy", sa.Text(), nullable=True),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("tags", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicle.id"], name=op.f("fk_vehicle_attributes_vehicle_id")
        ),
        sa.PrimaryKeyConstraint("vehicle_id", "valid_from", name=op.f("pk_vehicle_attributes")),
    )
    op.create_table(
        "visit",
        sa.Column("id", Serial, nullable=False),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("fence_id", sa.Text(), nullable=False),
        sa.Column("fence_version", sa.Integer(), nullable=False),
        sa.Column("entered_at", Instant(), nullable=False),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("entered_certainty", sa.Text(), nullable=False),
        sa.Column("entered_confirmed_at", Instant(), nullable=False),
        sa.Column("left_at", Instant(), nullable=True),
        sa.Column("left_by", sa.Text(), nullable=False),
        sa.Column("left_certainty", sa.Text(), nullable=True),
        sa.Column("left_confirmed_at", Instant(), nullable=True),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("gaps", Json, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("amended", sa.Boolean(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["fence_id"], ["fence.id"], name=op.f("fk_visit_fence_id")),
        sa.ForeignKeyConstraint(["vehicle_id"], ["vehicle.id"], name=op.f("fk_visit_vehicle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visit")),
    )
    op.create_index(
        op.f("ix_visit_fence_id_entered_at"), "visit", ["fence_id", "entered_at"], unique=False
    )
    op.create_index(
        op.f("ix_visit_vehicle_id_entered_at"), "visit", ["vehicle_id", "entered_at"], unique=False
    )
    op.create_table(
        "violation",
        sa.Column("id", Serial, nullable=False),
        sa.Column("visit_id", Serial, nullable=True),
        sa.Column("vehicle_id", sa.Text(), nullable=False),
        sa.Column("fence_id", sa.Text(), nullable=False),
        sa.Column("fence_version", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_index", sa.SmallInteger(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("began_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("window_began_at", Instant(), nullable=True),
        sa.Column("window_ended_at", Instant(), nullable=True),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("handling", Json, nullable=True),
        sa.Column("amended", sa.Boolean(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["fence_id"], ["fence.id"], name=op.f("fk_violation_fence_id")),
        sa.ForeignKeyConstraint(
            ["vehicle_id"], ["vehicle.id"], name=op.f("fk_violation_vehicle_id")
        ),
        sa.ForeignKeyConstraint(["visit_id"], ["visit.id"], name=op.f("fk_violation_visit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_violation")),
    )
    op.create_index(op.f("ix_violation_began_at"), "violation", ["began_at"], unique=False)
    op.create_index(
        op.f("ix_violation_fence_id_began_at"), "violation", ["fence_id", "began_at"], unique=False
    )
    op.create_index(
        op.f("ix_violation_vehicle_id_began_at"),
        "violation",
        ["vehicle_id", "began_at"],
        unique=False,
    )
    op.create_table(
        "amendment",
        sa.Column("id", Serial, nullable=False),
        sa.Column("visit_id", Serial, nullable=True),
        sa.Column("violation_id", Serial, nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("was", Json, nullable=True),
        sa.Column("became", Json, nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["violation_id"], ["violation.id"], name=op.f("fk_amendment_violation_id")
        ),
        sa.ForeignKeyConstraint(["visit_id"], ["visit.id"], name=op.f("fk_amendment_visit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_amendment")),
    )
    op.create_index(op.f("ix_amendment_violation_id"), "amendment", ["violation_id"], unique=False)
    op.create_index(op.f("ix_amendment_visit_id"), "amendment", ["visit_id"], unique=False)
