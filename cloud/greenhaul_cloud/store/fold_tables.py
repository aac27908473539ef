"""What the fold has to do, and how far it is."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from greenhaul_cloud.store.schema import Instant, Serial, metadata

# Something with validity in time changed for a source or a vehicle between these instants.
# Removed only by a fold that saw this revision. A subject has a few, told apart by their slot.
dirty = Table(
    "dirty",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("source_id", ForeignKey("source.id")),
    Column("vehicle_id", ForeignKey("vehicle.id")),
    Column("from_time", Instant, nullable=False),
    Column("to_time", Instant, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("slot", SmallInteger, nullable=False),
    Column("marked_at", Instant, nullable=False),  # when the first of the changes was marked
    CheckConstraint("(source_id is null) <> (vehicle_id is null)", name="subject"),
    UniqueConstraint("source_id", "slot"),
    UniqueConstraint("vehicle_id", "slot"),
)

# Up to when a vehicle was folded, and when time alone will change what its fold says.
fold_state = Table(
    "fold_state",
    metadata,
    Column("vehicle_id", ForeignKey("vehicle.id"), primary_key=True),
    Column("as_of", Instant, nullable=False),
    Column("due_at", Instant),
    Index(None, "due_at"),
)

# A vehicle whose fold raised: set aside, tried again on new data, restart and upgrade.
fold_failure = Table(
    "fold_failure",
    metadata,
    Column("vehicle_id", ForeignKey("vehicle.id"), primary_key=True),
    Column("failed_at", Instant, nullable=False),
    Column("count", Integer, nullable=False),
    Column("reason", Text, nullable=False),
)
